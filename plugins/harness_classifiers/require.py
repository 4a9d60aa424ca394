"""Checks of classifier parameters."""

from __future__ import annotations

from typing import Any


def require_positive(name: str, value: Any) -> float:
    """Return `value` as a float; raise ValueError unless it is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name}={value} must be a positive number")
    return float(value)


def require_count(name: str, value: Any) -> int:
    """Return `value`; raise ValueError unless it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value} must be a whole number, at least 1")
    return value


def require_classes(y: Any) -> None:
    """Raise ValueError, as classifiers of scikit-learn do, where all training rows are of one class."""
    if y.min() == y.max():
        raise ValueError("all training rows are of one class, so there is nothing to tell apart")
