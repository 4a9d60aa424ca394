"""Reader of plain safetensors with a `dictionary.yaml` beside them, which states the convention in two lines:

    activation: jumprelu
    subtract_b_dec: false

The tensors are named as the fields of `harness.Dictionary`: W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec,
threshold, r_mag, b_mag; `tensors` gives their names in the file where they are others, and `transposed` lists the
matrices that the file holds the other way round.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import harness
from harness_saes.refusals import no_autoencoder
from harness_saes.stored import Declaration, Format, Found, check_decoder, size_of
from harness_saes.tensors import Tensors

CONFIG = "dictionary.yaml"
"""Name of the file that declares a dictionary."""

_ENCODER = {
    "relu": ("W_enc", "b_enc"),
    "topk": ("W_enc", "b_enc"),
    "abstopk": ("W_enc", "b_enc"),
    "groupmax": ("W_enc", "b_enc"),
    "jumprelu": ("W_enc", "b_enc", "threshold"),
    "batchtopk": ("W_enc", "b_enc", "threshold"),
    "gated": ("W_enc", "b_enc", "r_mag", "b_mag"),
}
"""Tensors of the encoder by activation rule."""

_WITH_K = ("topk", "abstopk", "groupmax")

_Matrix = Literal["W_enc", "W_dec"]


class Declared(BaseModel):
    """Content of a dictionary.yaml."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    activation: Literal["relu", "jumprelu", "topk", "abstopk", "groupmax", "batchtopk", "gated"]
    """The activation rule, as `harness.Dictionary` defines it."""
    subtract_b_dec: bool
    """Subtraction of b_dec from the input before it is encoded: true or false."""
    site: str | None = None
    """The site that it was trained on, such as `resid_post.12` or `blocks.12.hook_resid_post`; left out, it serves at
    any."""
    k: int | None = Field(default=None, ge=1)
    """The number of active features per token, for topk, abstopk and groupmax."""
    signed: bool = False
    """Keeping of values below zero by topk: true or false."""
    input_norm: Literal["none", "layer_norm", "constant_norm_rescale"] = "none"
    """The normalisation of each token before all else."""
    l0: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The published number of active features per token, which the fidelity gate compares with."""
    tensors: dict[str, str] = {}
    """Names in the file of tensors that are not named as here."""
    transposed: list[_Matrix] = []
    """The matrices that the file holds transposed, W_enc as [d_sae, d_in] and W_dec as [d_in, d_sae]."""


def is_explicit(ref: str) -> bool:
    """Check whether a dictionary.yaml lies in a local folder, or beside a local file of safetensors."""
    path = harness.local_path(ref)
    if path.suffix == ".safetensors":
        path = path.parent
    return (path / CONFIG).is_file()


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether there is a dictionary.yaml that holds anything."""
    return bool(config)


def declare(found: Found) -> Declaration:
    """Return what dictionary.yaml declares; UsageError where it is at odds with itself or lacks a field."""
    path = found.checkpoint.repository.fetch(found.checkpoint.beside(CONFIG))
    said = harness.read_yaml(path, "dictionary file").validate(Declared)
    where = f"dictionary '{found.ref}': its {CONFIG}"
    if (said.k is None) == (said.activation in _WITH_K):
        raise harness.UsageError(
            f"{where} gives {'no ' * (said.k is None)}k for the activation {said.activation}"
        )
    if said.signed and said.activation != "topk":
        raise harness.UsageError(f"{where} says signed, which is for topk alone")
    if "W_skip" in found.shapes:
        raise no_autoencoder(found.ref, "transcoder")
    encoder = said.tensors.get("W_enc", "W_enc")
    size = size_of(found, encoder, transposed="W_enc" in said.transposed)
    assert size is not None  # needs_weights
    if unknown := said.tensors.keys() - {*_ENCODER[said.activation], "W_dec", "b_dec"}:
        raise harness.UsageError(
            f"{where} names the tensor {sorted(unknown)[0]!r}, which {said.activation} does not have; it has: "
            f"{', '.join((*_ENCODER[said.activation], 'W_dec', 'b_dec'))}"
        )
    if said.transposed in ([], ["W_enc", "W_dec"], ["W_dec", "W_enc"]):
        check_decoder(found, encoder, said.tensors.get("W_dec", "W_dec"), transposed=bool(said.transposed))
    settings = said.model_dump(exclude={"site", "l0"})
    return Declaration(
        d_in=size[0],
        width=size[1],
        site=_site(where, said.site),
        settings={**settings, "transposed": sorted(said.transposed)},
        subtracts=said.subtract_b_dec,
        build=lambda tensors, decoder: build(said, tensors, decoder),
        published_l0=said.l0,
        has_decoder=said.tensors.get("W_dec", "W_dec") in found.shapes,
    )


def _site(where: str, name: str | None) -> harness.Site | None:
    if name is None:
        return None
    try:
        return harness.find_site(name) or harness.Site.parse(name)
    except harness.UsageError as error:
        raise harness.UsageError(f"{where} names no site: {error}") from None


def build(said: Declared, tensors: Tensors, decoder: bool) -> Mapping[str, Any]:
    """Return the fields of a Dictionary from the tensors of the file."""

    def take(name: str) -> Any:
        tensor = tensors.take(said.tensors.get(name, name))
        return tensor.T.contiguous() if name in said.transposed else tensor

    wanted = [*_ENCODER[said.activation], *(["W_dec"] if decoder else [])]
    if said.subtract_b_dec or said.tensors.get("b_dec", "b_dec") in tensors.shapes:
        wanted.append("b_dec")
    return {
        **{name: take(name) for name in wanted},
        "activation": said.activation,
        "k": said.k,
        "signed": said.signed,
        "input_norm": said.input_norm,
    }


FORMAT = Format(
    name="plain safetensors",
    kind="plain",
    weights=("*.safetensors",),
    configs=(CONFIG,),
    fits=fits,
    declare=declare,
    needs_weights=True,
    is_explicit=True,
)
