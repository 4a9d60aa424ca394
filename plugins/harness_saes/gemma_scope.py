"""Reader of Gemma Scope 1: `layer_{L}/width_{W}/average_l0_{N}/params.npz`, in a folder or on the hub.

`f = relu(pre) · (pre > threshold)` with `pre = x @ W_enc + b_enc` (Lieberum et al. 2024), on raw activations:
b_dec is not subtracted, and nothing is normalised.

An instruction-tuned model gets dictionaries trained on it where they were published (9B, residual stream,
layers 9, 20 and 31), else those of its pretrained sibling; those results carry the flag `pt-dictionary`.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

import harness
from harness_saes.neuronpedia import link
from harness_saes.published import GEMMA_2, RESIDUAL_L0, is_instruction_tuned
from harness_saes.reading import Reading
from harness_saes.refusals import check_pair, no_autoencoder, wrong_site
from harness_saes.repository import (
    HubRepository,
    LocalRepository,
    Repository,
    as_hashed,
    check_single,
    folder_of,
    full_reference,
    is_hub_reference,
    local_as_hashed,
)

PARAMS = "params.npz"
"""Name of the file of weights."""

CANONICAL_L0 = 100
"""L0 that the default choice is nearest to, as for SAELens' canonical dictionaries."""

_KINDS = {"resid_post": "res", "mlp_out": "mlp", "attn_z": "att"}
"""Suffix of the repository by site kind; `att` reads the input of the output projection."""

_FILES = f"layer_*/width_*/average_l0_*/{PARAMS}"

_PUBLISHED = re.compile(r"gemma-scope-\w+-(?:pt|it)-(\w+)")

_EMBEDDING = re.compile(r"(?:^|/)embedding/width_\w+/average_l0_\d+(?:/params\.npz)?/?$")
"""Folder of a dictionary that reads the embedding."""

TRAINING = "training.json"
"""Name of the training record that `harness train-dictionary` writes beside a dictionary."""

CACHED_CHOICE = "cached-choice"
"""Flag of a dictionary that was chosen among those in the local hub cache, without a list of what is published."""

PT_DICTIONARY = "pt-dictionary"
"""Flag of an instruction-tuned model with a dictionary of its pretrained sibling."""


@dataclass(frozen=True, kw_only=True, order=True)
class Entry:
    """Layer, width and L0 of one dictionary of a repository."""

    layer: int
    width: str
    l0: int

    @property
    def folder(self) -> str:
        """Path of the dictionary's folder in the repository."""
        return f"layer_{self.layer}/width_{self.width}/average_l0_{self.l0}"

    @classmethod
    def parse(cls, path: str) -> Entry | None:
        """Return the entry at the end of a path; None if there is none."""
        match = re.search(r"layer_(\d{1,9})/width_([0-9a-z]+)/average_l0_(\d{1,9})(?:/params\.npz)?/?$", path)
        return cls(layer=int(match[1]), width=match[2], l0=int(match[3])) if match else None


def is_gemma_scope(ref: str) -> bool:
    """Check whether `ref` is a Gemma Scope 1 dictionary, a folder with one, or such a repository on the hub."""
    path = folder_of(ref, PARAMS)
    if path.is_dir():
        return (path / PARAMS).is_file() or any(path.glob(_FILES))
    return is_hub_reference(ref) and ("gemma-scope" in ref or Entry.parse(ref) is not None)


class Catalogue:
    """Published repositories of Gemma Scope 1, by the model's size and training and the site's kind.

    At layers whose dictionaries are all listed in `published`, the exact folder is chosen here; elsewhere the
    repository's files decide. With `layer_offset`, the dictionary of another layer is read.
    """

    def __init__(self, *, width: str | int, l0: str | int | None, layer_offset: int) -> None:
        self.width, self.l0, self.layer_offset = str(width), l0, require_offset(layer_offset)

    def at(self, model: harness.Model, site: harness.Site) -> str | dict[str, Any]:
        site = replace(site, layer=site.layer + self.layer_offset)
        offset = {"layer_offset": self.layer_offset} if self.layer_offset else {}
        size = GEMMA_2.get(model.width(harness.Site(kind="resid_post", layer=0)))
        if "gemma2" not in model.architecture.split("+") or size is None:
            raise harness.UsageError(
                f"gemma-scope has no dictionaries for model '{model.name}', which is no Gemma 2 of "
                f"{', '.join(GEMMA_2.values())}"
            )
        if site.kind not in _KINDS:
            raise harness.UsageError(
                f"gemma-scope has no dictionaries at '{site}'; its sites: {', '.join(_KINDS)}"
            )
        known = RESIDUAL_L0 if site.kind == "resid_post" else {}
        own = f"{size}-it"
        has_own = is_instruction_tuned(model.name) and site.layer in known.get(own, {})
        trained_on = own if has_own else f"{size}-pt"
        name = f"google/gemma-scope-{trained_on}-{_KINDS[site.kind]}"
        widths = known.get(trained_on, {}).get(site.layer)
        if widths is None:
            return {"name": name, "width": self.width, "l0": self.l0, **offset}
        entries = [Entry(layer=site.layer, width=width, l0=l0) for width in widths for l0 in widths[width]]
        exact = f"{name}/{_choose(name, entries, site, width=self.width, l0=self.l0).folder}"
        return {"name": exact, **offset} if offset else exact


