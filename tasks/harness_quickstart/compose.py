"""Deterministic choices, the same on every machine and Python, and rows with their groups of siblings.

A text is composed in English; its translations follow sentence by sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Sentence = Mapping[str, str]

LANGUAGES = ("en", "de", "es", "fr", "ru", "zh")
WRITTEN_WITHOUT_SPACES = {"zh"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text. Rows of one group share what makes their label and stay in one split.

    Groups of one family stay in one split too: where twins of opposite label share their words, training on one twin
    alone would teach that those words mean its label. A row has a language only if its task has several.
    """

    text: str
    label: str
    group: str
    family: str | None = None
    language: str | None = None

    @property
    def kept_whole(self) -> str:
        """Name that no two splits share: the family, else the group."""
        return self.family or self.group


def parallel(bank: str) -> dict[str, Sentence]:
    """Return the sentences of a bank, each in every language, by their English.

    A sentence is a block of lines `language: text`, one for each of LANGUAGES, in that order; raises ValueError
    otherwise.
    """
    sentences: dict[str, Sentence] = {}
    for block in bank.strip().split("\n\n"):
        languages, texts = zip(*(line.split(": ", 1) for line in block.splitlines()), strict=True)
        if languages != LANGUAGES:
            raise ValueError(f"one line each for {', '.join(LANGUAGES)} was wanted, not:\n{block}")
        sentence = dict(zip(languages, texts, strict=True))
        if sentence["en"] in sentences:
            raise ValueError(f"a bank has this sentence twice: {sentence['en']}")
        sentences[sentence["en"]] = sentence
    return sentences


def in_every_language(sentences: Sequence[Sentence], *, label: str, group: str, family: str) -> Iterator[Row]:
    """Return one text as a row for each language."""
    for language in LANGUAGES:
        text = join((sentence[language] for sentence in sentences), language)
        yield Row(text=text, label=label, group=group, family=family, language=language)


def ordered(items: Iterable[str], *key: str) -> list[str]:
    """Return `items` in an order that looks random and depends only on `key`."""
    return sorted(items, key=lambda item: _number(*key, item))


def pick(items: Sequence[T], *key: str) -> T:
    """Return one of `items`, always the same for the same `key`."""
    return items[_number(*key) % len(items)]


def join(sentences: Iterable[str], language: str = "en") -> str:
    return ("" if language in WRITTEN_WITHOUT_SPACES else " ").join(sentences)


def _number(*key: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()[:8], "big")
