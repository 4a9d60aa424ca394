"""Pooled matrix in, pooled matrix out; dense or CSR, with scikit-learn's contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from harness_poolings import selection


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


CRITERIA = ("mean_difference", "mutual_information", "variance", "l1")


class Select:
    """The `k` features that tell most about the class in the training rows, in their order; of equal ones the first.
    All of them where there are no more than `k`; fewer where only fewer have a coefficient (`l1`). With `t` they are
    binarised before.
    """

    def __init__(self, k: int, by: str, t: float | None = None) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k} must be a whole number, at least 1")
        if by not in CRITERIA:
            raise ValueError(f"by={by} must be one of {', '.join(CRITERIA)}")
        self.k, self.by = k, by
        self.before = Unchanged() if t is None else Binarize(t)

    def fit(self, X: Any, y: Any) -> Select:
        told = getattr(selection, self.by)(self.before.transform(X), y)
        if not np.isfinite(told).all():
            raise ValueError(f"select: {self.by} of some feature is not finite")
        k = min(self.k, max(1, np.count_nonzero(told))) if self.by == "l1" else self.k
        self.chosen = np.sort(np.argsort(-told, kind="stable")[:k])
        return self

    def transform(self, X: Any) -> Any:
        return self.before.transform(X[:, self.chosen])


class Standardize:
    """Every feature with the mean 0 and the standard deviation 1 of training rows. CSR is only divided by the
    deviation, so that zeros stay zeros; a feature without variance, beyond what rounding makes, is left as it is.
    """

    def fit(self, X: Any, y: Any) -> Standardize:
        mean, deviation = selection.spread(X)
        # Two passes over the same tokens differ by about 1e-6 of a value, which must not become a feature.
        varies = deviation > 1e-5 * np.hypot(mean, deviation)
        self.mean = np.where(varies, mean, 0.0)
        self.deviation = np.where(varies, deviation, 1.0)
        return self

    def transform(self, X: Any) -> Any:
        if sparse.issparse(X):
            divided = X.copy()
            divided.data = (X.data / self.deviation[X.indices]).astype(X.dtype)
            return divided
        return ((X - self.mean) / self.deviation).astype(X.dtype)
