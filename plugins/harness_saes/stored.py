"""One dictionary in a declared format: found by its files, described by its config, converted to a Dictionary.

    reference → Folder ── find ──→ Found (file of weights, config, shapes)
                          declare → Declaration (sizes, site, rule, how tensors become a Dictionary)
                          at ─────→ PlacedRepresentation

A module of a format brings a `Format`: which files it has, whether a config or the names of tensors are its own, and
`declare`. Everything else is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import harness
from harness_saes.checkpoint import Checkpoint
from harness_saes.hooks import check_part
from harness_saes.reading import Reading
from harness_saes.refusals import check_pair, check_sizes, wrong_site
from harness_saes.repository import (
    HubRepository,
    LocalRepository,
    Repository,
    as_hashed,
    full_reference,
)

if TYPE_CHECKING:
    from harness_saes.tensors import Tensors

_DEEPEST = 4
"""Number of folders below the one that is named in which checkpoints are looked for."""

_LARGEST = 1 << 31
"""Largest size that a config may give."""

_LAYER = re.compile(r"(?:layers?|blocks?|(?<![a-z])[hl])[._-]?(\d{1,9})", re.IGNORECASE)
"""Layer in the name of a file or folder, as in layer_3, blocks.3, h.3 and L3R; trainer_3 tells none."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Checkpoint of a format: its file of weights, its config (empty without one), and the shapes of its tensors.

    Shapes are empty as long as the weights are not on this machine; `Format.needs_weights` fetches them before.
    `options` are those of the reference beside the common ones, such as `k`; None is not given.
    """

    checkpoint: Checkpoint
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """Reference, for sentences."""
        return self.checkpoint.ref

    def integer(self, config: Mapping[str, Any], key: str) -> int:
        """Return a positive whole number of a config; raise UnavailableError if it is none."""
        value = config.get(key)
        if value is None:
            raise harness.UnavailableError(
                f"dictionary '{self.ref}' has a config without {key}: fetch it again"
            )
        if type(value) is not int or not 1 <= value <= _LARGEST:
            raise harness.UnavailableError(
                f"dictionary '{self.ref}' has {key} = {str(value)[:60]!r}, which is no whole number from 1 to "
                f"{_LARGEST:,}: fetch it again"
            )
        return value


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Declaration of a checkpoint about itself.

    `site` is where it was trained: a site, the name of a place that is none here, or None if nothing says. `settings`
    is all that changes a feature beside the tensors, as JSON; it is part of the identity. `subtracts` says whether the
    format subtracts b_dec from the input. `build` returns the fields of `harness.Dictionary` from the tensors, W_dec
    only where the decoder is asked for; it leaves out `name`, `width` and `subtract`, which follow from the rest.
    `hook` is the config's own name of the place that `site` was read from; one that is no site in some models is
    refused there. `has_decoder` is false where the weights are known to have none.
    """

    d_in: int
    width: int
    site: harness.Site | str | None
    settings: Mapping[str, Any]
    subtracts: bool
    build: Callable[[Tensors, bool], Mapping[str, Any]]
    published_l0: float | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hook: str | None = None
    has_decoder: bool = True


@dataclass(frozen=True, kw_only=True)
class Format:
    """Format of checkpoints: `weights` are patterns of the names of its files of weights, `configs` names of files
    beside them or in the folder above (`../NAME`), of which the first that is there is read. `fits` tells from a config
    and the names of tensors (empty if the weights are not on this machine) whether a checkpoint is of this format.
    Without `configs` only the tensors can tell, so the file is fetched if it is the only one. `options` are parameters
    of references beside the common ones. `is_explicit` is true of a config that somebody wrote to say how the weights
    are read: it is taken before all that a library wrote.
    """

    name: str
    kind: str
    weights: Sequence[str]
    configs: Sequence[str]
    fits: Callable[[Mapping[str, Any], Collection[str]], bool]
    declare: Callable[[Found], Declaration]
    options: frozenset[str] = frozenset()
    needs_weights: bool = False
    is_explicit: bool = False


Described = tuple[Format, Found, Declaration]
"""Checkpoint with its format and what it declares."""