class Folder:
    """One dictionary's folder, or a whole repository in which `width` and `l0` choose one for each site.

    With `layer_offset`, the dictionary of the layer that many further up is read, and every result carries a
    flag.
    """

    def __init__(
        self,
        ref: str,
        *,
        width: str | int | None,
        l0: str | int | None,
        reading: Reading,
        layer_offset: int,
    ) -> None:
        self.ref, self.layer_offset = ref, require_offset(layer_offset)
        self.width = None if width is None else str(width)
        self.l0 = l0
        self.reading = reading
        self.repository: Repository
        path = folder_of(ref, PARAMS)
        if path.is_dir():
            self.repository, self.place = LocalRepository(path), str(path.resolve())
        else:
            self.repository, self.place = HubRepository.parse(ref.removesuffix(f"/{PARAMS}")), ref

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        inside = self.repository.folder
        notes: tuple[str, ...] = ()
        entry = Entry.parse(self.place)
        trained_on = replace(site, layer=site.layer + self.layer_offset)
        self._check_site(entry, trained_on)
        if entry:
            self._choose([entry], trained_on)
        elif not self.repository.has(PARAMS):
            entry, notes = self._find_entry(trained_on)
            inside = entry.folder
        else:
            chooses = self.width is not None or self.l0 is not None
            check_single(self.repository, self.ref, PARAMS, others=_FILES, chooses=chooses)
        name, training = (f"{inside}/{file}".lstrip("/") for file in (PARAMS, TRAINING))
        self.repository.require(name, *(() if _PUBLISHED.search(self.place) else (training,)))
        self._check_training(training, trained_on)
        placed = self._located(name, entry, model, site)
        return replace(placed, notes=notes, flags=(*placed.flags, *((CACHED_CHOICE,) if notes else ())))

    def _check_site(self, entry: Entry | None, site: harness.Site) -> None:
        """Raise UsageError if the names of folders and repositories give another site of training, or a transcoder."""
        named = _PUBLISHED.search(self.place)
        kinds = {repository: kind for kind, repository in _KINDS.items()}
        if named and named[1].startswith("transcoder"):
            raise no_autoencoder(self.ref, "transcoder")
        if _EMBEDDING.search(self.place):
            raise harness.UsageError(f"dictionary '{self.ref}' reads the embedding, which is no site")
        if self.reading.any_site:
            return
        if entry and entry.layer != site.layer:
            trained_on = f"layer {entry.layer}"
        elif named and (site.tower or named[1] != _KINDS.get(site.kind)):
            trained_on = kinds.get(named[1], named[1])
        else:
            return
        raise wrong_site(self.ref, trained_on, site)

    def _check_training(self, name: str, site: harness.Site) -> None:
        """Raise UsageError if the training record gives another tower or kind of site."""
        if self.reading.any_site or _PUBLISHED.search(self.place):
            return
        trained_on = read_site(self.repository.find(name))
        if trained_on and (trained_on.tower, trained_on.kind) != (site.tower, site.kind):
            raise wrong_site(self.ref, f"'{trained_on}'", site)

    def _find_entry(self, site: harness.Site) -> tuple[Entry, tuple[str, ...]]:
        """Return the dictionary for a site, and a note where it was chosen among the cached ones alone.

        Raise UsageError where the repository has none as asked, or a part of it is named, UnavailableError where that
        cannot be told offline.
        """
        if self.repository.folder:
            raise harness.UsageError(
                f"'{self.ref}' names no dictionary: REPOSITORY/layer_L/width_W/average_l0_N does, or REPOSITORY alone"
            )
        files = self.repository.files(_FILES)
        entries = [entry for path in files.names if (entry := Entry.parse(path))]
        here = [entry for entry in entries if entry.layer == site.layer]
        if files.whole and not here:
            layers = _name_nearest({entry.layer for entry in entries}, site.layer)
            raise harness.UsageError(f"'{self.ref}' has no dictionary for '{site}'; its layers: {layers}")
        if files.whole:
            return self._choose(here, site), ()
        l0 = self.l0 if self.l0 is not None and str(self.l0).isdigit() else "*"
        asked = f"layer_{site.layer}/width_{self.width or '*'}/average_l0_{l0}"
        here = [entry for entry in here if fnmatch(entry.folder, asked)]
        if not here:
            raise self.repository.lacks(f"{asked}/{PARAMS}")
        entry = self._choose(here, site)
        if "*" not in asked:
            return entry, ()
        return entry, (
            f"dictionary '{self.ref}' at '{site}' is {entry.folder}, chosen among those in the local hub cache alone "
            f"(offline), and may be another one online (flag {CACHED_CHOICE})",
        )

    def _choose(self, here: Sequence[Entry], site: harness.Site) -> Entry:
        return _choose(self.ref, here, site, width=self.width, l0=self.l0)

    def _located(
        self, name: str, entry: Entry | None, model: harness.Model, site: harness.Site
    ) -> harness.PlacedRepresentation:
        repository, ref, subtracts = self.repository, self.ref, self.reading.subtracts(False)
        sha256 = repository.sha256(name)
        with local_as_hashed(repository, name, sha256) as path:
            # Not downloaded yet: the width is part of the folder's name, and the hub gives the hash.
            d_in, width = (
                read_shape(path) if path else (model.width(site), width_of(entry.width if entry else "0"))
            )

        def load_as_hashed(device: str, *, decoder: bool = False) -> harness.Dictionary:
            with as_hashed(repository, name, sha256) as path:
                return load(path, name=ref, device=device, subtracts=subtracts, decoder=decoder)

        on_pretrained = re.search(r"gemma-scope-\w+-pt-", self.place) is not None
        borrowed = on_pretrained and is_instruction_tuned(model.name)
        reference = full_reference(repository, name, depth=4 if entry else 1)
        return harness.PlacedRepresentation(
            identity={
                "kind": "gemma_scope",
                "sha256": sha256,
                **({"trained_on": "pt"} if borrowed else {}),
                **self.reading.identity,
            },
            d_in=d_in,
            width=width,
            load=load_as_hashed,
            load_whole=lambda device: load_as_hashed(device, decoder=True),
            sparse=True,
            published_l0=entry.l0 if entry else None,
            reference=reference,
            flags=(
                *((PT_DICTIONARY,) if borrowed else ()),
                *((f"layer-offset:{self.layer_offset}",) if self.layer_offset else ()),
                *self.reading.flags,
                *flag_width(entry.width if entry else None, width),
            ),
            link=link(reference),
        )


