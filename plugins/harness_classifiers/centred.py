"""Products with rows that are scaled and centred, dense or CSR, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, Literal

import numpy as np
from scipy import sparse

from harness_classifiers.scale import DENSE_BYTES

DENSE_FROM = 0.18
"""Share of nonzero values from which dense products take less time than sparse ones; measured for 1 to 20 columns."""

DENSE_COVARIANCE_FROM = 0.05
"""Share of nonzero values from which a dense product of the rows with themselves takes less time than a sparse one."""

ONE_BY_ONE = 4
"""Largest number of columns whose products take less time one by one, as each reads the rows but packs nothing."""

PART_BYTES = 1 << 21
"""Bytes of dense rows that are multiplied by columns one by one and then transposed, while the cache holds them."""


class CentredRows:
    """Rows `[n, d]`, divided by one number, minus the mean of each column, which CSR rows keep apart.

    Columns of CSR in which no row has a value are left out: `columns` are the numbers of those that are read, and
    `variances [d]` theirs. Matrices `[d, k]` and `[n, k]` have the memory `order` in which products are fast.
    """

    def __init__(self, X: Any, size: float) -> None:
        n, self.n_features = X.shape
        self.columns = np.arange(self.n_features)
        cells = n * self.n_features
        self.order: Literal["C", "F"] = "F"
        if not sparse.issparse(X) or (X.nnz >= DENSE_FROM * cells and cells * 4 <= DENSE_BYTES):
            dense = X.toarray() if sparse.issparse(X) else X
            dense = dense if dense.dtype.kind == "f" else dense.astype(np.float32)
            mean = dense.mean(axis=0, dtype=np.float64)
            self._rows: Any = np.subtract(dense, mean.astype(dense.dtype), order="C")
            self._rows = np.divide(self._rows, size, out=self._rows).astype(np.float32, copy=False)
            self._transposed: Any = self._rows.T
            self._offset: Any = None
            self.mean = mean.astype(dense.dtype).astype(np.float64) / size
            self.variances = np.einsum("ij,ij->j", self._rows, self._rows, dtype=np.float64) / n
        else:
            self.order = "C"
            self._rows, self.columns = _without_empty_columns(X, size)
            self._transposed = self._rows.T  # each time, SciPy would check it anew
            self._offset = (np.asarray(self._rows.sum(axis=0, dtype=np.float64)) / n).astype(np.float32)
            self.mean = self._offset.astype(np.float64)
            squares = np.bincount(self._rows.indices, np.square(self._rows.data), len(self.columns)) / n
            self.variances = np.maximum(squares - np.square(self.mean), 0.0)
        self.shape = (n, len(self.columns))

    @property
    def is_dense(self) -> bool:
        """True if the rows are held as a dense matrix."""
        return self._offset is None

    def split(self, columns: int) -> Iterator[tuple[slice, CentredRows]]:
        """Yield parts of the rows, and where they stand, between which products with so many columns are fast."""
        if not self.is_dense or columns > ONE_BY_ONE:
            yield slice(None), self
            return
        step = max(1, PART_BYTES // (4 * self.shape[1]))
        for start in range(0, self.shape[0], step):
            part = copy(self)
            part._rows = self._rows[start : start + step]
            part._transposed, part.shape = part._rows.T, part._rows.shape
            yield slice(start, start + step), part

    def covariance(self) -> Any:
        """Return the covariance matrix `[d, d]`."""
        n, d = self.shape
        rows: Any = self._rows
        if not self.is_dense and rows.nnz >= DENSE_COVARIANCE_FROM * n * d and n * d * 4 <= DENSE_BYTES:
            rows = rows.toarray()
        made = rows.T @ rows
        made = made.toarray() if sparse.issparse(made) else made
        made /= np.float32(n)
        if self._offset is not None:
            _subtract_outer(made, self._offset, self._offset)
        return made

    def times(self, V: Any) -> Any:
        """Return the product of the rows and `V [d, k]`, `[n, k]`."""
        k = V.shape[1]
        if k <= ONE_BY_ONE:
            made = np.empty((self.shape[0], k), np.float32, order=self.order)
            for number in range(k):
                made[:, number] = self._rows @ np.ascontiguousarray(V[:, number])
        elif self.is_dense:
            made = (V.T @ self._transposed).T
        else:
            made = np.asarray(self._rows @ np.ascontiguousarray(V))
        if self._offset is not None:
            made -= self._offset @ V
        return made

    def transposed_times(self, R: Any) -> Any:
        """Return the product of the transposed rows and `R [n, k]`, `[d, k]`."""
        k = R.shape[1]
        if k <= ONE_BY_ONE:
            made = np.empty((self.shape[1], k), np.float32, order=self.order)
            for number in range(k):
                column = np.ascontiguousarray(R[:, number])
                made[:, number] = column @ self._rows if self.is_dense else self._transposed @ column
        elif self.is_dense:
            made = (R.T @ self._rows).T
        else:
            made = np.asarray(self._transposed @ np.ascontiguousarray(R))
        if self._offset is not None:
            sums = R.sum(axis=0, dtype=np.float64).astype(np.float32)
            _subtract_outer(made, self._offset, sums)
        return made


def _without_empty_columns(X: Any, size: float) -> tuple[Any, Any]:
    """Return CSR with the scaled values of `X` in float32, without its empty columns, and the numbers of the others."""
    used = np.bincount(X.indices, minlength=X.shape[1]) > 0
    used[0] |= not used.any()  # a matrix without columns cannot be multiplied
    places = (np.cumsum(used) - 1).astype(np.int32)
    columns = np.flatnonzero(used)
    values = (X.data / size).astype(np.float32)
    return sparse.csr_array((values, places[X.indices], X.indptr), shape=(X.shape[0], len(columns))), columns


def _subtract_outer(matrix: Any, column: Any, row: Any) -> None:
    """Subtract the outer product of a column and a row from a matrix, in blocks that stay in the cache."""
    step = max(1, (1 << 18) // len(row))
    for start in range(0, len(column), step):
        matrix[start : start + step] -= column[start : start + step, None] * row
