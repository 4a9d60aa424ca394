"""Rows in, rows divided by one number out."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

DENSE_FROM = 0.1
"""Above this share of values that are not zero, dense products in float32 are faster than sparse ones."""

DENSE_BYTES = 1 << 30
"""No matrix larger than this is made dense."""


class Scale:
    """Divides rows by one number, their root mean square norm in training.

    One number for the whole matrix, so that a penalty means the same for hidden states and for sums over a thousand
    tokens, while a rotation of the features changes nothing and CSR stays CSR, unless it is hardly sparse.
    """

    def fit(self, X: Any) -> Scale:
        squares = X.multiply(X).sum() if sparse.issparse(X) else np.square(X, dtype=np.float64).sum()
        self.size = float(np.sqrt(squares / X.shape[0])) or 1.0
        self.dense = not sparse.issparse(X) or _is_better_dense(X)
        return self

    def transform(self, X: Any) -> Any:
        """The same rows, in float32 if they were."""
        if self.dense and sparse.issparse(X):
            X = X.toarray()
        return X / self.size

    def undo(self, coefficients: Any) -> Any:
        """Coefficients on scaled rows, `[classes, features]` or one row for the second of two classes, as weights
        `[classes, features]` on the rows as they came, in float64.
        """
        rows = np.atleast_2d(coefficients).astype(np.float64) / self.size
        return np.concatenate([-rows, rows]) if len(rows) == 1 else rows


def _is_better_dense(X: Any) -> bool:
    cells = X.shape[0] * X.shape[1]
    return bool(X.nnz > DENSE_FROM * cells and cells * X.dtype.itemsize <= DENSE_BYTES)
