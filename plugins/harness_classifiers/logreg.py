"""L2 logistic regression, dense or CSR, on all features or on the k that separate the classes best."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness_classifiers.require import require_classes, require_count, require_positive
from harness_classifiers.room import check_room

if TYPE_CHECKING:
    from harness_classifiers.path import LogisticPath, Solution
    from harness_classifiers.scale import Scale

LOWEST = 0.1
"""Inverse penalty at which a fit begins: from there the optimum for a large one is reached in fewer products."""

FACTOR = 10.0
"""Largest step from one inverse penalty to the next."""


class LogReg:
    """Multinomial logistic regression with an L2 penalty, fitted to the optimum on scaled rows."""

    scale: Scale
    solution: Solution

    def __init__(self, *, C: float, max_iter: int, seed: int) -> None:
        self.C, self.max_iter, self.seed = require_positive("C", C), require_count("max_iter", max_iter), seed

    def fit(self, X: Any, y: Any) -> LogReg:
        """Fit on the training rows. Warn with ConvergenceWarning when `max_iter` steps do not suffice."""
        (fitted,) = self.fit_grid(X, y, [{}])
        self.__dict__.update(fitted.__dict__)
        return self

    def fit_grid(self, X: Any, y: Any, points: Sequence[Mapping[str, Any]]) -> Iterator[LogReg]:
        """Yield the classifier of each point of the grid, fitted on the training rows."""
        # Imported here: a plan makes a classifier to check its parameters, and fits none.
        from harness_classifiers.path import LogisticPath
        from harness_classifiers.scale import Scale

        require_classes(y)
        check_room("logreg", int(y.max()) + 1, X.shape[1])
        scale = Scale().fit(X)
        path = LogisticPath(X, y, scale.size)
        reached = LOWEST / FACTOR
        for point in points:
            fitted = LogReg(**{"C": self.C, "max_iter": self.max_iter, "seed": self.seed, **point})
            fitted.scale, fitted.solution = scale, _climb(path, reached, fitted.C, fitted.max_iter)
            reached = fitted.C
            if not fitted.solution.has_converged:
                from sklearn.exceptions import ConvergenceWarning  # takes seconds, in every worker process

                warnings.warn(f"no convergence in {fitted.max_iter} iterations", ConvergenceWarning)
            yield fitted

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        from scipy.special import expit, softmax

        found = self.solution
        decided = np.asarray(X @ np.ascontiguousarray(found.coef.T)) / self.scale.size + found.intercept
        if decided.shape[1] > 1:
            return softmax(decided, axis=1)
        second = expit(decided.astype(X.dtype if X.dtype.kind == "f" else np.float64))
        return np.hstack([1 - second, second])

    @property
    def weights(self) -> Any:
        """Coefficients `[classes, features]` on the unscaled features."""
        return self.scale.undo(self.solution.coef)


def _climb(path: LogisticPath, reached: float, C: float, max_iter: int) -> Solution:
    """Return the solution for `C` by way of some between it and the inverse penalty that was `reached` before."""
    rungs = [C]
    while rungs[0] > FACTOR * reached * (1 + 1e-9):
        rungs.insert(0, rungs[0] / FACTOR)
    left = max_iter
    for rung in rungs:
        found = path.solve(rung, left)
        left -= found.steps
        if left <= 0 and rung != C:
            return replace(found, has_converged=False)
    return found


class KSparseLogReg:
    """Logistic regression on the `k` features with the largest mean difference.

    Gurnee et al. 2023, section 3.
    """

    chosen: Any
    n_features: int

    def __init__(self, *, k: int, C: float, max_iter: int, seed: int) -> None:
        self.k = require_count("k", k)
        self.model: LogReg = LogReg(C=C, max_iter=max_iter, seed=seed)

    def fit(self, X: Any, y: Any) -> KSparseLogReg:
        """Fit on the training rows. Warn with ConvergenceWarning when `max_iter` steps do not suffice."""
        (fitted,) = self.fit_grid(X, y, [{}])
        self.__dict__.update(fitted.__dict__)
        return self

    def fit_grid(self, X: Any, y: Any, points: Sequence[Mapping[str, Any]]) -> Iterator[KSparseLogReg]:
        """Yield the classifier of each point of the grid, fitted on the training rows; all read the same features."""
        require_classes(y)
        order = np.argsort(-mean_difference(X, y), kind="stable")
        chosen = np.sort(order[: self.k])
        for model in self.model.fit_grid(X[:, chosen], y, points):
            fitted = KSparseLogReg(k=self.k, C=model.C, max_iter=model.max_iter, seed=model.seed)
            fitted.chosen, fitted.n_features, fitted.model = chosen, X.shape[1], model
            yield fitted

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
