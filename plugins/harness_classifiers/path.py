"""L2 logistic regression to its optimum for one inverse penalty after another, on the same rows.

Newton's method, whose steps are found by preconditioned conjugate gradients. What does not depend on the penalty
is computed once, and each fit begins at the best combination of the last two solutions, which costs no product with the
rows. Products are in float32; decision functions and losses are in float64.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness_classifiers.centred import ONE_BY_ONE, CentredRows
from harness_classifiers.likelihood import Logistic, Softmax
from harness_classifiers.preconditioner import make_preconditioner

TOLERANCE = 1e-7
"""Stopping criterion: the last step is one from which a fall of the mean loss by this, in nats, was expected.

Newton's steps square the error, so what is left after that step is far less: at most 6e-8 in 4,060 fits of random rows
that were compared with float64, and 1e-9 for dense ones.
"""

LEFT = 1e-9
"""Expected fall of the mean loss that a step may leave undone because its equations are solved approximately."""

FORCING = 0.3
"""Largest relative error of a step."""

MOST_PRODUCTS = 500
"""Largest number of products for one step; an inexact step goes downhill, too."""

ROUNDING = 1e-6
"""Expected fall below which a step that finds no lower loss is taken for rounding errors at the optimum."""

UNSEEN = 1e-13
"""Expected fall that rounding errors of the loss hide: no line search can tell whether such a step goes forward."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Weights `[classes, features]` on scaled rows, or one row for two classes, their intercepts, and whether the
    optimum was reached in `steps`.
    """

    coef: Any
    intercept: Any
    steps: int
    has_converged: bool


@dataclass(kw_only=True)
class _Point:
    """Weights `[d, k]` on centred rows, intercepts `[k]`, decision functions `[n, k]` and the squared norm of the
    weights.
    """

    weights: Any
    intercept: Any
    decided: Any
    square: float


class LogisticPath:
    """Minimisers of mean loss + |weights|² / 2Cn, with unpenalised intercepts, for rows `X [n, d]` divided by `size`
    and class numbers `y [n]`; every class needs a row.
    """

    def __init__(self, X: Any, y: Any, size: float) -> None:
        self._rows = CentredRows(X, size)
        self._loss = Logistic(y) if y.max() == 1 else Softmax(y)
        n, k = self._rows.shape[0], self._loss.columns
        self._parts = tuple(self._rows.split(k))
        self._preconditioner = make_preconditioner(self._rows, k)
        self._P = np.empty((n, k), np.float32, order=self._rows.order)
        self._residual = np.empty_like(self._P)
        self._before: deque[_Point] = deque(maxlen=2)

    def solve(self, C: float, max_iter: int) -> Solution:
        """Return the solution for `C`, in at most `max_iter` steps of Newton's method.

        It is found sooner where `C` is some ten times that of the last one.
        """
        penalty = 1 / (C * self._rows.shape[0])
        point = self._start(penalty)
        steps, has_converged = self._descend(point, penalty, max_iter)
        self._before.append(point)
        coef = point.weights
        if len(self._rows.columns) < self._rows.n_features:
            coef = np.zeros((self._rows.n_features, coef.shape[1]), np.float32, order=self._rows.order)
            coef[self._rows.columns] = point.weights
        return Solution(
            coef=coef.T,
            intercept=point.intercept - self._rows.mean @ point.weights,
            steps=steps,
            has_converged=has_converged,
        )

    # ── where to begin ───────────────────────────────────────────────────────────────────────────────────

    def _start(self, penalty: float) -> _Point:
        """Return the combination of the last two solutions with the lowest objective; zero weights without any."""
        (n, d), k = self._rows.shape, self._loss.columns
        if not self._before:
            weights = np.zeros((d, k), np.float32, order=self._rows.order)
            decided = np.zeros((n, k), order=self._rows.order)
            return _Point(weights=weights, intercept=np.zeros(k), decided=decided, square=0.0)
        shares = self._combine(penalty)
        weights = sum(
            np.float32(share) * one.weights for share, one in zip(shares, self._before, strict=True)
        )
        return _Point(
            weights=weights,
            intercept=sum(share * one.intercept for share, one in zip(shares, self._before, strict=True)),
            decided=sum(share * one.decided for share, one in zip(shares, self._before, strict=True)),
            square=_dot(weights, weights),
        )

    def _combine(self, penalty: float) -> Any:
        """Return the shares of the last solutions in the best combination, by Newton's method on their decision
        functions.
        """
        n, many = self._rows.shape[0], range(len(self._before))
        decided = [one.decided for one in self._before]
        inner = np.array([[_dot(a.weights, b.weights) for b in self._before] for a in self._before])
        shares = np.eye(len(self._before))[-1]

        def value(shares: Any) -> float:
            Z = sum(share * one for share, one in zip(shares, decided, strict=True))
            found = self._loss.look(Z, self._residual, self._P)
            return found + penalty / 2 * float(shares @ inner @ shares)

        best = value(shares)
        for _ in range(10):
            gradient = np.array([_dot(one, self._residual) for one in decided]) / n + penalty * inner @ shares
            turned = [self._loss.curve(self._P, one.astype(np.float32)) for one in decided]
            hessian = np.array([[_dot(decided[a], turned[b]) for b in many] for a in many]) / n
            hessian += penalty * inner
            hessian += (
                1e-9 * max(np.trace(hessian), 1e-30) * np.eye(len(shares))
            )  # the two may be nearly equal
            step = -np.linalg.solve(hessian, gradient)
            size = 1.0
            while (after := value(shares + size * step)) > best and size > 1e-3:
                size /= 2
            if after > best:
                return shares
            shares, fall, best = shares + size * step, best - after, after
            if fall < TOLERANCE:
                return shares
        return shares

    # ── Newton's method ──────────────────────────────────────────────────────────────────────────────────

    def _descend(self, point: _Point, penalty: float, max_iter: int) -> tuple[int, bool]:
        """Move a point to the optimum. Return the number of steps, and whether it was reached."""
        value = self._loss.look(point.decided, self._residual, self._P) + penalty / 2 * point.square
        for number in range(1, max_iter + 1):
            gradient, slope_of_intercept = self._gradient(self._rows, self._residual)
            gradient += np.float32(penalty) * point.weights
            step, shift = self._solve_newton(gradient, slope_of_intercept, penalty)
            slope = _dot(gradient, step) + float(slope_of_intercept @ shift)
            moved = self._decide(self._rows, step, shift)
            cross, square = _dot(point.weights, step), _dot(step, step)
            size = 1.0
            while True:
                decided = point.decided + size * moved
                norm = max(point.square + 2 * size * cross + size**2 * square, 0.0)
                after = self._loss.look(decided, self._residual, self._P) + penalty / 2 * norm
                if after <= value + 1e-4 * size * slope or size < 1e-6:  # Armijo's condition
                    break
                if -slope / 2 <= UNSEEN:
                    return number, True
                size /= 2
            if size < 1e-6:
                return number, -slope / 2 <= ROUNDING
            point.weights += np.float32(size) * step
            point.intercept = point.intercept + size * shift
            point.decided, point.square, value = decided, norm, after
            if -slope / 2 <= TOLERANCE and size == 1.0:
                return number, True
        return max_iter, False

    def _solve_newton(self, gradient: Any, slope: Any, penalty: float) -> tuple[Any, Any]:
        """Return the step of the weights and of the intercepts at which the loss is expected to be lowest, nearly."""
        curvature = max(self._loss.curvature(self._P), 1e-12)
        scaled = np.empty_like(gradient)

        def precondition(r: Any, s: Any) -> tuple[Any, Any]:
            inverse = self._preconditioner.multiply
            return inverse(r, curvature=curvature, penalty=penalty, out=scaled), s / curvature

        step, shift = np.zeros_like(gradient), np.zeros_like(slope)
        r, s = -gradient, -slope
        z, t = precondition(r, s)
        direction, turn = z.copy("K"), t.copy()
        before = _dot(r, z) + float(s @ t)
        if before <= 0:
            return step, shift
        wanted = max(min(FORCING, np.sqrt(before)) ** 2 * before, LEFT)
        for _ in range(MOST_PRODUCTS):
            change, pull = self._multiply(direction, turn, penalty)
            size = before / max(_dot(direction, change) + float(turn @ pull), 1e-300)
            step += np.float32(size) * direction
            shift += size * turn
            change *= np.float32(size)
            r -= change
            s = s - size * pull
            z, t = precondition(r, s)
            after = _dot(r, z) + float(s @ t)
            if after <= wanted:
                break
            direction *= np.float32(after / before)
            direction += z
            turn = t + after / before * turn
            before = after
        return step, shift

    def _multiply(self, V: Any, u: Any, penalty: float) -> tuple[Any, Any]:
        """Return the Hessian times weights `V [d, k]` and intercepts `u [k]`."""
        change, pull = np.float32(penalty) * V, np.zeros(len(u))
        for place, rows in self._parts:
            turned = self._loss.curve(self._P[place], self._decide(rows, V, u))
            more, slope = self._gradient(rows, turned)
            change += more
            pull += slope
        return change, pull

    def _decide(self, rows: CentredRows, V: Any, u: Any) -> Any:
        """Return the decision functions of some rows for weights and intercepts, `[rows, k]` in float32."""
        made = self._multiply_columns(rows.times, V)
        made += u.astype(np.float32)
        return made

    def _multiply_columns(self, product: Callable[[Any], Any], V: Any) -> Any:
        """Return a product with the rows. Of few classes, whose columns sum to zero, the last column follows from the
        others.
        """
        if not 2 < V.shape[1] <= ONE_BY_ONE:
            return product(V)
        first = product(V[:, :-1])
        return np.asarray(np.hstack([first, -first.sum(axis=1, keepdims=True)]), order=self._rows.order)

    def _gradient(self, rows: CentredRows, residual: Any) -> tuple[Any, Any]:
        """Return what the residuals of some rows add to the gradients of the mean loss for weights `[d, k]` and
        intercepts `[k]`.
        """
        n = self._rows.shape[0]
        made = self._multiply_columns(rows.transposed_times, residual)
        made *= np.float32(1 / n)
        slope = residual.sum(axis=0, dtype=np.float64) / n
        if len(slope) > 1:
            # Classes sum to zero but for rounding errors, and nothing bounds a step that shifts all of them alike.
            slope -= slope.mean()
        return made, slope


def _dot(A: Any, B: Any) -> float:
    """Return the sum of the products of the elements of two matrices in one memory order."""
    return float(np.dot(A.ravel("K"), B.ravel("K")))
