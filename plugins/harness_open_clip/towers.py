"""A checkpoint in, its towers out: without memory, filled with its weights, or drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import _build_text_tower, _build_vision_tower
from torch import nn

from harness import MissingError, UsageError, hash_json
from harness_open_clip.references import Checkpoint
from harness_open_clip.structure import Layout, truncate, unsaved_buffers

LARGEST = 2**53 - 1
"""Seeds beyond this have no exact JSON."""
UNUSED = ("position_ids",)
"""Last parts of names that older checkpoints hold and nothing reads."""


def build_vision(checkpoint: Checkpoint, device: str = "meta") -> nn.Module:
    """The vision tower as its architecture begins, in evaluation mode; MissingError when its configuration is broken.
    The global generator stays as it was.
    """
    config = {**checkpoint.model["vision_cfg"], "timm_model_pretrained": False}
    return _build(checkpoint, _build_vision_tower, config, device)


def build_text(checkpoint: Checkpoint, device: str = "meta") -> nn.Module:
    """The text tower, likewise."""
    config = {**checkpoint.model["text_cfg"], "hf_model_pretrained": False}
    return _build(checkpoint, _build_text_tower, config, device)


def load_vision(
    checkpoint: Checkpoint, layout: Layout, n_blocks: int, *, seed: int | None, dtype: torch.dtype
) -> nn.Module:
    """The first `n_blocks` blocks of the vision tower and what stands around them, on the CPU; with a seed, drawn."""

    def shorten(tower: nn.Module) -> nn.Module:
        truncate(tower, layout, n_blocks)
        return tower

    if seed is not None:
        return _checked(checkpoint.name, shorten(_draw(checkpoint, build_vision, seed)), dtype)
    known = frozenset(build_vision(checkpoint).state_dict())
    return _fill(
        checkpoint, lambda device: shorten(build_vision(checkpoint, device)), "visual.", known, dtype
    )


def load_text(checkpoint: Checkpoint, *, seed: int | None, dtype: torch.dtype) -> tuple[nn.Module, float]:
    """The text tower on the CPU, and the factor of its cosines, `exp(logit_scale)`; with a seed, as they begin."""
    if seed is not None:
        begins = float(checkpoint.model.get("init_logit_scale", math.log(1 / 0.07)))
        return _checked(checkpoint.name, _draw(checkpoint, build_text, seed), dtype), math.exp(begins)
    with _weights(checkpoint) as file:
        stored = set(file.keys())
        if "logit_scale" not in stored:
            raise _lacks(checkpoint.name, "logit_scale")
        scale = float(file.get_tensor("logit_scale").double().exp())
    # Classes of open_clip that have no text tower of their own hold its parts beside the vision tower.
    prefix = "text." if any(key.startswith("text.") for key in stored) else ""
    known = frozenset(build_text(checkpoint).state_dict())
    tower = _fill(checkpoint, lambda device: build_text(checkpoint, device), prefix, known, dtype)
    return tower, scale


def check_seed(name: str, seed: Any) -> None:
    """UsageError unless `seed` is a whole number that JSON can hold, or None."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST):
        raise UsageError(
            f"model '{name}' takes random_weights, a seed, from 0 to {LARGEST} or none at all, not {seed!r}"
        )


def _build(checkpoint: Checkpoint, factory: Callable[..., nn.Module], config: Any, device: str) -> nn.Module:
    model = checkpoint.model
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return factory(model["embed_dim"], config, model.get("quick_gelu", False)).eval()
    except ImportError as error:
        raise MissingError(f"model '{checkpoint.name}' needs a package: {error}") from error
    except Exception as error:  # whatever open_clip makes of a broken or unknown configuration
        raise MissingError(
            f"model '{checkpoint.name}': open_clip {open_clip.__version__} cannot build it from its configuration: "
            f"{str(error).strip() or type(error).__name__}"
        ) from error


def _draw(checkpoint: Checkpoint, build: Callable[[Checkpoint, str], nn.Module], seed: int) -> nn.Module:
    """A tower as its architecture begins. All of it is drawn, on the CPU in float32, so that a block is the same
    however many are kept, and devices and dtypes see the same weights, rounded or not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(hash_json({"seed": seed, "part": build.__name__})[:16], 16))
        return build(checkpoint, "cpu")


def _fill(
    checkpoint: Checkpoint,
    build: Callable[[str], nn.Module],
    prefix: str,
    known: frozenset[str],
    dtype: torch.dtype,
) -> nn.Module:
    """What `build` makes on a device, with the weights whose names begin with `prefix`; `known` are the names of the
    whole tower.
    """
    tower = build("meta")
    with _weights(checkpoint) as file:
        stored = set(file.keys())
        _check_known(checkpoint.name, stored, prefix, known)
        tensors = {key: file.get_tensor(prefix + key) for key in tower.state_dict() if prefix + key in stored}
    for key, wanted in tower.state_dict().items():
        given = tensors.get(key)
        if (
            given is None
            or given.shape != wanted.shape
            or given.is_floating_point() != wanted.is_floating_point()
        ):
            raise _lacks(checkpoint.name, prefix + key)
    if unsaved_buffers(tower):
        tower = build("cpu")
    tower.load_state_dict(tensors, assign=True)
    return _checked(checkpoint.name, tower, dtype)


@contextmanager
def _weights(checkpoint: Checkpoint) -> Iterator[Any]:
    """The weight file, open; MissingError when it is broken."""
    from safetensors import SafetensorError, safe_open

    path: Path = checkpoint.files.weights()
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise MissingError(
            f"model '{checkpoint.name}': {path.name} is broken ({error}): delete it and fetch it again"
        ) from error


def _check_known(name: str, stored: set[str], prefix: str, known: frozenset[str]) -> None:
    """MissingError for a weight of these parts that the configuration has no place for: it is of another model."""
    parts = {key.split(".")[0] for key in known}
    for key in sorted(stored):
        own = key.removeprefix(prefix)
        if not key.startswith(prefix) or own.split(".")[0] not in parts or own.endswith(UNUSED):
            continue
        if own not in known:
            raise MissingError(
                f"model '{name}': its weights hold {key}, for which its configuration has no place: fetch a "
                f"checkpoint that fits"
            )


def _lacks(name: str, weight: str) -> MissingError:
    return MissingError(
        f"model '{name}': its weights lack {weight}, or have it in another shape or kind of number than its "
        f"configuration says: fetch a checkpoint that fits"
    )


def _checked(name: str, tower: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The tower in a dtype; MissingError for a weight that is not finite there."""
    tower = tower.to(dtype).eval()
    for key, parameter in tower.named_parameters():
        if not torch.isfinite(parameter).all():
            raise MissingError(
                f"model '{name}': {key} has values that are not finite in {str(dtype).removeprefix('torch.')}: "
                f"fetch the weights again, or use another dtype"
            )
    return tower
