"""Linear classifiers of scikit-learn on scaled rows, dense or CSR."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import RidgeClassifier, SGDClassifier
from sklearn.metrics import pairwise_distances

from harness_classifiers.require import require_classes, require_count, require_positive
from harness_classifiers.room import check_room
from harness_classifiers.scale import Scale


class Ridge:
    """Ridge regression on targets −1 and 1, one class against the rest.

    Probabilities are the softmax of the decision functions.
    """

    def __init__(self, *, alpha: float) -> None:
        self.model = RidgeClassifier(alpha=require_positive("alpha", alpha), tol=1e-8)

    def fit(self, X: Any, y: Any) -> Ridge:
        require_classes(y)
        check_room("ridge", int(y.max()) + 1, X.shape[1])
        self.scale = Scale().fit(X)
        # Float64: with a small alpha the normal equations are singular to float32 precision.
        self.model.fit(self.scale.transform(X).astype(np.float64), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        decided = self.model.decision_function(self.scale.transform(X))
        return softmax(np.stack([-decided, decided], axis=1) if decided.ndim == 1 else decided, axis=1)

    @property
    def weights(self) -> Any:
        """Coefficients `[classes, features]` on the unscaled features."""
        return self.scale.undo(self.model.coef_)


class Centroids:
    """Classifier by the nearest class mean.

    Probabilities are the softmax of half the negative squared distances: the posterior of spherical Gaussians
    with variance 1 and equal priors, on rows with a root mean square norm of 1.
    """

    def fit(self, X: Any, y: Any) -> Centroids:
        check_room("nearest_centroid", int(y.max()) + 1, X.shape[1])
        self.scale = Scale().fit(X)
        members = np.eye(int(y.max()) + 1)[y]
        # Not scikit-learn's NearestCentroid: it makes CSR dense, and refuses features that are all constant.
        self.centroids = np.asarray(self.scale.transform(X).T @ members).T / members.sum(axis=0)[:, None]
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        distances = pairwise_distances(self.scale.transform(X), self.centroids)
        return softmax(-np.square(distances) / 2, axis=1)

    @property
    def weights(self) -> Any:
        """Coefficients `[classes, features]` of the equivalent linear classifier."""
        # −|x − c|²/2 = x·c − |c|²/2 − |x|²/2. The last term is the same for every class, and so is the product of
        # x and the mean of all c: subtracting either changes no difference between classes.
        if len(self.centroids) == 2:
            return self.scale.undo(self.centroids[1] - self.centroids[0])
        return self.scale.undo(self.centroids - self.centroids.mean(axis=0))


class Sgd:
    """Logistic regression by stochastic gradient descent, one class against the rest; `seed` fixes the order."""

    def __init__(self, *, alpha: float, max_iter: int, seed: int) -> None:
        self.model = SGDClassifier(
            loss="log_loss",
            alpha=require_positive("alpha", alpha),
            max_iter=require_count("max_iter", max_iter),
            random_state=seed,
        )

    def fit(self, X: Any, y: Any) -> Sgd:
        check_room("linear_sgd", int(y.max()) + 1, X.shape[1])
        self.scale = Scale().fit(X)
        self.model.fit(self.scale.transform(X), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        return self.model.predict_proba(self.scale.transform(X))

    @property
    def weights(self) -> Any:
        """Coefficients `[classes, features]` on the unscaled features."""
        return self.scale.undo(self.model.coef_)