class Folder:
    """Dictionary in one of several formats: a file, a folder, or a repository on the hub, in which the one for a site
    is found below the folder that is named.
    """

    def __init__(
        self, ref: str, formats: Sequence[Format], *, reading: Reading, options: Mapping[str, Any]
    ) -> None:
        self.ref, self.formats, self.reading = ref, formats, reading
        self.options = {name: value for name, value in options.items() if value is not None}

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        kind, found, declared = self._choose(site)
        if unknown := self.options.keys() - kind.options:
            raise harness.UsageError(
                f"dictionary '{self.ref}' is of {kind.name} and takes no {', '.join(sorted(unknown))}"
            )
        if not self.reading.any_site and declared.site not in (None, site):
            raise wrong_site(self.ref, f"'{declared.site}'", site)
        if not self.reading.any_site:
            check_part(self.ref, declared.hook, model)
        checkpoint = found.checkpoint
        sha256 = checkpoint.repository.sha256(checkpoint.name)

        def load(device: str, *, decoder: bool = False) -> harness.Dictionary:
            return self._load(checkpoint, declared, device, sha256=sha256, decoder=decoder)

        return harness.PlacedRepresentation(
            identity={"kind": kind.kind, "sha256": sha256, **declared.settings, **self.reading.identity},
            d_in=declared.d_in,
            width=declared.width,
            load=load,
            load_whole=(lambda device: load(device, decoder=True)) if declared.has_decoder else None,
            sparse=True,
            published_l0=declared.published_l0,
            reference=full_reference(checkpoint.repository, checkpoint.name, depth=2),
            flags=(*declared.flags, *self.reading.flags),
            notes=declared.notes,
        )

    # ── which checkpoint ─────────────────────────────────────────────────────────────────────────────

    def _choose(self, site: harness.Site) -> Described:
        """Return the checkpoint that is named, or the one below it that was trained at `site`."""
        candidates = find_checkpoints(self.ref, self.formats, site)
        names = sorted(checkpoint.name for _, checkpoint in candidates)
        if len(candidates) > 1:
            # Weights of other layers are never fetched only to be looked at.
            candidates = [
                (kind, each)
                for kind, each in candidates
                if each.path is not None or not kind.needs_weights or _may_be_of(each, site, by_number=True)
            ]
            if not candidates:
                raise self._unclear("dictionaries, and none of them", site, names)
        described = [self._describe(kind, each) for kind, each in candidates]
        here = [each for each in described if each[2].site == site]
        anywhere = [each for each in described if each[2].site is None]
        if not (here or anywhere or self.reading.any_site):
            here = self._find_elsewhere(names, site)
        if len(here) == 1:
            return here[0]
        if len(described) == 1 and not here:
            return described[0]
        which = "several dictionaries" if here or anywhere else "dictionaries, and none of them"
        named = here or anywhere or described
        raise self._unclear(which, site, sorted(each[1].checkpoint.name for each in named))

    def _describe(self, kind: Format, checkpoint: Checkpoint) -> Described:
        """Return a checkpoint with its format and what it declares."""
        found = look_into(kind, checkpoint, self.options)
        return kind, found, kind.declare(found)

    def _find_elsewhere(self, names: Collection[str], site: harness.Site) -> list[Described]:
        """Return the checkpoints trained at `site` besides those of these `names`, whatever layer theirs tell."""
        # A name may count by the input of a block: what blocks.8.hook_resid_pre reads is resid_post.7.
        others: list[tuple[Format, Checkpoint]] = []
        found: list[Described] = []
        with suppress(harness.HarnessError):  # a file that is not read is not the one for the site
            others = find_checkpoints(self.ref, self.formats)
        for kind, checkpoint in others:
            if checkpoint.name in names or (kind.needs_weights and checkpoint.path is None):
                continue
            with suppress(harness.HarnessError):
                found.append(self._describe(kind, checkpoint))
        return [each for each in found if each[2].site == site]

    def _unclear(self, which: str, site: harness.Site, names: Sequence[str]) -> harness.UsageError:
        return harness.UsageError(
            f"'{self.ref}' holds {which} for '{site}': name one of {harness.name_some(names)}"
        )

    def _load(
        self, checkpoint: Checkpoint, declared: Declaration, device: str, *, sha256: str, decoder: bool
    ) -> harness.Dictionary:
        """Load the dictionary onto a device from the file with this hash; skip the decoder unless asked for."""
        from harness_saes.tensors import open_tensors

        subtracts = self.reading.subtracts(declared.subtracts)
        with (
            as_hashed(checkpoint.repository, checkpoint.name, sha256) as path,
            open_tensors(checkpoint, path, device) as tensors,
        ):
            fields = dict(declared.build(tensors, decoder))
        bias = fields.pop("b_dec", None)
        if subtracts and bias is None:
            raise harness.UsageError(f"dictionary '{self.ref}' has no b_dec that could be subtracted")
        if not decoder:
            fields.pop("W_dec", None)
        return harness.Dictionary(
            name=self.ref,
            width=declared.width,
            subtract=bias if subtracts else None,
            b_dec=bias if decoder else None,
            **fields,
        )


