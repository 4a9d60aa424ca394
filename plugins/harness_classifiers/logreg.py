"""L2 logistic regression, dense or CSR."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression


class LogReg:
    """scikit-learn's LogisticRegression (multinomial) on rows divided by one number, their root mean square norm
    in training. Newton's method, because lbfgs stops short of the optimum where C is large, and is slower.

    One number for the whole matrix, so that C means the same for hidden states and for sums over a thousand
    tokens, while a rotation of the features changes nothing and CSR stays CSR.
    """

    def __init__(self, *, C: float, max_iter: int, seed: int) -> None:
        if not C > 0 or max_iter < 1:
            raise ValueError(f"C={C} and max_iter={max_iter} must be positive")
        self.model = LogisticRegression(
            C=C, solver="newton-cg", tol=1e-6, max_iter=max_iter, random_state=seed
        )

    def fit(self, X: Any, y: Any) -> LogReg:
        squares = X.multiply(X).sum() if sparse.issparse(X) else np.square(X, dtype=np.float64).sum()
        self.scale = float(np.sqrt(squares / X.shape[0])) or 1.0
        self.model.fit(X / self.scale, y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """`[examples, classes]`."""
        return self.model.predict_proba(X / self.scale)
