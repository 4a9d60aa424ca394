"""Losses of logistic regression: values, residuals and curvature from the decision functions `[rows, columns]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import expit

_AT_ONCE = 1 << 18
"""Number of values of decision functions that are read together: float64 copies of more do not stay in the cache."""


class Logistic:
    """Loss of two classes, with one decision function: that of class 1."""

    columns = 1

    def __init__(self, y: Any) -> None:
        self._target = (y == 1)[:, None]

    def look(self, Z: Any, residual: Any, probabilities: Any) -> float:
        """Return the mean loss in nats, and fill `residual [rows, columns]`, probabilities less targets."""
        P = expit(Z)
        probabilities[:] = P
        residual[:] = P - self._target
        return float(np.logaddexp(0, Z).mean() - Z[self._target].sum() / len(Z))

    def curve(self, P: Any, Q: Any) -> Any:
        """Return the derivative of the residual in the direction `Q [rows, columns]`, which is overwritten."""
        Q *= P
        Q *= 1 - P
        return Q

    def curvature(self, P: Any) -> float:
        """Return the mean second derivative of the loss."""
        return float((P * (1 - P)).mean(dtype=np.float64))


class Softmax:
    """Loss of `columns` classes, with a decision function for each."""

    def __init__(self, y: Any) -> None:
        self._y = y
        self.columns = int(y.max()) + 1

    def look(self, Z: Any, residual: Any, probabilities: Any) -> float:
        """Return the mean loss in nats, and fill `residual [rows, columns]`, probabilities less targets."""
        total = 0.0
        for part in self._parts(len(Z)):
            some, y = Z[part], self._y[part]
            places = np.arange(len(y))
            top = some.max(axis=1, keepdims=True)
            P = np.exp(some - top)
            sums = P.sum(axis=1, keepdims=True)
            total += float((top + np.log(sums)).sum() - some[places, y].sum())
            P /= sums
            probabilities[part] = P
            P[places, y] -= 1
            residual[part] = P
        return total / len(Z)

    def curve(self, P: Any, Q: Any) -> Any:
        """Return the derivative of the residual in the direction `Q [rows, columns]`, which is overwritten."""
        for part in self._parts(len(P)):
            one, some = P[part], Q[part]
            some *= one
            some -= one * some.sum(axis=1, keepdims=True)
        return Q

    def curvature(self, P: Any) -> float:
        """Return the mean second derivative of the loss among directions whose columns sum to zero."""
        spread = 1 - np.dot(P.ravel("K"), P.ravel("K")) / len(P)
        return float(max(spread, 0.0)) / (self.columns - 1)

    def _parts(self, n: int) -> Iterator[slice]:
        step = max(1, _AT_ONCE // self.columns)
        return (slice(start, start + step) for start in range(0, n, step))
