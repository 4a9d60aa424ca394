"""Transforms of pooled features, dense or CSR, with scikit-learn's fit and transform contract."""

from __future__ import annotations

from typing import Any

import numpy as np


class Unchanged:
    """Identity transform."""

    def fit(self, X: Any, y: Any) -> Unchanged:
        return self

    def transform(self, X: Any) -> Any:
        return X


class Binarize:
    """Binary features: 1.0 where a value exceeds `t`, else 0.0, in float32."""

    def __init__(self, t: float) -> None:
        self.t = float(t)

    def fit(self, X: Any, y: Any) -> Binarize:
        return self

    def transform(self, X: Any) -> Any:
        from scipy import sparse

        if (
            sparse.issparse(X) and self.t >= 0
        ):  # with a negative t zeros would become ones and fill the matrix
            above = X.copy()
            above.data = (above.data > self.t).astype(np.float32)
            above.eliminate_zeros()
            return above
        dense = X.toarray() if sparse.issparse(X) else X
        return (dense > self.t).astype(np.float32)


CRITERIA = ("mean_difference", "mutual_information", "variance", "l1")
"""Names of the functions in `selection` that `select` accepts as `by`."""


class Select:
    """Selection of the `k` best features by a criterion on the training rows.

    The chosen features keep their order; ties go to the first. All features are kept if there are no more
    than `k`. With `by="l1"`, fewer than `k` are kept if fewer have a nonzero coefficient. With `t`, features
    are binarized first.
    """

    def __init__(self, k: int, by: str, t: float | None = None) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k} must be a whole number, at least 1")
        if by not in CRITERIA:
            raise ValueError(f"by={by} must be one of {', '.join(CRITERIA)}")
        self.k, self.by = k, by
        self.before = Unchanged() if t is None else Binarize(t)

    def fit(self, X: Any, y: Any) -> Select:
        from harness_poolings import selection

        scores = getattr(selection, self.by)(self.before.transform(X), y)
        if not np.isfinite(scores).all():
            raise ValueError(f"select: {self.by} of some feature is not finite")
        k = min(self.k, max(1, np.count_nonzero(scores))) if self.by == "l1" else self.k
        self.chosen = np.sort(np.argsort(-scores, kind="stable")[:k])
        return self

    def transform(self, X: Any) -> Any:
        return self.before.transform(X[:, self.chosen])


class Standardize:
    """Standardisation of each feature to mean 0 and standard deviation 1 on the training rows.

    CSR is divided by the deviation but not centred, so that zeros stay zeros. A feature that varies by no
    more than rounding is left unchanged.
    """

    def fit(self, X: Any, y: Any) -> Standardize:
        from harness_poolings import selection

        mean, deviation = selection.spread(X)
        # Two passes over the same tokens differ by about 1e-6 of a value, which must not become a feature.
        varies = deviation > 1e-5 * np.hypot(mean, deviation)
        self.mean = np.where(varies, mean, 0.0)
        self.deviation = np.where(varies, deviation, 1.0)
        return self

    def transform(self, X: Any) -> Any:
        from scipy import sparse

        if sparse.issparse(X):
            divided = X.copy()
            divided.data = (X.data / self.deviation[X.indices]).astype(X.dtype)
            return divided
        return ((X - self.mean) / self.deviation).astype(X.dtype)
