"""Sparse rows from dense slices: each slice is compressed when it is made, and all are joined side by side at the end.

scipy's own way, `csr_array` of each slice and `hstack`, goes through coordinates and takes several times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class SparseSlice:
    """Nonzero values of a slice `[rows, width]`, row after row: `counts [rows]`, and `columns` within the slice."""

    width: int
    counts: Array
    columns: Array
    values: Array


def compress(dense: Array) -> SparseSlice:
    """Return the nonzero values of `dense [rows, columns]`; NaN counts as one."""
    rows, width = dense.shape
    places = np.flatnonzero(dense != 0)
    owners, columns = np.divmod(places, width)
    counts = np.bincount(owners, minlength=rows)
    return SparseSlice(width=width, counts=counts, columns=columns, values=dense.ravel()[places])


def join(slices: Sequence[SparseSlice], filled: Sequence[int], n_rows: int, width: int) -> sparse.csr_array:
    """Return slices side by side, `[n_rows, width]` in float32: their rows are `filled`, all others are empty."""
    counts = np.sum([one.counts for one in slices], axis=0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    index = np.int32 if max(width, int(starts[-1])) <= np.iinfo(np.int32).max else np.int64
    values = np.empty(starts[-1], dtype=np.float32)
    columns = np.empty(starts[-1], dtype=index)
    free, first = starts[:-1].copy(), 0
    for one in slices:
        own = np.cumsum(one.counts) - one.counts
        places = np.arange(len(one.values)) + np.repeat(free - own, one.counts)
        values[places], columns[places] = one.values, one.columns + first
        free += one.counts
        first += one.width
    lengths = np.zeros(n_rows, dtype=index)
    lengths[list(filled)] = counts
    pointers = np.concatenate([[0], np.cumsum(lengths)]).astype(index)
    return sparse.csr_array((values, columns, pointers), shape=(n_rows, width))
