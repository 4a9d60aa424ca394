"""Vision and text towers of a checkpoint: on the meta device, with its weights, or with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import open_clip
import torch
from open_clip.model import _build_text_tower, _build_vision_tower
from torch import nn

from harness import UnavailableError, check_memory, hash_json, parsing
from harness_open_clip.references import Checkpoint
from harness_open_clip.structure import Layout, truncate, unsaved_buffers

UNUSED = ("position_ids",)
"""Ends of names that older checkpoints hold and no module reads."""


def build_vision(checkpoint: Checkpoint, device: str = "meta") -> nn.Module:
    """Build the untrained vision tower in evaluation mode; keep the global generator's state.

    Raise UnavailableError for a broken configuration.
    """
    config = {**checkpoint.model["vision_cfg"], "timm_model_pretrained": False}
    return _build(checkpoint, _build_vision_tower, config, device)


def build_text(checkpoint: Checkpoint, device: str = "meta") -> nn.Module:
    """Build the untrained text tower in evaluation mode; keep the global generator's state.

    Raise UnavailableError for a broken configuration.
    """
    config = {**checkpoint.model["text_cfg"], "hf_model_pretrained": False}
    return _build(checkpoint, _build_text_tower, config, device)


def load_vision(
    checkpoint: Checkpoint, layout: Layout, n_blocks: int, *, seed: int | None, dtype: torch.dtype
) -> nn.Module:
    """Load or, with a seed, draw the first `n_blocks` blocks of the vision tower and all parts around them."""

    def shorten(tower: nn.Module) -> nn.Module:
        truncate(tower, layout, n_blocks)
        return tower

    if seed is not None:
        return _check_finite(checkpoint.name, shorten(_draw(checkpoint, build_vision, seed)), dtype)
    known = frozenset(build_vision(checkpoint).state_dict())
    return _fill(
        checkpoint, lambda device: shorten(build_vision(checkpoint, device)), "visual.", known, dtype
    )


def load_text(checkpoint: Checkpoint, *, seed: int | None, dtype: torch.dtype) -> tuple[nn.Module, float]:
    """Load or, with a seed, draw the text tower on the CPU; return it with the factor of its cosines.

    The factor is `exp(logit_scale)`. Raise UnavailableError if the weights lack it.
    """
    if seed is not None:
        begins = float(checkpoint.model.get("init_logit_scale", math.log(1 / 0.07)))
        return _check_finite(checkpoint.name, _draw(checkpoint, build_text, seed), dtype), math.exp(begins)
    with _weights(checkpoint) as file:
        stored = set(file.keys())
        if "logit_scale" not in stored:
            raise _missing_weight(checkpoint.name, "logit_scale")
        scale = float(file.get_tensor("logit_scale").double().exp())
    # Some classes of open_clip hold the parts of the text tower directly beside the vision tower, without a prefix.
    prefix = "text." if any(key.startswith("text.") for key in stored) else ""
    known = frozenset(build_text(checkpoint).state_dict())
    tower = _fill(checkpoint, lambda device: build_text(checkpoint, device), prefix, known, dtype)
    return tower, scale


def _build(checkpoint: Checkpoint, factory: Callable[..., nn.Module], config: Any, device: str) -> nn.Module:
    model, name = checkpoint.model, checkpoint.name
    # open_clip may raise any type for a broken or unknown configuration.
    with parsing(f"model '{name}': open_clip {open_clip.__version__} cannot build it from its configuration"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device), _asking_nobody():
                return factory(model["embed_dim"], config, model.get("quick_gelu", False)).eval()
        except ImportError as error:
            raise UnavailableError(f"model '{name}' needs a package: {error}") from error
        except Exception as error:
            if not _brings_code(config.get("hf_model_name")):
                raise
            raise UnavailableError(
                f"model '{name}': its text tower '{config['hf_model_name']}' needs code of its own, which is never "
                f"run: use a model whose tower transformers knows without"
            ) from error


def _brings_code(ref: str | None) -> bool:
    """Return whether the configuration of a model of transformers names code of its own."""
    from transformers import PretrainedConfig

    try:
        return bool(ref and PretrainedConfig.get_config_dict(ref)[0].get("auto_map"))
    except Exception:  # absent or broken, as the error that asks says itself
        return False


@contextmanager
def _asking_nobody() -> Iterator[None]:
    """Let transformers refuse code of a model in the block, where it would ask on the terminal whether to run it.

    open_clip passes no `trust_remote_code=False` for the configuration of a text tower.
    """
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _draw(checkpoint: Checkpoint, build: Callable[[Checkpoint, str], nn.Module], seed: int) -> nn.Module:
    """Build an untrained tower on the CPU in float32, with weights drawn from a seed."""
    # The whole tower is drawn, on the CPU in float32: a block is then the same however many are kept, and every device
    # and dtype starts from the same values. The names build_vision and build_text are part of the seed: keep them.
    n_numbers = sum(parameter.numel() for parameter in build(checkpoint, "meta").parameters())
    check_memory(4 * n_numbers, f"the random weights of model '{checkpoint.name}'")
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
    """Build a tower on the CPU with the weights whose names begin with `prefix`.

    `known` are the names of the whole tower's weights. Raise UnavailableError unless weights and configuration
    agree.
    """
    tower = build("meta")
    with _weights(checkpoint) as file:
        stored = set(file.keys())
        _check_known(checkpoint.name, stored, prefix, known)
        # Copies: until then a tensor shares the memory of its file, which may be written later.
        tensors = {
            key: file.get_tensor(prefix + key).clone() for key in tower.state_dict() if prefix + key in stored
        }
    for key, wanted in tower.state_dict().items():
        given = tensors.get(key)
        if (
            given is None
            or given.shape != wanted.shape
            or given.is_floating_point() != wanted.is_floating_point()
        ):
            raise _missing_weight(checkpoint.name, prefix + key)
    if unsaved_buffers(tower):  # the meta device has no values for them
        tower = build("cpu")
    tower.load_state_dict(tensors, assign=True)
    return _check_finite(checkpoint.name, tower, dtype)


@contextmanager
def _weights(checkpoint: Checkpoint) -> Iterator[Any]:
    """Open the file of weights in the context; raise UnavailableError if it is broken or has changed."""
    from safetensors import safe_open

    said = f"model '{checkpoint.name}': {checkpoint.files.weights().name} is broken"
    with (
        parsing(said, hint="delete it and fetch it again"),
        checkpoint.files.reading_weights() as path,
        safe_open(path, framework="pt") as file,
    ):
        yield file


def _check_known(name: str, stored: set[str], prefix: str, known: frozenset[str]) -> None:
    """Raise UnavailableError for a weight that the configuration has no place for: it is another model's."""
    parts = {key.split(".")[0] for key in known}
    for key in sorted(stored):
        own = key.removeprefix(prefix)
        if not key.startswith(prefix) or own.split(".")[0] not in parts or own.endswith(UNUSED):
            continue
        if own not in known:
            raise UnavailableError(
                f"model '{name}': its weights hold {key}, for which its configuration has no place: fetch a "
                f"checkpoint that fits"
            )


def _missing_weight(name: str, weight: str) -> UnavailableError:
    """Return the error for a weight that is missing or has another shape or type."""
    return UnavailableError(
        f"model '{name}': its weights lack {weight}, or have it in another shape or kind of number than its "
        f"configuration says: fetch a checkpoint that fits"
    )


def _check_finite(name: str, tower: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the tower in a dtype and evaluation mode; raise UnavailableError for a weight that is not finite."""
    tower = tower.to(dtype).eval()
    for key, parameter in tower.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UnavailableError(
                f"model '{name}': {key} has values that are not finite in {str(dtype).removeprefix('torch.')}: "
                f"fetch the weights again, or use another dtype"
            )
    return tower
