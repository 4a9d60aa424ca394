"""Reader of OpenMOSS' dictionaries: Llama Scope, and whatever llamascopium (formerly lm-saes) saves.

Two forms (He et al. 2024; github.com/OpenMOSS/Language-Model-SAEs):

- *Llama Scope*: `checkpoints/final.safetensors` below a hyperparams.json, whose `dataset_average_activation_norm`
  scales inputs. Its library folds that scale s into b_enc and the decoder, so that features are in the units of
  activations, multiplies the encoder by the norms of decoder rows where `sparsity_include_decoder_norm` says so, and
  takes top-k with a `jump_relu_threshold` for a JumpReLU.
- *Since 2025*: `sae_weights.safetensors` beside a config.json, with the scale and the logarithms of thresholds among
  the tensors (Llama Scope R1 is of these). Inputs are scaled by s, and a feature is active where its pre-activation
  times the norm of its decoder row is above the threshold. Top-k compares such products: these are the features here,
  so that rows of the decoder are unit vectors.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.hooks import read_hook
from harness_saes.refusals import no_autoencoder
from harness_saes.stored import Declaration, Format, Found, check_decoder, check_shapes, read_size
from harness_saes.tensors import Tensors

if TYPE_CHECKING:
    import torch


_RULES: Mapping[str, harness.Activation] = {"relu": "relu", "jumprelu": "jumprelu", "topk": "topk"}
"""Activation rules of Dictionary by `act_fn`."""

_NORMS: Mapping[str, harness.InputNorm] = {
    "token-wise": "constant_norm_rescale",
    "dataset-wise": "none",  # folded
    "inference": "none",
    "none": "none",
}
"""Normalisation of each token by `norm_activation`."""

_OTHER_KINDS = {
    "clt": "cross-layer transcoder",
    "lorsa": "Lorsa (sparse attention)",
    "molt": "mixture of transcoders",
}
"""Words for what `sae_type` calls otherwise than sae."""

_AVERAGE = "dataset_average_activation_norm"
_THRESHOLDS = ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")
"""Names of the logarithms of thresholds, the newer first."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of the tensors in a file, and whether the matrices are those of torch.nn.Linear, [out, in]."""

    W_enc: str
    b_enc: str
    W_dec: str
    b_dec: str
    transposed: bool


_OLD = Names(
    W_enc="encoder.weight",
    b_enc="encoder.bias",
    W_dec="decoder.weight",
    b_dec="decoder.bias",
    transposed=True,
)
_NEW = Names(W_enc="W_E", b_enc="b_E", W_dec="W_D", b_dec="b_D", transposed=False)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a config says of features."""

    activation: harness.Activation
    k: int | None
    threshold: float | None
    """Threshold of all features, in the units of activations; None where the file has its own for each."""
    subtracts: bool
    input_norm: harness.InputNorm
    average_norm: float | None
    """Average norm of the activations of training, by which they are scaled to √d_in; None without, or in the file."""
    scales: bool
    """True if inputs are scaled by the average norm at all."""
    scaled_by_norms: bool
    """True if pre-activations are compared after multiplication by the norms of decoder rows."""
    raw: bool
    """True if features are in the units of activations, as in Llama Scope, not of scaled ones."""


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether a config is of OpenMOSS."""
    return "d_model" in config and ("act_fn" in config or "sae_type" in config)


def declare(found: Found) -> Declaration:
    """Return what the config declares; UsageError for what is not read, UnavailableError for what is broken."""
    config = _Config(found)
    kind = str(config.get("sae_type", "sae"))
    hook, out = config.get("hook_point_in"), config.get("hook_point_out")
    if kind != "sae":
        raise no_autoencoder(found.ref, _OTHER_KINDS.get(kind, kind[:40]))
    if out not in (None, hook):
        raise no_autoencoder(found.ref, "transcoder")
    if config.flag("use_glu_encoder", False):
        raise config.refuse("use_glu_encoder", "a gated encoder is no rule of a dictionary here")
    settings = _settings(config)
    d_in = config.size("d_model")
    width = config.size("d_sae") if "d_sae" in found.config else int(d_in * config.number("expansion_factor"))
    names = _NEW if _NEW.W_enc in found.shapes else _OLD
    read_size(found, names.W_enc, transposed=names.transposed, said={"d_in": d_in, "d_sae": width})
    check_decoder(found, names.W_enc, names.W_dec, transposed=names.transposed)
    return Declaration(
        d_in=d_in,
        width=width,
        site=None if hook is None else read_hook(hook),
        settings=asdict(settings),
        subtracts=settings.subtracts,
        build=lambda tensors, decoder: build(found, settings, str(hook), (d_in, width), tensors, decoder),
        published_l0=config.number("top_k") if config.get("act_fn") == "topk" and not settings.k else None,
        hook=None if hook is None else str(hook),
    )


