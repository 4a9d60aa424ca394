"""Items, and the groups of siblings they stand in. What is a group's own, words or a template, no two splits share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A prompt to be continued by the first of two choices, and the group that it is a sibling in."""

    prompt: str
    right: str
    wrong: str
    family: str
    group: str


def deal(items: Sequence[T], n_hands: int) -> list[list[T]]:
    """Items dealt out like cards; ValueError where the hands would not be of one size."""
    if len(items) % n_hands:
        raise ValueError(f"{len(items)} cannot be dealt out evenly to {n_hands}: {items[:3]} …")
    return [list(items[hand::n_hands]) for hand in range(n_hands)]


def turn(items: Sequence[T], n: int, hand: int) -> list[T]:
    """The next `n` items for each hand, round and round."""
    return [items[(hand * n + place) % len(items)] for place in range(n)]


def ordered(items: Iterable[str], *key: str) -> list[str]:
    """`items` in an order that looks random and depends on `key` alone."""
    return sorted(items, key=lambda item: number(*key, item))


def pick(items: Sequence[T], *key: str) -> T:
    """One of `items`, always the same for the same `key`."""
    return items[number(*key) % len(items)]


def number(*key: str) -> int:
    """A whole number that looks random and depends on `key` alone."""
    return int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()[:8], "big")


def lines(bank: str) -> list[str]:
    """The lines of a bank that are not empty."""
    return [line.strip() for line in bank.splitlines() if line.strip()]
