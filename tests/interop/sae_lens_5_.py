"""Checkpoints of SAELens 5, whose package has the name of version 6: it is imported in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

FORMAT = "SAELens before 6"
LIBRARY = "sae-lens"
VERSION = "5.10.7"
GOLDEN = "sae_lens_5"

D_IN, WIDTH, K, TOKENS = 8, 16, 3, 4
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "standard": {},
    "standard, x": {"apply_b_dec_to_input": False},
    "gated": {"architecture": "gated"},
    "jumprelu": {"architecture": "jumprelu"},
    "topk": {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
    "standard, layer_norm": {"normalize_activations": "layer_norm"},
    "standard, constant_norm_rescale": {"normalize_activations": "constant_norm_rescale"},
    "standard, finetuning_scaling_factor": {"finetuning_scaling_factor": True},
}


def cases(folder: Path) -> Iterator[Any]:
    """Let the older package write random checkpoints and values, and yield them."""
    from interop.case import Case

    path = os.pathsep.join([os.environ["INTEROP_OLDER"], os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, __file__, str(folder)], env={**os.environ, "PYTHONPATH": path}, check=True
    )
    for name in VARIANTS:
        said = json.loads((folder / f"{_slug(name)}.json").read_text())
        x, features, rebuilt = (torch.tensor(said[key]) for key in ("x", "features", "rebuilt"))
        yield Case(
            name=name,
            path=folder / _slug(name),
            site="resid_post.3",
            x=x,
            features=features,
            rebuilt=rebuilt,
            golden=name in ("topk", "standard, finetuning_scaling_factor"),
        )


def _slug(name: str) -> str:
    return name.replace(", ", "-")


def _write(folder: Path) -> None:
    import sae_lens

    assert sae_lens.__version__ == VERSION, sae_lens.__file__
    torch.manual_seed(17)
    for name, changed in VARIANTS.items():
        settings: dict[str, Any] = {
            "architecture": "standard",
            "d_in": D_IN,
            "d_sae": WIDTH,
            "activation_fn_str": "relu",
            "apply_b_dec_to_input": True,
            "finetuning_scaling_factor": False,
            "context_size": 128,
            "model_name": "toy",
            "hook_name": "blocks.4.hook_resid_pre",
            "hook_layer": 4,
            "hook_head_index": None,
            "prepend_bos": True,
            "dataset_path": "",
            "dataset_trust_remote_code": False,
            "normalize_activations": "none",
            "dtype": "float32",
            "device": "cpu",
            "sae_lens_training_version": None,
        }
        sae = sae_lens.SAE(sae_lens.SAEConfig(**{**settings, **changed}))
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(torch.randn(parameter.shape) * 0.5)
        sae.save_model(str(folder / _slug(name)))
        # It cannot load what it saves with factors of finetuning: those are taken from the dictionary that was saved.
        finetuned = changed.get("finetuning_scaling_factor")
        loaded = sae if finetuned else sae_lens.SAE.load_from_disk(str(folder / _slug(name)))
        x = torch.randn(TOKENS, D_IN) * 2 + 0.5
        with torch.no_grad():
            features = loaded.encode(x)
            rebuilt = loaded.decode(features)
        said = {"x": x.tolist(), "features": features.tolist(), "rebuilt": rebuilt.tolist()}
        (folder / f"{_slug(name)}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
