"""Reader of OpenAI's checkpoints (github.com/openai/sparse_autoencoder): one state dict without a config.

Beside its tensors it holds the name of the activation and, for TopK, `k`. As in the author's loader, inputs are
layer-normed if and only if the activation is TopK. `pre_bias` is subtracted from them, and added to what is rebuilt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.repository import full_reference
from harness_saes.stored import Declaration, Format, Found, check_decoder, read_size

if TYPE_CHECKING:
    from harness_saes.tensors import Tensors

_NAMES = frozenset({"pre_bias", "latent_bias", "encoder.weight"})

_LOCATION = re.compile(
    r"(?:^|/)(?P<location>resid_(?:post|delta)_(?:mlp|attn)|mlp_post_act)[^/]*/autoencoders/(?P<layer>\d{1,9})\.pt$"
)
"""Sites of training by the author's own names of files."""
_KINDS = {"resid_post_mlp": "resid_post", "resid_delta_mlp": "mlp_out", "resid_delta_attn": "attn_out"}


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether the names of tensors are those of an autoencoder of OpenAI's."""
    return set(names) >= _NAMES


def declare(found: Found) -> Declaration:
    """Return what a state dict declares; UsageError for another activation, UnavailableError for a broken one."""
    d_in, width = read_size(found, "encoder.weight", transposed=True)
    check_decoder(found, "encoder.weight", "decoder.weight", transposed=True)
    rule = _rule(found)
    return Declaration(
        d_in=d_in,
        width=width,
        site=_site(found),
        settings=rule,
        subtracts=True,
        build=lambda tensors, decoder: {**build(tensors, decoder), **rule},
        published_l0=rule.get("k"),
    )


def _rule(found: Found) -> Mapping[str, Any]:
    """Return the activation rule, and the normalisation that goes with it, as fields of a Dictionary."""
    name = found.values.get("activation", "ReLU")
    if name in ("ReLU", "Identity"):
        return {"activation": {"ReLU": "relu", "Identity": "identity"}[name]}
    state = found.values.get("activation_state_dict")
    if name != "TopK" or not isinstance(state, Mapping):
        raise harness.UsageError(
            f"dictionary '{found.ref}' has the activation {str(name)[:60]!r}; read are ReLU, Identity, and TopK with "
            f"its activation_state_dict"
        )
    after = state.get("postact_fn")
    if after not in ("ReLU", "Identity"):
        given = "no postact_fn" if after is None else f"postact_fn = {str(after)[:60]!r}"
        raise harness.UsageError(
            f"dictionary '{found.ref}' has {given} in its activation_state_dict; read are ReLU and Identity"
        )
    return {
        "activation": "topk",
        "k": found.integer(state, "k"),
        "signed": after == "Identity",
        "input_norm": "layer_norm",
    }


def _site(found: Found) -> harness.Site | str | None:
    """Return where a dictionary was trained, which only the author's names of files tell."""
    checkpoint = found.checkpoint
    where = f"{full_reference(checkpoint.repository, checkpoint.name, depth=3)}/{checkpoint.file}"
    if (match := _LOCATION.search(where)) is None:
        return None
    if kind := _KINDS.get(match["location"]):
        return harness.Site(kind=kind, layer=int(match["layer"]))
    return f"{match['location']} of layer {match['layer']}"


def build(tensors: Tensors, decoder: bool) -> Mapping[str, Any]:
    """Return the weights as fields of a Dictionary."""
    encoder = tensors.take("encoder.weight")
    fields = {
        "W_enc": encoder.T.contiguous(),
        "b_enc": tensors.take("latent_bias"),
        "b_dec": tensors.take("pre_bias"),
    }
    if decoder:
        # A tied decoder is the encoder.
        tied = "decoder.weight" not in tensors.shapes
        fields["W_dec"] = encoder if tied else tensors.take("decoder.weight").T.contiguous()
    return fields


FORMAT = Format(
    name="OpenAI's sparse_autoencoder",
    kind="openai",
    weights=("*.pt",),
    configs=(),
    fits=fits,
    declare=declare,
    needs_weights=True,
)
