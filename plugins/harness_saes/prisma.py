"""Reader of ViT-Prisma checkpoints: `weights.pt` beside a config.json, or both in one file.

The encoder (Joseph et al. 2025; github.com/Prisma-Multimodal/ViT-Prisma, `vit_prisma.sae`) normalises each
token as `normalize_activations` says, subtracts b_dec, and applies ReLU, top-k or gated features.
Reconstructions are scaled back to the token's own units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import harness
from harness_saes.checkpoint import VISION, Checkpoint
from harness_saes.reading import Reading
from harness_saes.refusals import check_sizes, no_autoencoder
from harness_saes.repository import as_hashed, is_hub_reference, local_as_hashed

WEIGHTS = "weights.pt"
CONFIG = "config.json"

_KINDS = {"hook_resid_post": "resid_post", "hook_mlp_out": "mlp_out"}
"""Site kinds by the part of the hook's name that follows the block."""

_NORMS = {"layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm_rescale", "none": "none"}
"""Input normalisations of Dictionary by the config's name."""

_ENCODERS = {
    "relu": {"W_enc": "W_enc", "b_enc": "b_enc"},
    "topk": {"W_enc": "W_enc", "b_enc": "b_enc"},
    "gated": {"W_enc": "W_enc", "b_enc": "b_gate", "r_mag": "r_mag", "b_mag": "b_mag"},
}
"""Names in the state dict by activation rule and field of Dictionary."""


def is_prisma(ref: str) -> bool:
    """Check whether `ref` is a ViT-Prisma checkpoint, a folder with one, or a repository on the hub."""
    path = harness.local_path(ref)
    if path.is_dir():
        path = path / WEIGHTS
    if path.is_file():
        return path.name == WEIGHTS or (path.suffix == ".pt" and _has_config(path))
    return is_hub_reference(ref) and ref.lower().startswith("prisma-multimodal/")


