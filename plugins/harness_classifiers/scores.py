"""Features that are scores of the classes already, as a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import softmax


class Scores:
    """The class whose feature is largest; a score is the softmax of the features. Nothing is learnt and nothing scaled,
    so features must be logits, as of a model that knows the classes by their names.
    """

    def fit(self, X: Any, y: Any) -> Scores:
        """ValueError unless `X [examples, classes]` has one feature for each class of `y`."""
        classes = int(y.max()) + 1
        if X.shape[1] != classes:
            raise ValueError(
                f"scores needs one feature for each of {classes} classes in their order, not {X.shape[1]} features"
            )
        return self

    def predict_proba(self, X: Any) -> Any:
        """`[examples, classes]`, dense rows or CSR."""
        rows = X.toarray() if sparse.issparse(X) else X
        return softmax(np.asarray(rows, dtype=np.float64), axis=1)
