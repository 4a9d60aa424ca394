"""Choices that are the same on every machine and Python, and rows that know which of them are siblings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text; rows of one group share what makes their label and stay in one split."""

    text: str
    label: str
    group: str


def ordered(items: Iterable[str], *key: str) -> list[str]:
    """`items` in an order that looks random and depends on `key` alone."""
    return sorted(items, key=lambda item: _number(*key, item))


def pick(items: Sequence[T], *key: str) -> T:
    """One of `items`, always the same for the same `key`."""
    return items[_number(*key) % len(items)]


def join(sentences: Iterable[str]) -> str:
    return " ".join(sentences)


def _number(*key: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()[:8], "big")
