"""Reader of sparsify's checkpoints (github.com/EleutherAI/sparsify): `sae.safetensors` beside a cfg.json.

The folder is named by the module whose output was read. b_dec is subtracted from the input. Checkpoints of 2024 that
say `signed` keep the values farthest from zero; later versions of the library ignore that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.hooks import read_hook
from harness_saes.refusals import check_pair, no_autoencoder
from harness_saes.repository import full_reference
from harness_saes.stored import Declaration, Format, Found, read_any, read_size

if TYPE_CHECKING:
    from harness_saes.tensors import Tensors

CONFIG = "cfg.json"

_RULES: Mapping[str, harness.Activation] = {"topk": "topk", "groupmax": "groupmax"}


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether a config or the names of tensors are those of a sparse coder."""
    named = {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}
    return {"d_in", "k", "expansion_factor"} <= config.keys() or named <= set(names)


def declare(found: Found) -> Declaration:
    """Return what a config declares; UsageError for a transcoder or another rule, UnavailableError if it is broken."""
    config = found.config
    if not config:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}' has no {CONFIG} beside its weights, which says its k: fetch it, too"
        )
    flags = config.get("transcode"), config.get("skip_connection"), "W_skip" in found.shapes
    if any(flags) or _transcodes(found):
        raise no_autoencoder(found.ref, "transcoder")
    rule = config.get("activation", "topk")
    if not isinstance(rule, str) or rule not in _RULES:
        raise harness.UsageError(
            f"dictionary '{found.ref}' has activation = {str(rule)[:60]!r}; read are {', '.join(_RULES)}"
        )
    d_in, width = _size(found)
    check_pair(found.ref, (d_in, width), found.shapes.get("W_dec", ()))
    activation: harness.Activation = "abstopk" if config.get("signed") is True else _RULES[rule]
    k = found.integer(config, "k")
    return Declaration(
        d_in=d_in,
        width=width,
        site=read_hook(_module(found)),
        hook=_module(found),
        settings={"activation": activation, "k": k},
        subtracts=True,
        build=lambda tensors, decoder: build(tensors, decoder, activation=activation, k=k),
        published_l0=k,
    )


def _transcodes(found: Found) -> bool:
    """Return whether the run is said to be one of transcoders, in the folder above: until 2025 cfg.json did not say."""
    if "transcode" in found.config:
        return False
    path = found.checkpoint.repository.find(found.checkpoint.beside("../config.json"))
    if path is None:
        return False
    run = read_any(path, f"dictionary '{found.ref}': the config.json of its run cannot be read")
    return run.get("transcode") is True


def _size(found: Found) -> tuple[int, int]:
    """Return (d_in, d_sae)."""
    config = found.config
    d_in = found.integer(config, "d_in")
    if config.get("num_latents"):
        said = {"d_in": d_in, "num_latents": found.integer(config, "num_latents")}
    else:
        said = {"d_in": d_in, "d_in * expansion_factor": d_in * found.integer(config, "expansion_factor")}
    return read_size(found, "encoder.weight", transposed=True, said=said)


def _module(found: Found) -> str:
    """Return the path of the module whose output was read, which names the folder."""
    checkpoint = found.checkpoint
    folders = full_reference(checkpoint.repository, checkpoint.name, depth=2).split("/")
    # With several seeds each has a folder of its own in that of the module.
    named = [folder for folder in folders if not re.fullmatch(r"seed\d+", folder)]
    return named[-1] if named else ""


def build(tensors: Tensors, decoder: bool, *, activation: harness.Activation, k: int) -> Mapping[str, Any]:
    """Return the fields of a Dictionary from the tensors of the file."""
    return {
        "W_enc": tensors.take("encoder.weight").T.contiguous(),
        "b_enc": tensors.take("encoder.bias"),
        "b_dec": tensors.take("b_dec"),
        **({"W_dec": tensors.take("W_dec")} if decoder else {}),  # [d_sae, d_in], unlike the encoder
        "activation": activation,
        "k": k,
    }


FORMAT = Format(
    name="sparsify",
    kind="sparsify",
    weights=("sae.safetensors",),
    configs=(CONFIG,),
    fits=fits,
    declare=declare,
)
