"""A parameter in, the same out if it is what was wanted."""

from __future__ import annotations

from typing import Any


def require_positive(name: str, value: Any) -> float:
    """A number above zero; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name}={value} must be a positive number")
    return float(value)


def require_count(name: str, value: Any) -> int:
    """A whole number above zero; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value} must be a whole number, at least 1")
    return value
