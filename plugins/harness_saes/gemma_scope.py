"""Gemma Scope 1: `layer_{L}/width_{W}/average_l0_{N}/params.npz`, in a folder or a hub repository → Located.

The arithmetic (Lieberum et al. 2024): `f = relu(pre) · (pre > threshold)`, `pre = x @ W_enc + b_enc`, on raw
activations; b_dec is not subtracted. Everything is stored, and used, without normalisation.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import harness
from harness_saes.repository import HubRepository, LocalRepository, Repository, is_hub_reference

CANONICAL_L0 = 100

_KINDS = {"resid_post": "res", "mlp_out": "mlp", "attn_z": "att"}
"""Site → the repository that holds its dictionaries; `att` reads the input of the output projection."""

_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What numpy, zipfile and zlib raise on files that are damaged, or something else."""

_SIZES = {2304: "2b", 3584: "9b", 4608: "27b"}
"""Width of a Gemma 2 model's residual stream → its name."""


@dataclass(frozen=True, kw_only=True, order=True)
class Entry:
    """One dictionary of a repository."""

    layer: int
    width: str
    l0: int

    @property
    def folder(self) -> str:
        return f"layer_{self.layer}/width_{self.width}/average_l0_{self.l0}"

    @classmethod
    def parse(cls, path: str) -> Entry | None:
        """The entry that a path ends in, if it ends in one."""
        match = re.search(r"layer_(\d+)/width_([0-9a-z]+)/average_l0_(\d+)(?:/params\.npz)?/?$", path)
        return cls(layer=int(match[1]), width=match[2], l0=int(match[3])) if match else None


def is_gemma_scope(ref: str) -> bool:
    """Whether `ref` is a `params.npz`, a folder with one in it or below it as laid out, or may be one on the hub."""
    path = folder_of(ref)
    if path.is_dir():
        return (path / "params.npz").is_file() or any(path.glob("layer_*/width_*/average_l0_*/params.npz"))
    return is_hub_reference(ref) and ("gemma-scope" in ref or Entry.parse(ref) is not None)


def folder_of(ref: str) -> Path:
    """The folder that a path names, or that holds the `params.npz` it names."""
    path = Path(ref).expanduser()
    return path.parent if path.name == "params.npz" and path.is_file() else path


class Catalogue:
    """The published repositories: the one for the model's size and the site's kind is looked up there."""

    def __init__(self, *, width: str | int, l0: str | int | None) -> None:
        self.width, self.l0 = width, l0

    def at(self, model: harness.Model, site: harness.Site) -> dict[str, Any]:
        size = _SIZES.get(model.width(harness.Site(kind="resid_post", layer=0)))
        if model.architecture != "gemma2" or size is None:
            raise harness.UsageError(
                f"gemma-scope has no dictionaries for model '{model.name}', which is no Gemma 2 of "
                f"{', '.join(_SIZES.values())}"
            )
        if site.kind not in _KINDS:
            raise harness.UsageError(
                f"gemma-scope has no dictionaries at '{site}'; its sites: {', '.join(_KINDS)}"
            )
        name = f"google/gemma-scope-{size}-pt-{_KINDS[site.kind]}"
        return {"name": name, "width": self.width, "l0": self.l0}


