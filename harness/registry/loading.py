"""Loader of plugins from entry points and modules. A broken plugin is left out whole and reported.

Code of third parties runs here. pluggy alone would let one broken plugin end the program, skip a second plugin of
the same name silently, and leave a failed plugin half registered. So each plugin is first registered with a manager
of its own, and with the real one only after everything it offers was checked.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any

import pluggy

from harness.api import hookspecs, specs
from harness.api.errors import UnavailableError, UsageError, describe, did_you_mean
from harness.api.memory import find_memory_error
from harness.api.tasks import TaskSpec
from harness.registry.commands import COMMANDS, RENAMED
from harness.registry.interface import InterfaceError, check_accepted, find_declared, read_declared
from harness.registry.parameters import find_grid_fault
from harness.registry.source import OWN, Source, check_unchanged, find_source

GROUP = "harness"
"""Entry point group of plugins."""


OFFERED: Mapping[str, type] = {
    "models": specs.ModelSpec,
    "representations": specs.RepresentationSpec,
    "poolings": specs.PoolingSpec,
    "transforms": specs.TransformSpec,
    "classifiers": specs.ClassifierSpec,
    "regimes": specs.RegimeSpec,
    "alignments": specs.AlignmentSpec,
    "executors": specs.ExecutorSpec,
    "explainers": specs.ExplainerSpec,
    "tasks": TaskSpec,
    "suites": Path,
    "commands": specs.CommandSpec,
    "results": specs.ResultSpec,
    "dictionary_scores": specs.DictionaryScoreSpec,
}
"""Kind → type that its hook `harness_<kind>` must yield."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Plugin before its import, with its module, its distribution (with version) and a function that imports it.

    `source` finds its files; None where its specs declare by their revision when results change.
    """

    name: str
    distribution: str
    load: Callable[[], Any]
    module: str = ""
    source: Callable[[], Source] | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Reason why a plugin, or something it offers, is left out, with the version of the interface that it declares."""

    plugin: str
    distribution: str
    problem: str
    interface: int | None = None

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' ({self.distribution}) {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """Loaded plugin with its offers: kind → specs.

    `interface` is the version of the interface that it declares, and None where it declares none; `warning` is what a
    user must know of that, and completes the sentence `plugin 'x' …`.
    """

    name: str
    distribution: str
    offers: Mapping[str, tuple[Any, ...]]
    hooks: tuple[str, ...]
    module: str = ""
    source: Source | None = None
    interface: int | None = None
    warning: str = ""

    def fault(self, problem: str) -> Fault:
        """Return a fault of this plugin; `problem` completes the sentence `plugin 'x' …`."""
        return Fault(
            plugin=self.name, distribution=self.distribution, problem=problem, interface=self.interface
        )


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """Loaded plugins, the faults of those left out, and the manager that calls the loaded ones."""

    manager: pluggy.PluginManager
    loaded: tuple[Plugin, ...]
    faults: tuple[Fault, ...]

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """Warnings about plugins that are loaded."""
        return tuple(plugin.fault(plugin.warning) for plugin in self.loaded if plugin.warning)

    def find(self, name: str) -> Plugin:
        """Return a loaded plugin by its name."""
        return next(plugin for plugin in self.loaded if plugin.name == name)


class _Broken(Exception):
    """Reason to leave a plugin out; the message completes the sentence `plugin 'x' …`."""


def find_candidates(
    *, only: Collection[str] | None = None, without: Collection[str] = (), modules: Collection[str] = ()
) -> list[Candidate]:
    """Find the installed plugins in `only` (all if None) except `without`, and the `modules`, in a fixed order.

    Raises UsageError for a name in `only` or `without` that no installed plugin has, and UnavailableError for a module
    that does not exist: a user who names a plugin does not want to continue without it.
    """
    points, broken = _find_points()
    names = {point.name for point in points}
    for name in sorted({*(only or ()), *without} - names):
        raise UsageError(
            f"no installed plugin is called '{name}'{did_you_mean(name, names, listed_by='harness ls plugins')}"
        )
    name_version = cache(
        _name_version
    )  # of a distribution that has twenty plugins, its metadata are parsed once
    installed = [
        _installed(point, name_version)
        for point in points
        if (only is None or point.name in only) and point.name not in without
    ]
    for module in modules:
        if not is_module(module):
            raise UnavailableError(f"there is no module '{module}' to load as a plugin")
    named = [_named(name) for name in modules]
    return sorted(installed, key=lambda candidate: (candidate.name, candidate.distribution)) + named + broken


def _find_points() -> tuple[list[EntryPoint], list[Candidate]]:
    """Return the entry points of installed plugins, and a candidate that fails for each unreadable distribution."""
    try:
        return [*entry_points(group=GROUP)], []
    except Exception:  # one broken file, of any package, hides those of all
        points: dict[tuple[str, str], EntryPoint] = {}
        broken: list[Candidate] = []
        for each in distributions():
            try:
                points |= {
                    (point.name, point.value): point for point in each.entry_points.select(group=GROUP)
                }
            except Exception as error:
                broken.append(_unreadable(each, error))
        return [*points.values()], broken


def _unreadable(distribution: Distribution, error: Exception) -> Candidate:
    def fail() -> Any:
        raise error

    try:
        name = str(distribution.name)
    except Exception:  # its METADATA may be broken too
        name = "unknown distribution"
    return Candidate(name="entry_points.txt", distribution=name, load=fail)


def is_module(module: str) -> bool:
    """Return True if a module exists. If its package cannot be imported, loading it reports that later."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        return not module.startswith(f"{error.name}.")
    except Exception:  # a package may raise anything, and find_spec fails for names like '.'
        return not module.startswith(".")


