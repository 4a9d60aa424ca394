"""Multinomial logistic regression to its optimum, dense or CSR, for up to a few thousand features.

L-BFGS with a preconditioner: the inverse Hessian at zero weights, a matrix over features alone. Plain L-BFGS
stops short of the optimum where C is large, and Newton's method needs hundreds of Hessian products for each
step there. Products with the rows are in float32, sums in float64.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import softmax

TOLERANCE = 1e-9
"""Stopping criterion: expected fall of the mean loss, in nats, half of the gradient times the step."""

MEMORY = 20
"""Number of steps that L-BFGS remembers."""


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
    from sklearn.exceptions import ConvergenceWarning

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
