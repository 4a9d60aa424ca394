"""Catalogs of everything that loaded plugins offer, by kind and name, each with its origin.

A reference such as `random_sae[k=32]` is resolved here into a Choice: the spec, all parameters with defaults filled
in, and the label used in tables.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError, UsageError, describe, did_you_mean
from harness.api.specs import ClassifierSpec
from harness.registry.loading import OFFERED, Fault, Plugin, Plugins, offer_name
from harness.registry.parameters import bind, name_offer, singular, write_value
from harness.registry.source import Source
from harness.storage.cache_place import using_cache
from harness.storage.parsing import parsing
from harness.storage.paths import local_path

RESOLVED = {"models": "harness_resolve_model", "representations": "harness_resolve_representation"}
"""Kinds whose unlisted references plugins may resolve → the hook that does so."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Offer of a plugin, with the plugin, its distribution (with version), and its files where no revision tells of
    a change.
    """

    name: str
    spec: Any
    plugin: str
    distribution: str
    source: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Choice(Entry):
    """Resolved reference: an offer with all its parameters."""

    kind: str
    parameters: Mapping[str, Any]
    given: Mapping[str, Any]
    implied: Mapping[str, Any] = field(default_factory=dict)
    """The parameters in `given` that come from the name itself, because it is an alias."""
    cache_dir: Path | None = None
    """Cache folder for what the factory keeps; None for the default one."""

    @property
    def label(self) -> str:
        """Name in tables, with the parameters that were given with it."""
        shown = {key: value for key, value in self.given.items() if key not in self.implied}
        if not shown:
            return self.name
        inside = ",".join(f"{key}={write_value(value)}" for key, value in shown.items())
        return f"{self.name}[{inside}]" if self.kind in RESOLVED else f"{self.name}({inside})"

    @property
    def identity(self) -> dict[str, Any]:
        """JSON of everything that may change results: owner, name, revision, all parameters."""
        return {
            "distribution": self.origin,
            "name": self.name,
            "revision": self.spec.revision,
            "parameters": dict(self.parameters),
        }

    @property
    def origin(self) -> str:
        """Distribution without its version; with the hash of the plugin's files where no revision tells of a change."""
        name = self.distribution.rsplit(" ", 1)[0]
        if self.source is None or not self.source.files:
            return name
        return f"{name.partition('@')[0]}@{self.source.digest}"

    @property
    def provenance(self) -> str:
        """Distribution with its version, and with the hash of the plugin's files where these are in identities."""
        digest = self.origin.partition("@")[2]
        known = not digest or self.distribution.endswith(f"@{digest}")
        return self.distribution if known else f"{self.distribution}@{digest}"

    @property
    def code(self) -> dict[str, str]:
        """JSON that adds the plugin's files to an identity which the plugin itself describes; empty where a revision
        tells of a change.
        """
        return {} if self.source is None else {"source": self.origin}

    def make(self, **filled: Any) -> Any:
        """Call the factory with the parameters and `filled`.

        Raises UsageError if the factory fails, and UnavailableError if it needs a package that cannot be imported.
        """
        with _blaming(self.owner), using_cache(self.cache_dir):
            return self.spec.make(**{**self.parameters, **filled})

    @property
    def owner(self) -> str:
        """Description in messages: `pooling 'max' (sae-harness 0.1.0)`."""
        return name_offer(self.kind, self.name, self.distribution)

    @property
    def searched(self) -> dict[str, tuple[Any, ...]]:
        """Values of a classifier's grid for the parameters that are not given."""
        grid = self.spec.grid if isinstance(self.spec, ClassifierSpec) else {}
        return {name: tuple(values) for name, values in grid.items() if name not in self.given}

    @property
    def takes_seed(self) -> bool:
        """True if the factory has a parameter `seed`, which the harness fills."""
        return "seed" in inspect.signature(self.spec.make).parameters


