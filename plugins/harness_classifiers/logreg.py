"""L2 logistic regression, dense or CSR, on all features or on the k that separate the classes best."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness_classifiers.require import require_count, require_positive
from harness_classifiers.room import check_room

SOFTMAX_UP_TO = 2048
"""Largest number of features for which SoftmaxRegression's decomposition saves time and memory."""


class LogReg:
    """Multinomial logistic regression with an L2 penalty, fitted to the optimum on scaled rows."""

    def __init__(self, *, C: float, max_iter: int, seed: int) -> None:
        self.C, self.max_iter, self.seed = require_positive("C", C), require_count("max_iter", max_iter), seed

    def fit(self, X: Any, y: Any) -> LogReg:
        # Imported here: a plan makes a classifier to check its parameters, and fits none.
        from harness_classifiers.scale import Scale
        from harness_classifiers.softmax import SoftmaxRegression
        from harness_classifiers.span import MAX_ROWS, RowSpan

        self.scale = Scale().fit(X)
        rows = self.scale.transform(X)
        # scikit-learn's lbfgs stops short of the optimum where C is large; its Newton's method does not.
        # SoftmaxRegression reaches the same optimum sooner, for more than two classes on not too many features.
        # Where rows are fewer than features, their span has as few coordinates as there are rows.
        many = y.max() > 1
        self.span = RowSpan().fit(rows) if many and X.shape[0] < min(X.shape[1], MAX_ROWS) else None
        if self.span:
            rows = self.span.transform(rows)
        if many and rows.shape[1] <= SOFTMAX_UP_TO:
            self.model = SoftmaxRegression(C=self.C, max_iter=self.max_iter)
        else:
            from sklearn.linear_model import LogisticRegression

            check_room("logreg", int(y.max()) + 1, rows.shape[1])
            self.model = LogisticRegression(
                C=self.C, solver="newton-cg", tol=1e-6, max_iter=self.max_iter, random_state=self.seed
            )
        self.model.fit(rows, y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        rows = self.scale.transform(X)
        return self.model.predict_proba(self.span.transform(rows) if self.span else rows)

    @property
    def weights(self) -> Any:
        """Coefficients `[classes, features]` on the unscaled features."""
        coefficients = self.model.coef_
        return self.scale.undo(self.span.undo(coefficients) if self.span else coefficients)


class KSparseLogReg:
    """Logistic regression on the `k` features with the largest mean difference.

    Gurnee et al. 2023, section 3.
    """

    def __init__(self, *, k: int, C: float, max_iter: int, seed: int) -> None:
        self.k = require_count("k", k)
        self.model = LogReg(C=C, max_iter=max_iter, seed=seed)

    def fit(self, X: Any, y: Any) -> KSparseLogReg:
        order = np.argsort(-mean_difference(X, y), kind="stable")
        self.chosen = np.sort(order[: self.k])
        self.n_features = X.shape[1]
        self.model.fit(X[:, self.chosen], y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        return self.model.predict_proba(X[:, self.chosen])

    @property
    def weights(self) -> Any:
        """Coefficients `[classes, features]` on all given features; 0 for features that were not chosen."""
        chosen = self.model.weights
        weights = np.zeros((len(chosen), self.n_features))
        weights[:, self.chosen] = chosen
        return weights


def mean_difference(X: Any, y: Any) -> Any:
    """Return the largest difference, over classes, between a feature's mean inside and outside the class.

    `X [rows, features]`, dense or CSR, and class numbers `y [rows]` give `[features]`.
    """
    members = np.eye(int(y.max()) + 1)[y]
    inside = np.asarray(X.T @ members)
    sizes = members.sum(axis=0)
    differences = inside / sizes - (inside.sum(axis=1, keepdims=True) - inside) / (len(y) - sizes)
    return np.abs(differences).max(axis=1)