def _has_config(path: Path) -> bool:
    """Check whether a ViT-Prisma config is beside the weights, or inside their file."""
    beside = path.with_name(CONFIG)
    with (beside if beside.is_file() else path).open("rb") as file:
        return b"hook_point_layer" in file.read(1 << 16)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a ViT-Prisma config that affect features."""

    site: harness.Site
    activation: harness.Activation
    k: int | None
    input_norm: harness.InputNorm
    trained_on: str
    """Token positions used in training: `cls`, `patches` or `all`."""

    @classmethod
    def parse(cls, config: Mapping[str, Any], ref: str) -> Settings:
        """Parse a config; raise UnavailableError for a missing key, UsageError for an unsupported value."""
        if config.get("is_transcoder"):
            raise no_autoencoder(ref, "transcoder")
        norm = config.get("normalize_activations", "layer_norm")
        norm = _translate(ref, config, "normalize_activations", str(norm or "none").lower(), _NORMS)
        activation, k = _rule(config, ref)
        cls_only, patches_only = config.get("cls_token_only"), config.get("use_patches_only")
        return cls(
            site=_site(config, ref),
            activation=activation,
            k=k,
            input_norm=cast("harness.InputNorm", norm),
            trained_on="cls" if cls_only else "patches" if patches_only else "all",
        )


def _translate(ref: str, config: Mapping[str, Any], key: str, value: str, known: Mapping[str, str]) -> str:
    """Return the translation of `value`; raise UsageError if it is unknown."""
    if value not in known:
        raise harness.UsageError(
            f"dictionary '{ref}' has {key} = '{config[key]}', which is none of {', '.join(known)}"
        )
    return known[value]


def _rule(config: Mapping[str, Any], ref: str) -> tuple[harness.Activation, int | None]:
    """Return the activation rule, and k for top-k."""
    architecture = str(config.get("architecture", "standard"))
    function = config.get("activation_fn_str")
    if function is None:
        raise harness.UnavailableError(f"dictionary '{ref}': its config has no activation_fn_str")
    function = str(function)
    if (architecture, function) == ("standard", "topk"):
        settings = config.get("activation_fn_kwargs")
        k = settings.get("k") if isinstance(settings, Mapping) else None
        if isinstance(k, bool) or not isinstance(k, int):
            raise harness.UnavailableError(f"dictionary '{ref}': its config has no k for topk")
        return "topk", k
    rules: Mapping[tuple[str, str], harness.Activation] = {
        ("standard", "relu"): "relu",
        ("gated", "relu"): "gated",
    }
    if (architecture, function) not in rules:
        raise harness.UsageError(
            f"dictionary '{ref}' is '{architecture}' with '{function}'; read are standard with relu or topk, and "
            f"gated with relu"
        )
    return rules[architecture, function], None


def _site(config: Mapping[str, Any], ref: str) -> harness.Site:
    """Return the site of the hook; raise UsageError if it is unsupported."""
    layer = config.get("hook_point_layer")
    if isinstance(layer, list) and len(layer) == 1:
        layer = layer[0]
    hook = config.get("hook_point") or f"blocks.{layer}.{config.get('layer_subtype')}"
    match = re.fullmatch(r"blocks\.([0-9]{1,9})\.(\w+)", str(hook))
    if match is None or match[2] not in _KINDS or config.get("hook_point_head_index") is not None:
        head = "" if config.get("hook_point_head_index") is None else " of one attention head"
        raise harness.UsageError(
            f"dictionary '{ref}' reads '{hook}'{head}; read are blocks.L. with {' or '.join(_KINDS)}"
        )
    return harness.Site(tower=VISION, kind=_KINDS[match[2]], layer=int(match[1]))


class Folder:
    """One ViT-Prisma dictionary: a file, a folder or a repository on the hub."""

    def __init__(self, ref: str, *, reading: Reading) -> None:
        self.ref, self.reading = ref, reading
        self.checkpoint = Checkpoint.find(ref, WEIGHTS)

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        checkpoint = self.checkpoint
        if checkpoint.path is None:
            self._config()  # the first file that is missed, before the weights
        sha256 = checkpoint.repository.sha256(checkpoint.name)
        with local_as_hashed(checkpoint.repository, checkpoint.name, sha256):
            config = self._config()
            settings = Settings.parse(config, self.ref)
            checkpoint.check_site(settings.site, site, any_site=self.reading.any_site)
            d_in, width = self._shape(config)
        positions = settings.trained_on
        return harness.PlacedRepresentation(
            identity={
                "kind": "prisma",
                "sha256": sha256,
                "activation": settings.activation,
                "k": settings.k,
                "input_norm": settings.input_norm,
                **self.reading.identity,
            },
            d_in=d_in,
            width=width,
            load=lambda device: self.load(settings, device, sha256=sha256),
            load_whole=lambda device: self.load(settings, device, sha256=sha256, decoder=True),
            sparse=True,
            reference=checkpoint.reference(),
            flags=(*(() if positions == "all" else (f"trained-on-{positions}",)), *self.reading.flags),
        )

    def load(
        self, settings: Settings, device: str, *, sha256: str, decoder: bool = False
    ) -> harness.Dictionary:
        """Load the dictionary onto a device from the file with this hash; skip the decoder unless asked for."""
        checkpoint = self.checkpoint
        encoder = _ENCODERS[settings.activation]
        subtracts = self.reading.subtracts(True)
        wanted = [
            *encoder.values(),
            *(["b_dec"] if subtracts or decoder else []),
            *(["W_dec"] if decoder else []),
        ]
        with as_hashed(checkpoint.repository, checkpoint.name, sha256) as path:
            _, tensors = self._read(path)
            parts = checkpoint.take(tensors, wanted, device)
        named: dict[str, Any] = {field: parts[name] for field, name in encoder.items()}
        return harness.Dictionary(
            **named,
            name=self.ref,
            width=parts["W_enc"].shape[-1],
            activation=settings.activation,
            k=settings.k,
            subtract=parts["b_dec"] if subtracts else None,
            W_dec=parts.get("W_dec"),
            b_dec=parts["b_dec"] if decoder else None,
            input_norm=settings.input_norm,
        )

    def _read(self, path: Path) -> tuple[Any, Any]:
        """Return the config, None if the file has none, and the state dict."""
        found = self.checkpoint.read(path)
        if isinstance(found, Mapping) and {"cfg", "state_dict"} <= found.keys():
            return found["cfg"], found["state_dict"]
        return None, found

    def _config(self) -> Mapping[str, Any]:
        """Return config.json; if there is none, the config inside the weights' file."""
        checkpoint = self.checkpoint
        repository, name = checkpoint.repository, checkpoint.beside(CONFIG)
        repository.require(checkpoint.name, name)
        path = repository.find(name)
        if path is None and checkpoint.path is None:
            raise repository.lacks(name)
        if path is None:
            assert checkpoint.path is not None
            config, _ = self._read(checkpoint.path)
        else:
            said = f"dictionary '{self.ref}': its config.json cannot be read"
            config = harness.read_mapping(path, said, hint="fetch it again")
        if not isinstance(config, Mapping):
            raise harness.UnavailableError(
                f"dictionary '{self.ref}' has no config.json beside {checkpoint.file}, and no config in it"
            )
        return config

    def _shape(self, config: Mapping[str, Any]) -> tuple[int, int]:
        """Return `(d_in, d_sae)` of the weights, or of the config if they are not downloaded yet."""
        if path := self.checkpoint.path:
            _, tensors = self._read(path)
            shape = self.checkpoint.tensor(tensors, "W_enc").shape
            if len(shape) != 2:
                raise harness.UnavailableError(
                    f"dictionary '{self.ref}': W_enc has {len(shape)} dimensions, not 2"
                )
            self.checkpoint.check_pair(tensors)
            held = {"d_in": int(shape[0]), "d_sae": int(shape[1]), "expansion_factor": shape[1] / shape[0]}
            check_sizes(self.ref, CONFIG, {name: config.get(name) for name in held}, held)
            return int(shape[0]), int(shape[1])
        d_in, factor = config.get("d_in"), config.get("expansion_factor")
        if not isinstance(d_in, int) or not isinstance(factor, int):
            raise harness.UnavailableError(
                f"dictionary '{self.ref}': its config has no d_in and expansion_factor"
            )
        return d_in, d_in * factor
