"""Tensors of one file by name, read one at a time: safetensors, or a state dict of PyTorch without Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import harness
from harness_saes.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

_FLOATS = ("F64", "F32", "F16", "BF16")
"""Accepted types, as safetensors names them."""


class Tensors(Protocol):
    """Tensors of an open file."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor by name."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Entries of a state dict that are no tensors, and as Python numbers tensors of no dimension."""

    def take(self, name: str) -> torch.Tensor:
        """Return a tensor in float32 on the file's device, as a copy; raise UnavailableError if there is none, or if it
        holds no floats.
        """


@contextmanager
def open_tensors(checkpoint: Checkpoint, path: Path, device: str = "cpu") -> Iterator[Tensors]:
    """Yield the tensors of a file; raise UnavailableError if it cannot be read, or holds Python objects."""
    if path.suffix == ".safetensors":
        yield _SafeTensors(checkpoint, path, device)
    else:
        yield _StateDict(checkpoint, path, device)


class _SafeTensors:
    values: Mapping[str, Any] = {}

    def __init__(self, checkpoint: Checkpoint, path: Path, device: str) -> None:
        from safetensors import safe_open

        self.checkpoint, self.device = checkpoint, device
        self.said = f"dictionary '{checkpoint.ref}': {checkpoint.file} cannot be read"
        with harness.parsing(self.said, hint="fetch it again"):
            file: Any = safe_open(path, framework="numpy")  # of the header alone, which needs no torch
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            self.path = path
            self.shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            self.types = {name: part.get_dtype() for name, part in slices.items()}

    def take(self, name: str) -> torch.Tensor:
        self.checkpoint.require(name, self.types)
        import torch

        if self.types[name] not in _FLOATS:
            raise harness.UnavailableError(
                f"dictionary '{self.checkpoint.ref}': {name} holds {self.types[name]}, not floats"
            )
        # A copy: until then a tensor shares the memory of its file, which may be written later.
        tensor: torch.Tensor = self.file.get_tensor(name)
        return tensor.to(self.device, torch.float32, copy=True)

    @cached_property
    def file(self) -> Any:
        """The file, opened for tensors of torch."""
        from safetensors import safe_open

        with harness.parsing(self.said, hint="fetch it again"):
            return safe_open(self.path, framework="pt")


class _StateDict:
    def __init__(self, checkpoint: Checkpoint, path: Path, device: str) -> None:
        import torch

        self.checkpoint, self.device = checkpoint, device
        held = checkpoint.read(path)
        if isinstance(held, Mapping) and held.keys() == {"sae", "version"}:
            held = held["sae"]  # OpenMOSS keeps the state dict beside the version of its library
        self.held = {str(name): value for name, value in held.items()} if isinstance(held, Mapping) else {}
        tensors = {name: value for name, value in self.held.items() if isinstance(value, torch.Tensor)}
        self.shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        said = f"dictionary '{checkpoint.ref}': {checkpoint.file} cannot be read"
        with harness.parsing(said, hint="fetch it again"):
            numbers = {name: value.item() for name, value in tensors.items() if not value.shape}
        self.values = {**{name: value for name, value in self.held.items() if name not in tensors}, **numbers}

    def take(self, name: str) -> torch.Tensor:
        import torch

        found = self.checkpoint.tensor(self.held, name)
        # A copy: a memory-mapped file may be replaced while the dictionary is in use.
        return found.detach().to(self.device, torch.float32, copy=True)
