"""Tensors of a safetensors file copied into memory piece by piece.

Tensors as the library gives them share the memory of their file, whose pages count as the process's own: a copy of all
of them takes the memory twice, and the conversion of a large embedding once more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import UnavailableError

if TYPE_CHECKING:
    import torch

PIECE = 1 << 24
"""Bytes that are read and converted at a time."""

_KINDS: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Types of torch by the names that safetensors has for them; of any other the library makes the tensor."""


def copy_tensors(
    path: Path, choose: Callable[[Collection[str]], Collection[str]], dtype: torch.dtype | None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and copy of the tensors that `choose` takes from all names, floating-point ones as `dtype` if given.

    A broken file raises whatever the library raises.
    """
    import torch
    from safetensors import safe_open

    # The library checks that the header describes the whole file, and nothing beside it.
    with safe_open(path, framework="pt") as file, path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        chosen = choose(list(file.keys()))
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            if name not in chosen:
                continue
            about = header[name]
            kind = _KINDS.get(about["dtype"])
            if kind is None or sys.byteorder != "little":
                whole = file.get_tensor(name)
                yield name, whole.to(_wanted(whole.dtype, dtype), copy=True)
                continue
            stored: torch.dtype = getattr(torch, kind)
            copy = torch.empty(about["shape"], dtype=_wanted(stored, dtype))
            stream.seek(8 + size + about["data_offsets"][0])
            _read(stream, copy.reshape(-1), stored, f"{path.name}: {name}")
            yield name, copy


def _wanted(stored: torch.dtype, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and stored.is_floating_point else stored


def _read(stream: BufferedReader, flat: torch.Tensor, stored: torch.dtype, name: str) -> None:
    """Fill a vector with the numbers of type `stored` that a stream holds next."""
    import torch

    step = PIECE // stored.itemsize
    buffer = flat if flat.dtype == stored else torch.empty(min(step, len(flat)), dtype=stored)
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        read = part if buffer is flat else buffer[: len(part)]
        room: Any = read.view(torch.uint8).numpy()
        if stream.readinto(room) != len(room):
            raise UnavailableError(f"{name} ends before its last number: fetch it again")
        if read is not part:
            part.copy_(read)
