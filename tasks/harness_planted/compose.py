"""English-like sentences from word lists; every choice is a hash of its key, the same on every machine and Python."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

WORD = "lantern"
"""Planted word; it is in none of the lists below."""

SEVEN_LETTERS = (
    "balloon bicycle blanket cabinet compass curtain feather hammock picture pumpkin trumpet whistle"
)
"""Nouns with as many letters as WORD, so that planting it changes no text's length."""

WORDS = {
    "noun": f"{SEVEN_LETTERS} bench boat bottle box bridge bucket button candle carpet chair clock coat cup desk door "
    "drum fence gate glass hat jar kettle key ladder lamp letter map mirror pencil pillow plate rope saddle shelf "
    "shirt shoe spoon stone table tent ticket towel tower wagon wall wallet wheel window",
    "adjective": "big blue bright broken brown cheap clean cold dark dry dusty fine flat grey heavy large light little "
    "long narrow new pale plain red round rusty sharp small soft square strange strong tall thick thin tiny warm "
    "wet white wide wooden yellow",
    "verb": "borrowed bought carried cleaned counted covered described dropped drew fetched forgot found hid kept left "
    "lifted lost mended moved noticed opened painted praised pulled pushed repaired saw sold took touched turned "
    "washed watched wrapped",
    "person": "Anna Boris Carla David Elena Felix Greta Hanna Ivan Julia Karim Laura Marco Nadia Oscar Paula Rosa "
    "Simon Tamara Victor",
    "place": "above behind below beside near next_to on_top_of under",
    "time": "after_lunch at_night before_noon in_the_evening in_the_morning last_week on_Friday on_Monday once_more "
    "three_days_ago twice yesterday",
}
"""Name in a pattern → words that may replace it; `_` is a space."""

PATTERNS = (
    "{person} {verb} the {adjective} {noun} {time}.",
    "{person} {verb} a {noun} and the {adjective} {noun}.",
    "{person} and {person} {verb} the {noun} {place} a {noun}.",
    "Nobody {verb} the {adjective} {noun} {place} the {noun}.",
    "Somebody {verb} a {adjective} {noun} {time}.",
    "The {noun} {place} the {noun} was {adjective}.",
    "There was a {adjective} {noun} {place} the {noun}.",
    "They {verb} the {noun} {time}, but not the {noun}.",
    "We {verb} a {noun}, then the {adjective} {noun}.",
    "Was the {noun} {place} the {noun} {adjective}?",
)


def compose(*key: str, sentences: int, planted: bool | None = None) -> str:
    """Return a text of so many sentences.

    With `planted` not None, one noun at a place that depends on the key is WORD (True) or a noun with as many letters
    (False), and nothing else depends on the choice. Otherwise all nouns are from one list.
    """
    pattern = " ".join(pick(PATTERNS, *key, "pattern", str(number)) for number in range(sentences))
    slot = _number(*key, "slot") % pattern.count("{noun}")
    nouns = 0

    def fill(match: re.Match[str]) -> str:
        nonlocal nouns
        kind, words = match[1], WORDS[match[1]]
        if kind == "noun":
            if planted is not None and nouns == slot:
                words = WORD if planted else SEVEN_LETTERS
            nouns += 1
        return pick(words.split(), *key, "fill", str(match.start())).replace("_", " ")

    return re.sub(r"{(\w+)}", fill, pattern)


def shuffled(items: Iterable[T], *key: str) -> list[T]:
    """Return `items` in an order that looks random and depends only on `key` and their places."""
    placed = list(enumerate(items))
    return [item for _, item in sorted(placed, key=lambda pair: _number(*key, str(pair[0])))]


def pick(items: Sequence[T], *key: str) -> T:
    """Return one of `items`, always the same for the same `key`."""
    return items[_number(*key) % len(items)]


def _number(*key: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()[:8], "big")
