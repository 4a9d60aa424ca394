"""Dictionaries by the names of SAELens and Neuronpedia: `saelens:RELEASE/ID` and `neuronpedia:MODEL/ID`.

Both are looked up offline, in the table that comes with the package sae-lens, which is read as a file and not imported.
An entry gives the repository on the hub, the path in it, and the function with which SAELens reads it, by which a
reader here is chosen.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import harness
from harness_saes.reading import Reading
from harness_saes.refusals import no_autoencoder

TABLE = "pretrained_saes.yaml"
"""File of sae-lens with all releases."""
INSTALL = "pip install 'sae-harness[train]'"

_NAME = re.compile(
    r"(?P<by>saelens|neuronpedia):(?P<release>[^/@]*)(?:@(?P<revision>[\w.-]+))?(?:/(?P<id>.*))?"
)

_FORMATS: Mapping[str, str] = {
    "": "sae_lens",
    "dictionary_learning_1": "dictionary_learning",
    "deepseek_r1": "deepseek",
    "goodfire": "goodfire",
    "llama_scope": "openmoss",
    "llama_scope_r1_distill": "openmoss",
    "qwen_scope": "qwen_scope",
    "sparsify": "sparsify",
}
"""Kind of a format here by SAELens' function, of formats that are read through a declaration."""

_PAIRS = ("gemma_2_transcoder", "mwhanna_transcoder", "mntss_clt_layer_transcoder")
"""Functions that read transcoders."""

_REFUSED: Mapping[str, str] = {
    "temporal": "of SAELens' architecture temporal, which is not read: its features depend on the tokens before",
    "connor_rob_hook_z": "a pickle with its config beside it under a name of its own, which is a form of this release "
    "alone and is not read",
}
"""Kinds of dictionaries by the loader of SAELens that no reader here replaces."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Entry of the table. `function` is empty for SAELens' own format; `scale` is the factor of activations, where the
    format keeps it elsewhere; `overrides` are values of the config.
    """

    release: str
    id: str
    repository: str
    path: str
    function: str
    l0: float | None
    source: str | None
    scale: float | None
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name as a reference."""
        return f"saelens:{self.release}/{self.id}"

    def reference(self, revision: str | None = None) -> str:
        """Return the reference on the hub."""
        return f"{self.repository}{f'@{revision}' if revision else ''}/{self.path}"


def is_release(ref: str) -> bool:
    """Check whether a reference is a name of SAELens or Neuronpedia, known or not."""
    return _NAME.fullmatch(ref) is not None


def resolve(ref: str) -> harness.RepresentationSpec:
    """Return the spec of the dictionary that a name means; UsageError if it is unknown or means what is not read."""
    match = _NAME.fullmatch(ref)
    assert match is not None
    table = read_table(ref)
    entry = _find_source(ref, match, table) if match["by"] == "neuronpedia" else _find(ref, match, table)
    make = choose_reader(entry, ref, match["revision"])
    summary = f"{entry.reference(match['revision'])}, as SAELens names it"
    return harness.RepresentationSpec(name=ref, summary=summary, make=make, needs="tokens")


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────


def find_table() -> Path | None:
    """Return the path of the table; None if sae-lens is not installed."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / TABLE
    return path if path.is_file() else None


def read_table(ref: str) -> Mapping[str, Mapping[str, Entry]]:
    """Return all entries by release and id; UnavailableError without the package, or if its table is broken."""
    path = find_table()
    if path is None:
        raise harness.UnavailableError(
            f"representation '{ref}' is looked up in the table of sae-lens, which is not installed: {INSTALL}"
        )
    return _read(path)


@cache
def _read(path: Path) -> Mapping[str, Mapping[str, Entry]]:
    import yaml

    # With the parser of libyaml where there is one: the table has 1.5 MB, and the other takes five times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with harness.parsing(f"{TABLE} of sae-lens cannot be read", hint="install sae-lens again"):
        content = loader(path.read_bytes()).get_single_data()
        return {
            str(release): {str(one["id"]): _entry(str(release), said, one) for one in said["saes"]}
            for release, said in content.items()
        }


def _entry(release: str, said: Mapping[str, Any], one: Mapping[str, Any]) -> Entry:
    return Entry(
        release=release,
        id=str(one["id"]),
        repository=said["repo_id"],
        path=str(one["path"]),
        function=said.get("conversion_func") or "",
        l0=float(one["l0"]) if one.get("l0") else None,
        source=one.get("neuronpedia"),
        scale=one.get("norm_scaling_factor"),
        overrides=said.get("config_overrides") or {},
    )


def _find(ref: str, match: re.Match[str], table: Mapping[str, Mapping[str, Entry]]) -> Entry:
    release, name = match["release"], (match["id"] or "").rstrip("/")
    if release not in table:
        raise harness.UsageError(
            f"representation '{ref}': SAELens has no release '{release}'{harness.did_you_mean(release, table)}"
        )
    entries = table[release]
    if not name:
        first = [one.name for one in entries.values()]
        raise harness.UsageError(
            f"representation '{ref}' is a release of {len(first):,}: name one, such as {harness.name_some(first)}"
        )
    if name not in entries:
        raise harness.UsageError(
            f"representation '{ref}': the release '{release}' has no '{name}'{harness.did_you_mean(name, entries)}"
        )
    return entries[name]


# ── Neuronpedia's sources ────────────────────────────────────────────────────────────────────────────────


