"""Alignment by ridge regression: each source feature is a linear map of all target features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

import harness
from harness_alignments.standard import (
    BLOCK_CELLS,
    Standard,
    check_pair,
    check_width,
    multiply,
    spread,
    standardise,
)

GRID = tuple(10.0**power for power in range(-6, 4))
"""Penalties tried, divided by the number of rows; 1 is then the variance of one standardised feature."""

LARGEST = 1 << 13
"""Limit of the smaller of rows and varying target features.

Their Gram matrix then takes 512 MiB in float64.
"""


class LeastSquares:
    """Ridge regression (Hoerl & Kennard 1970) from standardised target features to centred source features.

    It minimises `|S − ZW|² + ridge |W|²` in closed form, from the eigenvectors of `Z'Z` or `ZZ'`, whichever
    is smaller. Neither `W [b, a]` nor a dense copy of CSR is made.

    Without a `ridge`, one penalty for all source features is chosen from GRID by generalised cross-validation
    (Golub, Heath & Wahba 1979, "Generalized cross-validation as a method for choosing a good ridge
    parameter"); ties go to the smallest.
    """

    def __init__(self, *, ridge: float | None) -> None:
        number = isinstance(ridge, int | float) and not isinstance(ridge, bool)
        if ridge is not None and not (number and 0 < ridge < float("inf")):
            raise ValueError(f"ridge={ridge} must be a positive number, or null to have it chosen")
        self.ridge = ridge

    def fit(self, source: Any, target: Any) -> LeastSquares:
        """Fit to `source [rows, a]` and `target [rows, b]`, dense or CSR.

        Raise ValueError if the numbers of rows differ or values are not finite, and UnavailableError if both the
        rows and the varying target features are more than LARGEST.
        """
        source, target = check_pair(source, target)
        self.width = target.shape[1]
        self.directions = _find_directions(standardise(target))
        self.mean, _ = spread(source)
        self.parts, explained, total = _project(source, self.mean, self.directions.rows)
        n, squares = len(self.directions.rows), self.directions.squares
        # Where the directions span all centred rows the residual is 0. The difference would be rounding error, which a
        # large mean makes large.
        unexplained = max(0.0, total - explained.sum()) if len(squares) < n - 1 else 0.0
        self.chosen = self.ridge or min(
            (n * share for share in GRID),
            key=lambda ridge: _cross_validate(ridge, squares, explained, unexplained, n),
        )
        self.shrink = squares / (squares + self.chosen)
        return self

    def transform(self, target: Any) -> Any:
        """Map `[n, b]` to dense `[n, a]` in float32."""
        along = self.directions.place(check_width(target, self.width)) * self.shrink
        mapped: Any = along.astype(np.float32) @ self.parts
        mapped += self.mean.astype(np.float32)
        return mapped


@dataclass(frozen=True, kw_only=True)
class _Directions:
    """Singular value decomposition of the standardised target `[rows, varying]`, without null directions.

    `squares [m]` are the squared singular values, `rows [rows, m]` the left singular vectors. A new row is
    projected by multiplying it with `kernel` (None: identity) and then `axes`, and subtracting `origin` along
    the axes.
    """

    standard: Standard
    squares: Any
    rows: Any
    kernel: Any
    origin: Any
    axes: Any

    def place(self, X: Any) -> Any:
        """Return the coordinates `[n, m]` of the rows of `X [n, b]` along the left singular vectors."""
        scaled = self.standard.scale(X)
        if self.kernel is not None:
            scaled = multiply(scaled, self.kernel)
        return multiply(scaled, self.axes) - self.origin @ self.axes


def _find_directions(standard: Standard) -> _Directions:
    """Return the decomposition, from the smaller of the two Gram matrices.

    Raise UnavailableError if both sides are larger than LARGEST.
    """
    scaled, centre = standard.scaled, standard.centre
    n, width = scaled.shape
    if min(n, width) > LARGEST:
        raise harness.UnavailableError(
            f"alignment 'least_squares' takes at most {LARGEST:,} training rows or target features, and here are "
            f"{n:,} and {width:,}: read fewer rows (-L), or use alignment 'correlation'"
        )
    if width <= n:
        squares, vectors = _decompose(multiply(scaled.T, scaled) - n * np.outer(centre, centre))
        axes = vectors / np.sqrt(squares)
        rows = multiply(scaled, axes) - centre @ axes
        return _Directions(
            standard=standard, squares=squares, rows=rows, kernel=None, origin=centre, axes=axes
        )
    kernel = scaled.T
    products = multiply(scaled, kernel)
    origin = products.mean(axis=0)
    squares, rows = _decompose(products - origin - origin[:, None] + origin.mean())
    return _Directions(
        standard=standard, squares=squares, rows=rows, kernel=kernel, origin=origin, axes=rows / squares
    )


def _decompose(gram: Any) -> tuple[Any, Any]:
    """Return eigenvalues and eigenvectors (columns) without those that are 0 up to rounding."""
    values, vectors = np.linalg.eigh(gram)
    least = len(gram) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return values[values > least], vectors[:, values > least]


def _project(source: Any, mean: Any, rows: Any) -> tuple[Any, Any, float]:
    """Project the centred source on each direction.

    Return the projections `[m, a]` in float32, their squares summed over features `[m]`, and the sum of
    squares of the centred source.
    """
    n, a = source.shape
    parts = np.empty((rows.shape[1], a), dtype=np.float32)
    explained, total = np.zeros(rows.shape[1]), -n * float(mean @ mean)
    columns = source.tocsc() if sparse.issparse(source) else source
    step = max(1, BLOCK_CELLS // n)
    for start in range(0, a, step):
        part = slice(start, start + step)
        block = columns[:, part]
        found = multiply(rows.T, block)  # the same as of centred rows: each direction sums to 0 over rows
        parts[:, part] = found
        explained += np.square(found).sum(axis=1)
        total += float(np.square(block.data if sparse.issparse(block) else block, dtype=np.float64).sum())
    return parts, explained, total


def _cross_validate(ridge: float, squares: Any, explained: Any, unexplained: float, n: int) -> float:
    """Return the generalised cross-validation score up to a constant factor.

    It is the squared residual over the squared residual degrees of freedom, after one is spent on the mean.
    """
    kept = ridge / (squares + ridge)
    free = n - 1 - len(squares) + kept.sum()
    return float((unexplained + (kept**2 * explained).sum()) / free**2) if free else 0.0
