"""A GGUF file: its metadata and its table of tensors, read without the tensors, and one tensor at a time as float32.

The package gguf has a reader too, which takes half a minute and 700 MB for the 262,144 tokens of a Gemma: it keeps each
of them as several arrays. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from harness import ParseError, UnavailableError, parsing

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"GGUF"
"""First bytes of a file."""
VERSIONS = (2, 3)
"""Versions of the format that are read; the first counted in 32 bits, and no file of it is in use."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of a value of fixed size → its code in `struct`."""
_STRING, _ARRAY = 8, 9
_LONGEST = 1_000_000
"""Limit in bytes on a text in the metadata that is kept; a chat template has some thousand."""
_MOST_DIMENSIONS = 4
_MOST_KEPT = 10_000
"""Limit on the entries of an array that is kept; longer ones are vocabularies."""
_PIECE = 1 << 18
"""Bytes of a tensor that are dequantised at once."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """Value of the metadata, with the type that the file gives it; of a long array only `count`, its length."""

    kind: int
    value: Any
    of: int | None = None
    """Type of the entries of an array."""
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Tensor of the file: its shape, rows first, the type of its numbers, and where its bytes begin and how many."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    bytes: int

    @property
    def kind_name(self) -> str:
        """Name of the type of its numbers: F32, Q4_K, …"""
        from gguf import GGMLQuantizationType

        return str(GGMLQuantizationType(self.kind).name)


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """Opened file: metadata by key, and tensors by name."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, Stored]

    def get(self, key: str) -> Any:
        """Return the value of a key; None without one, and for a long array."""
        return self.metadata[key].value if key in self.metadata else None

    @property
    def architecture(self) -> str:
        """Name of the architecture as llama.cpp has it."""
        return str(self.get("general.architecture"))

    def read(self, stored: Stored) -> np.ndarray[Any, Any]:
        """Return a tensor as float32, dequantised piece by piece. Raise UnavailableError for an unknown type."""
        import numpy as np
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

        kind = GGMLQuantizationType(stored.kind)
        values, size = GGML_QUANT_SIZES[kind]
        found = np.empty(math.prod(stored.shape), dtype=np.float32)
        step = max(1, _PIECE // size)  # blocks
        with self.path.open("rb") as file:
            file.seek(stored.start)
            for first in range(0, stored.bytes // size, step):
                raw = file.read(min(step, stored.bytes // size - first) * size)
                blocks = np.frombuffer(raw, dtype=np.uint8).reshape(1, -1)
                part = quants.dequantize(blocks, kind)
                found[first * values : first * values + part.size] = part.reshape(-1)
        return found.reshape(stored.shape)


def open_gguf(name: str, path: Path) -> GgufFile:
    """Read the metadata and the table of tensors of the model `name`.

    Raise UnavailableError for a file that is not whole, or of a kind that is not read.
    """
    with (
        parsing(f"model '{name}': the GGUF file cannot be read", hint="fetch it again"),
        path.open("rb") as file,
    ):
        reader = _Reader(name, file, os.fstat(file.fileno()).st_size)
        if reader.take(4) != MAGIC:
            raise ParseError("it does not begin with GGUF")
        if (version := reader.number("I")) not in VERSIONS:
            raise ParseError(f"it says version {version}, and those read are {VERSIONS}")
        n_tensors, n_values = reader.number("Q"), reader.number("Q")
        metadata = dict(reader.entry() for _ in range(n_values))
        if not isinstance(metadata.get("general.architecture", Value(kind=0, value=0)).value, str):
            raise ParseError("it has no general.architecture")
        alignment = int(metadata["general.alignment"].value) if "general.alignment" in metadata else 32
        rows = [reader.tensor() for _ in range(n_tensors)]
        start = -(-file.tell() // alignment) * alignment
        tensors = {row[0]: _place(name, row, start, reader.size) for row in rows}
        if len(tensors) < len(rows):
            raise ParseError("two of its tensors have one name")
    return GgufFile(path=path, metadata=metadata, tensors=tensors)


def _place(name: str, row: tuple[str, tuple[int, ...], int, int], start: int, size: int) -> Stored:
    """Return a tensor of the table; raise UnavailableError where its bytes are not in the file or cannot be read."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    tensor, shape, kind, offset = row
    try:
        known = GGMLQuantizationType(kind)
        values, block = GGML_QUANT_SIZES[known]
    except (ValueError, KeyError):
        raise ParseError(
            f"its tensor {tensor} is of type {kind}, which the package gguf does not know"
        ) from None
    try:  # gguf knows the sizes of more types than it can turn into numbers; asked before gigabytes are read
        quants.dequantize(np.zeros((1, block), dtype=np.uint8), known)
    except NotImplementedError:
        raise UnavailableError(
            f"model '{name}': its tensor {tensor} is of type {known.name}, which the package gguf cannot turn into "
            f"numbers: take a file of another quantisation"
        ) from None
    if not shape or shape[-1] % values:
        raise ParseError(f"its tensor {tensor} has the shape {shape}, which {known.name} does not divide")
    n_bytes = math.prod(shape) // values * block
    if start + offset + n_bytes > size:
        raise ParseError(f"it ends within its tensor {tensor}")
    return Stored(name=tensor, shape=shape, kind=kind, start=start + offset, bytes=n_bytes)


class _Reader:
    """Reader of the values of the file of a model one after another; it raises ParseError at the end of the file."""

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        self.name, self.file, self.size = name, file, size

    def take(self, count: int) -> bytes:
        if count > self.size or len(data := self.file.read(count)) < count:
            raise ParseError("it ends early")
        return data

    def number(self, code: str) -> Any:
        code = f"<{code}"
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        length = self.number("Q")
        if length > _LONGEST:
            if length > self.size - self.file.tell():
                raise ParseError("it ends early")
            raise UnavailableError(
                f"model '{self.name}': a text in the metadata of its GGUF file has {length:,} bytes, and at most "
                f"{_LONGEST:,} are read: name the same model with safetensors"
            )
        return self.take(length).decode("utf-8")

    def entry(self) -> tuple[str, Value]:
        key, kind = self.text(), self.number("I")
        if kind == _ARRAY:
            return key, self._array()
        return key, Value(kind=kind, value=self._one(kind))

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Return name, shape with rows first, type and offset."""
        name, n_dimensions = self.text(), self.number("I")
        if n_dimensions > _MOST_DIMENSIONS:
            raise ParseError(f"its tensor {name} has {n_dimensions} dimensions")
        shape = tuple(reversed([self.number("Q") for _ in range(n_dimensions)]))
        return name, shape, self.number("I"), self.number("Q")

    def _one(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind not in _SCALARS:
            raise ParseError(f"a value in it is of the unknown type {kind}")
        return self.number(_SCALARS[kind])

    def _array(self) -> Value:
        of, count = self.number("I"), self.number("Q")
        if count > self.size:
            raise ParseError("it ends early")
        if count <= _MOST_KEPT and of != _ARRAY:
            return Value(kind=_ARRAY, of=of, value=list(self._several(of, count)), count=count)
        if of in _SCALARS:
            self.file.seek(count * struct.calcsize(f"<{_SCALARS[of]}"), os.SEEK_CUR)
        else:
            for _ in self._several(of, count):
                pass
        return Value(kind=_ARRAY, of=of, value=None, count=count)

    def _several(self, kind: int, count: int) -> Iterator[Any]:
        return (self._one(kind) for _ in range(count))
