"""Reader of saev checkpoints: `sae.pt`, a JSON header in the first line, then a state dict.

`f = act(x W_enc + b_enc)` (Stevens et al. 2025; github.com/OSU-NLP-Group/saev, `saev.nn`). TopK keeps
negative values too. BatchTopK has one trained threshold.

The header names neither the layer nor the normalisation of activations. The layer comes from folder names
(`layer_23/…`) or from LAYERS; otherwise any layer of the tower's residual stream is accepted. Activations
that were shifted and scaled before training, as for the checkpoint of DINOv2, are left to the fidelity gate
to detect.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness_saes.checkpoint import VISION, Checkpoint
from harness_saes.reading import Reading
from harness_saes.refusals import check_sizes
from harness_saes.repository import as_hashed, is_hub_reference, local_as_hashed

WEIGHTS = "sae.pt"
"""Default name of the checkpoint file."""

NEWEST_SCHEMA = 5
"""Newest version of the header that is read."""

LAYERS = {
    "SAE_CLIP_24K_ViT-B-16_IN1K": 10,
    "SAE_BioCLIP_24K_ViT-B-16_iNat21": 10,
    "SAE_DINOv2_24K_ViT-B-14_IN1K": 10,
}
"""Layer whose output was read, by repository without a layer folder (saev's inference notebook)."""

HEADER_BYTES = 1 << 20
"""Longest header that is read."""

_CONFIG = "SparseAutoencoderConfig"
"""Value of `cls` in headers of schema 1 that name the activation in the config."""

_RULES: Mapping[str, harness.Activation] = {"Relu": "relu", "TopK": "topk", "BatchTopK": "batchtopk"}
"""Activation rules of Dictionary by saev's name."""


def is_saev(ref: str) -> bool:
    """Check whether `ref` is a saev checkpoint, a folder with one, or a repository of them on the hub."""
    path = harness.local_path(ref)
    if path.is_dir():
        path = path / WEIGHTS
    if path.is_file():
        with path.open("rb") as file:
            return path.suffix == ".pt" and file.read(1) == b"{"
    return is_hub_reference(ref) and ref.startswith("osunlp/SAE_")


@dataclass(frozen=True, kw_only=True)
class Header:
    """Header of a saev checkpoint: sizes, activation rule, and whether b_dec is subtracted from the input."""

    d_in: int
    width: int
    activation: harness.Activation
    k: int | None
    subtracts: bool

    @classmethod
    def parse(cls, line: bytes, ref: str) -> Header:
        """Parse the first line of a checkpoint.

        Raise UnavailableError for a line that is no header, UsageError for an unsupported schema or activation.
        """
        said = f"dictionary '{ref}': its first line is no header of saev with the sizes of the dictionary"
        with harness.parsing(said, hint="fetch it again"):
            header = json.loads(line)
            schema = header.get("schema")
            config = header if schema is None else header["cfg"]
            d_in = int(config["d_vit"] if "d_vit" in config else config["d_model"])
            width = int(config["d_sae"]) if "d_sae" in config else d_in * int(config["exp_factor"])
        if schema not in (None, *range(1, NEWEST_SCHEMA + 1)):
            raise harness.UsageError(
                f"dictionary '{ref}' has schema {schema}; read are 1 to {NEWEST_SCHEMA} and files without one"
            )
        # Checkpoints without a schema (February 2025), and those of schema 1 that name their activation as `cls`, were
        # trained with b_dec subtracted from x; saev dropped that in July 2025, before schema 2.
        is_old = schema is None or (schema == 1 and header.get("cls", _CONFIG) != _CONFIG)
        name, settings = _activation(header, config, is_old=is_old)
        if name not in _RULES:
            raise harness.UsageError(
                f"dictionary '{ref}' has the activation '{name}'; read are {', '.join(_RULES)}"
            )
        k = settings.get("top_k", min(32, width)) if name == "TopK" else None
        if k is not None and (isinstance(k, bool) or not isinstance(k, int)):
            raise harness.UnavailableError(f"dictionary '{ref}': its top_k is {k!r}, which is no number")
        return cls(d_in=d_in, width=width, activation=_RULES[name], k=k, subtracts=is_old)


def _activation(
    header: Mapping[str, Any], config: Mapping[str, Any], *, is_old: bool
) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the activation rule and its parameters."""
    if is_old:
        return str(header.get("cls", "Relu")), config
    activation = config.get("activation")
    named = activation if isinstance(activation, Mapping) else {}
    settings = named.get("params")
    return str(named.get("cls")), settings if isinstance(settings, Mapping) else {}


class Folder:
    """One saev dictionary: a file, a folder or a repository on the hub."""

    def __init__(self, ref: str, *, reading: Reading) -> None:
        self.ref, self.reading = ref, reading
        self.checkpoint = Checkpoint.find(ref, WEIGHTS)

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        checkpoint = self.checkpoint
        checkpoint.check_site(self._site(), site, any_site=self.reading.any_site)
        sha256 = checkpoint.repository.sha256(checkpoint.name)
        with local_as_hashed(checkpoint.repository, checkpoint.name, sha256) as path:
            if path:
                header = self._read_header(path)
                d_in, width = header.d_in, header.width
                if d_in * width > path.stat().st_size:  # at least a byte for each weight
                    raise harness.UnavailableError(
                        f"dictionary '{self.ref}': its header says {d_in:,} × {width:,} weights, more than its "
                        f"{path.stat().st_size:,} bytes hold: fetch it again"
                    )
            else:  # not downloaded yet: the width is part of the repository's name
                named = re.search(r"_(\d{1,9})K_", self.ref)
                d_in, width = model.width(site), int(named[1]) * 1024 if named else 0
        return harness.PlacedRepresentation(
            identity={"kind": "saev", "sha256": sha256, **self.reading.identity},
            d_in=d_in,
            width=width,
            load=lambda device: self.load(device, sha256=sha256),
            load_whole=lambda device: self.load(device, sha256=sha256, decoder=True),
            sparse=True,
            reference=checkpoint.reference(depth=3 if "layer_" in checkpoint.place else 1),
            flags=self.reading.flags,
        )

    def load(self, device: str, *, sha256: str, decoder: bool = False) -> harness.Dictionary:
        """Load the dictionary onto a device from the file with this hash; skip the decoder unless asked for."""
        checkpoint = self.checkpoint
        with as_hashed(checkpoint.repository, checkpoint.name, sha256) as path:
            header = self._read_header(path)
            with path.open("rb") as file:
                file.readline(HEADER_BYTES)
                tensors = checkpoint.read(io.BytesIO(file.read()))
        subtracts = self.reading.subtracts(header.subtracts)
        keeps = subtracts or decoder
        wanted = ["W_enc", "b_enc", *(["b_dec"] if keeps else []), *(["W_dec"] if decoder else [])]
        if header.activation == "batchtopk":
            wanted.append("activation.threshold")
        checkpoint.check_pair(tensors)
        parts = checkpoint.take(tensors, wanted, device)
        check_sizes(self.ref, "header", {"d_in": header.d_in}, {"d_in": parts["W_enc"].shape[0]})
        return harness.Dictionary(
            name=self.ref,
            width=header.width,
            activation=header.activation,
            W_enc=parts["W_enc"],
            b_enc=parts["b_enc"],
            threshold=parts.get("activation.threshold"),
            k=header.k,
            signed=header.activation == "topk",
            subtract=parts["b_dec"] if subtracts else None,
            W_dec=parts.get("W_dec"),
            b_dec=parts["b_dec"] if decoder else None,
        )

    def _site(self) -> harness.Site | None:
        """Return the site of training if folder names or LAYERS give it."""
        place = self.checkpoint.place
        named = re.search(r"(?:^|/)layer_(\d{1,9})(?=/|$)", place)
        known = [layer for name, layer in LAYERS.items() if re.search(rf"(?:^|/){name}(?=[@/]|$)", place)]
        layers = [int(named[1])] if named else known
        return harness.Site(tower=VISION, kind="resid_post", layer=layers[0]) if layers else None

    def _read_header(self, path: Path) -> Header:
        with path.open("rb") as file:
            return Header.parse(file.readline(HEADER_BYTES), self.ref)