class Folder:
    """One dictionary's folder, or a whole repository of which `width` and `l0` choose one for each site."""

    def __init__(self, ref: str, *, width: str | int | None, l0: str | int | None, any_site: bool) -> None:
        self.ref = ref
        self.width = None if width is None else str(width)
        self.l0 = l0
        self.any_site = any_site
        self.repository: Repository
        path = folder_of(ref)
        if path.is_dir():
            self.repository, self.place = LocalRepository(path), str(path.resolve())
        else:
            self.repository, self.place = HubRepository.parse(ref.removesuffix("/params.npz")), ref

    def at(self, model: harness.Model, site: harness.Site) -> harness.Located:
        inside = self.repository.folder
        entry = Entry.parse(self.place)
        self._check_site(entry, site)
        if entry:
            self._choose([entry], site)
        elif not self.repository.has("params.npz"):
            entry = self._choose(self._entries(site), site)
            inside = entry.folder
        return self._located(f"{inside}/params.npz".lstrip("/"), entry, model.width(site))

    def _check_site(self, entry: Entry | None, site: harness.Site) -> None:
        """Names of folders and of published repositories say what a dictionary was trained on."""
        named = re.search(r"gemma-scope-\w+-(?:pt|it)-(\w+)", self.place)
        kinds = {repository: kind for kind, repository in _KINDS.items()}
        if self.any_site:
            return
        if entry and entry.layer != site.layer:
            trained_on = f"layer {entry.layer}"
        elif named and named[1] != _KINDS.get(site.kind):
            trained_on = kinds.get(named[1], named[1])
        else:
            return
        raise harness.UsageError(
            f"dictionary '{self.ref}' was trained on {trained_on}, not on '{site}'; "
            f"any_site=true reads it there all the same"
        )

    def _entries(self, site: harness.Site) -> list[Entry]:
        """The repository's dictionaries of the site's layer."""
        entries = [entry for path in self.repository.files() if (entry := Entry.parse(path))]
        here = [entry for entry in entries if entry.layer == site.layer]
        if not here:
            layers = ", ".join(map(str, sorted({entry.layer for entry in entries}))) or "none"
            raise harness.UsageError(f"'{self.ref}' has no dictionary for '{site}'; its layers: {layers}")
        return here

    def _choose(self, here: Sequence[Entry], site: harness.Site) -> Entry:
        """The one of the width and L0 asked for."""
        widths = sorted({entry.width for entry in here}, key=width_of)
        width = self.width or widths[0]
        if width not in widths:
            raise harness.UsageError(
                f"'{self.ref}' has no width {width} for '{site}'; it has: {', '.join(widths)}"
            )
        return _nearest(self.ref, [entry for entry in here if entry.width == width], self.l0)

    def _located(self, name: str, entry: Entry | None, d_model: int) -> harness.Located:
        repository, ref = self.repository, self.ref
        path = repository.local(name)
        # A dictionary not yet downloaded is known by its folder's name and its hash on the hub.
        d_in, width = read_shape(path) if path else (d_model, width_of(entry.width if entry else "0"))
        return harness.Located(
            identity={"kind": "gemma_scope", "sha256": repository.sha256(name)},
            d_in=d_in,
            width=width,
            load=lambda device: load(repository.fetch(name), name=ref, device=device),
            sparse=True,
            published_l0=entry.l0 if entry else None,
        )


def _nearest(ref: str, entries: Sequence[Entry], wanted: str | int | None) -> Entry:
    """`82` is exact, `~82` the nearest; without either the nearest to 100, as SAELens' canonical ones."""
    text = str(wanted) if wanted is not None else f"~{CANONICAL_L0}"
    match = re.fullmatch(r"(~?)(\d+)", text)
    if match is None:
        raise harness.UsageError(f"l0={text} is neither a number nor ~NUMBER")
    l0 = int(match[2])
    nearest = min(entries, key=lambda entry: (abs(entry.l0 - l0), entry.l0))
    if not match[1] and nearest.l0 != l0:
        published = ", ".join(str(entry.l0) for entry in sorted(entries))
        raise harness.UsageError(f"'{ref}' has no dictionary with l0={l0}; it has: {published}")
    return nearest


def width_of(text: str) -> int:
    """`16k` as 16384, `1m` as 1048576, `512` as 512: published names round powers of two."""
    match = re.fullmatch(r"(\d+)([km]?)", text)
    if match is None:
        raise harness.UsageError(f"width '{text}' is not of the form 16k, 1m or 512")
    scale = {"": 1, "k": 1000, "m": 1_000_000}[match[2]]
    number = int(match[1]) * scale
    return number if scale == 1 else 1 << round(float(np.log2(number)))


def read_shape(path: Path) -> tuple[int, int]:
    """`(d_in, d_sae)` from the header of W_enc; no values are read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("W_enc.npy") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
    except _UNREADABLE as error:
        raise harness.MissingError(f"'{path}' cannot be read as a Gemma Scope dictionary") from error
    if len(shape) != 2:
        raise harness.MissingError(f"'{path}': W_enc has {len(shape)} dimensions, not 2")
    _check_dtype(f"'{path}'", "W_enc", dtype)
    if 0 in shape:
        raise harness.MissingError(f"'{path}': W_enc is {list(shape)}, which leaves no features")
    return int(shape[0]), int(shape[1])


def _check_dtype(owner: str, key: str, dtype: Any) -> None:
    if not np.issubdtype(dtype, np.floating):
        raise harness.MissingError(f"{owner}: {key} is {dtype}, not floating point")


def load(path: Path, *, name: str, device: str) -> harness.Dictionary:
    """The encoder of `params.npz`; its decoder is left on disk. Arrays of any float type become float32."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {key: arrays[key] for key in ("W_enc", "b_enc", "threshold")}
    except _UNREADABLE as error:
        raise harness.MissingError(f"dictionary '{name}' cannot be read: {error}") from error
    for key, array in stored.items():
        _check_dtype(f"dictionary '{name}'", key, array.dtype)
    parts = {key: torch.from_numpy(array.astype(np.float32)) for key, array in stored.items()}
    return harness.Dictionary(
        name=name,
        width=len(parts["b_enc"].flatten()),
        activation="jumprelu",
        W_enc=parts["W_enc"].to(device),
        b_enc=parts["b_enc"].to(device),
        threshold=parts["threshold"].to(device),
    )