def _settings(config: _Config) -> Settings:
    function, norm = str(config.get("act_fn", "relu")).lower(), config.get("norm_activation", "dataset-wise")
    raw = "sae_type" not in config.values
    if function == "batchtopk":
        raise config.refuse(
            "act_fn", "its features depend on the other tokens of a batch, and it has no threshold instead"
        )
    if function not in _RULES:
        raise config.refuse("act_fn", f"read are {', '.join(_RULES)}")
    if not isinstance(norm, str) or norm not in _NORMS:
        raise config.refuse("norm_activation", f"read are {', '.join(_NORMS)}")
    threshold = config.number("jump_relu_threshold", 0.0) if raw else None
    rule = _RULES[function]
    if raw and rule == "topk" and threshold:
        rule = "jumprelu"
    if raw and rule == "jumprelu" and (threshold or 0) < 0:
        raise config.refuse("jump_relu_threshold", "below zero it would let negative features pass")
    return Settings(
        activation=rule,
        k=config.size("top_k") if rule == "topk" else None,
        threshold=threshold if rule == "jumprelu" else None,
        subtracts=config.flag("apply_decoder_bias_to_pre_encoder", raw)
        and config.flag("use_decoder_bias", True),
        input_norm=_NORMS[norm],
        average_norm=_average(config) if norm == "dataset-wise" else None,
        scales=norm == "dataset-wise",
        scaled_by_norms=config.flag("sparsity_include_decoder_norm", True),
        raw=raw,
    )


def _average(config: _Config) -> float | None:
    """Return the average norm that a config gives, else that of a list of releases; None if none is given."""
    given = config.get(_AVERAGE)
    published = config.found.options.get("published_scale")
    if given is None:
        return math.sqrt(config.size("d_model")) / _positive(config.found, published) if published else None
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    norms = {_positive(config.found, value) for value in values}
    if len(norms) != 1:
        raise config.refuse(_AVERAGE, "one number is read, the same for input and output")
    return norms.pop()


def _positive(found: Found, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}': its {_AVERAGE} is {str(value)[:40]}, which is no norm: fetch it again"
        )
    return float(value)


def build(
    found: Found, settings: Settings, hook: str, size: tuple[int, int], tensors: Tensors, decoder: bool
) -> Mapping[str, torch.Tensor | Any]:
    """Return the fields of a Dictionary, with the scale of inputs and norms of decoder rows folded in."""
    names, (d_in, width) = _NEW if _NEW.W_enc in tensors.shapes else _OLD, size

    def matrix(name: str) -> torch.Tensor:
        tensor = tensors.take(name)
        return tensor.T.contiguous() if names.transposed and tensor.ndim == 2 else tensor

    thresholds = [name for name in _THRESHOLDS if name in tensors.shapes]
    if thresholds and settings.threshold is not None:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}' holds {thresholds[0]}, as files do since 2025, and its config has no sae_type, "
            f"which says so: add sae_type, which is sae, unless they do not belong together"
        )
    matrices = {names.W_enc: (width, d_in), names.W_dec: (d_in, width)}
    if not names.transposed:
        matrices = {name: (rows, columns) for name, (columns, rows) in matrices.items()}
    vectors = {names.b_enc: (width,), names.b_dec: (d_in,), **dict.fromkeys(thresholds, (width,))}
    check_shapes(found, tensors, {**matrices, **vectors})
    fields: dict[str, Any] = {"W_enc": matrix(names.W_enc), "b_enc": tensors.take(names.b_enc)}
    by_norms = settings.scaled_by_norms and (settings.raw or settings.activation != "relu")
    if decoder or by_norms:
        fields["W_dec"] = matrix(names.W_dec)
    if names.b_dec in tensors.shapes:
        fields["b_dec"] = tensors.take(names.b_dec)
    if settings.activation == "jumprelu":
        fields["threshold"] = (
            fields["b_enc"].new_full(fields["b_enc"].shape, settings.threshold)
            if settings.threshold is not None
            else tensors.take([*thresholds, _THRESHOLDS[0]][0]).exp()
        )
    if by_norms:
        _fold_norms(fields, whole=settings.raw or settings.activation == "topk")
    if settings.scales:
        _fold_scale(fields, _scale(found, settings, hook, tensors, d_in), raw=settings.raw)
    return {**fields, "activation": settings.activation, "k": settings.k, "input_norm": settings.input_norm}


