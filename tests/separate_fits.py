"""Logistic regression fitted for one inverse penalty by itself: what the fit of a whole grid is compared with.

Two classes go to scikit-learn's Newton method; more to L-BFGS with a preconditioner, the inverse Hessian at zero
weights, where features are not too many. Where rows are fewer than features, their span has as few coordinates as there
are rows.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from harness_classifiers.scale import Scale
from scipy import sparse
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

SOFTMAX_UP_TO = 2048
"""Largest number of features for which SoftmaxRegression's decomposition saves time and memory."""

MAX_ROWS = 1024
"""Largest number of rows for which the decomposition of their span saves time."""

MIN_VARIANCE_SHARE = 1e-12
"""Share of the largest variance below which a direction is rounding error."""

TOLERANCE = 1e-9
"""Stopping criterion: expected fall of the mean loss, in nats, half of the gradient times the step."""

MEMORY = 20
"""Number of steps that L-BFGS remembers."""


class SeparateLogReg:
    """Multinomial logistic regression with an L2 penalty, fitted to the optimum on scaled rows."""

    def __init__(self, *, C: float, max_iter: int = 1000) -> None:
        self.C, self.max_iter = C, max_iter

    def fit(self, X: Any, y: Any) -> SeparateLogReg:
        self.scale = Scale().fit(X)
        rows = self.scale.transform(X)
        many = y.max() > 1
        self.span = RowSpan().fit(rows) if many and X.shape[0] < min(X.shape[1], MAX_ROWS) else None
        if self.span:
            rows = self.span.transform(rows)
        if many and rows.shape[1] <= SOFTMAX_UP_TO:
            self.model = SoftmaxRegression(C=self.C, max_iter=self.max_iter)
        else:
            self.model = LogisticRegression(C=self.C, solver="newton-cg", tol=1e-6, max_iter=self.max_iter)
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