@dataclass(frozen=True)
class Registry:
    """Offers of all loaded plugins; `report` receives each fault that appears after loading.

    What plugins keep in the cache lies in `cache_dir`, if that is not None.
    """

    plugins: Plugins
    report: Callable[[Fault], None] = field(default=lambda fault: None)
    cache_dir: Path | None = None

    @cached_property
    def catalogs(self) -> Mapping[str, Mapping[str, tuple[Entry, ...]]]:
        """Kind → name → offers; several offers under one name are a clash."""
        catalogs: dict[str, dict[str, tuple[Entry, ...]]] = {kind: {} for kind in OFFERED}
        for plugin in self.plugins.loaded:
            for kind, specs in plugin.offers.items():
                for spec in specs:
                    name = offer_name(spec)
                    entry = _entry(name, spec, plugin)
                    catalogs[kind][name] = (*catalogs[kind].get(name, ()), entry)
        return catalogs

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Faults found while loading, and a fault for each name offered by several plugins."""
        clashes = []
        for kind, names in self.catalogs.items():
            for name, (*others, last) in names.items():
                if others:
                    clash = f"offers the {singular(kind)} '{name}', which {_owners(others)} offers too"
                    hint = "neither can be used: disable one with -p no:NAME"
                    clashes.append(self.plugins.find(last.plugin).fault(f"{clash}; {hint}"))
        return (*self.plugins.faults, *clashes)

    def report_loading(self) -> None:
        """Report every fault found while loading, and every warning about a plugin that was loaded."""
        for fault in (*self.faults, *self.plugins.warnings):
            self.report(fault)

    def names(self, kind: str) -> list[str]:
        """Return all usable names of one kind, sorted."""
        return sorted(name for name, entries in self.catalogs[kind].items() if len(entries) == 1)

    def get(self, kind: str, name: str, *, beside: Iterable[str] = ()) -> Entry:
        """Return the single offer under a name; raise UsageError if there is none or more than one.

        Of an unknown name, those `beside` the offers may be meant too.
        """
        entries = self.catalogs[kind].get(name, ())
        if not entries:
            if kind in RESOLVED and _is_local(name):
                raise UnavailableError(f"no plugin can read what lies in '{name}' as a {singular(kind)}")
            hint = did_you_mean(name, [*self.names(kind), *beside], listed_by=f"harness ls {kind}")
            if kind in RESOLVED and name.startswith((".", "/", "~")):
                hint = _nothing_there(local_path(name))
            elif kind in RESOLVED and ("/" not in name or "://" in name):
                others = "one of the hub is written ORG/NAME, a folder ./NAME"
                hint += f" ({others})" if hint.endswith("?") else f"; {others}"
            raise UsageError(f"there is no {singular(kind)} '{name}'{hint}")
        if len(entries) > 1:
            offered = f"is offered by {_owners(entries)}: disable one with -p no:NAME"
            raise UsageError(f"{singular(kind)} '{name}' {offered}")
        return entries[0]

    def choose(self, kind: str, reference: str | Mapping[str, Any], *, beside: Iterable[str] = ()) -> Choice:
        """Resolve a reference (`NAME`, `NAME[k=v]`, `NAME(k=v)`, or a mapping with `name`) of one kind.

        Of an unknown parameter, what stands `beside` the parameters may be meant too.
        """
        _check_length(kind, reference)
        name, given = _split(kind, reference)
        target = entry = self._find(kind, name)
        implied: dict[str, Any] = {}
        if (alias := getattr(entry.spec, "alias_of", None)) is not None:
            if callable(alias):
                with _blaming(name_offer(kind, name, entry.distribution)), using_cache(self.cache_dir):
                    alias = alias()
            # A text is a name without parameters: it may be a path, and a path may hold brackets.
            other, implied = (alias, {}) if isinstance(alias, str) else parse_reference(alias)
            target = self._find(kind, other, called=name)
        implied = {key: value for key, value in implied.items() if key not in given}
        given = {**implied, **given}  # in this order, which labels show
        parameters = bind(
            target.spec, given, owner=name_offer(kind, name, target.distribution), beside=beside
        )
        is_toy = kind == "models" and entry.spec.toy  # what an alias says of itself: a folder cannot know
        return Choice(
            kind=kind,
            name=name,
            spec=replace(target.spec, toy=True) if is_toy else target.spec,
            plugin=entry.plugin,
            distribution=entry.distribution,
            source=target.source,  # of the plugin whose code runs
            parameters=parameters,
            given=given,
            implied=implied,
            cache_dir=self.cache_dir,
        )

    def _find(self, kind: str, name: str, *, called: str = "") -> Entry:
        """Return the offer under a name, or what a plugin makes of it; messages say `called`, if that is given."""
        unlisted = kind in RESOLVED and name not in self.catalogs[kind]
        resolved = self._ask(kind, name, called or name) if unlisted else None
        return resolved or self.get(kind, name)

    def _ask(self, kind: str, ref: str, name: str) -> Entry | None:
        """Ask each plugin in turn to resolve an unlisted reference; return None if none does."""
        hook, known = RESOLVED[kind], {"ref": ref, "name": name}
        for implementation in reversed(getattr(self.plugins.manager.hook, hook).get_hookimpls()):
            plugin = self.plugins.find(implementation.plugin_name)
            try:
                spec = implementation.function(*(known[each] for each in implementation.argnames))
            except HarnessError:
                raise
            except (Exception, SystemExit) as error:  # a plugin's resolver may raise anything
                self.report(plugin.fault(f"failed in its hook '{hook}': {describe(error)}"))
                continue
            if isinstance(spec, OFFERED[kind]):
                return _entry(ref, spec, plugin)
            if spec is not None:
                self.report(plugin.fault(f"returned {type(spec).__name__} from its hook '{hook}'"))
        return None


@contextmanager
def _blaming(owner: str) -> Iterator[None]:
    """Raise UsageError for an error of a plugin's code, and UnavailableError for a package that cannot be imported."""
    try:
        yield
    except (HarnessError, MemoryError):
        raise
    except ImportError as error:
        raise UnavailableError(f"{owner} needs a package that cannot be imported: {error}") from error
    except Exception as error:  # a plugin's code may raise anything
        raise UsageError(f"{owner} cannot be made: {describe(error)}") from error


