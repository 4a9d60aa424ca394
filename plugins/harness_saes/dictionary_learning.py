"""Reader of dictionary_learning's checkpoints (github.com/saprmarks/dictionary_learning): `ae.pt` beside a config.json.

The config names the class of the dictionary, which decides the rule and whether a bias is subtracted from the input;
the features are those of the library's own `load_dictionary`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.refusals import check_sizes, no_autoencoder
from harness_saes.stored import Declaration, Format, Found, check_decoder, read_size

if TYPE_CHECKING:
    import torch

    from harness_saes.tensors import Tensors

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Class:
    """Class of dictionaries. `encoder` gives the names of tensors by the field of `harness.Dictionary`, `bias` that of
    b_dec. Weights of `linear` layers are stored transposed, `[out, in]`.
    """

    activation: harness.Activation
    encoder: Mapping[str, str]
    bias: str
    subtracts: bool
    linear: bool = True

    @property
    def decoder(self) -> str:
        """Name of the decoder's weights."""
        return "decoder.weight" if self.linear else "W_dec"

    @property
    def names(self) -> frozenset[str]:
        """Names of all tensors, without those that only training needs."""
        return frozenset((*self.encoder.values(), self.bias, self.decoder))


_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}
_PLAIN = {name: name for name in ("W_enc", "b_enc", "threshold")}
_GATED = {"W_enc": "encoder.weight", "b_enc": "gate_bias", "r_mag": "r_mag", "b_mag": "mag_bias"}

