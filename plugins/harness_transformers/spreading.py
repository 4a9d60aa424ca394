"""Models whose weights do not fit on one GPU, spread over all that the process sees.

A model is spread where the device is plain `cuda`, several GPUs are visible, and its weights take more than
WEIGHTS_SHARE of what is free on the first. Blocks stay whole, fill the GPUs in order and are joined by the hooks of the
library accelerate, as a `device_map` of transformers is. Inputs and activations are on the first GPU, where encoders
are. No machine with several GPUs was at hand: tests spread over the CPU and over a device that is pretended.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from harness import UnavailableError

WEIGHTS_SHARE = 0.7
"""Share of a GPU's free memory that weights may take: the rest is for encoders, activations and pooled rows."""

INSTALL = "pip install 'sae-harness[big]'"


def put(name: str, model: nn.Module, device: str) -> None:
    """Move a model to a device, or spread it over several GPUs.

    Raise UnavailableError where it has to be spread and the library for that is missing, or the GPUs lack room.
    """
    free = visible(device)
    if len(free) < 2 or weigh(model) <= WEIGHTS_SHARE * next(iter(free.values())):
        model.to(device)
        return
    need = f"model '{name}' has {weigh(model) / 1e9:,.1f} GB of weights, more than one GPU here takes"
    if importlib.util.find_spec("accelerate") is None:
        raise UnavailableError(f"{need}, and is spread over {len(free)} by the library accelerate: {INSTALL}")
    places = assign(model, {one: int(WEIGHTS_SHARE * size) for one, size in free.items()})
    if places is None:
        raise UnavailableError(
            f"{need}, and its blocks do not fit in {WEIGHTS_SHARE:.0%} of the "
            f"{', '.join(f'{size / 1e9:,.1f}' for size in free.values())} GB that are free on {len(free)}, with "
            f"embeddings on the first: use more GPUs, a site of an earlier layer, or dtype=bfloat16"
        )
    spread(model, places)


def visible(device: str) -> Mapping[str, int]:
    """Return the free bytes of each GPU over which a model may be spread; none for a device with a number."""
    if device != "cuda":
        return {}
    return {f"cuda:{n}": torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())}


def weigh(model: nn.Module) -> int:
    """Return the bytes of weights and buffers, each counted once."""
    return sum(one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers()))


def assign(model: nn.Module, rooms: Mapping[str, int]) -> dict[str, str] | None:
    """Return the device of each part of a model, by its name: devices take parts in order, blocks whole.

    `rooms` are bytes by device, in order. None where the parts do not fit, or embeddings not on the first device.
    """
    from accelerate.utils import infer_auto_device_map

    names = list(rooms)
    blocks = {
        type(block).__name__ for one in model.modules() if isinstance(one, nn.ModuleList) for block in one
    }
    places: Mapping[str, Any] = infer_auto_device_map(
        model, max_memory=dict(enumerate(rooms.values())), no_split_module_classes=sorted(blocks)
    )
    # What fits nowhere is put on "disk", which would be read again in every batch.
    if any(not isinstance(place, int) for place in places.values()):
        return None
    # Models of transformers make masks where embeddings are, of what came in: PaliGemma fails on two devices.
    embeddings = [name for name, one in model.named_modules() if isinstance(one, nn.Embedding)]
    apart = [part for part, place in places.items() if place and _holds(part, embeddings)]
    return None if apart else {part: names[place] for part, place in places.items()}


def _holds(part: str, modules: Sequence[str]) -> bool:
    return not part or any(f"{module}.".startswith(f"{part}.") for module in modules)


def spread(model: nn.Module, places: Mapping[str, str]) -> None:
    """Move the parts of a model to their devices, and let its forward pass move activations between them."""
    from accelerate import dispatch_model

    # Without a main device accelerate takes any of them, in the order of a set.
    dispatch_model(model, dict(places), main_device=next(iter(places.values())), force_hooks=True)
