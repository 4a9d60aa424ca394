"""Reader of SAELens' folders: `sae_weights.safetensors` beside a cfg.json, of any version (Bloom et al. 2024;
github.com/decoderesearch/SAELens, `sae_lens.saes`).

cfg.json says the architecture, whether b_dec is subtracted (`apply_b_dec_to_input`, by default true), the normalisation
of inputs and the hook. What can be folded into tensors is: norms of decoder rows where features are scaled by them, a
scale of all activations, a whitening. Before version 6 keys have other names (`modernise`).

A training checkpoint of BatchTopK holds no JumpReLU threshold yet; it is read as SAELens saves it for inference, with
the running threshold of training in place of the batch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.checkpoint import Checkpoint
from harness_saes.hooks import read_hook
from harness_saes.published import LEFT_OUT
from harness_saes.refusals import check_sizes, no_autoencoder
from harness_saes.repository import HubRepository, LocalRepository
from harness_saes.stored import Declaration, Format, Found, check_decoder, check_shapes, size_of
from harness_saes.tensors import Tensors, open_tensors

if TYPE_CHECKING:
    import torch


WEIGHTS = "sae_weights.safetensors"
CONFIG = "cfg.json"
SCALER = "activation_scaler.json"
"""File beside a training checkpoint with the scale of its activations."""
STORE = "activations_store_state.safetensors"
"""File beside a training checkpoint before version 6, with that scale among stored activations. The last checkpoint has
none there: its weights hold it, although its cfg.json, that of the run, still says `expected_average_only_in`.
"""
WHITENING = "activation_whitening.safetensors"
"""File beside a training checkpoint with the whitening of its activations."""

_RULES: Mapping[str, harness.Activation] = {
    "standard": "relu",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "abstopk": "abstopk",
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
}
"""Activation rule by architecture. Matryoshka's nested groups only matter to its loss."""

_REFUSED: Mapping[str, str] = {
    "temporal": "its features depend on the tokens before each token",
    "matching_pursuit": "it chooses features one after the other, by what those before leave over",
}
"""Reason by architecture why it is not read: its features do not follow from one token by a linear map and a rule."""

_NORMS = {
    "none": "none",
    "expected_average_only_in": "none",  # folded
    "covariance_whitening": "none",  # folded
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm_rescale",
}
"""Normalisation of each token by `normalize_activations`."""

_SCALINGS = ("scaling_factor", "finetuning_scaling_factor")
"""Names of the factors of features before the decoder, which finetuning learns; the second is that of versions 4 and 5,
which version 6 cannot load.
"""

_WITHOUT_MEAN = re.compile(r"gemma|llama|mistral|mixtral|qwen|olmo-?2|deepseek|phi-?3|gpt-oss", re.IGNORECASE)
"""Models whose norm takes no mean away: TransformerLens does not centre what they write."""

_SMALLEST_NORM = 1e-8
"""Norm that SAELens takes for smaller ones when it folds them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that cfg.json says of features."""

    activation: harness.Activation
    k: int | None
    subtracts: bool
    input_norm: str
    scaled_by_norms: bool
    """True if pre-activations are multiplied by the norms of decoder rows."""
    input_scale: float | None
    """Factor of all activations; None is 1."""
    whitening: str | None
    """SHA-256 of the file with the whitening; None without one."""


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether a cfg.json is SAELens'."""
    return "d_in" in config


