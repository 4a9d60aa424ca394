"""Results of plugins as plain arrays, so that two of them can be compared and one can be hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.testing.check import CheckFailed

CLOSE = 1e-4
"""Largest difference, as a share of the largest value, that rounding explains: sums of floats in another order."""


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return a tensor, a sparse or dense matrix, or a sequence of numbers as a dense array of its own."""
    if hasattr(value, "toarray"):
        value = value.toarray()
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # `numpy`, for what numpy does itself is a warning, which is an error in some people's tests.
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.array(value)


def same(one: Any, other: Any) -> bool:
    """Return True if two results are equal up to rounding; values that are not finite equal themselves."""
    first, second = as_array(one), as_array(other)
    if first.shape != second.shape:
        return False
    if first.dtype.kind not in "fiub" or second.dtype.kind not in "fiub":
        return bool((first == second).all())
    first, second = first.astype(np.float64), second.astype(np.float64)
    finite = np.abs(first[np.isfinite(first)])
    scale = max(1e-6, float(finite.max())) if finite.size else 1.0
    return bool(np.allclose(first, second, rtol=CLOSE, atol=CLOSE * scale, equal_nan=True))


def check_same(one: Any, other: Any, sentence: str) -> None:
    """Raise CheckFailed with `sentence`, and where the first difference is, unless two results are the same."""
    if same(one, other):
        return
    first, second = as_array(one), as_array(other)
    if first.shape != second.shape:
        raise CheckFailed(f"{sentence}: shapes are {list(first.shape)} and {list(second.shape)}")
    raise CheckFailed(f"{sentence}{_first_difference(first, second)}")


def _first_difference(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> str:
    for place in np.ndindex(first.shape):
        if not same(first[place], second[place]):
            at = f" at {list(place)}" if place else ""
            return f": {first[place]} and {second[place]}{at}"
    return ""


def digest(results: Any) -> str:
    """Return a hash of nested results, with numbers rounded to four digits of the largest one in their array."""
    hashed = hashlib.sha256()
    for part in _parts(results):
        hashed.update(part)
    return hashed.hexdigest()[:16]


def _parts(results: Any) -> Iterator[bytes]:
    if isinstance(results, Mapping):
        for key in sorted(results, key=str):
            yield str(key).encode()
            yield from _parts(results[key])
    elif isinstance(results, str) or results is None:
        yield str(results).encode()
    elif isinstance(results, Sequence) and not _is_numbers(results):
        for one in results:
            yield from _parts(one)
    else:
        array = as_array(results)
        yield str(array.shape).encode()
        yield _rounded(array)


def _is_numbers(results: Sequence[Any]) -> bool:
    return all(isinstance(one, bool | int | float) for one in results)


def _rounded(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.kind != "f":
        return array.astype(str).tobytes()
    finite = np.abs(array[np.isfinite(array)])
    unit = (float(finite.max()) if finite.size else 1.0) * 1e-3 or 1.0
    # +0.0 so that zero has one sign.
    rounded: np.ndarray[Any, Any] = np.round(np.nan_to_num(array.astype(np.float64)) / unit) + 0.0
    return f"{unit:.2e}".encode() + rounded.tobytes()