def _name_version(distribution: Distribution) -> tuple[str, str]:
    return distribution.name, distribution.version


def _installed(point: EntryPoint, name_version: Callable[[Distribution], tuple[str, str]]) -> Candidate:
    name, version = name_version(point.dist) if point.dist else ("unknown distribution", "")
    module = re.split(r"[:\[]", point.value)[0].strip()
    return Candidate(
        name=point.name,
        distribution=f"{name} {version}".rstrip(),
        load=point.load,
        module=module,
        source=None if point.dist and name == OWN else partial(find_source, module, point.dist),
    )


def _named(module: str) -> Candidate:
    """Return the candidate of a module that is not installed; the hash of its files serves as its version."""
    source = find_source(module)
    version = source.digest if source.files else "unknown"
    return Candidate(
        name=module,
        distribution=f"{module}@{version}",
        load=partial(import_module, module),
        module=module,
        source=lambda: source,
    )


def load_plugins(candidates: Iterable[Candidate]) -> Plugins:
    """Import and check every candidate; a broken one becomes a fault and is not registered."""
    manager, trial = _new_manager(), _new_manager()
    loaded: dict[str, Plugin] = {}
    faults: list[Fault] = []
    for each in candidates:
        interface = None
        try:
            interface = read_declared(each.module)
            if each.name in loaded:
                raise _Broken(f"has the name of another plugin, of {loaded[each.name].distribution}")
            loaded[each.name] = _load(each, interface, manager, trial, loaded)
        except (_Broken, InterfaceError) as broken:
            trial = _new_manager()  # what failed may be registered there in part
            fault = Fault(
                plugin=each.name, distribution=each.distribution, problem=str(broken), interface=interface
            )
            faults.append(fault)
    return Plugins(manager=manager, loaded=tuple(loaded.values()), faults=tuple(faults))


def _load(
    candidate: Candidate,
    interface: int | None,
    manager: pluggy.PluginManager,
    trial: pluggy.PluginManager,
    loaded: Mapping[str, Plugin],
) -> Plugin:
    """Import, check and register a plugin, and return it with all that it offers. Raise _Broken and InterfaceError.

    `interface` is the version that its source declares.
    """
    warning = check_accepted(interface) if interface else ""
    with _blaming("has files that cannot be listed"):
        # Before the import: what is imported is what was found.
        source = candidate.source and candidate.source()
    try:
        with _blaming("cannot be imported"):
            module = candidate.load()
    except _Broken:
        if not interface:
            check_accepted(None)  # its age may be the reason
        raise
    if not interface:
        interface = find_declared(candidate.module)
        warning = check_accepted(interface)
    if source:
        _check_unchanged(module, source)
    if (other := manager.get_name(module)) is not None:
        raise _Broken(f"is the same module as plugin '{other}' ({loaded[other].distribution})")
    hooks = _check_hooks(module, trial)
    if not hooks:
        raise _Broken("implements no hook of the harness")
    offers = {kind: _collect(module, kind, wanted) for kind, wanted in OFFERED.items()}
    manager.register(module, name=candidate.name)
    return Plugin(
        name=candidate.name,
        distribution=candidate.distribution,
        offers=offers,
        hooks=hooks,
        module=candidate.module,
        source=source,
        interface=interface,
        warning=warning,
    )