def declare(found: Found) -> Declaration:
    """Return what cfg.json declares; UsageError for what is not read, UnavailableError for what contradicts itself."""
    overrides = found.options.get("overrides") or {}
    left_out = {} if overrides else _left_out(found.checkpoint)
    config = _Config(found, modernise({**found.config, **left_out, **overrides}))
    architecture = str(config.values.get("architecture"))
    if "transcoder" in architecture or "crosscoder" in architecture or config.metadata.get("hook_name_out"):
        raise no_autoencoder(found.ref, "transcoder" if "cross" not in architecture else "crosscoder")
    if architecture in _REFUSED:
        raise harness.UsageError(
            f"dictionary '{found.ref}' is of SAELens' architecture {architecture}, which is not read: "
            f"{_REFUSED[architecture]}"
        )
    if architecture not in _RULES:
        raise config.refuse("architecture", architecture, f"read are {', '.join(_RULES)}")
    norm = config.values.get("normalize_activations", "none")
    if not isinstance(norm, str) or norm not in _NORMS:
        raise config.refuse("normalize_activations", norm, f"read are {', '.join(_NORMS)}")
    functions = ("topk",) if architecture == "topk" else ("relu",)
    if (function := config.values.get("activation_fn") or functions[0]) not in functions:
        raise config.refuse(
            "activation_fn", function, f"read is {functions[0]} for the architecture {architecture}"
        )
    rule = _RULES[architecture]
    d_in, width = config.size("d_in"), config.size("d_sae")
    if size := size_of(found, "W_enc"):
        check_sizes(
            found.ref, CONFIG, {"d_in": d_in, "d_sae": width}, dict(zip(("d_in", "d_sae"), size, strict=True))
        )
        check_decoder(found, "W_enc", "W_dec")
    settings = Settings(
        activation=rule,
        k=config.size("k") if rule in ("topk", "abstopk") else None,
        subtracts=config.flag("apply_b_dec_to_input", True),
        input_norm=config.centred(_NORMS[norm]),
        scaled_by_norms=rule in ("topk", "abstopk", "batchtopk")
        and config.flag("rescale_acts_by_decoder_norm", architecture != "topk" and architecture != "abstopk"),
        input_scale=_scale(found, norm == "expected_average_only_in"),
        whitening=_whitening(found) if norm == "covariance_whitening" else None,
    )
    # The config of a run, beside checkpoints before version 6, names the method instead.
    finetuned = config.flag("finetuning_scaling_factor", config.values.get("finetuning_method") is not None)
    return Declaration(
        d_in=d_in,
        width=width,
        site=config.site(),
        settings=asdict(settings),
        subtracts=settings.subtracts,
        build=lambda tensors, decoder: build(found, settings, tensors, decoder, finetuned=finetuned),
        notes=tuple(
            f"dictionary '{found.ref}': its config leaves out {key}, which is that of SAELens' table of releases"
            for key in left_out
        ),
        hook=config.hook,
    )


