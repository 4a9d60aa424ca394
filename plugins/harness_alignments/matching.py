"""Alignments that match features: each source feature is read from at most one target feature.

Li et al. 2015, "Convergent Learning: Do different neural networks learn the same representations?", match
units by the correlation of their activations, each with its best (a semi-matching) or one to one (a
matching); Lan et al. 2024, "Sparse Autoencoders Reveal Universal Feature Spaces Across Large Language
Models", do the former for dictionaries.
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
"""Limit of correlations that `Assignment` holds at once, 8192 × 8192.

They take 512 MiB in float64, and as much again while the problem is solved.
"""

DECIMALS = 6
"""Decimal places of a correlation.

Features that fire in the same single row correlate with exactly 1; rounded, they stay equal whatever the
order of rows, and the first is taken.
"""

ROUNDING = 1e-6
"""Shift, relative to a feature's root mean square, below which it is float32 rounding error of zero."""


class Matching:
    """Base of alignments that read each source feature from one match.

    The match is scaled and shifted to the source feature's mean and deviation. A source feature that is
    constant or has no match is always its mean.
    """

    def fit(self, source: Any, target: Any) -> Matching:
        """Fit to `source [rows, a]` and `target [rows, b]`, dense or CSR.

        Raise ValueError if the numbers of rows differ or values are not finite.
        """
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
        """Return numbers of source features, each at most once, and of the target features they match.

        Both count only the features that vary.
        """
        raise NotImplementedError

    def transform(self, target: Any) -> Any:
        """Map `[n, b]` to `[n, a]` in float32; CSR stays CSR unless a feature is shifted."""
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
    """Matching by the highest Pearson correlation over the rows, if it is above `least`.

    Ties go to the first target feature. Many source features may have the same match.
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
    """One-to-one matching with the largest sum of Pearson correlations (the linear assignment problem).

    Source features get no match if none is left or none correlates above 0. Raise UnavailableError if more than
    MOST_PAIRS correlations would be needed.
    """

    def match(self, source: Standard, target: Standard) -> tuple[Any, Any]:
        a, b = len(source.varying), len(target.varying)
        if a * b > MOST_PAIRS:
            raise harness.UnavailableError(
                f"alignment 'assignment' of {a:,} to {b:,} features would take {8 * a * b / 2**30:.1f} GiB, more than "
                f"the {8 * MOST_PAIRS / 2**30:.1f} it may: use alignment 'correlation', or narrower dictionaries"
            )
        gains = np.zeros((a, b))
        for part, correlations in _correlate(source, target):
            np.maximum(correlations, 0.0, out=gains[part])  # no pair is better than one below zero
        of, by = linear_sum_assignment(gains, maximize=True)
        kept = gains[of, by] > 0
        return of[kept], by[kept]


class Shuffled(Matching):
    """Random one-to-one matching drawn from `seed`.

    It is the control for an alignment: it knows only each feature's mean and deviation.
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
    """Yield Pearson correlations of the varying features, one slice of source features at a time.

    Each item is the slice and `[features of the slice, target features]`.
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
