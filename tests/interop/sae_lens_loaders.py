"""Checkpoints of other libraries' formats, as SAELens' own loaders read them from a hub that is a folder here."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.saes.sae import SAE
from safetensors.torch import save_file

from interop.case import Case

FORMAT = "formats that SAELens loads"
LIBRARY = "sae-lens"
GOLDEN = "sae_lens_loaders"

D_IN, WIDTH, K, TOKENS = 8, 16, 3, 4
HOOK = "blocks.3.hook_resid_post"
SCALE = math.sqrt(D_IN) / 6.5


def cases(folder: Path) -> Iterator[Case]:
    """Write random checkpoints into folders of their own and yield each with what SAELens makes of it."""
    warnings.filterwarnings("ignore")
    torch.manual_seed(17)
    yield _gemma_scope(folder / "gemma-scope")
    yield _gemma_scope_2(folder / "gemma-scope-2")
    yield _llama_scope(folder / "llama-scope")
    yield _llama_scope_r1(folder / "llama-scope-r1")
    yield _qwen_scope(folder / "qwen-scope")


def _gemma_scope(folder: Path) -> Case:
    inside = "layer_3/width_16k/average_l0_5"
    path = folder / inside
    path.mkdir(parents=True)
    np.savez(path / "params.npz", **{name: tensor.numpy() for name, tensor in _parts().items()})
    sae = _load("gemma_2", folder, "google/gemma-scope-2b-pt-res", inside, d_in=D_IN, d_sae=WIDTH)
    return _case("Gemma Scope", path, sae)


def _gemma_scope_2(folder: Path) -> Case:
    inside = "resid_post/layer_3_width_16k_l0_medium"
    path = folder / inside
    path.mkdir(parents=True)
    save_file({name.lower(): tensor for name, tensor in _parts().items()}, path / "params.safetensors")
    config = {
        "architecture": "jump_relu",
        "hf_hook_point_in": "model.layers.3.output",
        "hf_hook_point_out": "model.layers.3.output",
        "model_name": "google/gemma-3-1b-pt",
        "type": "sae",
        "width": WIDTH,
    }
    (path / "config.json").write_text(json.dumps(config))
    shapes = {"w_enc": (D_IN, WIDTH), "w_dec": (WIDTH, D_IN)}
    with patch.object(loaders, "get_safetensors_tensor_shapes", lambda *found: shapes):
        sae = _load("gemma_3", folder, "google/gemma-scope-2-1b-pt", inside)
    return _case("Gemma Scope 2", path, sae)


def _llama_scope(folder: Path) -> Case:
    """SAELens does not fold norms of decoder rows, and gives features times the scale of inputs."""
    path = folder / "L3R"
    (path / "checkpoints").mkdir(parents=True)
    save_file(_linear(), path / "checkpoints" / "final.safetensors")
    config = {
        "hook_point_in": HOOK,
        "hook_point_out": HOOK,
        "d_model": D_IN,
        "d_sae": WIDTH,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.7,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 6.5, "out": 6.5},
        "apply_decoder_bias_to_pre_encoder": False,
        "sparsity_include_decoder_norm": False,
    }
    (path / "hyperparams.json").write_text(json.dumps(config))
    sae = _load("llama_scope", folder, "fnlp/Llama3_1-8B-Base-LXR-8x", "L3R", scale=SCALE, dtype="float32")
    return _case("Llama Scope, features by the scale of inputs", path, sae, divisor=SCALE)


def _llama_scope_r1(folder: Path) -> Case:
    path = folder / "L3R"
    path.mkdir(parents=True)
    held = {**_linear(), "log_jumprelu_threshold": torch.randn(WIDTH) - 1}
    norm = {f"dataset_average_activation_norm.{HOOK}": torch.tensor(6.5)}
    save_file({**held, **norm}, path / "sae_weights.safetensors")
    config = {
        "sae_type": "sae",
        "hook_point_in": HOOK,
        "hook_point_out": HOOK,
        "d_model": D_IN,
        "expansion_factor": WIDTH // D_IN,
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": False,
    }
    (path / "config.json").write_text(json.dumps(config))
    sae = _load("llama_scope_r1_distill", folder, "fnlp/Llama-Scope-R1-Distill", "L3R", scale=SCALE)
    return _case("Llama Scope R1", path, sae)


def _qwen_scope(folder: Path) -> Case:
    repository = f"SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}"
    path = folder / repository
    path.mkdir(parents=True)
    held = _parts()
    matrices = {name: held[name].T.contiguous() for name in ("W_enc", "W_dec")}
    torch.save({**matrices, "b_enc": held["b_enc"], "b_dec": held["b_dec"]}, path / "layer3.sae.pt")
    sae = _load("qwen_scope", path, f"Qwen/{repository}", "layer3.sae.pt", d_in=D_IN, d_sae=WIDTH)
    return _case("Qwen Scope", path, sae)


def _parts() -> dict[str, torch.Tensor]:
    return {
        "W_enc": torch.randn(D_IN, WIDTH),
        "b_enc": torch.randn(WIDTH),
        "W_dec": torch.randn(WIDTH, D_IN),
        "b_dec": torch.randn(D_IN),
        "threshold": torch.rand(WIDTH),
    }


def _linear() -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": torch.randn(WIDTH, D_IN),
        "encoder.bias": torch.randn(WIDTH),
        "decoder.weight": torch.randn(D_IN, WIDTH),
        "decoder.bias": torch.randn(D_IN),
    }


def _load(
    function: str, root: Path, repository: str, inside: str, *, scale: float | None = None, **overrides: Any
) -> Any:
    """Return what SAELens' conversion function reads, built as `SAE.from_pretrained` builds it."""

    def download(repo_id: str, filename: str, subfolder: str = "", **options: Any) -> str:
        return str(root / subfolder / filename)

    with patch.object(loaders, "hf_hub_download", download):
        config, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[function](
            repository, inside, "cpu", False, {"device": "cpu", **overrides}
        )
    config = loaders.handle_config_defaulting(config)
    of_config: Any = SAE.get_sae_config_class_for_architecture(config["architecture"])
    settings = of_config.from_dict(config)
    sae: Any = SAE.get_sae_class_for_architecture(settings.architecture())(settings)
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    if scale is not None:
        sae.fold_activation_norm_scaling_factor(scale)
    return sae


@torch.no_grad()
def _case(name: str, path: Path, sae: Any, *, divisor: float = 1) -> Case:
    x = torch.randn(TOKENS, D_IN) * 2
    features = sae.encode(x)
    rebuilt = sae.decode(features)
    return Case(
        name=name,
        path=path,
        site="resid_post.3",
        x=x,
        features=features / divisor,
        rebuilt=rebuilt,
        golden=False,
    )
