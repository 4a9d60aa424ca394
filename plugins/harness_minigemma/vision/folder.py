"""Atomic writing of weights: a reader sees the old file or the new one, never a part."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def save_weights(weights: Mapping[str, Tensor], path: Path, *, dtype: torch.dtype) -> None:
    """Write a safetensors file in the given precision."""
    kept = {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(kept, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)
    temporary.replace(path)
