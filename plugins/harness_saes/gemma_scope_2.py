"""Reader of Gemma Scope 2: `{part}/layer_{L}_width_{W}_l0_{small|medium|big}/params.safetensors`.

The same JumpReLU on raw activations as Gemma Scope 1, with lower-case names. The site of training is
`hf_hook_point_in` in config.json, else the folder's name: the part `attn_out` reads the input of the output
projection, our `attn_z`. Files are fetched one by one, because gigabytes of examples lie beside them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness_saes.gemma_scope import PT_DICTIONARY, TRAINING, flag_width, read_site, width_of
from harness_saes.neuronpedia import link
from harness_saes.published import EVERY_LAYER, FOUR_LAYERS, GEMMA_3, MANY_WIDTHS, is_instruction_tuned
from harness_saes.reading import Reading
from harness_saes.refusals import check_pair, check_sizes, no_autoencoder, wrong_site
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

PARAMS = "params.safetensors"
"""Name of the file of weights."""

_FILES = f"*/layer_*/{PARAMS}"

_PARTS = {"resid_post": "resid_post", "attn_z": "attn_out", "mlp_out": "mlp_out"}
"""Part of a repository by site kind."""

_PUBLISHED = re.compile(r"gemma-scope-2-(270m|1b|4b|12b|27b)-(pt|it)(?=$|[@/])")
_FLOATS = ("F64", "F32", "F16", "BF16")
"""Accepted dtypes, as safetensors names them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Part, layer, width and L0 of one dictionary of a repository."""

    part: str
    layer: int
    width: str
    l0: str
    rest: str = ""

    @property
    def folder(self) -> str:
        """Path of the dictionary's folder in the repository."""
        return f"{self.part}/layer_{self.layer}_width_{self.width}_l0_{self.l0}{self.rest}".lstrip("/")

    @classmethod
    def parse(cls, path: str) -> Entry | None:
        """Return the entry at the end of a path; None if there is none. Its part may be empty."""
        match = re.search(
            r"(?:([a-z0-9_]+)/)?layer_(\d{1,9})_width_(\d{1,9}[km]?)_l0_(small|medium|big)(_[a-z0-9_]+)?"
            r"(?:/params\.safetensors)?/?$",
            path,
        )
        if match is None:
            return None
        part, layer, width, l0, rest = match.groups()
        return cls(part=part or "", layer=int(layer), width=width, l0=l0, rest=rest or "")

    @property
    def site(self) -> harness.Site | None:
        """Site of training according to the name; None if the part does not say."""
        kinds = {part: kind for kind, part in _PARTS.items()}
        kind = kinds.get(self.part.removesuffix("_all"))
        return harness.Site(kind=kind, layer=self.layer) if kind else None


def is_gemma_scope_2(ref: str) -> bool:
    """Check whether `ref` is a Gemma Scope 2 dictionary, a folder with one, or a repository on the hub."""
    path = folder_of(ref, PARAMS)
    if path.is_dir():
        return (path / PARAMS).is_file() or any(path.glob(_FILES))
    return is_hub_reference(ref) and (_PUBLISHED.search(ref) is not None or Entry.parse(ref) is not None)


class Catalogue:
    """Published repositories of Gemma Scope 2, by the model's size and training and the site."""

    def __init__(self, *, width: str | int, l0: str) -> None:
        self.width, self.l0 = str(width), l0

    def at(self, model: harness.Model, site: harness.Site) -> str:
        size = GEMMA_3.get(model.width(harness.Site(kind="resid_post", layer=0)))
        if not model.architecture.startswith("gemma3") or size is None:
            raise harness.UsageError(
                f"gemma-scope-2 has no dictionaries for model '{model.name}', which is no Gemma 3 of "
                f"{', '.join(GEMMA_3.values())}"
            )
        trained = "it" if is_instruction_tuned(model.name) else "pt"
        repo = f"google/gemma-scope-2-{size}-{trained}"
        return f"{repo}/{published(repo, size, site, width=self.width, l0=self.l0).folder}"