def _check_unchanged(module: Any, source: Source) -> None:
    try:
        check_unchanged(module, source)
    except UnavailableError as error:
        raise _Broken(f"is not what lies on disk: {error}") from error


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


@contextmanager
def _blaming(problem: str) -> Iterator[None]:
    """Raise every exception of a plugin's code as _Broken, except that of a user who interrupts.

    What it prints goes to standard error: before an answer in JSON it would be a part of that.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        if find_memory_error(error):
            raise  # no fault of the plugin
        raise _Broken(f"{problem}: {describe(error)}") from error


def _check_hooks(module: Any, trial: pluggy.PluginManager) -> tuple[str, ...]:
    """Return the names of the hooks that `module` implements; refuse misspelt and wrongly declared ones.

    It is registered with `trial`, a manager without plugins, and taken from it again.
    """
    known = {name for name in vars(hookspecs) if name.startswith("harness_")}
    with _blaming("cannot be inspected"):  # a plugin may be any object with any attributes
        functions = inspect.getmembers(module, inspect.isroutine)
    for name, function in functions:
        marks = getattr(function, f"{hookspecs.PROJECT}_impl", None)
        hook = (marks.get("specname") if isinstance(marks, dict) else None) or name
        if name.startswith("harness_") and name in known and marks is None:
            raise _Broken(f"has a function '{name}' that is not marked with harness.hookimpl")
        if marks is not None and hook not in known:
            raise _Broken(f"implements the hook '{hook}', which does not exist{did_you_mean(hook, known)}")
    try:
        trial.register(module)
    except (pluggy.PluginValidationError, ValueError, TypeError) as error:
        message = "; ".join(line.strip() for line in str(error).splitlines())  # plugin, definition and fault
        raise _Broken(f"declares a hook wrongly: {message}") from error
    hooks = tuple(sorted(caller.name for caller in trial.get_hookcallers(module) or ()))
    trial.unregister(module)
    return hooks


def _collect(module: Any, kind: str, wanted: type) -> tuple[Any, ...]:
    """Return the offers of one kind; raise _Broken for one of another type, repeated, or without parameters."""
    if (function := getattr(module, f"harness_{kind}", None)) is None:
        return ()
    hook = f"its hook 'harness_{kind}'"
    with _blaming(f"failed in {hook}"):
        offers = tuple(function())
    for offer in offers:
        if not isinstance(offer, wanted):
            raise _Broken(f"returned {type(offer).__name__} from {hook}, which must yield {wanted.__name__}")
        try:
            if (make := getattr(offer, "make", None)) is not None:
                inspect.signature(make)  # the parameter schema, which builtin types often lack
        except (TypeError, ValueError) as error:
            made = f"offers '{offer_name(offer)}' in {hook} with a factory"
            raise _Broken(f"{made} that has no signature") from error
        if isinstance(offer, specs.ClassifierSpec) and offer.make is not None:
            with _blaming(
                f"offers '{offer_name(offer)}' in {hook}, whose grid is no mapping of names to tuples"
            ):
                wrong = find_grid_fault(offer)
            if wrong:
                raise _Broken(f"offers '{offer_name(offer)}' in {hook} {wrong}")
    names = [offer_name(offer) for offer in offers]
    for name in names:
        if names.count(name) > 1:
            raise _Broken(f"offers '{name}' twice in {hook}")
        if kind == "commands" and (own := RENAMED.get(name, name)) in COMMANDS:
            raise _Broken(f"offers the command '{name}', which the harness itself has ({COMMANDS[own]})")
    return offers


def notify(plugins: Plugins, hook: str, report: Callable[[Fault], None], **arguments: Any) -> None:
    """Call an observer hook of every plugin; report one that raises, and continue with the others.

    Nothing but a user's interruption leaves this function, a failure of `report` neither.
    """
    for implementation in getattr(plugins.manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's observer may raise anything
            plugin = plugins.find(implementation.plugin_name)
            with suppress(Exception):  # a report that cannot be made is lost
                report(plugin.fault(f"failed in its hook '{hook}': {describe(error)}"))


def offer_name(spec: Any) -> str:
    """Return the name of an offer: that of its spec, or the stem of a suite file."""
    return spec.stem if isinstance(spec, Path) else str(spec.name)