def _left_out(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return what the configs of a repository on the hub are known to leave out."""
    repository = checkpoint.repository
    return LEFT_OUT.get(repository.hub.repo, {}) if isinstance(repository, HubRepository) else {}


def modernise(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config with the names and defaults of version 6, as SAELens itself translates older ones."""
    metadata = config.get("metadata")
    version = config.get("sae_lens_version") or (
        metadata.get("sae_lens_version") if isinstance(metadata, Mapping) else ""
    )
    if (match := re.match(r"(\d{1,9})\.", str(version or ""))) and int(match[1]) >= 6:
        return config
    names = {
        "hook_point": "hook_name",
        "hook_point_head_index": "hook_head_index",
        "activation_fn_str": "activation_fn",
    }
    modern = {names.get(key, key): value for key, value in config.items()}
    if modern.get("activation_fn") == "topk" and modern.get("architecture") in (None, "standard", "topk"):
        settings = modern.get("activation_fn_kwargs")
        k = settings.get("k") if isinstance(settings, Mapping) else None
        modern |= {"architecture": "topk", "k": modern.get("k", k) if k is None else k}
    norm = modern.get("normalize_activations") or "none"
    modern["normalize_activations"] = "expected_average_only_in" if norm is True else norm
    modern.setdefault("architecture", "standard")
    modern.setdefault("rescale_acts_by_decoder_norm", False)
    return modern


class _Config:
    """Values of a config in the form of version 6, checked one by one."""

    def __init__(self, found: Found, values: Mapping[str, Any]) -> None:
        self.found, self.values = found, values
        metadata = values.get("metadata")
        # Before version 6 what is metadata now stood beside everything else.
        self.metadata = metadata if isinstance(metadata, Mapping) else values

    def refuse(self, key: str, value: Any, why: str) -> harness.UsageError:
        """Return the error for a value that is not read."""
        return harness.UsageError(
            f"dictionary '{self.found.ref}': its {CONFIG} says {key} = {harness.printable(str(value)[:80])!r}; {why}"
        )

    def size(self, key: str) -> int:
        """Return a positive whole number; UnavailableError for anything else."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= sys.maxsize:
            raise self._broken(key, value, f"no whole number from 1 to {sys.maxsize:,}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false, `default` where the key or its value is missing; UnavailableError for anything else."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._broken(key, value, "neither true nor false")
        return value

    def centred(self, norm: str) -> str:
        """Return the normalisation of each token of a model as it is, where the dictionary reads one whose weights
        TransformerLens centres (`center_writing_weights`), so that the mean of what they write is 0.
        """
        given = self.metadata.get("model_from_pretrained_kwargs")
        wanted = isinstance(given, Mapping) and given.get("center_writing_weights") is True
        of_heads = str(self.metadata.get("hook_name")).endswith("hook_z")
        if not wanted or of_heads or _WITHOUT_MEAN.search(str(self.metadata.get("model_name"))):
            return norm
        if norm == "constant_norm_rescale":
            raise self.refuse("center_writing_weights", True, f"which is not read with {norm}")
        return "centre" if norm == "none" else norm  # layer_norm takes the mean away in any case

    @property
    def hook(self) -> str | None:
        """Name of the hook; None without one. UnavailableError for anything but text."""
        hook = self.metadata.get("hook_name") or self.metadata.get("hf_hook_name")
        if hook is not None and not isinstance(hook, str):
            raise self._broken("hook_name", hook, "no name of a hook")
        return hook

    def site(self) -> harness.Site | str | None:
        """Return the site of the hook, or the name of a place that is none here: another hook, a single head."""
        head = self.metadata.get("hook_head_index")
        if self.hook is None:
            return None
        return read_hook(self.hook) if head is None else f"{self.hook} of head {head}"

    def _broken(self, key: str, value: Any, what: str) -> harness.UnavailableError:
        said = "no value" if value is None else f"{harness.printable(str(value)[:80])!r}, which is {what}"
        return harness.UnavailableError(
            f"dictionary '{self.found.ref}': its {CONFIG} gives {key} {said}: fetch it again"
        )


# ── what lies beside the weights ─────────────────────────────────────────────────────────────────────────


def _scale(found: Found, asked: bool) -> float | None:
    """Return the factor of all activations; None is 1.

    It is not in the weights where `expected_average_only_in` stands: SAELens' loader then leaves activations as they
    are and features are wrong by that factor, so nothing is guessed here.
    """
    given = found.options.get("input_scale")
    if not asked:
        if given is not None:
            raise harness.UsageError(f"dictionary '{found.ref}' scales no activations: leave out input_scale")
        return None
    if given is None:
        given = _read_scaler(found.checkpoint)
    if given is None and "metadata" not in found.config:  # before version 6
        given = _read_store(found.checkpoint)
    if given is None:
        given = found.options.get("published_scale")
    if given is None:
        raise harness.UsageError(
            f"dictionary '{found.ref}' reads activations scaled to a mean norm of √d_in, and nothing beside it says by "
            f"which factor: give input_scale=NUMBER (1 leaves them as they are, as SAELens' loader does)"
        )
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= sys.float_info.max:
        raise harness.UsageError(
            f"dictionary '{found.ref}': its input_scale is {given!r}, and no number above 0"
        )
    return float(given)


def _read_scaler(checkpoint: Checkpoint) -> Any:
    """Return the factor beside a training checkpoint; None if there is none."""
    path = checkpoint.repository.find(checkpoint.beside(SCALER))
    if path is None:
        return None
    said = f"dictionary '{checkpoint.ref}': its {SCALER} cannot be read"
    return harness.read_mapping(path, said, hint="fetch it again").get("scaling_factor")


def _read_store(checkpoint: Checkpoint) -> float | None:
    """Return the factor beside a training checkpoint before version 6, 1 beside the last one; None without the file."""
    beside, name = replace(checkpoint, name=checkpoint.beside(STORE)), "estimated_norm_scaling_factor"
    # It may hold gigabytes of activations, so that it is not fetched.
    is_local = isinstance(checkpoint.repository, LocalRepository)
    path = checkpoint.repository.find(beside.name) if is_local else None
    if path is None:
        return None
    with open_tensors(beside, path) as tensors:
        return float(tensors.take(name)) if name in tensors.shapes else 1.0


def _whitening(found: Found) -> str:
    """Return the SHA-256 of the whitening beside the weights; UnavailableError without one."""
    checkpoint = found.checkpoint
    name = checkpoint.beside(WHITENING)
    if checkpoint.repository.find(name) is None:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}' reads whitened activations, and {WHITENING} is not beside it: name the folder "
            f"of the training checkpoint, or save it for inference with SAELens, which folds the whitening"
        )
    return checkpoint.repository.sha256(name)


# ── tensors ──────────────────────────────────────────────────────────────────────────────────────────────


def build(
    found: Found, settings: Settings, tensors: Tensors, decoder: bool, *, finetuned: bool
) -> Mapping[str, Any]:
    """Return the fields of a Dictionary from the tensors of the file, with all that can be folded."""
    d_in, width = found.config["d_in"], found.config["d_sae"]
    of_features = dict.fromkeys(("b_enc", "threshold", "b_gate", "b_mag", "r_mag", *_SCALINGS), (width,))
    check_shapes(
        found, tensors, {"W_enc": (d_in, width), "W_dec": (width, d_in), "b_dec": (d_in,), **of_features}
    )
    fields = {**_encoder(settings, tensors), "b_dec": tensors.take("b_dec")}
    if decoder or settings.scaled_by_norms:
        fields["W_dec"] = tensors.take("W_dec")
    if settings.input_scale is not None:
        _fold_scale(settings, fields, settings.input_scale)
    if settings.scaled_by_norms:
        _fold_norms(fields)
    scaling = _scaling(found, tensors, finetuned=finetuned)
    if scaling is not None and decoder:
        fields["W_dec"] *= scaling[:, None]
    if settings.whitening:
        _fold_whitening(found, settings, fields)
    return {**fields, "activation": settings.activation, "k": settings.k, "input_norm": settings.input_norm}


def _encoder(settings: Settings, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors of the encoder by the fields of a Dictionary."""
    if settings.activation == "gated":
        names = {"W_enc": "W_enc", "b_enc": "b_gate", "r_mag": "r_mag", "b_mag": "b_mag"}
        return {field: tensors.take(name) for field, name in names.items()}
    fields = {name: tensors.take(name) for name in ("W_enc", "b_enc")}
    if settings.activation == "jumprelu":
        # Checkpoints of training held its logarithm once.
        logarithm = "log_threshold" in tensors.shapes and "threshold" not in tensors.shapes
        fields["threshold"] = tensors.take("log_threshold").exp() if logarithm else tensors.take("threshold")
    if settings.activation == "batchtopk":
        fields["threshold"] = tensors.take("topk_threshold")
    return fields


def _fold_scale(settings: Settings, fields: dict[str, torch.Tensor], scale: float) -> None:
    """Fold the factor of activations into encoder and decoder, in place (`fold_activation_norm_scaling_factor`)."""
    fields["W_enc"] *= scale
    for name in fields.keys() & {"W_dec", "b_dec"}:
        fields[name] /= scale
    if settings.activation == "batchtopk" and settings.scaled_by_norms:
        # The threshold is in units of features times norms of decoder rows, which just became smaller.
        fields["threshold"] /= scale


def _fold_norms(fields: dict[str, torch.Tensor]) -> None:
    """Fold the norms of decoder rows into the encoder, in place."""
    norms = fields["W_dec"].norm(dim=1).clamp(min=_SMALLEST_NORM)
    fields["W_enc"] *= norms
    fields["b_enc"] *= norms
    fields["W_dec"] /= norms[:, None]


def _scaling(found: Found, tensors: Tensors, *, finetuned: bool) -> torch.Tensor | None:
    """Return the factors of features before the decoder; None without any. UnavailableError if the config denies it."""
    name = next((name for name in _SCALINGS if name in tensors.shapes), None)
    if name is None:
        return None
    scaling = tensors.take(name)
    if bool((scaling - 1).abs().max() <= 1e-5):  # as SAELens, which wrote ones for a time
        return None
    if not finetuned:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}' holds a {name}, and its {CONFIG} says finetuning_scaling_factor = false: they "
            f"do not belong together, so fetch both again"
        )
    return scaling


