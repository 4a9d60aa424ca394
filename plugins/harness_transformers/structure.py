"""Blocks and sites of a model, found in its module tree rather than by model name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from harness import Site, UsageError

if TYPE_CHECKING:
    from torch import nn

KINDS = ("attn_out", "attn_z", "mlp_out", "resid_post")
"""Site kinds of a decoder."""
NEVER_TRUNCATED = ("num_kv_shared_layers", "hidden_size_per_layer_input")
"""Settings that tie every block to the number of blocks (Gemma 3n, Gemma 4): such models are never truncated.
"""
PER_AXIS = ("image_size", "patch_size")
"""Settings that may be lists of one number for each axis, and never of one for each block."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of the parts of a decoder in its state dict."""

    embedding: str
    blocks: str
    parts: frozenset[str]
    """Top-level parts with weights that the blocks may need: all except the final norm."""
    remedy: str = "fetch a checkpoint that fits its config.json"
    """Remedy for a checkpoint that lacks these parts, for error messages."""

    def including(self, parts: frozenset[str]) -> Layout:
        """Return the layout with further parts."""
        return replace(self, parts=self.parts | parts)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Module input or output `[batch, tokens, width]` at which a site is read."""

    module: nn.Module
    side: Literal["input", "output"]
    width: int


def truncate(config: Any, n_blocks: int) -> Any:
    """Return the configuration of the same model with only its first `n_blocks` blocks."""
    short = copy.deepcopy(config)
    for key, value in vars(config).items():
        if isinstance(value, list | tuple) and len(value) == config.num_hidden_layers and key not in PER_AXIS:
            setattr(short, key, value[:n_blocks])
    short.num_hidden_layers = n_blocks
    return short


def needed_depth(config: Any, sites: Sequence[Site]) -> int:
    """Return the number of blocks to load for the sites."""
    if any(getattr(config, key, None) for key in NEVER_TRUNCATED):
        return int(config.num_hidden_layers)
    return max(site.layer for site in sites) + 1


def added_layers(sites: Iterable[Site]) -> list[int]:
    """Return the layers of sites that read what attention or MLP adds to the residual stream."""
    return sorted({site.layer for site in sites if site.kind in ("attn_out", "mlp_out")})


def find_layout(model: nn.Module, n_blocks: int) -> Layout | None:
    """Return the layout of a decoder; None if it has no list of `n_blocks` blocks or no embedding."""
    from torch import nn

    lists = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_blocks]
    embeddings = [n for n, m in model.named_modules() if isinstance(m, nn.Embedding)]
    if not lists or not embeddings:
        return None
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    if (part := lists[0].split(".")[0]) not in parts:  # a list of no blocks, or of blocks without weights
        return None
    # A pooler reads what the blocks give, and checkpoints of masked language models lack its weights.
    parts = [name for name in parts if name != "pooler"]
    after = parts[parts.index(part) + 1 :]
    # A single part of vectors after the blocks is the final norm; any other part may feed the blocks.
    if len(after) == 1 and all(p.ndim == 1 for p in model.get_submodule(after[0]).parameters()):
        parts.remove(after[0])
    return Layout(embedding=f"{embeddings[0]}.weight", blocks=lists[0], parts=frozenset(parts))


def locate(name: str, blocks: Any, site: Site, hidden: int, known: str) -> Place:
    """Return the place of a site in a list of blocks.

    Raise UsageError that names the model and its `known` sites if there is none.
    """
    refusal = f"model '{name}' has no site '{site}'"
    if site.kind not in KINDS:
        raise UsageError(f"{refusal}: {known}")
    if not 0 <= site.layer < len(blocks):
        raise UsageError(f"{refusal}: its layers are 0 to {len(blocks) - 1}")
    place = find_place(blocks[site.layer], site.kind, hidden)
    if place is None:
        raise UsageError(
            f"{refusal}: its block {site.layer} has no part that gives {site.kind} alone: use resid_post"
        )
    return place


def find_place(block: nn.Module, kind: str, hidden: int) -> Place | None:
    """Return the place of a site kind in a block of `hidden` channels; None if the block has no such site."""
    if kind == "resid_post":
        return Place(module=block, side="output", width=hidden)
    attention, mlp = _child(block, "attn", "attention"), _child(block, "mlp", "feed_forward", "ffn")
    if kind == "attn_z":
        return None if attention is None else _output_projection(attention, hidden)
    if attention is None or mlp is None:  # without one, what the other adds cannot be checked
        return None
    if hasattr(block, "post_feedforward_layernorm"):  # only then is post_attention_layernorm a post-norm
        attention, mlp = map(block.get_submodule, ("post_attention_layernorm", "post_feedforward_layernorm"))
    elif hasattr(block, "layer_scale1") and hasattr(
        block, "layer_scale2"
    ):  # DINOv2 adds what comes after them
        attention, mlp = block.get_submodule("layer_scale1"), block.get_submodule("layer_scale2")
    added = {"attn_out": attention, "mlp_out": mlp}.get(kind)
    return None if added is None else Place(module=added, side="output", width=hidden)


def _child(block: nn.Module, *words: str) -> nn.Module | None:
    """Return the first child whose name contains one of the words, except norms and dropouts."""
    for name, child in block.named_children():
        if any(word in name for word in words) and not any(word in name for word in ("norm", "ln", "drop")):
            return child
    return None


def _output_projection(attention: nn.Module, hidden: int) -> Place | None:
    """Return the input of the last linear map to the residual stream (o_proj, c_proj, dense, out_proj)."""
    found = None
    for module in attention.modules():
        shape = _linear_shape(module)
        if shape is not None and shape[1] == hidden:
            found = Place(module=module, side="input", width=shape[0])
    return found


def _linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear map; None for another module."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):  # GPT-2's, which stores its weight transposed
        return module.nx, module.nf
    return None
