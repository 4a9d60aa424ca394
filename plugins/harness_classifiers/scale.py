"""Scaling of all rows by one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

DENSE_FROM = 0.1
"""Share of nonzero values above which dense products in float32 are faster than sparse ones."""

DENSE_BYTES = 1 << 30
"""Largest matrix, in bytes, that is made dense."""


class Scale:
    """Division of all rows by one number, their root mean square norm on the training rows.

    One number for the whole matrix gives an L2 penalty the same meaning for hidden states and for sums over a
    thousand tokens, is invariant to rotations of the features, and keeps CSR sparse. CSR that is hardly
    sparse is made dense.
    """

    def fit(self, X: Any) -> Scale:
        squares = X.multiply(X).sum() if sparse.issparse(X) else np.square(X, dtype=np.float64).sum()
        self.size = float(np.sqrt(squares / X.shape[0])) or 1.0
        self.dense = not sparse.issparse(X) or _is_better_dense(X)
        return self

    def transform(self, X: Any) -> Any:
        """Return the scaled rows in their own dtype."""
        if self.dense and sparse.issparse(X):
            X = X.toarray()
        return X / self.size

    def undo(self, coefficients: Any) -> Any:
        """Convert coefficients on scaled rows to weights `[classes, features]` on unscaled rows, in float64.

        `coefficients` are `[classes, features]`; for two classes they may be one row, that of the second
        class.
        """
        rows = np.atleast_2d(coefficients).astype(np.float64) / self.size
        return np.concatenate([-rows, rows]) if len(rows) == 1 else rows


def _is_better_dense(X: Any) -> bool:
    cells = X.shape[0] * X.shape[1]
    return bool(X.nnz > DENSE_FROM * cells and cells * X.dtype.itemsize <= DENSE_BYTES)
