"""Pooled matrix in, pooled matrix out; dense or CSR, with scikit-learn's contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


class Unchanged:
    """The matrix as it is."""

    def fit(self, X: Any, y: Any) -> Unchanged:
        return self

    def transform(self, X: Any) -> Any:
        return X


class Binarize:
    """1.0 where a value exceeds `t`, else 0.0. CSR stays CSR unless a negative `t` would fill it."""

    def __init__(self, t: float) -> None:
        self.t = float(t)

    def fit(self, X: Any, y: Any) -> Binarize:
        return self

    def transform(self, X: Any) -> Any:
        if sparse.issparse(X) and self.t >= 0:
            above = X.copy()
            above.data = (above.data > self.t).astype(np.float32)
            above.eliminate_zeros()
            return above
        dense = X.toarray() if sparse.issparse(X) else X
        return (dense > self.t).astype(np.float32)