class SoftmaxRegression:
    """Minimiser of mean loss + |weights|² / 2Cn, with unpenalised intercepts.

    It follows scikit-learn's contract: `coef_ [classes, features]`, `intercept_ [classes]`.
    """

    def __init__(self, *, C: float, max_iter: int) -> None:
        self.C, self.max_iter = C, max_iter

    def fit(self, X: Any, y: Any) -> SoftmaxRegression:
        """Fit to `X [rows, features]` and class numbers `y [rows]`; every class needs a row.

        Warn with ConvergenceWarning when `max_iter` steps do not suffice.
        """
        weights = _minimise(_with_ones(X), y, self.C, self.max_iter)
        self.coef_, self.intercept_ = weights[:-1].T, weights[-1]
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[rows, classes]`."""
        return softmax(np.asarray(X @ self.coef_.T) + self.intercept_, axis=1)


def _minimise(X: Any, y: Any, C: float, max_iter: int) -> Any:
    """Return the optimal weights `[features + 1, classes]`; the last row is the intercepts."""
    n, k = X.shape[0], int(y.max()) + 1
    penalty = np.full((X.shape[1], 1), 1 / (C * n))
    penalty[-1] = 0  # the intercepts
    W = np.zeros((X.shape[1], k))
    Z = np.zeros((n, k))
    value, P = _loss(Z, y, W, penalty)
    invert = _inverse_at_zero(X, k, 1 / (C * n))
    gradient = _gradient(X, P, y, W, penalty)
    pairs: deque[tuple[Any, Any]] = deque(maxlen=MEMORY)
    for _ in range(max_iter):
        step = -_multiply(gradient, pairs, invert)
        slope = float((gradient * step).sum())
        if -slope / 2 <= TOLERANCE:
            return W
        change, size = _product(X, step), 1.0
        while True:
            W_next, Z_next = W + size * step, Z + size * change
            after, P = _loss(Z_next, y, W_next, penalty)
            if after <= value + 1e-4 * size * slope or size < 1e-6:  # Armijo's condition
                break
            size /= 2
        W, Z, value, before = W_next, Z_next, after, gradient
        gradient = _gradient(X, P, y, W, penalty)
        # Only steps of positive curvature keep the inverse Hessian positive definite.
        if ((gradient - before) * step).sum() > 0:
            pairs.append((size * step, gradient - before))
    warnings.warn(f"no convergence in {max_iter} iterations", ConvergenceWarning)
    return W


def _with_ones(X: Any) -> Any:
    if not sparse.issparse(X):
        return np.hstack([X, np.ones((X.shape[0], 1))]).astype(np.float32)
    return sparse.csr_array(sparse.hstack([X, np.ones((X.shape[0], 1))], format="csr", dtype=np.float32))


def _product(X: Any, W: Any) -> Any:
    return np.asarray(X @ W.astype(np.float32)).astype(np.float64)


def _loss(Z: Any, y: Any, W: Any, penalty: Any) -> tuple[float, Any]:
    """Return the penalised mean loss in nats, and class probabilities `[rows, classes]`."""
    top = Z.max(axis=1, keepdims=True)
    P = Z - top
    np.exp(P, out=P)
    total = P.sum(axis=1, keepdims=True)
    loss = (top + np.log(total))[:, 0] - Z[np.arange(len(y)), y]
    P /= total
    return float(loss.mean() + 0.5 * (penalty * W * W).sum()), P


def _gradient(X: Any, P: Any, y: Any, W: Any, penalty: Any) -> Any:
    off = P.astype(np.float32)
    off[np.arange(len(y)), y] -= 1
    return np.asarray(X.T @ off).astype(np.float64) / len(y) + penalty * W


def _multiply(gradient: Any, pairs: deque[tuple[Any, Any]], invert: Callable[[Any], Any]) -> Any:
    """Return the L-BFGS inverse Hessian times the gradient (Nocedal & Wright, algorithm 7.4)."""
    found, sizes = gradient.copy(), []
    for step, change in reversed(pairs):
        sizes.append((step * found).sum() / (step * change).sum())
        found -= sizes[-1] * change
    found = invert(found)
    for (step, change), size in zip(pairs, reversed(sizes), strict=True):
        found += (size - (change * found).sum() / (step * change).sum()) * step
    return found


def _inverse_at_zero(X: Any, k: int, penalty: float) -> Callable[[Any], Any]:
    """Return the inverse Hessian at zero weights as a function of a gradient `[features + 1, classes]`.

    The rows of the gradient must sum to zero.
    """
    # At zero weights every probability is 1/k. The Hessian is mean(x xᵀ) / k times (1 − 1/k) within a class and
    # −1/k between two classes, plus the penalty: on gradients whose rows sum to zero, mean(x xᵀ) / k + penalty.
    n = X.shape[0]
    A = X.T @ X
    sizes, axes = np.linalg.eigh((A.toarray() if sparse.issparse(A) else A).astype(np.float64) / (n * k))
    inverse = (axes / (np.maximum(sizes, 0) + penalty)) @ axes.T
    return lambda gradient: inverse @ gradient


class RowSpan:
    """Orthonormal basis of the span of the training rows.

    The weights of a classifier with an L2 penalty lie in this span (Kimeldorf & Wahba 1971), so a fit on the
    coordinates equals the fit on the features and takes less time.
    """

    def fit(self, X: Any) -> RowSpan:
        """Compute the basis `[features, rank]` from `X [rows, features]`, dense or CSR."""
        rows = X.astype(np.float64)
        inner = rows @ rows.T
        values, vectors = np.linalg.eigh(inner.toarray() if sparse.issparse(inner) else inner)
        kept = values > MIN_VARIANCE_SHARE * max(values[-1], 0.0)
        self.basis = np.asarray(rows.T @ (vectors[:, kept] / np.sqrt(values[kept])))
        return self

    def transform(self, X: Any) -> Any:
        """Return coordinates `[rows, rank]` in float32."""
        return np.asarray(X @ self.basis).astype(np.float32)

    def undo(self, coefficients: Any) -> Any:
        """Convert coefficients `[classes, rank]` to coefficients `[classes, features]`."""
        return coefficients @ self.basis.T