def find_checkpoints(
    ref: str, formats: Sequence[Format], site: harness.Site | None = None
) -> list[tuple[Format, Checkpoint]]:
    """Return the checkpoints at a reference with their formats: the file that it names, those in its folder, else those
    in folders below it; for a `site`, only those whose names may be of its layer, if there are any.

    Raise UnavailableError, or UsageError, if there is none, or if one file is of two formats.
    """
    path = harness.local_path(ref)
    repository: Repository
    inside = ""
    if path.is_file():
        repository, inside = LocalRepository(path.parent), path.name
    elif path.is_dir():
        repository = LocalRepository(path)
    else:
        repository = HubRepository.parse(ref)
        inside = repository.folder
    is_file = path.is_file() or any(_has_name_of(kind, inside) for kind in formats)
    nearest: list[Checkpoint] = []
    for names in [[inside]] if is_file else _by_depth(repository, formats, inside):
        checkpoints = [Checkpoint(ref=ref, repository=repository, name=name, place=ref) for name in names]
        nearest = nearest or checkpoints
        likely = [each for each in checkpoints if site is None or _may_be_of(each, site)]
        for some in (likely, [each for each in checkpoints if each not in likely]):
            if found := [(kind, each) for each in some for kind in _fitting(formats, each)]:
                return found
    if len(nearest) == 1 and nearest[0].path is None:
        bare = [kind for kind in formats if not kind.configs and _has_name_of(kind, nearest[0].name)]
        if bare and repository.fetch(nearest[0].name) and (fitting := _fitting(bare, nearest[0])):
            return [(fitting[0], nearest[0])]
    raise _nothing_found(ref, repository, formats, nearest)


def _nothing_found(
    ref: str, repository: Repository, formats: Sequence[Format], nearest: Sequence[Checkpoint]
) -> harness.HarnessError:
    """Return the error for a reference at which no checkpoint of a format was recognised."""
    if isinstance(repository, HubRepository):
        if not repository.listing[1]:
            # Configs are small, and with several files the hub's client leaves the list of all.
            configs = dict.fromkeys(PurePosixPath(name).name for kind in formats for name in kind.configs)
            note = f", {'which' if len(configs) == 1 else 'of which one'} tells what it holds"
            return repository.hub.lacks(*configs, fetch=[f"*{name}" for name in configs], note=note)
        if names := [each.name for each in nearest]:
            return harness.UsageError(
                f"'{ref}' holds {harness.name_some(names)}, and no config that tells their format: name the one "
                f"that is meant"
            )
    return repository.lacks(*dict.fromkeys(pattern for kind in formats for pattern in kind.weights))


def _by_depth(repository: Repository, formats: Sequence[Format], inside: str) -> Iterator[list[str]]:
    """Yield the names of files of weights in a folder of a repository, then of those in the folders below it."""
    patterns = dict.fromkeys(pattern for kind in formats for pattern in kind.weights)
    parts = [inside] if inside else []
    for depth in range(_DEEPEST + 1):
        wanted = ["/".join([*parts, *["*"] * depth, pattern]) for pattern in patterns]
        names = {name for pattern in wanted for name in repository.files(pattern).names}
        slashes = inside.count("/") + len(parts) + depth
        yield sorted(name for name in names if name.count("/") == slashes)


def _has_name_of(kind: Format, name: str) -> bool:
    return any(PurePosixPath(name).match(pattern) for pattern in kind.weights)


def _fitting(formats: Sequence[Format], checkpoint: Checkpoint) -> list[Format]:
    """Return the one format of a checkpoint, by its config and the names of its tensors; none if it is of none."""
    kinds = [kind for kind in formats if _has_name_of(kind, checkpoint.name)]
    names: Collection[str] = ()
    with suppress(harness.HarnessError):  # what is broken is reported when it is read
        names = _names(checkpoint)
    fitting = [kind for kind in kinds if _fits(kind, checkpoint, names)]
    fitting = [kind for kind in fitting if kind.is_explicit] or fitting
    if len(fitting) > 1:
        several = " and of ".join(kind.name for kind in fitting)
        raise harness.UsageError(
            f"'{checkpoint.ref}': {checkpoint.name} fits the formats of {several}, and nothing says which"
        )
    return fitting


