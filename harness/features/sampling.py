"""Rows in, those on whose activations something is fitted out: at most so many tokens, whatever the rows' order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from harness.api.data import Examples, Tokens

SAMPLE_TOKENS = 32768
"""Content tokens in a sample, at most."""

GATE_TOKENS = 4096
"""Content tokens that the fidelity gate looks at: its rows are the first of the sample's, as many as hold so many."""


def sample_rows(examples: Examples, tokens: Sequence[Tokens], *, limit: int | None = None) -> tuple[int, ...]:
    """Training rows (validation is carved out of them later) whose content tokens fill a sample of `limit`
    (SAMPLE_TOKENS), in an order that depends on each row's id alone; the last may be used in part.
    """
    train = [row for row, split in enumerate(examples.splits) if split == "train"]
    return _fill(sorted(train, key=lambda row: _place(examples.ids[row])), tokens, limit or SAMPLE_TOKENS)


def sample_all(tokens: Sequence[Tokens]) -> tuple[int, ...]:
    """The same of inputs that belong to no task, in an order that depends on their tokens alone."""
    order = sorted(range(len(tokens)), key=lambda row: _place(tokens[row].key))
    return _fill(order, tokens, SAMPLE_TOKENS)


def _place(name: str) -> bytes:
    return hashlib.sha256(f"calibration/{name}".encode()).digest()


def _fill(rows: Sequence[int], tokens: Sequence[Tokens], limit: int) -> tuple[int, ...]:
    taken: list[int] = []
    total = 0
    for row in rows:
        if total >= limit:
            break
        count = int(tokens[row].content.sum())
        if count:
            taken.append(row)
            total += count
    return tuple(taken)
