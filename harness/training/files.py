"""Files of trained dictionaries in Gemma Scope's layout, each beside a record of its training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.api.data import Image, Site
from harness.api.errors import UsageError, WriteError
from harness.dictionaries.dictionary import Dictionary
from harness.models.opened import OpenModel
from harness.registry.source import installed_version
from harness.storage.atomic import whole_file
from harness.storage.hashing import hash_json, hash_lines
from harness.training.config import TrainingConfig
from harness.training.outcome import Trained


def check_output(output: Path, configs: Mapping[Site, TrainingConfig], *, replace: bool) -> None:
    """Raise UsageError if two sites would share a folder, or if a dictionary exists and `replace` is not set;
    WriteError if the folder is not writable.
    """
    by_layer: dict[int, Site] = {}
    for site, config in configs.items():
        other = by_layer.setdefault(site.layer, site)
        if other != site:
            raise UsageError(f"'{other}' and '{site}' are of one layer: give each a folder of its own")
        there = find_dictionaries(output, site.layer, config.width)
        if there and not replace:
            raise UsageError(f"there is '{there[0]}' already: give another folder, or --replace")
    place = next(folder for folder in (output.absolute(), *output.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise WriteError(f"nothing can be written into '{output}'")


def find_dictionaries(output: Path, layer: int, width: int) -> list[Path]:
    """Return the files of a layer's dictionaries of that width."""
    return sorted(output.glob(f"layer_{layer}/width_{name_width(width)}/average_l0_*/params.npz"))


def name_width(width: int) -> str:
    """Return a width in Gemma Scope's spelling: 512, 1k, 16k, 1m; digits if it is not a power of two."""
    if width & (width - 1) or width < 1 << 10:
        return str(width)
    return f"{width >> 20}m" if width >= 1 << 20 else f"{width >> 10}k"


def save(dictionary: Dictionary, folder: Path, layer: int, l0: float) -> Path:
    """Write `layer_L/width_W/average_l0_N/params.npz` in place of older files of that layer and width, with what lies
    beside them, such as a report, and return its path. UnavailableError for a value too large for its type.
    """
    before = find_dictionaries(folder, layer, dictionary.width)
    place = folder / f"layer_{layer}" / f"width_{name_width(dictionary.width)}" / f"average_l0_{round(l0)}"
    # Matrices are float16; vectors are small, and large means would lose digits in it.
    kinds = {2: np.float16, 1: np.float32}
    tensors = sorted(dictionary.tensors.items())
    arrays = {name: value.cpu().numpy().astype(kinds[value.ndim]) for name, value in tensors}
    with whole_file(place / "params.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    for old in before:
        if old.parent != place:
            shutil.rmtree(old.parent)
            continue
        for beside in place.iterdir():  # a card would take a report there for one on the new dictionary
            if beside.is_dir() and not beside.is_symlink():
                shutil.rmtree(beside)
            elif beside.name != "params.npz":
                beside.unlink()
    return place / "params.npz"


def describe_training(
    trained: Trained, model: OpenModel, inputs: Sequence[str | Image], device: str
) -> dict[str, Any]:
    """Return the training record as JSON: model, data, configuration, versions and held-out fit; no paths."""
    names = [one.id if isinstance(one, Image) else one for one in inputs]
    packages = ["torch", *(["sae-lens"] if trained.config.architecture != "tied" else []), "sae-harness"]
    return {
        "model": model.published_label,
        "activations": hash_json(model.model.identity(trained.site)),
        "site": str(trained.site),
        "recipe": asdict(trained.config),  # this key is in records that exist
        f"{model.modality}s": {"count": len(names), "sha256": hash_lines(names), "passes": trained.passes},
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 1),
        **({"left_out": asdict(trained.norm_limit)} if trained.norm_limit else {}),
        "heldout": asdict(trained.fit),
        "versions": {name: installed_version(name) for name in packages},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": name_hardware(device),
    }


def name_hardware(device: str) -> str:
    """Return the GPU's name, or `2 CPU cores`."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{threads} CPU core{'s' if threads != 1 else ''}"