def require_offset(value: Any) -> int:
    """Return `value`; raise ValueError unless it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"layer_offset={value!r} is not a whole number")
    return value


def read_site(path: Path | None) -> harness.Site | None:
    """Return the site named in a training record; None if there is no file or no valid site."""
    try:
        said = f"'{path}' cannot be read"
        return harness.Site.parse(str(harness.read_mapping(path, said).get("site"))) if path else None
    except harness.HarnessError:
        return None


def _choose(
    ref: str, here: Sequence[Entry], site: harness.Site, *, width: str | None, l0: str | int | None
) -> Entry:
    """Return the dictionary with the given width and L0; by default the narrowest, and the L0 nearest to 100."""
    widths = sorted({entry.width for entry in here}, key=width_of)
    width = width or widths[0]
    if width not in widths:
        raise harness.UsageError(
            f"'{ref}' has no width {width} for '{site}'; it has: {harness.name_some(widths)}"
        )
    return _nearest(ref, [entry for entry in here if entry.width == width], l0)


def _name_nearest(numbers: Collection[int], wanted: int) -> str:
    """Return the numbers nearest to one, in their order, and how many more there are."""
    near = sorted(numbers, key=lambda number: (abs(number - wanted), number))[:5]
    return harness.name_some(sorted(near), of=len(numbers))


def _nearest(ref: str, entries: Sequence[Entry], wanted: str | int | None) -> Entry:
    """Return the entry with L0 `82` exactly, or the one nearest to `~82`; by default nearest to 100."""
    text = str(wanted) if wanted is not None else f"~{CANONICAL_L0}"
    match = re.fullmatch(r"(~?)(\d{1,9})", text)
    if match is None:
        raise harness.UsageError(f"l0={text} is neither a number nor ~NUMBER")
    l0 = int(match[2])
    nearest = min(entries, key=lambda entry: (abs(entry.l0 - l0), entry.l0))
    if not match[1] and nearest.l0 != l0:
        published = _name_nearest([entry.l0 for entry in entries], l0)
        raise harness.UsageError(f"'{ref}' has no dictionary with l0={l0}; it has: {published}")
    return nearest


ROUNDED = 0.05
"""Largest relative difference between a width and its rounded name."""


def width_of(text: str) -> int:
    """Return the number of features for `16k` (16384), `1m` (1048576) or `512`; raise UsageError otherwise."""
    match = re.fullmatch(r"(\d{1,9})([km]?)", text)
    if match is None:
        raise harness.UsageError(f"width '{text}' is not of the form 16k, 1m or 512")
    if not match[2]:
        return int(match[1])
    unit, binary = {"k": (1000, 1 << 10), "m": (1_000_000, 1 << 20)}[match[2]]
    number = int(match[1]) * unit
    power = 1 << round(float(np.log2(max(number, 1))))
    # Published names round powers of two: 65k is 65,536. Others count in units of 1,024: 24k is 24,576.
    return power if abs(number - power) <= ROUNDED * power else int(match[1]) * binary


def flag_width(named: str | None, held: int) -> tuple[str, ...]:
    """Return the flag of a dictionary whose folder names another width than it has; names with k or m are rounded."""
    if named is None:
        return ()
    spread = 0 if named.isdigit() else ROUNDED * width_of(named)
    return () if abs(held - width_of(named)) <= spread else (f"named-width:{named}",)


def read_shape(path: Path) -> tuple[int, int]:
    """Return `(d_in, d_sae)` from the headers of W_enc and W_dec, without values. UsageError for a transcoder."""
    decoder: tuple[int, ...] = ()
    said = f"'{path}' cannot be read as a Gemma Scope dictionary"
    with harness.parsing(said, hint="fetch it again"), zipfile.ZipFile(path) as archive:
        harness.check_unpacked(path, sum(entry.file_size for entry in archive.infolist()))
        shape, dtype = _read_header(archive, "W_enc")
        with suppress(harness.UnavailableError), harness.parsing("W_dec"):  # features need no decoder
            decoder, _ = _read_header(archive, "W_dec")
    if len(shape) != 2:
        raise harness.UnavailableError(f"'{path}': W_enc has {len(shape)} dimensions, not 2")
    _check_dtype(f"'{path}'", "W_enc", dtype)
    if 0 in shape:
        raise harness.UnavailableError(f"'{path}': W_enc is {list(shape)}, which leaves no features")
    check_pair(str(path), shape, decoder)
    return int(shape[0]), int(shape[1])


def _reason(error: Exception) -> str:
    """Return in a few words why a file cannot be read."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]


