"""Shard of pooled features: some rows of one matrix as the bytes of a safetensors file, and back.

Version 2, named in the header beside the number of features, keeps each number in as few bytes as hold it:

    rows     [n]             numbers of the rows, unsigned
    counts   [n, blocks]     non-zeros of each row in each block of 65,536 columns, unsigned
    indices  [non-zeros]     columns within their block, uint16, rising within a row
    values   [non-zeros]     float32

or `rows` and `dense [n, features]` where that is smaller. Shards without a version have `rows` and `indptr` in int64,
and `indices` in int32; they are read like the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.stats.finite import find_row
from harness.storage.parsing import ParseError, parsing

if TYPE_CHECKING:
    from harness.api.data import Matrix

Array = np.ndarray[Any, Any]

VERSION = 2
BREAK_EVEN = 2 / 3
"""Density from which CSR (a uint16 and a float32 for each value) is larger than dense rows."""

_BLOCK = 16
"""Bits of a column that `indices` hold; the others are those of its block."""

_MOST_BLOCKS = 256
"""Most blocks of a shard: wider matrices have one block of larger indices, as counts would take more room than that."""

_KINDS = {"U8": "<u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "I32": "<i4", "I64": "<i8", "F32": "<f4"}
"""Types of numpy by their names in a safetensors file."""

_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Rows of a matrix with `width` features: dense `values [n, width]`, or stored ones with `counts` and `indices`."""

    rows: Array
    width: int
    values: Array
    counts: Array | None = None
    indices: Array | None = None

    @property
    def lengths(self) -> Array:
        """Number of stored values of each row."""
        assert self.counts is not None
        lengths: Array = self.counts.sum(axis=1, dtype=np.int64)
        return lengths

    def write_columns(self, columns: Array) -> None:
        """Write the column of each stored value into `columns [non-zeros]`."""
        assert self.counts is not None and self.indices is not None
        columns[:] = self.indices
        n, blocks = self.counts.shape
        if blocks > 1:
            starts = np.arange(blocks, dtype=columns.dtype) << _BLOCK
            columns += np.repeat(np.tile(starts, n), self.counts.ravel().astype(np.int64))


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────


def pack(rows: Sequence[int], matrix: Matrix) -> bytes:
    """Return the bytes of a shard: `rows` [n] and their float32 values `[n, features]`."""
    from safetensors.numpy import save

    # One entry, because the library writes several in any order, and equal shards must have equal bytes.
    about = {"shard": json.dumps({"version": VERSION, "features": matrix.shape[1]})}
    return save({"rows": _narrow(np.asarray(rows, dtype=np.int64)), **_tensors(matrix)}, metadata=about)


def _tensors(matrix: Matrix) -> dict[str, Array]:
    if isinstance(matrix, np.ndarray):
        return {"dense": np.ascontiguousarray(matrix)}
    n, width = matrix.shape
    if matrix.nnz >= BREAK_EVEN * n * width:
        return {"dense": np.ascontiguousarray(matrix.toarray())}
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    lengths, blocks = np.diff(matrix.indptr), -(-width >> _BLOCK)
    if not 1 < blocks <= _MOST_BLOCKS:
        kept = np.uint16 if blocks <= 1 else np.uint32 if width <= 1 << 32 else np.uint64
        columns = matrix.indices.astype(kept)
        return {"counts": _narrow(lengths[:, None]), "indices": columns, "values": matrix.data}
    cells = np.repeat(np.arange(n) * blocks, lengths) + (matrix.indices >> _BLOCK)
    return {
        "counts": _narrow(np.bincount(cells, minlength=n * blocks).reshape(n, blocks)),
        "indices": (matrix.indices & ((1 << _BLOCK) - 1)).astype(np.uint16),
        "values": matrix.data,
    }


def _narrow(numbers: Array) -> Array:
    """Return integers in the smallest unsigned type that holds them."""
    most = numbers.max(initial=0)
    return numbers.astype(next(kind for kind in _UNSIGNED if most <= np.iinfo(kind).max))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────


def unpack(data: bytes) -> Shard:
    """Return the shard in the bytes of a file. Raise ParseError, saying what is wrong, when they hold none."""
    with parsing("holds no rows of features", kind=ParseError):
        shard = _read(*_view(data))
        is_sound = _are_rows(shard.rows) and shard.values.dtype == np.float32 and _are_values(shard)
    if not is_sound:
        raise ParseError("holds no rows of features")
    if find_row(shard.values.reshape(1, -1)) is not None:
        raise ParseError("holds values that are not finite")
    return shard


def read_header(data: bytes) -> dict[str, Any]:
    """Return the header of a safetensors file: reading from memory, the library drops its metadata."""
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))


