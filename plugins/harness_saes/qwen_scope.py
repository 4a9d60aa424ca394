"""Reader of Qwen Scope: `layer{L}.sae.pt`, a state dict for each layer, in a repository SAE-Res-MODEL-W{N}K-L0_{K}.

W_enc [d_sae, d_in], W_dec [d_in, d_sae], b_enc and b_dec; of each token the k largest pre-activations stay, b_dec is
not subtracted. The files do not say k: the name of the repository or folder does, or the option `k`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.repository import HubRepository, LocalRepository
from harness_saes.stored import Declaration, Format, Found, check_decoder, size_of
from harness_saes.tensors import Tensors

if TYPE_CHECKING:
    import torch

_NAMES = frozenset({"W_enc", "W_dec", "b_enc", "b_dec"})
_NAMED = re.compile(r"SAE-Res-(?P<model>[\w.-]+?)-W(?P<width>[0-9]{1,6})K-L0_(?P<k>[0-9]{1,6})(?![0-9])")
_LAYER = re.compile(r"(?:^|/)layer(?P<layer>[0-9]{1,4})\.sae\.pt$")


def fits(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Check whether a file holds the four tensors alone; one that is not on this machine goes by its name."""
    return not names or set(names) == _NAMES


def declare(found: Found) -> Declaration:
    """Return what names and shapes tell; UsageError where nothing says k."""
    size = size_of(found, "W_enc", transposed=True)
    assert size is not None  # needs_weights
    check_decoder(found, "W_enc", "W_dec", transposed=True)
    d_in, width = size
    k = found.options.get("k", _named_k(found))
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= width:
        said = (
            "nothing says how many features of a token stay"
            if k is None
            else f"k={k} is none from 1 to {width:,}"
        )
        raise harness.UsageError(
            f"dictionary '{found.ref}': {said}: keep the name of its repository (SAE-Res-MODEL-W32K-L0_50), or give "
            f"its number, k=50"
        )
    layer = _LAYER.search(found.checkpoint.name)
    return Declaration(
        d_in=d_in,
        width=width,
        site=harness.Site(kind="resid_post", layer=int(layer["layer"])) if layer else None,
        settings={"k": k},
        subtracts=False,
        build=lambda tensors, decoder: build(k, tensors, decoder),
    )


def _named_k(found: Found) -> int | None:
    """Return k from the name of the repository or of a folder; None if they do not tell."""
    repository = found.checkpoint.repository
    place = found.checkpoint.name
    if isinstance(repository, HubRepository):
        place = f"{repository.hub.repo}/{place}"
    elif isinstance(repository, LocalRepository):
        place = f"{repository.root.resolve().as_posix()}/{place}"
    matches = list(_NAMED.finditer(place))
    return int(matches[-1]["k"]) if matches else None


def build(k: int, tensors: Tensors, decoder: bool) -> Mapping[str, torch.Tensor | Any]:
    """Return the fields of a Dictionary."""
    parts = ("W_enc", "W_dec") if decoder else ("W_enc",)
    matrices = {name: tensors.take(name).T.contiguous() for name in parts}
    biases = {name: tensors.take(name) for name in ("b_enc", "b_dec")}
    return {**matrices, **biases, "activation": "topk", "k": k}


FORMAT = Format(
    name="Qwen Scope",
    kind="qwen_scope",
    weights=("layer*.sae.pt",),
    configs=(),
    fits=fits,
    declare=declare,
    options=frozenset({"k"}),
    needs_weights=True,
)
