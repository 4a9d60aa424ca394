"""Features of two models matched one with one: each of the source is read from at most one of the target.

Li et al. 2015, "Convergent Learning: Do different neural networks learn the same representations?", match units by the
correlation of their activations, each with its best (a semi-matching) or one to one (a matching); Lan et al. 2024,
"Sparse Autoencoders Reveal Universal Feature Spaces Across Large Language Models", do the former for dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

import harness
from harness_alignments.standard import (
    BLOCK_CELLS,
    Standard,
    check_pair,
    check_width,
    multiply,
    standardise,
)

MOST_PAIRS = 1 << 26
"""Correlations that `Assignment` holds at once, 8192 × 8192: 512 MiB in float64, and as much again while it solves."""

DECIMALS = 6
"""Of a correlation. Features that fire in the same single row correlate with exactly 1; rounded, they stay equal in
whatever order the rows come, and the first is taken."""

ROUNDING = 1e-6
"""A shift smaller than this share of a feature's size is what float32 leaves of none."""


class Matching:
    """Reads each source feature from its match, scaled and shifted to the source feature's mean and deviation. One that
    is constant, or has no match, is always its mean.
    """

    def fit(self, source: Any, target: Any) -> Matching:
        """`source [rows, a]` and `target [rows, b]`, dense or CSR; ValueError where rows differ or are not finite."""
        source, target = (standardise(X) for X in check_pair(source, target))
        of, by = self.match(source, target)
        of, by = source.varying[of], target.varying[by]
        scale = source.deviation[of] / target.deviation[by]
        shift = source.mean.copy()
        shift[of] -= scale * target.mean[by]
        size = np.hypot(source.mean, source.deviation)
        self.shift = np.where(np.abs(shift) > ROUNDING * size, shift, 0.0).astype(np.float32)
        self.of, self.by, self.scale = of, by, scale.astype(np.float32)
        self.width = len(target.mean)
        return self

    def match(self, source: Standard, target: Standard) -> tuple[Any, Any]:
        """Numbers of source features, each at most once, and of the target features that they are read from; counted
        among those that vary.
        """
        raise NotImplementedError

    def transform(self, target: Any) -> Any:
        """`[n, b]` as `[n, a]` in float32: CSR where that is given and no feature is shifted, else dense."""
        target = check_width(target, self.width)
        shape = (target.shape[0], len(self.shift))
        if sparse.issparse(target):
            picks = sparse.csr_array((self.scale, (self.by, self.of)), shape=(self.width, shape[1]))
            picked = sparse.csr_array(target.astype(np.float32) @ picks)
            return picked.toarray() + self.shift if self.shift.any() else picked
        read = np.zeros(shape, dtype=np.float32)
        read[:, self.of] = target[:, self.by] * self.scale
        return read + self.shift


class Correlation(Matching):
    """The match is the target feature with the highest Pearson correlation over the rows, the first of equals, if that
    is above `least`. Many source features may be read from one.
    """

    def __init__(self, *, least: float) -> None:
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least < 1:
            raise ValueError(f"least={least} must be a correlation from 0 to below 1")
        self.least = float(least)

    def match(self, source: Standard, target: Standard) -> tuple[Any, Any]:
        best, found = np.zeros(len(source.varying)), np.zeros(len(source.varying), dtype=np.int64)
        for part, correlations in _correlate(source, target):
            found[part] = correlations.argmax(axis=1)
            best[part] = correlations.max(axis=1)
        of = np.flatnonzero(best > self.least)
        return of, found[of]


class Assignment(Matching):
    """Matches are one to one, and the sum of their Pearson correlations over the rows is the largest that can be had
    (the linear assignment problem). A source feature stays without a match rather than be given one that does not
    correlate above 0, or when there are none left. MissingError where more than MOST_PAIRS would have to be compared.
    """

    def match(self, source: Standard, target: Standard) -> tuple[Any, Any]:
        a, b = len(source.varying), len(target.varying)
        if a * b > MOST_PAIRS:
            raise harness.MissingError(
                f"alignment 'assignment' compares each of {a} features that vary with each of {b}, which needs "
                f"{8 * a * b / 2**30:.1f} GiB of memory; it has {8 * MOST_PAIRS / 2**30:.1f}: "
                "take alignment 'correlation', or narrower dictionaries"
            )
        gains = np.zeros((a, b))
        for part, correlations in _correlate(source, target):
            np.maximum(correlations, 0.0, out=gains[part])
        of, by = linear_sum_assignment(gains, maximize=True)
        kept = gains[of, by] > 0
        return of[kept], by[kept]


class Shuffled(Matching):
    """Matches are one to one and drawn by `seed` alone: what an alignment gives that knows nothing but the mean and
    deviation of each feature.
    """

    def __init__(self, *, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed={seed} must be a whole number, at least 0")
        self.seed = seed

    def match(self, source: Standard, target: Standard) -> tuple[Any, Any]:
        random = np.random.default_rng(self.seed)
        of, by = (random.permutation(len(each.varying)) for each in (source, target))
        pairs = min(len(of), len(by))
        return of[:pairs], by[:pairs]


def _correlate(source: Standard, target: Standard) -> Iterator[tuple[slice, Any]]:
    """Pearson correlations of the features that vary, `[some source features, target features]`, for one slice of the
    source features after the other.
    """
    n, b = target.scaled.shape
    if not b:
        return
    features = source.scaled.T.tocsr() if sparse.issparse(source.scaled) else source.scaled.T
    step = max(1, BLOCK_CELLS // b)
    for start in range(0, features.shape[0], step):
        part = slice(start, start + step)
        correlations = multiply(features[part], target.scaled) / n
        correlations -= source.centre[part, None] * target.centre
        yield part, np.round(correlations, DECIMALS, out=correlations)
