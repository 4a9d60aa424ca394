"""Checkpoints of llamascopium: every activation function and normalisation that it encodes one token with."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from interop.case import Case

with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from llamascopium.models.sae import SAEConfig, SparseAutoEncoder

FORMAT = "OpenMOSS"
LIBRARY = "llamascopium"
GOLDEN = "openmoss"

D_MODEL, FACTOR, K, TOKENS = 8, 2, 3, 4
HOOK = "blocks.2.hook_resid_post"


def cases(folder: Path) -> Iterator[Case]:
    """Write random checkpoints into folders of their own and yield each with what llamascopium makes of it."""
    torch.manual_seed(17)
    for function in ("relu", "jumprelu", "topk"):
        for by_norms in (True, False):
            yield _saved(folder, function, by_norms, "dataset-wise", golden=by_norms)
    yield _saved(folder, "jumprelu", True, "token-wise")
    yield _saved(folder, "topk", True, "inference")
    yield _saved(folder, "jumprelu", True, "dataset-wise", dtype=torch.bfloat16)
    yield _saved(folder, "relu", True, "dataset-wise", use_decoder_bias=False)


@torch.no_grad()
def _saved(
    folder: Path, function: str, by_norms: bool, norm: str, *, golden: bool = False, **more: Any
) -> Case:
    config = SAEConfig(
        hook_point_in=HOOK,
        hook_point_out=HOOK,
        d_model=D_MODEL,
        expansion_factor=FACTOR,
        act_fn=function,
        norm_activation=norm,
        sparsity_include_decoder_norm=by_norms,
        top_k=K,
        device="cpu",
        **{"dtype": torch.float32, **more},
    )
    sae = SparseAutoEncoder(config)
    for parameter in sae.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.5)
    if norm == "dataset-wise":
        sae.set_dataset_average_activation_norm({HOOK: 7.5})
    words = [function, norm, *(["scaled by decoder norms"] if by_norms else []), *map(str, more.values())]
    name = ", ".join(word.removeprefix("torch.") for word in words).replace("False", "without decoder bias")
    path = folder / name.replace(", ", "-").replace(" ", "_")
    sae.save_pretrained(path)
    config.save_hyperparameters(path)
    # What is encoded in float32 is what the file holds: the library would compute in the type of the file.
    again = SparseAutoEncoder.from_pretrained(str(path), dtype=torch.float32)
    x = torch.randn(TOKENS, D_MODEL) * 3
    scaled, scales = again.normalize_activations({HOOK: x}, return_scale_factor=True)
    features = again.encode(scaled[HOOK])
    rebuilt = again.denormalize_activations({HOOK: again.decode(features)}, scales)[HOOK]
    # Top-k compares features times the norms of decoder rows, and those are the features here.
    by_norm = by_norms and function == "topk"
    return Case(
        name=name,
        path=path,
        site="resid_post.2",
        x=x,
        features=features * again.decoder_norm() if by_norm else features,
        rebuilt=rebuilt,
        golden=golden,
    )
