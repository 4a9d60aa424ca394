"""What a folder, file or repository is that is no model to read, recognised by its files, and the way out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness import HarnessError, UnavailableError, read_mapping

CONFIG = "config.json"
"""Name of the configuration that every model has."""
ADAPTER = "adapter_config.json"
"""Name of the configuration of an adapter, which transformers lays over the weights where peft is installed."""
_ANOTHER = "name the repository or folder of the same model with safetensors"

_KINDS: Sequence[tuple[Sequence[str], str]] = (
    (
        [ADAPTER],
        "an adapter (LoRA, PEFT){of_base}, no model by itself: merge it into its base model "
        "(merge_and_unload, save_pretrained) and name that folder",
    ),
    (["*.gguf"], "a model in GGUF, the format of llama.cpp: name the file in it, {file}"),
    (["model_index.json"], "a pipeline of diffusers: name the model among its folders, such as text_encoder"),
    (
        [
            "cfg.json",
            "sae_weights.safetensors",
            "sae.safetensors",
            "ae.pt",
            "params.npz",
            "params.safetensors",
        ],
        "a dictionary, no model: name it under representations",
    ),
    (
        ["model-*-of-*.safetensors"],
        "shards of a model without model.safetensors.index.json, which says where each tensor lies: copy that file "
        "there too, or write the model anew with save_pretrained",
    ),
    (
        ["config_sentence_transformers.json", "modules.json"],
        "a model of sentence-transformers: name the folder in it that has a config.json and weights",
    ),
    (
        ["*.bin", "*.pth", "*.pt", "*.ckpt", "*.pkl"],
        "a model with pickled weights ({file}), which are never read, because reading them may run code: write it "
        "anew with save_pretrained, which gives safetensors",
    ),
    (["*.h5", "*.ckpt.index"], f"a model for TensorFlow ({{file}}): {_ANOTHER}"),
    (["*.msgpack"], f"a model for Flax ({{file}}): {_ANOTHER}"),
    (["*.onnx"], f"a model in ONNX ({{file}}): {_ANOTHER}"),
    (["weights*.npz"], f"a model for MLX ({{file}}): {_ANOTHER}"),
    (
        ["*.safetensors"],
        f"a file of weights ({{file}}) without the {CONFIG} of its model: copy that beside it",
    ),
)
"""Patterns of file names, and what has such a file but not what a model needs; the first that fits counts."""


def describe_files(names: Collection[str], folder: Path | None = None) -> str:
    """Return what has files of these names, and the way out; empty if no kind is known."""
    for patterns, said in _KINDS:
        for pattern in patterns:
            for name in sorted(names):
                if fnmatch(name, pattern) and not (pattern == "*.safetensors" and CONFIG in names):
                    return said.format(file=name, of_base=_of_base(folder))
    return ""


def describe_path(path: Path) -> str:
    """Return what lies at a path that is no folder of a model, and the way out."""
    if not path.is_dir():
        inside = path.suffix == ".safetensors" or path.name == CONFIG
        said = "" if inside else describe_files([path.name])
        return said or f"a file: name the folder that holds {CONFIG} and weights"
    names = [each.name for each in path.iterdir()]
    if not names:
        return f"an empty folder: name one that holds a model's {CONFIG} and weights"
    if said := describe_files(names, path):
        return said
    if cached := sorted(name for name in (*names, path.name) if name.startswith("models--")):
        return f"a folder of the hub's cache: name the model itself, {cached[0][8:].replace('--', '/')}"
    if below := sorted(each.parent.name for each in path.glob(f"*/{CONFIG}")):
        return f"a folder of models: name one of them, {', '.join(below[:5])}{', …' if below[5:] else ''}"
    return f"a folder without {CONFIG}: name the folder of a model, with {CONFIG} and weights"


def refuse(ref: str, path: Path) -> UnavailableError:
    """Return the error for a reference to something on this machine that is no model."""
    like_hub = ref.count("/") == 1 and not ref.startswith((".", "/", "~"))
    elsewhere = "; for the model of that name on the hub, work in another folder" if like_hub else ""
    return UnavailableError(f"model '{ref}' is {describe_path(path)}{elsewhere}")


def _of_base(folder: Path | None) -> str:
    """Return ` of 'BASE'` for an adapter whose configuration names its base model."""
    base: Any = None
    with suppress(HarnessError):
        base = read_mapping(folder / ADAPTER, ADAPTER).get("base_model_name_or_path") if folder else None
    return f" of '{base[:200]}'" if isinstance(base, str) and base else ""
