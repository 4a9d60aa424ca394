"""Fewer rows than features in, the same rows in as many coordinates as they span out."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

MOST_ROWS = 1024
"""With more rows the decomposition takes longer than it saves."""

SMALLEST = 1e-12
"""Directions with less than this share of the largest variance are rounding."""


class RowSpan:
    """An orthonormal basis of what training rows span. The weights of a classifier with an L2 penalty lie there
    (Kimeldorf & Wahba 1971), so that one fitted on the coordinates is the one fitted on the features, only sooner.
    """

    def fit(self, X: Any) -> RowSpan:
        """`X [rows, features]`, dense or CSR."""
        rows = X.astype(np.float64)
        inner = rows @ rows.T
        values, vectors = np.linalg.eigh(inner.toarray() if sparse.issparse(inner) else inner)
        kept = values > SMALLEST * max(values[-1], 0.0)
        self.basis = np.asarray(rows.T @ (vectors[:, kept] / np.sqrt(values[kept])))
        return self

    def transform(self, X: Any) -> Any:
        """Coordinates `[rows, rank]`, in float32."""
        return np.asarray(X @ self.basis).astype(np.float32)

    def undo(self, coefficients: Any) -> Any:
        """Coefficients `[classes, rank]` as coefficients `[classes, features]`."""
        return coefficients @ self.basis.T
