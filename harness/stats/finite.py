"""Check of what plugins compute: one row for each row, and only finite numbers. Nothing else enters a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.errors import PluginResultError

if TYPE_CHECKING:
    from harness.api.data import Matrix

NameRow = Callable[[int], str]
"""Description of a row by its number, as messages write it: `example '1f0c…'`."""


def name_row(row: int) -> str:
    """Describe a row of which only the number is known."""
    return f"row {row}"


def check_rows(
    matrix: Matrix,
    n_rows: int,
    *,
    owner: str,
    name: NameRow = name_row,
    columns: int | None = None,
    used: Sequence[int] | None = None,
) -> None:
    """Raise PluginResultError unless `matrix` has `n_rows` rows, of `columns` features if given, all finite numbers.

    `owner` describes the plugin's offer that made it. Rows that are not `used` may hold anything; by default all are.
    """
    shape = tuple(np.shape(matrix))
    if len(shape) != 2 or shape[0] != n_rows or columns not in (None, shape[1]):
        wanted = f"{n_rows} rows" if columns is None else f"shape ({n_rows}, {columns})"
        raise PluginResultError(f"{owner} returned values of shape {shape}, not {wanted}: mend the plugin")
    dtype = np.dtype(getattr(matrix, "dtype", object))
    if dtype.kind not in "biuf":
        raise PluginResultError(f"{owner} returned values of type {dtype}, not real numbers: mend the plugin")
    row = find_row(matrix)
    if row is not None and used is not None:
        place = find_row(matrix[list(used)])
        row = None if place is None else used[place]
    if row is not None:
        raise not_finite(owner, name(row))


def not_finite(owner: str, row: str) -> PluginResultError:
    """Return the error for a row, by its description, in which `owner` returned NaN or infinity."""
    return PluginResultError(
        f"{owner} returned a value that is NaN or infinite for {row}: mend the plugin, or leave it out"
    )


def find_row(matrix: Matrix) -> int | None:
    """Return the first row that holds a value which is no finite number; None where all are.

    The cost is one pass over the stored values.
    """
    from scipy import sparse

    made: Any = sparse.csr_array(matrix) if sparse.issparse(matrix) else np.asarray(matrix)
    values: np.ndarray[Any, Any] = made.data if sparse.issparse(made) else made
    if values.dtype.kind in "biu":
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum is finite only where every value is, and takes half the time of a mask; a large one may overflow.
        if np.isfinite(values.sum()):
            return None
    bad = ~np.isfinite(values)
    if not bad.any():
        return None
    if sparse.issparse(made):
        return int(np.searchsorted(made.indptr, np.argmax(bad), side="right")) - 1
    return int(np.argmax(bad.any(axis=1)))
