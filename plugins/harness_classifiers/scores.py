"""Classifier for features that are class scores already."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import softmax


class Scores:
    """Classifier whose probabilities are the softmax of the features.

    Nothing is trained or scaled, so the features must be logits, such as those of a zero-shot model.
    """

    def fit(self, X: Any, y: Any) -> Scores:
        """Raise ValueError unless `X [examples, classes]` has one feature for each class of `y`."""
        classes = int(y.max()) + 1
        if X.shape[1] != classes:
            raise ValueError(
                f"scores needs one feature for each of {classes} classes in their order, not {X.shape[1]} features"
            )
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]` for dense rows or CSR."""
        rows = X.toarray() if sparse.issparse(X) else X
        return softmax(np.asarray(rows, dtype=np.float64), axis=1)
