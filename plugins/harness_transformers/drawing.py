"""Random weights of an untrained model, drawn as its architecture initialises them.

Every part (an embedding, a block, a head) has its own generator, seeded with the seed and the part's name, so
that a block is the same whatever else is loaded. All weights are drawn on the CPU in float32, so that every
device and dtype starts from the same values.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import transformers
from torch import nn

from harness import UsageError, check_memory, hash_json
from harness_transformers.structure import Layout


def draw_tensors(
    name: str, skeleton: Any, layout: Layout, n_blocks: int, *, seed: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Draw the weights of embeddings and the first `n_blocks` blocks, by their names in the bare decoder."""
    tensors: dict[str, torch.Tensor] = {}
    parts = list(_needed_parts(name, skeleton, layout, n_blocks))
    _check_memory(name, [skeleton.get_submodule(part) for part in parts])
    for part in parts:
        tensors |= draw_part(name, skeleton, part, seed=seed, dtype=dtype)
    return tensors


@torch.no_grad()
def draw_part(
    name: str, skeleton: Any, part: str, *, seed: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Draw the weights of one part of a skeleton, by their names in it; keep the global generator's state.

    Raise UsageError for a weight that transformers does not initialise.
    """
    _check_memory(name, [skeleton.get_submodule(part)])
    # The skeleton keeps its full depth: some families scale initial weights with the number of blocks.
    module = copy.deepcopy(skeleton.get_submodule(part)).to_empty(device="cpu")
    for parameter in module.parameters():
        parameter.fill_(torch.nan)  # what stays NaN has not been initialised
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(hash_json({"seed": seed, "part": part})[:16], 16))
        _initialize(skeleton, module)
    for key, parameter in module.named_parameters():
        if torch.isnan(parameter).any():
            raise _not_initialised(name, f"{part}.{key}")
    return {f"{part}.{key}": tensor.to(dtype) for key, tensor in module.state_dict().items()}


def _check_memory(name: str, modules: Iterable[nn.Module]) -> None:
    n_numbers = sum(parameter.numel() for module in modules for parameter in module.parameters())
    check_memory(4 * n_numbers, f"the random weights of model '{name}'")


def _initialize(model: Any, module: nn.Module) -> None:
    """Initialise a module as `initialize_weights` of transformers does a whole model: children first."""
    for child in module.children():
        _initialize(child if isinstance(child, transformers.PreTrainedModel) else model, child)
    model._init_weights(module)


def _needed_parts(name: str, skeleton: nn.Module, layout: Layout, n_blocks: int) -> Iterable[str]:
    needed = (part for part, _ in skeleton.named_children() if part in layout.parts)
    return (one for part in needed for one in _split(name, skeleton, part, layout, n_blocks))


def _split(name: str, skeleton: nn.Module, part: str, layout: Layout, n_blocks: int) -> Iterator[str]:
    """Yield the part itself; if it contains the list of blocks, the first blocks and the parts beside them."""
    if part == layout.blocks:
        yield from (f"{part}.{number}" for number in range(n_blocks))
    elif layout.blocks.startswith(f"{part}."):
        module = skeleton.get_submodule(part)
        for key, _ in module.named_parameters(recurse=False):
            raise _not_initialised(name, f"{part}.{key}")
        for child, _ in module.named_children():
            yield from _split(name, skeleton, f"{part}.{child}", layout, n_blocks)
    else:
        yield part


def _not_initialised(name: str, weight: str) -> UsageError:
    return UsageError(
        f"model '{name}' cannot have random_weights: transformers {transformers.__version__} does not say how "
        f"{weight} begins"
    )
