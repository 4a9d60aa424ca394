"""Sparse rows from dense slices: the same as scipy's own compression and stacking."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from harness.dictionaries.sparse_rows import compress, join


@pytest.mark.parametrize("density", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("filled", [(0, 1, 2, 3), (1, 4, 5, 8)])
def test_joined_slices_are_what_scipy_stacks(density: float, filled: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    slices = [
        (random.normal(size=(4, width)) * (random.random((4, width)) < density)).astype(np.float32)
        for width in (64, 64, 7)
    ]
    wanted = sparse.lil_array((9, 135), dtype=np.float32)
    wanted[list(filled)] = np.concatenate(slices, axis=1)
    found = join([compress(one) for one in slices], filled, 9, 135)
    expected = sparse.csr_array(wanted)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
    assert found.dtype == np.float32 and found.indices.dtype == np.int32 and found.has_sorted_indices


def test_nan_is_kept_and_both_zeros_are_dropped() -> None:
    found = compress(np.array([[0.0, np.nan], [-0.0, 2.0]], dtype=np.float32))
    assert found.counts.tolist() == [1, 1] and found.columns.tolist() == [1, 1]
    assert np.isnan(found.values[0]) and found.values[1] == 2
