"""Approximate inverse Hessian of logistic regression, from the largest variances of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness_classifiers.centred import CentredRows

RANK = 64
"""Number of directions with a variance of their own; more cost more time than they save."""

LEAST = 1e-6
"""Smallest variance that the other directions are taken to have, as a share of the largest one."""


class Preconditioner:
    """Inverse of (curvature × covariance + penalty), nearly: it depends on the rows alone, so one serves for every
    penalty.

    For dense rows it is exact in the directions of the largest variances, which a random projection finds (Halko,
    Martinsson & Tropp 2011, algorithm 4.4), and as if all other directions had one variance: hidden states have most
    of their variance in few directions. For CSR it is exact if no two features fire together: finding directions would
    cost more than the fits do.
    """

    def __init__(self, rows: CentredRows) -> None:
        n, d = rows.shape
        rank = min(RANK, n - 1, d) if rows.is_dense else 0
        self._axes: Any = None
        self._rest = rows.variances[:, None]
        if rank > 0:
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
        np.multiply(G, rest.astype(np.float32), out=out)
        if self._axes is not None:
            own = (1 / (curvature * self._variances + penalty) - rest).astype(np.float32)
            out += (((G.T @ self._axes) * own) @ self._axes.T).T
        return out
