"""Reader of two linear layers with a ReLU between them, in one state dict without a config: Goodfire's dictionaries of
Llama 3, and the dictionaries of DeepSeek-R1-Distill-Llama-8B, whose layers have other names.

Nothing is subtracted from the input.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.stored import Declaration, Format, Found, check_decoder, read_size

if TYPE_CHECKING:
    from harness_saes.tensors import Tensors


def _make_format(*, name: str, kind: str, weights: tuple[str, ...], layers: tuple[str, str]) -> Format:
    """Return the format whose encoder and decoder are the linear `layers`."""
    encoder, decoder = layers
    wanted = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}

    def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
        # No other tensor: a pre_bias or a threshold would change what these mean.
        return set(names) == wanted

    def declare(found: Found) -> Declaration:
        d_in, width = read_size(found, f"{encoder}.weight", transposed=True)
        check_decoder(found, f"{encoder}.weight", f"{decoder}.weight", transposed=True)
        return Declaration(
            d_in=d_in,
            width=width,
            site=_site(found.checkpoint.file),
            settings={},
            subtracts=False,
            build=build,
        )

    def build(tensors: Tensors, with_decoder: bool) -> Mapping[str, Any]:
        fields = {
            "W_enc": tensors.take(f"{encoder}.weight").T.contiguous(),
            "b_enc": tensors.take(f"{encoder}.bias"),
            "b_dec": tensors.take(f"{decoder}.bias"),
        }
        if with_decoder:
            fields["W_dec"] = tensors.take(f"{decoder}.weight").T.contiguous()
        return {**fields, "activation": "relu"}

    return Format(
        name=name, kind=kind, weights=weights, configs=(), fits=fits, declare=declare, needs_weights=True
    )


def _site(file: str) -> harness.Site | None:
    """Return the block whose output was read, which the authors' names of files tell."""
    match = re.search(r"-SAE-l(\d{1,9})\.pth?$", file)
    return harness.Site(kind="resid_post", layer=int(match[1])) if match else None


FORMAT = _make_format(
    name="Goodfire",
    kind="goodfire",
    weights=("*.pt", "*.pth"),
    layers=("encoder_linear", "decoder_linear"),
)

DEEPSEEK = _make_format(
    name="the dictionaries of DeepSeek-R1",
    kind="deepseek",
    # Two layers of these names may be anything elsewhere.
    weights=("DeepSeek-R1-*-SAE-l*.pt",),
    layers=("encoder", "decoder"),
)
