"""Rebuilding of activations and of multiples of them, which share the products of the encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.dictionaries.decoding import Decoder, slice_size
from harness.dictionaries.dictionary import Dictionary, normalise


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """Rebuilt `activations [tokens, d_in]`, the number of active features of all tokens, and which `fired [d_sae]`."""

    activations: Tensor
    active: int
    fired: Tensor


def rebuild_scaled(
    dictionary: Dictionary, activations: Tensor, size: int, scales: Sequence[float]
) -> list[Rebuilt]:
    """Return what `Dictionary.rebuild` makes of `activations [tokens, d_in]` times each of `scales`.

    Where the rule looks at each feature by itself, scales share the products of the encoder.
    """
    x = activations.float()
    if len(scales) > 1 and dictionary.is_by_feature:
        decoders = _decode_scaled(dictionary, x, slice_size(x, size), scales)
    else:
        decoders = [dictionary.decode(x * scale, size) for scale in scales]
    found = []
    for scale, decoder in zip(scales, decoders, strict=True):
        _, restore = normalise(x * scale, dictionary.input_norm)
        found.append(Rebuilt(activations=restore(decoder.total), active=decoder.active, fired=decoder.fired))
    return found


def _decode_scaled(dictionary: Dictionary, x: Tensor, size: int, scales: Sequence[float]) -> list[Decoder]:
    """Decode x times each scale c: (c x − s) W + b is c (x − s) W, whose product is made once, + b + (c − 1) s W."""
    assert dictionary.W_enc is not None
    decoders = [Decoder(dictionary.name, dictionary.W_dec, dictionary.b_dec, len(x)) for _ in scales]
    subtract = dictionary.subtract
    centred = x if subtract is None else x - subtract
    kept = x.new_empty(3 * len(x) * min(size, dictionary.width))
    for start in range(0, dictionary.width, size):
        part = slice(start, min(start + size, dictionary.width))
        shape = len(x), part.stop - start
        products, pre, scratch = kept[: 3 * math.prod(shape)].view(3, *shape)
        torch.mm(centred, dictionary.W_enc[:, part], out=products)
        bias = x.new_zeros(shape[1]) if dictionary.bias is None else dictionary.bias[part]
        moved = x.new_zeros(shape[1]) if subtract is None else subtract @ dictionary.W_enc[:, part]
        for scale, decoder in zip(scales, decoders, strict=True):
            torch.add(bias + (scale - 1) * moved, products, alpha=scale, out=pre)
            decoder.add(start, dictionary.apply_rule(pre, start, scratch))
    return decoders