def _view(data: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the tensors of a safetensors file and its metadata. They share the memory of the bytes, which the library
    would copy.
    """
    header = read_header(data)
    metadata: dict[str, str] = header.pop("__metadata__", {})
    begin = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, about in header.items():
        shape, place = about["shape"], begin + about["data_offsets"][0]
        kind = np.dtype(_KINDS[about["dtype"]])
        if begin + about["data_offsets"][1] != place + math.prod(shape) * kind.itemsize:
            raise ParseError(f"'{name}' has another size than its shape")
        tensors[name] = np.frombuffer(data, kind, math.prod(shape), place).reshape(shape)
    return tensors, metadata


def _read(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> Shard:
    about: dict[str, Any] = {"version": 1, **metadata}
    if "shard" in metadata:
        about = json.loads(metadata["shard"])
    if about["version"] not in (1, VERSION):
        raise ParseError(f"they have version {about['version']}")
    rows = tensors["rows"].astype(np.int64, casting="safe")
    if "dense" in tensors:
        return Shard(rows=rows, width=tensors["dense"].shape[1], values=tensors["dense"])
    indices = _unsigned(tensors["indices"])
    if about["version"] == VERSION:
        counts = tensors["counts"]
    elif tensors["indptr"][0] == 0:
        counts = np.diff(tensors["indptr"])[:, None]
    else:
        raise ParseError("their first row does not begin at the first value")
    width = int(np.int64(about["features"]))
    return Shard(rows=rows, width=width, values=tensors["values"], counts=_unsigned(counts), indices=indices)


def _unsigned(numbers: Array) -> Array:
    """Return integers as unsigned ones: those below 0 become larger than whatever they are compared with."""
    if numbers.dtype.kind not in "iu":
        raise ParseError("their places are no integers")
    unsigned: Array = numbers.view(f"u{numbers.itemsize}")
    return unsigned


def _are_rows(rows: Array) -> bool:
    """Return whether numbers of rows are from 0 on, each there once."""
    if rows.ndim != 1:
        return False
    ordered = np.sort(rows)  # ten times as fast as `unique`, for a few thousand
    return not len(rows) or bool(ordered[0] >= 0 and (np.diff(ordered) > 0).all())


def _are_values(shard: Shard) -> bool:
    """Return whether there is a value for each of the rows' columns, and columns rise within their row."""
    n, counts, indices, values = len(shard.rows), shard.counts, shard.indices, shard.values
    if counts is None or indices is None:
        return bool(values.shape == (n, shard.width))
    stored = len(indices)
    if counts.ndim != 2 or len(counts) != n or values.shape != (stored,):
        return False
    if counts.shape[1] != 1 and (counts.shape[1] != -(-shard.width >> _BLOCK) or indices.dtype != np.uint16):
        return False
    if counts.max(initial=0) > stored:  # the sum might overflow
        return False
    ends = counts.cumsum(dtype=np.int64)
    if stored != (ends[-1] if ends.size else 0):
        return False
    rises = np.ones(stored + 1, dtype=np.bool_)
    np.less(indices[:-1], indices[1:], out=rises[1:stored])
    rises[ends] = True  # where the next row or block begins
    return bool(rises.all()) and _highest(indices, counts, ends) < shard.width


def _highest(indices: Array, counts: Array, ends: Array) -> int:
    """Return the highest column of the last block, -1 where it is empty: columns of other blocks are lower."""
    n, blocks = counts.shape
    if blocks > 1:
        indices = indices[ends.reshape(n, blocks)[:, -1][counts[:, -1] > 0] - 1]
    return int(indices.max()) + ((blocks - 1) << _BLOCK) if len(indices) else -1


# ── many shards ──────────────────────────────────────────────────────────────────────────────────────────


def join(shards: Sequence[Shard]) -> Matrix:
    """Return the rows of shards of one width below one another: CSR if any of them is, with indices of 32 bits if they
    suffice.
    """
    from scipy import sparse  # a plan asks the store what it holds, and reads no features

    if all(shard.counts is None for shard in shards):
        return np.concatenate([shard.values for shard in shards])
    parts = [_to_sparse(shard) for shard in shards]
    lengths = np.concatenate([part.lengths for part in parts])
    width, indptr = shards[0].width, np.concatenate([[0], lengths.cumsum()])
    kind = np.int32 if max(indptr[-1], width) <= np.iinfo(np.int32).max else np.int64
    columns = np.empty(indptr[-1], dtype=kind)
    place = 0
    for part in parts:
        part.write_columns(columns[place : place + len(part.values)])
        place += len(part.values)
    values = np.concatenate([part.values for part in parts])
    return sparse.csr_array((values, columns, indptr.astype(kind)), shape=(len(lengths), width))


def _to_sparse(shard: Shard) -> Shard:
    """Return a shard with the zeros of a dense one left out."""
    from scipy import sparse

    if shard.counts is not None:
        return shard
    made = sparse.csr_array(shard.values)
    return replace(shard, values=made.data, counts=np.diff(made.indptr)[:, None], indices=made.indices)