def _read_header(archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of an array of an npz file. Raise ValueError if the file holds another number of bytes."""
    with archive.open(f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        held = archive.getinfo(f"{key}.npy").file_size - file.tell()
    if math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{key} says that it is {list(shape)} of {dtype}, and holds {held:,} bytes")
    return shape, dtype


def _check_dtype(owner: str, key: str, dtype: Any) -> None:
    if not np.issubdtype(dtype, np.floating):
        raise harness.UnavailableError(f"{owner}: {key} is {dtype}, not floating point")


ENCODER = ("W_enc", "b_enc", "threshold")
"""Arrays of the encoder."""
DECODER = ("W_dec", "b_dec")
"""Arrays of the decoder."""


def load(
    path: Path, *, name: str, device: str, subtracts: bool = False, decoder: bool = False
) -> harness.Dictionary:
    """Load `params.npz` in float32 onto a device; skip the decoder unless `decoder` is set. With `subtracts`, b_dec is
    subtracted from the input.

    Raise UnavailableError for a damaged file or one without floating-point arrays.
    """
    import torch

    wanted = dict.fromkeys((*ENCODER, *(DECODER if decoder else ()), *(("b_dec",) if subtracts else ())))
    with harness.parsing(f"dictionary '{name}' cannot be read"), np.load(path, allow_pickle=False) as arrays:
        if missing := [key for key in wanted if key not in arrays]:
            raise harness.UnavailableError(
                f"dictionary '{name}' has no {harness.name_some(missing)}; its {PARAMS} holds: "
                f"{harness.name_some(arrays.files, nothing='nothing')}"
            )
        stored = {key: np.asanyarray(arrays[key]) for key in wanted}  # bytes, where it is no array
    for key, array in stored.items():
        _check_dtype(f"dictionary '{name}'", key, array.dtype)
    parts: dict[str, Any] = {
        key: torch.from_numpy(array.astype(np.float32)).to(device) for key, array in stored.items()
    }
    if subtracts:
        parts["subtract"] = parts["b_dec"] if decoder else parts.pop("b_dec")
    return harness.Dictionary(name=name, width=len(parts["b_enc"].flatten()), activation="jumprelu", **parts)