def published(ref: str, size: str, site: harness.Site, *, width: str, l0: str) -> Entry:
    """Return the dictionary at `site` in the published repository of a size.

    Raise UsageError if there is none.
    """
    if site.kind not in _PARTS:
        raise harness.UsageError(f"'{ref}' has no dictionaries at '{site}'; its sites: {', '.join(_PARTS)}")
    many = site.layer in MANY_WIDTHS[size]
    widths, l0s = FOUR_LAYERS if many else EVERY_LAYER
    if site.kind != "resid_post":
        widths = tuple(each for each in widths if each != "1m")
    for what, wanted, known in (("width", width, widths), ("l0", l0, l0s)):
        if wanted not in known:
            layers = ", ".join(map(str, MANY_WIDTHS[size]))
            more = "" if many else f" (more at layers {layers})"
            raise harness.UsageError(
                f"'{ref}' has no {what}={wanted} for '{site}'; it has: {', '.join(known)}{more}"
            )
    return Entry(part=_PARTS[site.kind] + ("" if many else "_all"), layer=site.layer, width=width, l0=l0)


class Folder:
    """One dictionary's folder, or a whole repository in which `width` and `l0` choose one for each site."""

    def __init__(self, ref: str, *, width: str | int | None, l0: str | None, reading: Reading) -> None:
        self.ref, self.reading = ref, reading
        self.width = None if width is None else str(width)
        self.l0 = l0
        self.repository: Repository
        path = folder_of(ref, PARAMS)
        if path.is_dir():
            self.repository, self.place = LocalRepository(path), str(path.resolve())
        else:
            self.repository = HubRepository.parse(ref.removesuffix(f"/{PARAMS}"))
            self.place = ref

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        entry, inside = Entry.parse(self.place), self.repository.folder
        if other := re.search(r"/(transcoder|crosscoder|clt)(?:_all)?(?:/|$)", self.place):
            raise no_autoencoder(self.ref, other[1])
        if entry:
            self._check_choice(entry)
        elif not self.repository.has(PARAMS):
            entry = self._choose(site)
            inside = entry.folder
        else:
            chooses = self.width is not None or self.l0 is not None
            check_single(self.repository, self.ref, PARAMS, others=_FILES, chooses=chooses)
        name, about, training = (f"{inside}/{file}".lstrip("/") for file in (PARAMS, "config.json", TRAINING))
        if entry and entry.site not in {None, site} and isinstance(self.repository, HubRepository):
            self._check_site({}, entry, site, beside=training)  # before anything is fetched
        self.repository.require(name, about, *(() if _PUBLISHED.search(self.place) else (training,)))
        config = self._config(about)
        self._check_site(config, entry, site, beside=training)
        return self._located(name, entry, config, model, site)

    # ── choice ───────────────────────────────────────────────────────────────────────────────────────

    def _check_choice(self, entry: Entry) -> None:
        for what, wanted, own in (("width", self.width, entry.width), ("l0", self.l0, entry.l0)):
            if wanted is not None and wanted != own:
                raise harness.UsageError(f"'{self.ref}' has {what}={own}, not {wanted}")

    def _choose(self, site: harness.Site) -> Entry:
        """Return the dictionary at `site`; 16k and medium by default."""
        width, l0 = self.width or "16k", self.l0 or "medium"
        if self.repository.folder:
            raise harness.UsageError(
                f"'{self.ref}' names no dictionary: REPOSITORY/PART/layer_L_width_W_l0_SIZE does, or REPOSITORY alone"
            )
        named = _PUBLISHED.search(self.ref)
        if isinstance(self.repository, HubRepository) and named:
            return published(self.ref, named[1], site, width=width, l0=l0)
        files = self.repository.files(_FILES)
        found = [Entry.parse(path) for path in files.names]
        here = [entry for entry in found if entry and entry.site == site and not entry.rest]
        chosen = [entry for entry in here if (entry.width, entry.l0) == (width, l0)]
        if not chosen and not files.whole:
            raise self.repository.lacks(f"*/layer_{site.layer}_width_{width}_l0_{l0}/{PARAMS}")
        if not chosen:
            names = harness.name_some(sorted(entry.folder for entry in here), nothing="nothing")
            raise harness.UsageError(
                f"'{self.ref}' has no dictionary with width={width}, l0={l0} for '{site}'; there it has: {names}"
            )
        return min(chosen, key=lambda entry: len(entry.part))  # resid_post before resid_post_all

    # ── site of training ─────────────────────────────────────────────────────────────────────────────

    def _config(self, name: str) -> Mapping[str, Any]:
        """Return config.json; an empty mapping if there is none, as in some published folders."""
        path = self.repository.find(name)
        if path is None:
            return {}
        said = f"dictionary '{self.ref}': its config.json cannot be read"
        return harness.read_mapping(path, said, hint="delete it and fetch it again")

    def _check_site(
        self, config: Mapping[str, Any], entry: Entry | None, site: harness.Site, *, beside: str
    ) -> None:
        """Raise UsageError unless this is a sparse autoencoder trained on `site`.

        The site of training comes from config.json or the folder's name, which must agree, or else from the
        training record `beside`.
        """
        kind = str(config.get("type", "sae"))
        read, written = (config.get(f"hf_hook_point_{end}") for end in ("in", "out"))
        is_pair = read is not None and written is not None and read != written  # whatever its type says
        if kind != "sae" or config.get("affine_connection") or is_pair:
            raise no_autoencoder(self.ref, kind if kind != "sae" else "transcoder")
        if config.get("architecture", "jump_relu") not in ("jump_relu", "jumprelu"):
            raise harness.UsageError(
                f"dictionary '{self.ref}' has the architecture '{config['architecture']}', not jump_relu"
            )
        named, hooked = entry.site if entry else None, self._hooked(config)
        if named and hooked and named != hooked:
            raise harness.UnavailableError(
                f"dictionary '{self.ref}': its config.json says '{hooked}', its folder '{named}': fetch it again"
            )
        trained_on = hooked or named or read_site(self.repository.find(beside))
        if self.reading.any_site or trained_on is None:
            if entry and not self.reading.any_site and entry.layer != site.layer:
                raise wrong_site(self.ref, f"layer {entry.layer}", site)
            return
        if trained_on != site:
            raise wrong_site(self.ref, f"'{trained_on}'", site)

    def _hooked(self, config: Mapping[str, Any]) -> harness.Site | None:
        """Return the site of `hf_hook_point_in`; None if the config has none."""
        hook = config.get("hf_hook_point_in")
        if hook is None:
            return None
        site = harness.find_site(str(hook))
        if site is None or site.kind not in _PARTS:
            raise harness.UsageError(
                f"dictionary '{self.ref}' reads '{hook}', which is none of the sites {', '.join(_PARTS)}"
            )
        return site

    # ── placement ────────────────────────────────────────────────────────────────────────────────────

    def _located(
        self,
        name: str,
        entry: Entry | None,
        config: Mapping[str, Any],
        model: harness.Model,
        site: harness.Site,
    ) -> harness.PlacedRepresentation:
        repository, ref, subtracts = self.repository, self.ref, self.reading.subtracts(False)
        sha256 = repository.sha256(name)
        with local_as_hashed(repository, name, sha256) as path:
            # Not downloaded yet: the width is part of the folder's name, and the hub gives the hash.
            d_in, width = (
                read_shape(path, ref)
                if path
                else (model.width(site), width_of(entry.width if entry else "0"))
            )
        if path:
            check_sizes(ref, "config.json", {"width": config.get("width")}, {"width": width})

        def load_as_hashed(device: str, *, decoder: bool = False) -> harness.Dictionary:
            with as_hashed(repository, name, sha256) as path:
                return load(path, name=ref, device=device, subtracts=subtracts, decoder=decoder)

        borrowed = is_instruction_tuned(model.name) and self._trained_on(config) == "pt"
        reference = full_reference(repository, name, depth=3 if entry else 1)
        return harness.PlacedRepresentation(
            identity={
                "kind": "gemma_scope_2",
                "sha256": sha256,
                **({"trained_on": "pt"} if borrowed else {}),
                **self.reading.identity,
            },
            d_in=d_in,
            width=width,
            load=load_as_hashed,
            load_whole=lambda device: load_as_hashed(device, decoder=True),
            sparse=True,
            published_l0=_read_l0(config),
            reference=reference,
            flags=(
                *((PT_DICTIONARY,) if borrowed else ()),
                *self.reading.flags,
                *flag_width(entry.width if entry else None, width),
            ),
            link=link(reference),
        )

    def _trained_on(self, config: Mapping[str, Any]) -> str | None:
        """Return `pt` or `it` from the repository's name or the config's model; None if neither says."""
        if named := _PUBLISHED.search(self.place):
            return named[2]
        model = config.get("model_name")
        return None if model is None else "it" if is_instruction_tuned(str(model)) else "pt"


