"""Words in which models and services are asked, and the reading of what they answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import Fragment, Passage, UnavailableError, parse_json

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

LONGEST = 600
"""Letters of an explanation that are kept."""

SHOWN = 0.3
"""Share of the largest activation from which a token is marked where fragments are shown."""

_LIST = re.compile(r"\[[^\[\]]*\]")


def write(passage: Passage) -> str:
    """Return a passage as one line, with marked tokens between << and >>."""
    marked = set(passage.marked or ())
    parts = [f"<<{token}>>" if place in marked else token for place, token in enumerate(passage.tokens)]
    return " ".join("".join(parts).split())


def write_shown(fragments: Sequence[Fragment], most: int) -> list[str]:
    """Return the fragments with the largest activations as lines in which the tokens are marked on which the feature
    fires.
    """
    strongest = sorted(fragments, key=lambda one: -float(one.activations.max()))[:most]
    return [
        write(
            Passage(
                tokens=one.tokens,
                marked=tuple(np.flatnonzero(one.activations > SHOWN * one.activations.max()).tolist()),
            )
        )
        for one in strongest
    ]


def ask_explanation(fragments: Sequence[Fragment], most: int = 10) -> str:
    """Return a request for an explanation."""
    lines = "\n".join(f"- {line}" for line in write_shown(fragments, most))
    return (
        "A feature of a language model fires on the tokens between << and >> in these texts. Say in one short sentence "
        f"on which tokens, or in what context, it fires. Answer with this sentence alone.\n\n{lines}"
    )


def ask_judgement(explanation: str, passages: Sequence[Passage]) -> str:
    """Return a request for a list of 0 and 1, one for each passage; all are marked, or none is."""
    if passages[0].marked is None:
        question = "in which of these texts does it fire on at least one token? For each text write 1 for yes, 0 for no"
    else:
        question = (
            "are the tokens between << and >> those on which it fires? For each text write 1 if they are, 0 if others "
            "are marked"
        )
    lines = "\n".join(f"{number}. {write(one)}" for number, one in enumerate(passages, start=1))
    return (
        f"A feature of a language model fires as follows: {explanation}\nBy this explanation, {question}. Answer with "
        f"a JSON list of {len(passages)} numbers alone.\n\n{lines}"
    )


def ask_simulation(explanation: str, passage: Passage) -> str:
    """Return a request for a list of activations from 0 to 10, one for each token."""
    return (
        f"A feature of a language model fires as follows: {explanation}\nBy this explanation, how strongly does it "
        f"fire on each of these {len(passage.tokens)} tokens, from 0 (not at all) to 10? Answer with a JSON list of "
        f"{len(passage.tokens)} integers alone.\n\n{json.dumps(passage.tokens, ensure_ascii=False)}"
    )


def read_explanation(answer: str) -> str:
    """Return an explanation as one line; empty where there is none."""
    return " ".join(answer.split())[:LONGEST]


def read_numbers(answer: str, n: int, most: float) -> Array | None:
    """Return the last list of an answer as `n` numbers from 0 to `most`; None for an answer of another form."""
    for text in reversed(_LIST.findall(answer)):
        try:
            values = parse_json(text)
        except (ValueError, UnavailableError):
            continue
        if len(values) == n and all(_is_number(one) and 0 <= one <= most for one in values):
            return np.array(values, dtype=np.float64)
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