_CLASSES: Mapping[str, Class] = {
    "AutoEncoder": Class(activation="relu", encoder=_LINEAR, bias="bias", subtracts=True),
    "AutoEncoderNew": Class(activation="relu", encoder=_LINEAR, bias="decoder.bias", subtracts=False),
    "GatedAutoEncoder": Class(activation="gated", encoder=_GATED, bias="decoder_bias", subtracts=True),
    "AutoEncoderTopK": Class(activation="topk", encoder=_LINEAR, bias="b_dec", subtracts=True),
    "BatchTopKSAE": Class(
        activation="batchtopk", encoder={**_LINEAR, "threshold": "threshold"}, bias="b_dec", subtracts=True
    ),
    # Its groups of features serve in training alone.
    "MatryoshkaBatchTopKSAE": Class(
        activation="batchtopk", encoder=_PLAIN, bias="b_dec", subtracts=True, linear=False
    ),
    "JumpReluAutoEncoder": Class(
        activation="jumprelu", encoder=_PLAIN, bias="b_dec", subtracts=False, linear=False
    ),
}
"""Classes by the name that a config gives as `dict_class`."""


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether a config is that of a trainer."""
    trainer = config.get("trainer")
    return isinstance(trainer, Mapping) and bool({"dict_class", "trainer_class"} & trainer.keys())


def declare(found: Found) -> Declaration:
    """Return what a config declares; UsageError for a class that is not read, UnavailableError for a broken config."""
    trainer = found.config["trainer"]
    name, own = _class(found, trainer)
    said = {key: found.integer(trainer, key) for key in ("activation_dim", "dict_size")}
    d_in, width = read_size(found, own.encoder["W_enc"], transposed=own.linear, said=said)
    check_decoder(found, own.encoder["W_enc"], own.decoder, transposed=own.linear)
    k = found.integer(trainer, "k") if own.activation in {"topk", "batchtopk"} else None
    _check_values(found.ref, own, found.values, k=k)
    buffer = found.config.get("buffer")
    site, taken = _site(trainer, buffer if isinstance(buffer, Mapping) else {})
    return Declaration(
        d_in=d_in,
        width=width,
        site=site,
        settings={"class": name, "k": k},
        subtracts=own.subtracts,
        build=lambda tensors, decoder: build(found.ref, name, tensors, decoder, k=k),
        published_l0=k,
        notes=(f"dictionary '{found.ref}': {taken}",) if taken else (),
    )


def _class(found: Found, trainer: Mapping[str, Any]) -> tuple[str, Class]:
    """Return the class of a dictionary, and its name."""
    name = trainer.get("dict_class")
    if isinstance(name, str) and (kind := re.search(r"transcoder|crosscoder", name.lower())):
        raise no_autoencoder(found.ref, kind[0])
    if not isinstance(name, str) or name not in _CLASSES:
        raise harness.UsageError(
            f"dictionary '{found.ref}': its {CONFIG} says dict_class = {str(name)[:60]!r}; read are "
            f"{', '.join(_CLASSES)}"
        )
    return name, _CLASSES[name]


def _check_values(ref: str, own: Class, values: Mapping[str, Any], *, k: int | None) -> None:
    """Raise UnavailableError where numbers in the weights say that they are of another config, or not trained yet."""
    check_sizes(ref, CONFIG, {"k": k if "k" in values else None}, {"k": values.get("k", 0)})
    threshold = values.get("threshold")
    # The library begins with -1 and sets a threshold after some thousand steps; until then every positive feature is
    # active, whatever k is.
    if own.activation == "batchtopk" and isinstance(threshold, float) and threshold < 0:
        raise harness.UnavailableError(
            f"dictionary '{ref}' was saved before its threshold was set (it is {threshold:g}), so that k = {k} does "
            f"not hold: name a later checkpoint"
        )


def _site(trainer: Mapping[str, Any], buffer: Mapping[str, Any]) -> tuple[harness.Site | str | None, str]:
    """Return where a dictionary was trained, and what was taken for granted, if anything."""
    layer, name = trainer.get("layer"), trainer.get("submodule_name")
    if type(layer) is not int or layer < 0:
        return (None if layer is None and not name else f"{name or 'layer'} {layer}"[:80]), ""
    if "layer" in buffer:  # the buffer of single attention heads
        return f"attention heads of layer {layer}", ""
    if name not in (None, f"resid_post_layer_{layer}"):
        return f"{name} of layer {layer}"[:80], ""
    if buffer.get("io", "out") == "in":
        return (harness.Site(kind="resid_post", layer=layer - 1) if layer else "the input of layer 0"), ""
    taken = f"its config names layer {layer} and no module, which is taken for the output of the block"
    return harness.Site(kind="resid_post", layer=layer), "" if name else taken


def build(ref: str, name: str, tensors: Tensors, decoder: bool, *, k: int | None) -> Mapping[str, Any]:
    """Return the fields of a Dictionary from the tensors of the file."""
    own = _CLASSES[name]
    _check_values(ref, own, tensors.values, k=k)
    # load_dictionary scales features by their decoder's norms for this class alone, so that it takes the decoder.
    scales = name == "AutoEncoder"
    fields: dict[str, Any] = {field: tensors.take(stored) for field, stored in own.encoder.items()}
    fields["b_dec"] = tensors.take(own.bias)
    if decoder or scales:
        fields["W_dec"] = tensors.take(own.decoder)
    if own.linear:
        fields.update({each: fields[each].T.contiguous() for each in ("W_enc", "W_dec") if each in fields})
    if scales:
        fields.update(_scale(fields))
    return {**fields, "activation": own.activation, "k": k if own.activation == "topk" else None}


def _scale(fields: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Return encoder and decoder such that decoder rows are of unit norm; reconstructions stay the same.

    A row of zeros stays one, and its feature becomes 0, where the library divides by zero.
    """
    import torch

    norms = fields["W_dec"].norm(dim=1)
    if torch.allclose(norms, torch.ones_like(norms)):  # as the library does
        return {}
    divisors = torch.where(norms > 0, norms, 1)
    return {
        "W_enc": fields["W_enc"] * norms,
        "b_enc": fields["b_enc"] * norms,
        "W_dec": fields["W_dec"] / divisors[:, None],
    }


FORMAT = Format(
    name="dictionary_learning",
    kind="dictionary_learning",
    weights=("ae.pt", "ae_*.pt"),
    configs=(CONFIG, f"../{CONFIG}"),
    fits=fits,
    declare=declare,
)