def _fits(kind: Format, checkpoint: Checkpoint, names: Collection[str]) -> bool:
    try:
        return kind.fits(read_config(kind, checkpoint), names)
    except harness.HarnessError:
        return True


def _names(checkpoint: Checkpoint) -> Collection[str]:
    """Return the names in a file of weights; none if it is not on this machine."""
    from harness_saes.tensors import open_tensors

    if checkpoint.path is None:
        return ()
    with open_tensors(checkpoint, checkpoint.path) as tensors:
        return {*tensors.shapes, *tensors.values}


def _may_be_of(checkpoint: Checkpoint, site: harness.Site, *, by_number: bool = False) -> bool:
    """Return whether a name tells no layer, or that of the site, so that other configs need not be fetched. With
    `by_number` any number is a layer's where the name says none, as in `12/x.safetensors`.
    """
    layers = _LAYER.findall(checkpoint.name)
    if by_number and not layers:
        layers = re.findall(r"\d{1,9}", checkpoint.name)
    return not layers or site.layer in map(int, layers)


def read_config(kind: Format, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the config beside the weights or in the folder above; an empty one if there is none."""
    for name in kind.configs:
        inside = checkpoint.beside(name)
        path = checkpoint.repository.find(inside) if checkpoint.repository.may_have(inside) else None
        if path is not None:
            said = f"dictionary '{checkpoint.ref}': its {name} cannot be read"
            return read_any(path, said)
    return {}


def read_any(path: Path, said: str) -> Mapping[str, Any]:
    """Return the mapping in a file of JSON or YAML; raise UnavailableError that begins with `said` if it is broken."""
    if path.suffix == ".yaml":
        return harness.read_yaml(path, "dictionary file").tree
    return harness.read_mapping(path, said, hint="fetch it again")


def look_into(kind: Format, checkpoint: Checkpoint, options: Mapping[str, Any]) -> Found:
    """Return what is known of a checkpoint before its weights are loaded."""
    from harness_saes.tensors import open_tensors

    found = Found(
        checkpoint=checkpoint, config=read_config(kind, checkpoint), shapes={}, options=dict(options)
    )
    path = checkpoint.repository.fetch(checkpoint.name) if kind.needs_weights else checkpoint.path
    if path is None:
        return found
    with open_tensors(checkpoint, path) as tensors:
        return replace(found, shapes=dict(tensors.shapes), values=dict(tensors.values))


def size_of(found: Found, name: str, *, transposed: bool = False) -> tuple[int, int] | None:
    """Return (d_in, d_sae) of an encoder's weights `[d_in, d_sae]`, or `[d_sae, d_in]` if transposed; None if they are
    not on this machine. Raise UnavailableError unless they are a matrix.
    """
    if not found.shapes:
        return None
    found.checkpoint.require(name, found.shapes)
    shape = found.shapes[name]
    if len(shape) != 2:
        raise harness.UnavailableError(
            f"dictionary '{found.ref}': {name} is {list(shape)}, which is no matrix"
        )
    d_in, width = reversed(shape) if transposed else shape
    return d_in, width


def read_size(
    found: Found, name: str, *, transposed: bool = False, said: Mapping[str, int] | None = None
) -> tuple[int, int]:
    """Return (d_in, d_sae) of an encoder's weights as `size_of` does, or what the config has `said` of them, by key in
    this order, if they are not on this machine; raise UnavailableError where the two disagree.
    """
    size = size_of(found, name, transposed=transposed)
    if size is None:
        assert said is not None
        d_in, width = said.values()
        return d_in, width
    check_sizes(found.ref, "config", said or {}, dict(zip(said or {}, size, strict=False)))
    return size


def check_decoder(found: Found, encoder: str, decoder: str, *, transposed: bool = False) -> None:
    """Raise UsageError where the decoder writes another number of dimensions than the encoder reads: a transcoder."""
    size, shape = size_of(found, encoder, transposed=transposed), found.shapes.get(decoder, ())
    if size and len(shape) == 2:
        check_pair(found.ref, size, tuple(reversed(shape)) if transposed else shape)


def check_shapes(found: Found, tensors: Tensors, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UnavailableError where a tensor that the file holds is of another shape than its sizes tell."""
    for name, shape in wanted.items():
        if (held := tensors.shapes.get(name, shape)) != shape:
            raise harness.UnavailableError(
                f"dictionary '{found.ref}': {name} is {list(held)}, not {list(shape)}: fetch it again"
            )
