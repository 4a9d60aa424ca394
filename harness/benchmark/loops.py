"""Loops as people write them, to compare with: rows sorted by length, dense features, poolings under a mask.

Each starts from token ids and ends with dense rows on the host. The model is loaded once, and each loop runs at the
best of three batch sizes. In `run_per_dictionary` and `run_sae_lens` the model runs once for each dictionary, as in a
script that is called with one SAE after another; in `run_once` it runs once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.api.data import Tokens
from harness.dictionaries.dictionary import Dictionary

Rows = dict[tuple[int, int, str], np.ndarray[Any, Any]]
"""Dense rows `[examples, width]` by layer, width and pooling."""

Encode = Callable[[Tensor], Tensor]
"""Features `[examples, tokens, width]` of hidden states `[examples, tokens, d_in]`."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Input of a loop: the whole decoder without its head, token ids, and dictionaries by layer and width."""

    decoder: nn.Module
    tokens: Sequence[Tokens]
    dictionaries: Mapping[tuple[int, int], Dictionary]
    device: str


@torch.inference_mode()
def run_once(work: Work, batch_size: int) -> Rows:
    """Run the model once for all dictionaries, with `output_hidden_states`."""
    return _run_transformers(work, batch_size, [list(work.dictionaries)])


@torch.inference_mode()
def run_per_dictionary(work: Work, batch_size: int) -> Rows:
    """Run the model once for each dictionary, with `output_hidden_states`."""
    return _run_transformers(work, batch_size, [[key] for key in work.dictionaries])


def _run_transformers(work: Work, batch_size: int, groups: Sequence[Sequence[tuple[int, int]]]) -> Rows:
    encoders = {key: make_jumprelu(one) for key, one in work.dictionaries.items()}
    found = _Found(work)
    for group in groups:
        for rows, ids, mask, content in _batches(work, batch_size):
            hidden = work.decoder(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            ).hidden_states
            for layer, width in group:
                found.add((layer, width), rows, encoders[layer, width](hidden[layer + 1].float()), content)
    return found.rows


@torch.inference_mode()
def run_sae_lens(work: Work, batch_size: int) -> Rows:
    """Run SAELens' own model wrapper and SAEs: `run_with_cache` up to the hook, then `encode`, for each dictionary."""
    from sae_lens.load_model import HookedProxyLM

    saes = {key: _make_sae(one) for key, one in work.dictionaries.items()}
    names = {layer: f"layers.{layer}" for layer, _ in work.dictionaries}
    model = HookedProxyLM(work.decoder, None, hook_names=sorted(set(names.values())))
    found = _Found(work)
    try:
        for layer, width in work.dictionaries:
            for rows, ids, _, content in _batches(work, batch_size):
                _, cache = model.run_with_cache(ids, names_filter=[names[layer]], stop_at_layer=layer + 1)
                found.add((layer, width), rows, saes[layer, width].encode(cache[names[layer]]), content)
    finally:
        for module in work.decoder.modules():  # the wrapper leaves its hooks in the model
            module._forward_hooks.clear()
    return found.rows


def _make_sae(dictionary: Dictionary) -> Any:
    """Return the dictionary as one of SAELens."""
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

    assert dictionary.W_enc is not None
    d_in, d_sae = dictionary.W_enc.shape
    config = JumpReLUSAEConfig(
        d_in=d_in,
        d_sae=d_sae,
        dtype="float32",
        device=str(dictionary.W_enc.device),
        apply_b_dec_to_input=False,
    )
    sae = JumpReLUSAE(config)
    with torch.no_grad():
        sae.W_enc.copy_(dictionary.W_enc)
        sae.b_enc.copy_(dictionary.b_enc)
        sae.threshold.copy_(dictionary.threshold)
    return sae.eval()


def make_jumprelu(dictionary: Dictionary) -> Encode:
    """Return JumpReLU as it is published: relu(pre) · (pre > θ)."""

    def encode(hidden: Tensor) -> Tensor:
        assert dictionary.W_enc is not None and dictionary.b_enc is not None
        assert dictionary.threshold is not None
        pre = hidden @ dictionary.W_enc + dictionary.b_enc
        return torch.relu(pre) * (pre > dictionary.threshold).to(pre.dtype)

    return encode


def _batches(work: Work, size: int) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
    """Yield row numbers, and ids, mask and content `[rows, longest]`, padded on the right, sorted by length."""
    order = sorted(range(len(work.tokens)), key=lambda row: len(work.tokens[row].ids))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        shape = len(rows), max(len(work.tokens[row].ids) for row in rows)
        ids, mask, content = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for place, row in enumerate(rows):
            one = work.tokens[row]
            ids[place, : len(one.ids)], mask[place, : len(one.ids)] = one.ids, 1
            content[place, : len(one.ids)] = one.content
        a, b, c = (torch.from_numpy(part).to(work.device) for part in (ids, mask, content))
        yield rows, a, b, c


class _Found:
    """Dense rows on the host, filled batch by batch."""

    def __init__(self, work: Work) -> None:
        self.rows: Rows = {}
        self.n = len(work.tokens)

    def add(self, key: tuple[int, int], rows: Sequence[int], features: Tensor, content: Tensor) -> None:
        for name, pooled in pool_padded(features, content).items():
            place = (*key, name)
            if place not in self.rows:
                self.rows[place] = np.empty((self.n, pooled.shape[1]), dtype=np.float32)
            self.rows[place][list(rows)] = pooled.cpu().numpy()


def pool_padded(features: Tensor, content: Tensor) -> dict[str, Tensor]:
    """Return rows `[examples, width]` of each pooling; features are not negative, so masked ones may be zero."""
    masked = features * content.unsqueeze(-1)
    total = masked.sum(1)
    positions = torch.arange(content.shape[1], device=content.device)
    last = torch.where(content, positions, -1).amax(1)
    return {
        "mean": total / content.sum(1, keepdim=True),
        "max": masked.amax(1),
        "sum": total,
        "last": masked[torch.arange(len(masked), device=masked.device), last],
    }
