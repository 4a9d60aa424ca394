"""Cases of sparsify: its sparse coders with random weights, saved and loaded by the library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from interop.case import Case

FORMAT = "sparsify"
LIBRARY = "eai-sparsify"
GOLDEN = "sparsify"

D_IN, LAYER = 8, 3


def cases(folder: Path) -> Iterator[Case]:
    torch.manual_seed(0)
    yield _case(folder / "topk", "topk", {"k": 5, "expansion_factor": 3})
    yield _case(folder / "latents", "topk, num_latents", {"k": 5, "num_latents": 20}, golden=False)
    yield _case(folder / "groupmax", "groupmax", {"k": 6, "expansion_factor": 3, "activation": "groupmax"})
    raw = {"k": 5, "expansion_factor": 3, "normalize_decoder": False}
    yield _case(folder / "raw", "topk, decoder not normalised", raw, golden=False)
    yield _case(folder / "half", "topk, bfloat16", {"k": 5, "expansion_factor": 3}, dtype=torch.bfloat16)


def _case(
    folder: Path,
    name: str,
    settings: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
    golden: bool = True,
) -> Case:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # which would need a GPU to decode
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(D_IN, SparseCoderConfig(**settings), dtype=dtype)
    for parameter in coder.parameters():
        parameter.data = torch.randn(parameter.shape).to(dtype)
    place = folder / f"layers.{LAYER}"
    coder.save_to_disk(place)
    # In float32, as the harness computes: the library keeps the type of the file.
    loaded = SparseCoder.load_from_disk(place).float()
    x = 2 * torch.randn(6, D_IN) + 1
    with torch.no_grad():
        values, features, _ = loaded.encode(x)
        rebuilt = loaded.decode(values, features)
    dense = torch.zeros(len(x), loaded.num_latents).scatter(1, features, values)
    return Case(
        name=name, path=place, site=f"resid_post.{LAYER}", x=x, features=dense, rebuilt=rebuilt, golden=golden
    )
