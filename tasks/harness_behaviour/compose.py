"""Items in groups of siblings. The words or the template that belong to one group appear in one split only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Item:
    """Prompt with its right and its wrong continuation, and the group of its siblings."""

    prompt: str
    right: str
    wrong: str
    family: str
    group: str


def deal(items: Sequence[T], n_hands: int) -> list[list[T]]:
    """Deal items out like cards; raise ValueError unless all hands get the same number."""
    if len(items) % n_hands:
        raise ValueError(f"{len(items)} cannot be dealt out evenly to {n_hands}: {items[:3]} …")
    return [list(items[hand::n_hands]) for hand in range(n_hands)]


def turn(items: Sequence[T], n: int, hand: int) -> list[T]:
    """Return `n` items for one hand, taken in turn and from the start again at the end."""
    return [items[(hand * n + place) % len(items)] for place in range(n)]


def ordered(items: Iterable[str], *key: str) -> list[str]:
    """Return `items` in an order that looks random and depends only on `key`."""
    return sorted(items, key=lambda item: number(*key, item))


def pick(items: Sequence[T], *key: str) -> T:
    """Return one of `items`, always the same for the same `key`."""
    return items[number(*key) % len(items)]


def number(*key: str) -> int:
    """Return an integer that looks random and depends only on `key`."""
    return int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()[:8], "big")


def lines(bank: str) -> list[str]:
    """Return the lines of a text without blanks around them; empty lines are left out."""
    return [line.strip() for line in bank.splitlines() if line.strip()]
