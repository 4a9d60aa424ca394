"""Approximate inverse Hessians of logistic regression, from the covariance of its rows alone.

Inverse of (curvature × covariance + penalty), nearly: one covariance serves for every penalty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.linalg import LinAlgError, cholesky
from scipy.linalg.blas import strsv

from harness_classifiers.centred import ONE_BY_ONE

if TYPE_CHECKING:
    from harness_classifiers.centred import CentredRows

RANK = 64
"""Number of directions with a variance of their own where not all have one; more cost more time than they save."""

LEAST = 1e-6
"""Smallest variance that a direction is taken to have, as a share of all variance, or of the smallest found: below it
is rounding.
"""

MOST_FEATURES = 2048
"""Largest number of features whose covariance matrix is factorized."""

SHARE = 1 / 3
"""Largest number of features, as a share of decision functions, for which a factor saves more than it costs; of many
classes it saves nothing.
"""


class Preconditioner(Protocol):
    """Approximate inverse Hessian."""

    def multiply(self, G: Any, *, curvature: float, penalty: float, out: Any) -> Any:
        """Return the inverse times a gradient `G [d, k]`, written to `out`."""


def make_preconditioner(rows: CentredRows, columns: int) -> Preconditioner:
    """Return the preconditioner with which fits of so many columns take the least time."""
    n, d = rows.shape
    if columns <= ONE_BY_ONE and d <= min(MOST_FEATURES, SHARE * n * columns):
        return Factorized(rows)
    return Directions(rows) if rows.is_dense else Diagonal(rows)


class Factorized:
    """Inverse by a Cholesky factor of the whole matrix, exact up to the differences of curvature between rows.

    It takes d³ / 3 multiplications for each penalty, and makes a third to a fifth of the products with the rows.
    """

    def __init__(self, rows: CentredRows) -> None:
        self._covariance = rows.covariance()
        self._total = float(rows.variances.sum())
        self._factor: Any = None
        self._made_for = 0.0, 0.0

    def multiply(self, G: Any, *, curvature: float, penalty: float, out: Any) -> Any:
        """Return the inverse times a gradient `G [d, k]`, written to `out`."""
        made_for, before = self._made_for
        # A curvature that is off by a factor of two makes few more products; a factor costs as much as many.
        if made_for != penalty or not before / 2 <= curvature <= before * 2:
            self._factor, self._made_for = self._factorize(curvature, penalty), (penalty, curvature)
        for number in range(G.shape[1]):  # LAPACK's solver for many takes six times as long for one
            half = strsv(self._factor, G[:, number], lower=1)
            out[:, number] = strsv(self._factor, half, lower=1, trans=1)
        return out

    def _factorize(self, curvature: float, penalty: float) -> Any:
        added = max(penalty, LEAST * curvature * self._total, 1e-30)
        while True:
            matrix = self._covariance * np.float32(curvature)
            matrix[np.diag_indices(len(matrix))] += np.float32(added)
            try:
                return cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:  # rounding errors of large means may be more than that
                if not np.isfinite(added):  # rows that are no numbers have no factor
                    raise
                added *= 10


class Diagonal:
    """Inverse that is exact if no two features fire together."""

    def __init__(self, rows: CentredRows) -> None:
        self._variances = rows.variances[:, None]

    def multiply(self, G: Any, *, curvature: float, penalty: float, out: Any) -> Any:
        """Return the inverse times a gradient `G [d, k]`, written to `out`."""
        inverse = 1 / (curvature * self._variances + penalty)
        return np.multiply(G, inverse.astype(np.float32), out=out)


class Directions:
    """Inverse that is exact in the directions of the largest variances, which a random projection finds (Halko,
    Martinsson & Tropp 2011, algorithm 4.4), and as if all others had one variance: hidden states have most of their
    variance in few directions.
    """

    def __init__(self, rows: CentredRows) -> None:
        n, d = rows.shape
        rank = min(RANK, n - 1, d)
        drawn = np.random.default_rng(0).normal(size=(n, rank)).astype(np.float32)
        basis = np.linalg.qr(rows.transposed_times(np.asfortranarray(drawn)))[0]
        inside = rows.times(np.asfortranarray(basis))
        variances, turned = np.linalg.eigh(inside.T.astype(np.float64) @ inside / n)
        self._axes = np.asfortranarray(basis @ turned.astype(np.float32))
        self._variances = np.maximum(variances, 0.0)
        left = max(float(rows.variances.sum() - self._variances.sum()), 0.0)
        # Far below the found ones, float32 would cancel what is taken off again in their directions.
        least = LEAST * self._variances[-1] if rank < d else self._variances.mean()
        self._rest = np.maximum(left / max(1, min(n - 1, d) - rank), least)

    def multiply(self, G: Any, *, curvature: float, penalty: float, out: Any) -> Any:
        """Return the inverse times a gradient `G [d, k]`, written to `out`."""
        rest = 1 / (curvature * self._rest + penalty)
        np.multiply(G, np.float32(rest), out=out)
        own = (1 / (curvature * self._variances + penalty) - rest).astype(np.float32)
        out += (((G.T @ self._axes) * own) @ self._axes.T).T
        return out