def _read_l0(config: Mapping[str, Any]) -> float | None:
    """Return the published L0; None if the config has none that is a finite number."""
    l0 = config.get("l0")
    if isinstance(l0, bool) or not isinstance(l0, int | float):
        return None
    return float(l0) if 0 <= l0 <= sys.float_info.max else None


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────


def read_shape(path: Path, name: str) -> tuple[int, int]:
    """Return `(d_in, d_sae)` from the header without reading values. UsageError for a transcoder."""
    with _open(path, name) as file:
        shape = file.get_slice("w_enc").get_shape()
        decoder = file.get_slice("w_dec").get_shape() if "w_dec" in list(file.keys()) else ()
    if len(shape) != 2:
        raise harness.UnavailableError(f"dictionary '{name}': w_enc has {len(shape)} dimensions, not 2")
    check_pair(name, shape, decoder)
    return int(shape[0]), int(shape[1])


ENCODER = ("w_enc", "b_enc", "threshold")
"""Tensors of the encoder."""
DECODER = ("w_dec", "b_dec")
"""Tensors of the decoder."""


def load(
    path: Path, *, name: str, device: str, subtracts: bool = False, decoder: bool = False
) -> harness.Dictionary:
    """Load the weights in float32 onto a device; skip the decoder unless `decoder` is set. With `subtracts`, b_dec is
    subtracted from the input.
    """
    import torch

    wanted = tuple(
        dict.fromkeys((*ENCODER, *(DECODER if decoder else ()), *(("b_dec",) if subtracts else ())))
    )
    with _open(path, name, wanted) as file:
        # Copies: until then a tensor shares the memory of its file, which may be written later.
        parts = {key: file.get_tensor(key).to(device, torch.float32, copy=True) for key in wanted}
    named = {key.replace("w_", "W_"): value for key, value in parts.items()}
    if subtracts:
        named["subtract"] = named["b_dec"] if decoder else named.pop("b_dec")
    return harness.Dictionary(name=name, width=len(parts["b_enc"].flatten()), activation="jumprelu", **named)


def _open(path: Path, name: str, wanted: Sequence[str] = ENCODER) -> Any:
    """Open a safetensors file; raise UnavailableError unless it holds the `wanted` tensors as floats."""
    from safetensors import safe_open

    with harness.parsing(f"dictionary '{name}' cannot be read", hint=f"delete {PARAMS} and fetch it again"):
        file: Any = safe_open(path, framework="pt")
        types = {key: file.get_slice(key).get_dtype() for key in list(file.keys())}
    for key in wanted:
        if key not in types:
            held = harness.name_some(sorted(types), nothing="nothing")
            raise harness.UnavailableError(f"dictionary '{name}' has no {key}; {PARAMS} holds: {held}")
        if types[key] not in _FLOATS:
            raise harness.UnavailableError(f"dictionary '{name}': {key} holds {types[key]}, not floats")
    if any(key.startswith("affine_skip") for key in types):
        raise no_autoencoder(name, "transcoder")
    return file
