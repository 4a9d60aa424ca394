"""Criteria for feature selection, computed on training rows.

Each criterion takes `X [rows, features]`, dense or CSR, and class numbers `y [rows]`, and returns
`[features]`; higher is better.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import xlogy


def mean_difference(X: Any, y: Any) -> Any:
    """Return the largest difference, over classes, between a feature's mean inside and outside the class."""
    members = _members(y)
    inside = np.asarray(X.T @ members)
    sizes = members.sum(axis=0)
    differences = inside / sizes - (inside.sum(axis=1, keepdims=True) - inside) / (len(y) - sizes)
    return np.abs(differences).max(axis=1)


def mutual_information(X: Any, y: Any) -> Any:
    """Return the mutual information, in nats, of the class and "the feature is above its median".

    For a feature that is zero in at least half of the rows and never negative, "above its median" means
    "fires".
    """
    members = _members(y)
    above = np.asarray(_above_median(X).T @ members)
    joint = np.stack([above, members.sum(axis=0) - above]) / len(y)  # [above or not, features, classes]
    expected = joint.sum(axis=2, keepdims=True) * joint.sum(axis=0, keepdims=True)
    ratio = np.divide(joint, expected, out=np.ones_like(joint), where=joint > 0)
    return np.maximum(xlogy(joint, ratio).sum(axis=(0, 2)), 0.0)


def variance(X: Any, y: Any) -> Any:
    """Return the variance over rows."""
    return spread(X)[1] ** 2


def l1(X: Any, y: Any) -> Any:
    """Return the largest absolute coefficient, over classes, of an L1 logistic regression with C = 1.

    Each class is fitted against the rest, on rows divided by their root mean square norm.
    """
    from sklearn.linear_model import LogisticRegression

    squares = (X.multiply(X) if sparse.issparse(X) else np.square(X)).sum(dtype=np.float64)
    rows = X / (float(np.sqrt(squares / X.shape[0])) or 1.0)
    sizes = np.zeros(X.shape[1])
    for number in range(int(y.max()) + 1 if y.max() > 1 else 1):
        model = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=1.0, max_iter=1000, random_state=0)
        sizes = np.maximum(sizes, np.abs(model.fit(rows, y == number).coef_[0]))
    return sizes


def spread(X: Any) -> tuple[Any, Any]:
    """Return mean and standard deviation of each feature in float64; 0 deviation for a constant feature."""
    if not sparse.issparse(X):
        mean = X.mean(axis=0, dtype=np.float64)
        deviation = np.sqrt(np.square(X - mean).mean(axis=0))
        return mean, np.where(X.max(axis=0) == X.min(axis=0), 0.0, deviation)
    n = X.shape[0]
    columns = X.tocsc()
    mean = np.asarray(columns.sum(axis=0, dtype=np.float64)) / n
    fired = np.diff(columns.indptr)
    centred = np.square(columns.data - np.repeat(mean, fired))
    squares = np.bincount(np.repeat(np.arange(X.shape[1]), fired), centred, minlength=X.shape[1])
    deviation = np.sqrt((squares + (n - fired) * mean**2) / n)
    highest, lowest = (np.asarray(found.todense()).ravel() for found in (X.max(axis=0), X.min(axis=0)))
    return mean, np.where(highest == lowest, 0.0, deviation)


def _members(y: Any) -> Any:
    """Return class membership as 0 and 1, `[rows, classes]`."""
    return np.eye(int(y.max()) + 1)[y]


def _above_median(X: Any) -> Any:
    """Return 1 where a value is above the median of its feature; sparse unless a median is negative."""
    if not sparse.issparse(X):
        return (np.median(X, axis=0) < X).astype(np.float64)
    columns = X.tocsc()
    columns.eliminate_zeros()
    medians = np.array(
        [_median(columns.data[a:b], X.shape[0]) for a, b in itertools.pairwise(columns.indptr)], X.dtype
    )
    if (medians < 0).any():  # zeros, which CSR does not hold, are above a negative median
        return (medians < X.toarray()).astype(np.float64)
    columns.data = (columns.data > np.repeat(medians, np.diff(columns.indptr))).astype(np.float64)
    return columns


def _median(fired: Any, n: int) -> float:
    """Return the median of `n` values that are all zero except `fired`."""
    below, zeros = int((fired < 0).sum()), n - len(fired)
    if below <= (n - 1) // 2 and n // 2 < below + zeros:
        return 0.0
    return float(np.median(np.concatenate([fired, np.zeros(zeros, fired.dtype)])))
