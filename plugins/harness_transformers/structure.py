"""A module tree in, its blocks and sites out: found by what is there, not by a list of model names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

from harness import Site, UsageError

KINDS = ("attn_out", "attn_z", "mlp_out", "resid_post")
UNCUT = ("num_kv_shared_layers", "hidden_size_per_layer_input")
"""Settings whose presence ties every block to the number of blocks (Gemma 3n, Gemma 4): never truncated."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the parts of a decoder are called in its state dict."""

    embedding: str
    blocks: str
    parts: frozenset[str]
    """Top-level parts with weights that the blocks may need: all but the final norm."""
    mend: str = "fetch a checkpoint that fits its config.json"
    """What helps where a checkpoint has none of them."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a site is read: `[batch, tokens, width]` going into or coming out of a module."""

    module: nn.Module
    side: Literal["input", "output"]
    width: int


def truncate(config: Any, n_blocks: int) -> Any:
    """The configuration of the same decoder with its first `n_blocks` blocks only."""
    short = copy.deepcopy(config)
    for key, value in vars(config).items():
        if isinstance(value, list | tuple) and len(value) == config.num_hidden_layers:
            setattr(short, key, value[:n_blocks])
    short.num_hidden_layers = n_blocks
    return short


def needed_depth(config: Any, sites: Sequence[Site]) -> int:
    """How many blocks of a decoder must be loaded for the sites."""
    if any(getattr(config, key, None) for key in UNCUT):
        return int(config.num_hidden_layers)
    return max(site.layer for site in sites) + 1


def added_layers(sites: Iterable[Site]) -> list[int]:
    """The blocks with a site of what attention or MLP adds to the residual stream."""
    return sorted({site.layer for site in sites if site.kind in ("attn_out", "mlp_out")})


def find_layout(model: nn.Module, n_blocks: int) -> Layout | None:
    """The names of a decoder's parts; None when it has no such list of blocks, or no embedding."""
    lists = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_blocks]
    embeddings = [n for n, m in model.named_modules() if isinstance(m, nn.Embedding)]
    if not lists or not embeddings:
        return None
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    after = parts[parts.index(lists[0].split(".")[0]) + 1 :]
    # One lone vector-shaped part behind the blocks is the final norm; anything else may feed the blocks.
    if len(after) == 1 and all(p.ndim == 1 for p in model.get_submodule(after[0]).parameters()):
        parts.remove(after[0])
    return Layout(embedding=f"{embeddings[0]}.weight", blocks=lists[0], parts=frozenset(parts))


def locate(name: str, blocks: Any, site: Site, hidden: int, known: str) -> Place:
    """Where `site` is read in a list of blocks; UsageError, with what the model named `name` is `known` to have, when
    that is nowhere.
    """
    refusal = f"model '{name}' has no site '{site}'"
    if site.kind not in KINDS:
        raise UsageError(f"{refusal}: {known}")
    if not 0 <= site.layer < len(blocks):
        raise UsageError(f"{refusal}: its layers are 0 to {len(blocks) - 1}")
    place = find_place(blocks[site.layer], site.kind, hidden)
    if place is None:
        raise UsageError(f"{refusal}: its block {site.layer} has no part that gives {site.kind}")
    return place


def find_place(block: nn.Module, kind: str, hidden: int) -> Place | None:
    """Where a site of one kind is read in a block of `hidden` channels; None when it has no such site."""
    if kind == "resid_post":
        return Place(module=block, side="output", width=hidden)
    attention, mlp = _child(block, "attn", "attention"), _child(block, "mlp", "feed_forward", "ffn")
    if kind == "attn_z":
        return None if attention is None else _output_projection(attention, hidden)
    if attention is None or mlp is None:  # without one, what the other adds cannot be checked
        return None
    if hasattr(block, "post_feedforward_layernorm"):  # only then is post_attention_layernorm a post-norm
        attention, mlp = map(block.get_submodule, ("post_attention_layernorm", "post_feedforward_layernorm"))
    added = {"attn_out": attention, "mlp_out": mlp}.get(kind)
    return None if added is None else Place(module=added, side="output", width=hidden)


def _child(block: nn.Module, *words: str) -> nn.Module | None:
    """The child whose name has one of the words, norms and dropouts left out."""
    for name, child in block.named_children():
        if any(word in name for word in words) and not any(word in name for word in ("norm", "ln", "drop")):
            return child
    return None


def _output_projection(attention: nn.Module, hidden: int) -> Place | None:
    """The input of the last linear map back to the residual stream (o_proj, c_proj, dense, out_proj)."""
    found = None
    for module in attention.modules():
        shape = _linear_shape(module)
        if shape is not None and shape[1] == hidden:
            found = Place(module=module, side="input", width=shape[0])
    return found


def _linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a linear map; GPT-2's Conv1D keeps its weight transposed."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    return None
