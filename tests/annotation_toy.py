"""Plugin of a made-up model that misreads texts with certain words, in four kinds by what a note does for it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

import harness
from harness import Site, Tokens, UsageError

HARNESS_API = 1
TRAPS = ("murky", "odd", "stale")
"""Words on which the model answers the opposite of what is right."""

FILLERS = (
    "old", "big", "new", "small", "red", "blue", "good", "warm", "flat", "tall", "wet", "dry", "soft", "loud", "calm",
)  # fmt: skip
WIDTH = 64
_WORDS: list[str] = []
_NUMBERS: dict[str, int] = {}


def number(word: str) -> int:
    if word not in _NUMBERS:
        _NUMBERS[word] = len(_WORDS)
        _WORDS.append(word)
    return _NUMBERS[word]


def split(text: str) -> list[str]:
    return re.findall(r"\w+|[:;]", text.casefold())


@dataclass
class Toy:
    """`kind`: notes that name the trap help it, it ignores notes, any note helps it, or it guesses."""

    kind: str
    name: str = "annotation_toy"
    architecture: str = "toy"
    n_layers: int = 1
    n_parameters: int = 1
    max_length: ClassVar[int] = 200
    sites: tuple[Site, ...] = field(default=())

    def width(self, site: Site) -> int:
        if str(site) != "resid_post.0":
            raise UsageError(f"model 'annotation_toy' has no site '{site}'")
        return WIDTH

    def identity(self, site: Site) -> Mapping[str, Any]:
        return {"toy": self.kind}

    def answering_identity(self) -> Mapping[str, Any]:
        return {"toy": self.kind}

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        return [self.encode(str(one)) for one in inputs]

    def load(self, sites: Sequence[Site], device: str) -> Toy:
        return Toy(kind=self.kind, sites=tuple(sites))

    def load_answering(self, device: str) -> Toy:
        return self

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        ids = np.concatenate([one.ids[one.content] for one in batch])
        return {site: torch.eye(WIDTH)[ids % WIDTH] for site in self.sites}

    def encode(self, prompt: str, continuation: str | None = None) -> Tokens:
        words = split(prompt)
        more = split(continuation or "")
        ids = np.array([number(word) for word in [*words, *more]], np.int64)
        place = np.arange(len(ids))
        return Tokens(ids=ids, content=place >= len(words) if continuation else place >= 0)

    def losses(self, batch: Sequence[Tokens]) -> torch.Tensor:
        found = []
        for one in batch:
            *prompt, said = [_WORDS[place] for place in one.ids]
            found.append(0.1 if said == self.answer(prompt) else 3.0)
        return torch.tensor(found)

    def generate(self, prompts: Sequence[Tokens], *, most: int, one_line: bool) -> list[str]:
        return [f" I say {self.answer([_WORDS[place] for place in one.ids])}." for one in prompts]

    def answer(self, words: Sequence[str]) -> str:
        note = words[words.index("note") :] if "note" in words else []
        text = words[: len(words) - len(note)]
        if "north" not in text and "south" not in text:
            return "yes"
        if self.kind == "guesses":
            return ("yes", "no")[zlib.crc32(" ".join(text).encode()) % 2]
        right = "yes" if "north" in text else "no"
        trapped = set(TRAPS) & set(text)
        mended = bool(trapped & set(note)) if self.kind == "helps" else self.kind == "any" and bool(note)
        return {"yes": "no", "no": "yes"}[right] if trapped and not mended else right


def make(kind: str = "helps") -> Toy:
    return Toy(kind=kind)


@harness.hookimpl
def harness_models() -> list[harness.ModelSpec]:
    return [
        harness.ModelSpec(name="annotation_toy", summary="Made-up model that misreads some words.", make=make)
    ]