def _entry(name: str, spec: Any, plugin: Plugin) -> Entry:
    return Entry(
        name=name, spec=spec, plugin=plugin.name, distribution=plugin.distribution, source=plugin.source
    )


def _nothing_there(path: Path) -> str:
    """Return what is said of a path at which nothing lies: the part of it that is there, and the names in that."""
    # Of a path that no file can have, os.path says that it is no folder, where pathlib raises an error.
    there = next((each for each in path.parents if os.path.isdir(each)), None)  # noqa: PTH112
    if there is None:
        return ": nothing lies there"
    wanted = path.relative_to(there).parts[0]
    return f": '{there}' holds no '{wanted}'{did_you_mean(wanted, _listed(there), owner_has='it holds')}"


def _listed(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir() if not each.name.startswith(".")]
    except OSError:
        return []


def _is_local(name: str) -> bool:
    try:
        return os.sep in name and local_path(name).exists()
    except OSError:  # too long for a path
        return False


LONGEST = 4_096
"""Limit in letters on a reference, as on paths; what is written of it, and patterns over it, stay small."""

LONGEST_NAME = 255
"""Bytes of a name on any usual disk: looking for a longer one is an error of the system."""


def _check_length(kind: str, reference: str | Mapping[str, Any]) -> None:
    name = reference if isinstance(reference, str) else reference.get("name")
    if isinstance(name, str) and len(name) > LONGEST:
        raise UsageError(
            f"the {singular(kind)} '{name[:60]}…' has {len(name):,} letters, and at most {LONGEST:,} are read"
        )
    if isinstance(name, str) and kind in RESOLVED:
        longest = max(len(part.encode()) for part in name.partition("[")[0].split("/"))
        if longest > LONGEST_NAME:
            raise UsageError(
                f"the {singular(kind)} '{name[:60]}…' has a name of {longest} bytes, and no file or repository has one "
                f"of more than {LONGEST_NAME}"
            )


def _split(kind: str, reference: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split a reference as `parse_reference`, but take the name of what lies on the disk as it is written."""
    if kind in RESOLVED:
        given = {"name": reference} if isinstance(reference, str) else dict(reference)
        name = given.pop("name", None)
        if isinstance(name, str) and _is_local(name):
            return name, given
    return parse_reference(reference)


def parse_reference(reference: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split `random_sae[k=32]`, `count(t=0)` or `{name: count, t: 0}` into a name and its parameters."""
    if not isinstance(reference, str):
        given = dict(reference)
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise UsageError(f"{dict(reference)} needs a 'name'")
        if re.search(r"[\[(][^\[\](),]+=.*[\])]$", name):  # parameters, and not a path that holds brackets
            name, inside = parse_reference(name)
            given |= inside
        return name, given
    if (match := (_PATH if os.sep in reference else _REFERENCE).fullmatch(reference)) is None:
        raise UsageError(f"'{reference}' is not of the form NAME or NAME[key=value,…]")
    parameters: dict[str, Any] = {}
    for pair in (match["square"] or match["round"] or "").split(","):
        if pair.strip():
            key, value = _parse_pair(pair, reference)
            if key in parameters:
                raise UsageError(f"'{key}' stands twice in '{reference}'")
            parameters[key] = value
    return match["name"], parameters


_REFERENCE = re.compile(r"(?P<name>[^\[\]()]+?)\s*(?:\[(?P<square>[^\]]*)\]|\((?P<round>[^)]*)\))?")

_PATH = re.compile(
    r"(?P<name>(?:[^\[\]()]|\[[^\[\]=]*\]|\([^()=]*\))+?)\s*(?:\[(?P<square>[^\]]*=[^\]]*)\]|\((?P<round>[^)]*=[^)]*)\))?"
)
"""Reference of a folder, whose name may hold brackets; those of parameters hold a `=`."""


def _parse_pair(pair: str, reference: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise UsageError(f"'{pair.strip()}' in '{reference}' is not of the form key=value")
    import yaml

    with parsing(f"'{value.strip()}' in '{reference}' cannot be read as a value", kind=UsageError):
        return key.strip(), yaml.safe_load(value)


def _owners(entries: Iterable[Entry]) -> str:
    return " and ".join(f"plugin '{entry.plugin}' ({entry.distribution})" for entry in entries)
