"""Linear classifiers of scikit-learn on scaled rows, dense or CSR."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import RidgeClassifier, SGDClassifier
from sklearn.metrics import pairwise_distances

from harness_classifiers.require import require_count, require_positive
from harness_classifiers.scale import Scale


class Ridge:
    """Least squares on −1 and 1, one class against the rest; a score is the softmax of the decision functions."""

    def __init__(self, *, alpha: float) -> None:
        self.model = RidgeClassifier(alpha=require_positive("alpha", alpha), tol=1e-8)

    def fit(self, X: Any, y: Any) -> Ridge:
        self.scale = Scale().fit(X)
        # In float32 the normal equations are singular to their precision where alpha is small.
        self.model.fit(self.scale.transform(X).astype(np.float64), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """`[examples, classes]`."""
        decided = self.model.decision_function(self.scale.transform(X))
        return softmax(np.stack([-decided, decided], axis=1) if decided.ndim == 1 else decided, axis=1)

    @property
    def weights(self) -> Any:
        """`[classes, features]`."""
        return self.scale.undo(self.model.coef_)


class Centroids:
    """The class whose mean is nearest; a score is the softmax of half the negative squared distances, as of equal
    spheres with variance 1 (rows have a root mean square norm of 1).
    """

    def fit(self, X: Any, y: Any) -> Centroids:
        self.scale = Scale().fit(X)
        members = np.eye(int(y.max()) + 1)[y]
        # scikit-learn's NearestCentroid makes CSR dense, and refuses features that are all constant.
        self.centroids = np.asarray(self.scale.transform(X).T @ members).T / members.sum(axis=0)[:, None]
        return self

    def predict_proba(self, X: Any) -> Any:
        """`[examples, classes]`."""
        distances = pairwise_distances(self.scale.transform(X), self.centroids)
        return softmax(-np.square(distances) / 2, axis=1)

    @property
    def weights(self) -> Any:
        """`[classes, features]`. Half the negative squared distance to c is x·c − |c|²/2 − |x|²/2, and all classes
        share the last term, as they do x times the mean of all c.
        """
        if len(self.centroids) == 2:
            return self.scale.undo(self.centroids[1] - self.centroids[0])
        return self.scale.undo(self.centroids - self.centroids.mean(axis=0))


class Sgd:
    """Logistic regression by stochastic gradients, one class against the rest, in an order drawn from the seed."""

    def __init__(self, *, alpha: float, max_iter: int, seed: int) -> None:
        self.model = SGDClassifier(
            loss="log_loss",
            alpha=require_positive("alpha", alpha),
            max_iter=require_count("max_iter", max_iter),
            random_state=seed,
        )

    def fit(self, X: Any, y: Any) -> Sgd:
        self.scale = Scale().fit(X)
        self.model.fit(self.scale.transform(X), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """`[examples, classes]`."""
        return self.model.predict_proba(self.scale.transform(X))

    @property
    def weights(self) -> Any:
        """`[classes, features]`."""
        return self.scale.undo(self.model.coef_)
