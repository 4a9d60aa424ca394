"""L2 logistic regression, dense or CSR."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

DENSE_FROM = 0.1
"""Above this share of values that are not zero, dense products in float32 are faster than sparse ones."""

DENSE_BYTES = 1 << 30
"""No matrix larger than this is made dense."""


class LogReg:
    """scikit-learn's LogisticRegression (multinomial) on rows divided by one number, their root mean square norm
    in training. Newton's method, because lbfgs stops short of the optimum where C is large, and is slower.

    One number for the whole matrix, so that C means the same for hidden states and for sums over a thousand
    tokens, while a rotation of the features changes nothing and CSR stays CSR.
    """

    def __init__(self, *, C: float, max_iter: int, seed: int) -> None:
        if not isinstance(C, int | float) or not isinstance(max_iter, int) or C <= 0 or max_iter < 1:
            raise ValueError(f"C={C} and max_iter={max_iter} must be positive numbers")
        self.model = LogisticRegression(
            C=C, solver="newton-cg", tol=1e-6, max_iter=max_iter, random_state=seed
        )

    def fit(self, X: Any, y: Any) -> LogReg:
        squares = X.multiply(X).sum() if sparse.issparse(X) else np.square(X, dtype=np.float64).sum()
        self.scale = float(np.sqrt(squares / X.shape[0])) or 1.0
        self.dense = not sparse.issparse(X) or _is_better_dense(X)
        self.model.fit(self._scaled(X), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """`[examples, classes]`."""
        return self.model.predict_proba(self._scaled(X))

    def _scaled(self, X: Any) -> Any:
        if self.dense and sparse.issparse(X):
            X = X.toarray()
        return X / self.scale


def _is_better_dense(X: Any) -> bool:
    cells = X.shape[0] * X.shape[1]
    return bool(X.nnz > DENSE_FROM * cells and cells * X.dtype.itemsize <= DENSE_BYTES)