def _scale(found: Found, settings: Settings, hook: str, tensors: Tensors, d_in: int) -> float:
    """Return the factor of all activations, √d_in over their average norm."""
    name = f"{_AVERAGE}.{hook}"
    average = settings.average_norm
    if name in tensors.shapes and math.prod(tensors.shapes[name]) == 1:
        average = _positive(found, float(tensors.take(name)))
    if average is None:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}' was trained on activations scaled by their average norm, and neither its config "
            f"nor its weights give it: add {_AVERAGE} to its config, a number"
        )
    return math.sqrt(d_in) / average


def _fold_scale(fields: dict[str, Any], scale: float, *, raw: bool) -> None:
    """Fold a factor of activations: features stay in scaled units, or are brought to those of activations if `raw`."""
    if raw:
        fields["b_enc"] = fields["b_enc"] / scale
    else:
        fields["W_enc"] = fields["W_enc"] * scale
    for name in ("b_dec", *(() if raw else ("W_dec",))):
        if name in fields:
            fields[name] = fields[name] / scale


def _fold_norms(fields: dict[str, Any], *, whole: bool) -> None:
    """Fold norms of decoder rows into the encoder if `whole`, so that rows are unit vectors, else into thresholds."""
    norms = fields["W_dec"].norm(dim=1)
    if whole:
        fields["W_enc"], fields["b_enc"] = fields["W_enc"] * norms, fields["b_enc"] * norms
        # A row of zeros gives a feature of zero, whose row may stay as it is.
        fields["W_dec"] = fields["W_dec"] / norms.where(norms > 0, 1)[:, None]
    else:
        largest = fields["threshold"].new_tensor(3e38)
        fields["threshold"] = (fields["threshold"] / norms).minimum(largest)


class _Config:
    """Values of a config, checked as they are taken."""

    def __init__(self, found: Found) -> None:
        self.found, self.values = found, found.config

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def refuse(self, key: str, why: str) -> harness.UsageError:
        """Return the error for a value that is not read."""
        return harness.UsageError(
            f"dictionary '{self.found.ref}' has {key} = {str(self.get(key))[:40]}, which is not read: {why}"
        )

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number; UnavailableError if it is none."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
            raise self._broken(key, value, "number")
        return float(value)

    def size(self, key: str) -> int:
        """Return a whole number from 1 to 2^31; UnavailableError if it is none."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
            raise self._broken(key, value, "size")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; UnavailableError for another value."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self._broken(key, value, "true or false")
        return value

    def _broken(self, key: str, value: Any, what: str) -> harness.UnavailableError:
        said = f"{key} = {str(value)[:40]}" if key in self.values else f"no {key}"
        return harness.UnavailableError(
            f"dictionary '{self.found.ref}': its config has {said}, where a {what} is wanted: fetch it again"
        )


FORMAT = Format(
    name="OpenMOSS",
    kind="openmoss",
    weights=(
        "sae_weights.safetensors",
        "final.safetensors",
        "pruned.safetensors",
        "sae_weights.pt",
        "final.pt",
        "pruned.pt",
    ),
    configs=("hyperparams.json", "../hyperparams.json", "config.json", "../config.json"),
    fits=fits,
    declare=declare,
    options=frozenset({"published_scale"}),
)
