"""Explanations by rules on tokens: `on " cat" (10); on " York" after " New" (8); after " the" (2)`.

The number in brackets is the activation, from 0 to 10, that a rule leads to expect. Of several rules that apply to a
token the strongest counts.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import Fragment, Opening, Passage, UsageError

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

NOTHING = "on no token in particular"
"""Explanation of a feature for which no rule was found."""

WEAKEST = 1
"""Expected activation below which a rule is not written down."""

LEAST_GAIN = 0.01
"""Share of the squared activations that a further rule has to account for."""

_TEXT = r'"(?:[^"\\]|\\.)*"'
_RULE = re.compile(rf"(?:on (?P<on>{_TEXT}))?(?: ?after (?P<after>{_TEXT}))? \((?P<strength>\d+)\)")
_QUOTED = re.compile(rf"{_TEXT}|“[^”]*”")

Key = tuple[str | None, str | None]
"""Token and token before it; None is any."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Explainer, simulator and judge by at most `n` rules on tokens."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"rules[n={self.n}]: an explanation has at least one rule")

    def open(self, session: Opening) -> Rules:
        """Return itself: nothing is loaded."""
        return self

    def explain(self, fragments: Sequence[Fragment]) -> str:
        """Return the rules that account best for activations."""
        return spell(find_rules(fragments, self.n))

    def simulate(self, explanation: str, passages: Sequence[Passage]) -> list[Array]:
        """Return the expected activations `[tokens]` of each passage."""
        rules = parse(explanation)
        return [expect(rules, one.tokens) for one in passages]

    def judge(self, explanation: str, passages: Sequence[Passage]) -> Array:
        """Return s / (1 + s) for each passage, of the strongest expected activation s, or of the mean one of marked
        tokens: at least ½ where the weakest rule that is written down applies.
        """
        found = []
        for one, expected in zip(passages, self.simulate(explanation, passages), strict=True):
            strength = expected.max(initial=0.0) if one.marked is None else expected[list(one.marked)].mean()
            found.append(strength / (1 + strength))
        return np.array(found)


def find_rules(fragments: Sequence[Fragment], n: int) -> dict[Key, int]:
    """Return at most `n` rules with the activation that each leads to expect, chosen one after another by how much they
    lower the squared error of what is expected.

    A rule expects Σ activations / (1 + occurrences), so that what was seen once counts half.
    """
    places: dict[Key, list[int]] = defaultdict(list)
    place = 0
    for fragment in fragments:
        for number, token in enumerate(fragment.tokens):
            places[token, None].append(place)
            if number:
                before = fragment.tokens[number - 1]
                places[None, before].append(place)
                places[token, before].append(place)
            place += 1
    values = np.concatenate([one.activations for one in fragments]).astype(np.float64)
    candidates = {
        key: (strength, np.array(where))
        for key, where in places.items()
        if (strength := round(float(values[where].sum()) / (1 + len(where)))) >= WEAKEST
    }
    expected, total, found = np.zeros(len(values)), float((values**2).sum()), dict[Key, int]()
    while candidates and len(found) < n:
        gains = {key: _gain(values, expected, *one) for key, one in candidates.items()}
        best = max(
            gains, key=lambda key: gains[key]
        )  # of equal ones the first: those of one token come first
        if gains[best] <= LEAST_GAIN * total:
            break
        strength, where = candidates.pop(best)
        found[best] = strength
        expected[where] = np.maximum(expected[where], strength)
    return found


def _gain(values: Array, expected: Array, strength: int, where: Array) -> float:
    """Return how much a rule lowers the sum of squared errors."""
    before = values[where] - expected[where]
    after = values[where] - np.maximum(expected[where], strength)
    return float((before**2).sum() - (after**2).sum())


def spell(rules: dict[Key, int]) -> str:
    """Return rules as one line of text, the strongest first."""
    parts = []
    for (token, before), strength in sorted(rules.items(), key=lambda item: -item[1]):
        words = [] if token is None else [f"on {_quote(token)}"]
        words += [] if before is None else [f"after {_quote(before)}"]
        parts.append(f"{' '.join(words)} ({strength})")
    return "; ".join(parts) or NOTHING


def parse(explanation: str) -> dict[Key, int]:
    """Return the rules of an explanation. Of one in other words, every quoted word is a rule of strength 10, without
    the blanks around it and in any case.
    """
    found: dict[Key, int] = {}
    for match in _RULE.finditer(explanation):
        token, before = (None if text is None else json.loads(text) for text in match.group("on", "after"))
        if (token, before) != (None, None):
            found[token, before] = int(match["strength"])
    if found or explanation == NOTHING:
        return found
    quoted = " ".join(text[1:-1] for text in _QUOTED.findall(explanation)).split()
    return {(form, None): 10 for word in quoted for form in _forms(word)}


def expect(rules: dict[Key, int], tokens: Sequence[str]) -> Array:
    """Return the activation that rules lead to expect of each token, `[tokens]`."""
    found = np.zeros(len(tokens))
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else None
        keys: list[Key] = [(token, None)] + ([(None, before), (token, before)] if number else [])
        found[number] = max((rules.get(key, 0) for key in keys), default=0)
    return found


def _forms(word: str) -> set[str]:
    """Return the spellings of a word as a token."""
    cases = {word, word.lower(), word.capitalize()}
    return cases | {f" {one}" for one in cases}


def _quote(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)