def _find_source(ref: str, match: re.Match[str], table: Mapping[str, Mapping[str, Entry]]) -> Entry:
    """Return the entry of a source; UsageError unless there is exactly one, which is what the source's id says."""
    source = f"{match['release']}/{(match['id'] or '').rstrip('/')}"
    entries = [one for release in table.values() for one in release.values() if one.source == source]
    if not entries:
        known = {one.source for release in table.values() for one in release.values() if one.source}
        of_model = sorted(one for one in known if one.startswith(f"{match['release']}/")) or sorted(known)
        raise harness.UsageError(
            f"representation '{ref}': SAELens' table has no source '{source}' of Neuronpedia"
            f"{harness.did_you_mean(source, of_model)}"
        )
    if len({one.reference() for one in entries}) > 1:
        names = harness.name_some(sorted(one.name for one in entries))
        raise harness.UsageError(
            f"representation '{ref}' stands beside several dictionaries: name one, {names}"
        )
    if fault := contradiction(entries[0]):
        raise harness.UsageError(
            f"representation '{ref}' stands beside {entries[0].reference()} in SAELens' table, {fault}, so one of both "
            f"is wrong: name the dictionary itself, {entries[0].name}"
        )
    return entries[0]


def contradiction(entry: Entry) -> str:
    """Return how the id of an entry's source contradicts its path in layer, width or L0; empty if it does not.

    An id is like `20-gemmascope-res-131k__l0-12`; what id or path do not tell is not compared.
    """
    source = (entry.source or "").rpartition("/")[2]
    told = {
        "layer": re.match(r"(\d+)-", source),
        "width": re.search(r"-(\d+(?:\.\d+)?[km])(?:_|$)", source),
        "L0": re.search(r"__l0-(\d+)$", source),
    }
    found = {
        "layer": re.search(r"layer_(\d+)", entry.path),
        "width": re.search(r"width_(\d+[km])", entry.path),
        "L0": re.search(r"_l0_(\d+)$", entry.path),
    }
    for what, said in told.items():
        held = found[what]
        if said and held and said[1] != held[1]:
            return f"which is of {what} {held[1]} and not {said[1]}"
    return ""


# ── readers ──────────────────────────────────────────────────────────────────────────────────────────────


def choose_reader(
    entry: Entry, ref: str, revision: str | None = None
) -> Callable[..., harness.TokenRepresentation]:
    """Return what opens an entry; UsageError for what is not read, by what it is."""
    from harness_saes import gemma_scope, gemma_scope_2
    from harness_saes.formats import FORMATS

    where = entry.reference(revision)
    if entry.function in _PAIRS or re.search(r"(?:^|/)transcoder(?:_all)?/", entry.path):
        raise no_autoencoder(ref, "transcoder")
    if re.search(r"(?:^|/)(?:crosscoder|clt)\w*/", entry.path):
        raise no_autoencoder(ref, "crosscoder")
    if entry.function in _REFUSED:
        raise harness.UsageError(f"dictionary '{ref}' is {_REFUSED[entry.function]}")
    if entry.path.startswith("embedding/"):
        raise harness.UsageError(f"dictionary '{ref}' reads the embedding, which is no site")
    if entry.function == "gemma_2":
        scope = partial(gemma_scope.Folder, where, width=None, l0=None, layer_offset=0)
        return partial(_open, entry, scope)
    if entry.function == "gemma_3":
        return partial(_open, entry, partial(gemma_scope_2.Folder, where, width=None, l0=None))
    kinds = [kind for kind in FORMATS if kind.kind == _FORMATS.get(entry.function)]
    if not kinds:
        raise harness.UsageError(
            f"dictionary '{ref}' is read by SAELens' function {entry.function}, for which there is no reader here: "
            f"docs/dictionaries.md lists what is read"
        )
    return partial(_open_declared, entry, where, kinds)


def _open(
    entry: Entry,
    open_folder: Callable[..., harness.TokenRepresentation],
    *,
    any_site: bool = False,
    subtract_b_dec: bool | None = None,
) -> harness.TokenRepresentation:
    return Released(entry, open_folder(reading=Reading(any_site=any_site, subtract_b_dec=subtract_b_dec)))


def _open_declared(
    entry: Entry,
    where: str,
    kinds: Sequence[Any],
    *,
    any_site: bool = False,
    subtract_b_dec: bool | None = None,
    input_scale: float | None = None,
) -> harness.TokenRepresentation:
    from harness_saes.stored import Folder

    of_table = {"published_scale": entry.scale, "overrides": entry.overrides or None}
    options = {
        "input_scale": input_scale,
        **{key: of_table[key] for key in of_table if key in kinds[0].options},
    }
    reading = Reading(any_site=any_site, subtract_b_dec=subtract_b_dec)
    return Released(entry, Folder(where, kinds, reading=reading, options=options))


class Released:
    """Dictionary of a release; where its files say no L0 or page of Neuronpedia, the table does."""

    def __init__(self, entry: Entry, folder: harness.TokenRepresentation) -> None:
        self.entry, self.folder = entry, folder

    def at(
        self, model: harness.Model, site: harness.Site
    ) -> harness.PlacedRepresentation | str | Mapping[str, Any]:
        placed = self.folder.at(model, site)
        if not isinstance(placed, harness.PlacedRepresentation):
            return placed
        page = f"https://www.neuronpedia.org/{self.entry.source}/{{feature}}" if self.entry.source else None
        faulty = bool(contradiction(self.entry))
        return replace(
            placed,
            published_l0=placed.published_l0 or self.entry.l0,
            link=placed.link or (None if faulty else page),
        )