def _fold_whitening(found: Found, settings: Settings, fields: dict[str, torch.Tensor]) -> None:
    """Fold z = (x − mean) · matrix into the encoder, and its inverse into the decoder (`fold_activation_whitening`)."""
    checkpoint = found.checkpoint
    beside = replace(checkpoint, name=checkpoint.beside(WHITENING))
    with open_tensors(beside, checkpoint.repository.fetch(beside.name), str(fields["W_enc"].device)) as file:
        mean, matrix, inverse = (file.take(name) for name in ("mean", "matrix", "inverse_matrix"))
    d_in = fields["W_enc"].shape[0]
    if not (mean.shape == (d_in,) and matrix.shape == inverse.shape == (d_in, d_in)):
        raise harness.UnavailableError(
            f"dictionary '{found.ref}': its {WHITENING} is not of {d_in} dimensions: fetch both again"
        )
    # In float64: the mean of some dimensions is thousands of times their spread.
    folded = matrix.double() @ fields["W_enc"].double()
    fields["W_enc"] = folded.float()
    if not settings.subtracts:  # else the folded b_dec holds the mean
        shift = (mean.double() @ folded).float()
        fields["b_enc"] -= shift
        if settings.activation == "gated":
            fields["b_mag"] -= shift * fields["r_mag"].exp()
    fields["b_dec"] = (fields["b_dec"].double() @ inverse.double() + mean).float()
    if "W_dec" in fields:
        fields["W_dec"] = fields["W_dec"] @ inverse


FORMAT = Format(
    name="SAELens",
    kind="sae_lens",
    weights=(WEIGHTS,),
    configs=(CONFIG,),
    fits=fits,
    declare=declare,
    options=frozenset({"input_scale", "published_scale", "overrides"}),
)
