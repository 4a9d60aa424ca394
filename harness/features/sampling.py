"""Samples of rows on whose activations representations are fitted; they do not depend on the order of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate

from harness.api.data import Examples, Tokens

SAMPLE_TOKENS = 32768
"""Most content tokens in a sample."""

GATE_TOKENS = 4096
"""Content tokens for the fidelity gate; its rows are the first ones of the sample that hold so many."""


def sample_rows(examples: Examples, tokens: Sequence[Tokens], *, limit: int | None = None) -> tuple[int, ...]:
    """Return training rows whose content tokens fill a sample of `limit` (SAMPLE_TOKENS); the last may not fit whole.

    Their order depends on the ids of rows alone. Rows that are held out for validation later are among them.
    """
    train = [row for row, split in enumerate(examples.splits) if split == "train"]
    return _fill(sorted(train, key=lambda row: _place(examples.ids[row])), tokens, limit or SAMPLE_TOKENS)


def sample_all(tokens: Sequence[Tokens]) -> tuple[int, ...]:
    """Return rows of inputs without a task that fill a sample, in an order that depends on their tokens alone."""
    order = sorted(range(len(tokens)), key=lambda row: _place(tokens[row].key))
    return _fill(order, tokens, SAMPLE_TOKENS)


def _place(name: str) -> bytes:
    # The prefix is part of fitted keys' samples: another one would choose other rows.
    return hashlib.sha256(f"calibration/{name}".encode()).digest()


def _fill(rows: Sequence[int], tokens: Sequence[Tokens], limit: int) -> tuple[int, ...]:
    """Return the first rows with content tokens that together hold `limit` of them, or all."""
    counts = [int(tokens[row].content.sum()) for row in rows]
    counted = zip(rows, counts, accumulate(counts), strict=True)
    return tuple(row for row, count, total in counted if count and total - count < limit)
