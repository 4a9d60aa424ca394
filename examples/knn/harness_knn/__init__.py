"""A classifier: votes of the nearest training rows, from scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import harness

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse

    Matrix: TypeAlias = np.ndarray[Any, Any] | sparse.csr_array

HARNESS_API = 1


class NearestNeighbours:
    """The share of each class among the `k` nearest training rows by the angle between them."""

    def __init__(self, k: int) -> None:
        if k < 1:
            raise ValueError(f"k={k} must be a positive whole number")
        self.k = k

    def fit(self, X: Matrix, y: np.ndarray[Any, Any]) -> NearestNeighbours:
        """Keep the training rows."""
        from sklearn.neighbors import KNeighborsClassifier

        self.votes = KNeighborsClassifier(
            n_neighbors=min(self.k, len(y)), metric="cosine", algorithm="brute"
        ).fit(X, y)
        return self

    def predict_proba(self, X: Matrix) -> np.ndarray[Any, Any]:
        """Return `[examples, classes]`; a class without training rows has no votes."""
        import numpy as np

        shares = np.zeros((X.shape[0], int(self.votes.classes_.max()) + 1))
        shares[:, self.votes.classes_] = self.votes.predict_proba(X)
        return shares


def make(*, k: int = 5) -> harness.Classifier:
    """Return the classifier. A suite may set these parameters: `knn(k=15)`."""
    return NearestNeighbours(k)


@harness.hookimpl
def harness_classifiers() -> list[harness.ClassifierSpec]:
    return [
        harness.ClassifierSpec(
            name="knn",
            summary="votes of the k nearest training rows by angle; k chosen on validation",
            make=make,
            grid={"k": (1, 5, 15)},
        )
    ]
