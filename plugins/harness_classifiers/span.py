"""Reduction of rows to coordinates of their span, for fewer rows than features."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

MAX_ROWS = 1024
"""Largest number of rows for which the decomposition saves time."""

MIN_VARIANCE_SHARE = 1e-12
"""Share of the largest variance below which a direction is rounding error."""


class RowSpan:
    """Orthonormal basis of the span of the training rows.

    The weights of a classifier with an L2 penalty lie in this span (Kimeldorf & Wahba 1971), so a fit on the
    coordinates equals the fit on the features and takes less time.
    """

    def fit(self, X: Any) -> RowSpan:
        """Compute the basis `[features, rank]` from `X [rows, features]`, dense or CSR."""
        rows = X.astype(np.float64)
        inner = rows @ rows.T
        values, vectors = np.linalg.eigh(inner.toarray() if sparse.issparse(inner) else inner)
        kept = values > MIN_VARIANCE_SHARE * max(values[-1], 0.0)
        self.basis = np.asarray(rows.T @ (vectors[:, kept] / np.sqrt(values[kept])))
        return self

    def transform(self, X: Any) -> Any:
        """Return coordinates `[rows, rank]` in float32."""
        return np.asarray(X @ self.basis).astype(np.float32)

    def undo(self, coefficients: Any) -> Any:
        """Convert coefficients `[classes, rank]` to coefficients `[classes, features]`."""
        return coefficients @ self.basis.T
