"""Loader of plugins from entry points and modules. A broken plugin is left out whole and reported.

Code of third parties runs here. pluggy alone would let one broken plugin end the program, skip a second plugin of
the same name silently, and leave a failed plugin half registered. So each plugin is first registered with a manager
of its own, and with the real one only after everything it offers was checked.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy

from harness.api import hookspecs
from harness.api.errors import UnavailableError, UsageError, describe, did_you_mean
from harness.api.specs import (
    AlignmentSpec,
    ClassifierSpec,
    CommandSpec,
    ModelSpec,
    PoolingSpec,
    RegimeSpec,
    RepresentationSpec,
    TransformSpec,
)
from harness.api.tasks import TaskSpec
from harness.registry.commands import COMMANDS, RENAMED
from harness.storage.hashing import hash_file

GROUP = "harness"

OFFERED: Mapping[str, type] = {
    "models": ModelSpec,
    "representations": RepresentationSpec,
    "poolings": PoolingSpec,
    "transforms": TransformSpec,
    "classifiers": ClassifierSpec,
    "regimes": RegimeSpec,
    "alignments": AlignmentSpec,
    "tasks": TaskSpec,
    "suites": Path,
    "commands": CommandSpec,
}
"""Kind → type that its hook `harness_<kind>` must yield."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plugin before its import: its name, its distribution with version, and a function that imports it."""

    name: str
    distribution: str
    load: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A loaded plugin with its offers: kind → specs."""

    name: str
    distribution: str
    offers: Mapping[str, tuple[Any, ...]]
    hooks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The reason why a plugin, or something it offers, is left out."""

    plugin: str
    distribution: str
    problem: str

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' ({self.distribution}) {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The loaded plugins, the faults of those left out, and the manager that calls the loaded ones."""

    manager: pluggy.PluginManager
    loaded: tuple[Plugin, ...]
    faults: tuple[Fault, ...]


class _Broken(Exception):
    """Reason to leave a plugin out; the message completes the sentence `plugin 'x' …`."""


def find_candidates(
    *, only: Collection[str] | None = None, without: Collection[str] = (), modules: Collection[str] = ()
) -> list[Candidate]:
    """Find the installed plugins in `only` (all if None) except `without`, and the `modules`, in a fixed order.

    Raises UsageError for a name in `only` or `without` that no installed plugin has, and UnavailableError for a module
    that does not exist: a user who names a plugin does not want to continue without it.
    """
    points = entry_points(group=GROUP)
    for name in sorted({*(only or ()), *without} - set(points.names)):
        raise UsageError(f"no installed plugin is called '{name}'{did_you_mean(name, points.names)}")
    installed = [
        Candidate(
            name=point.name,
            distribution=f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution",
            load=point.load,
        )
        for point in points
        if (only is None or point.name in only) and point.name not in without
    ]
    for module in modules:
        if not _is_there(module):
            raise UnavailableError(f"there is no module '{module}' to load as a plugin")
    named = [
        Candidate(name=module, distribution=f"{module}@{_source_hash(module)}", load=_importer(module))
        for module in modules
    ]
    return sorted(installed, key=lambda candidate: (candidate.name, candidate.distribution)) + named


def _is_there(module: str) -> bool:
    """Return True if a module exists. If its package cannot be imported, loading it reports that later."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        return not module.startswith(f"{error.name}.")
    except Exception:  # a package may raise anything, and find_spec fails for names like '.'
        return not module.startswith(".")


def _source_hash(module: str) -> str:
    """Return a hash of the source file, which serves as the version of a plain module.

    Without it, results of another module, or of the same file before an edit, would count as results of this one.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    path = Path(spec.origin) if spec and spec.origin else None
    return hash_file(path)[:12] if path and path.is_file() else "unknown"


def _importer(module: str) -> Callable[[], Any]:
    return lambda: importlib.import_module(module)


def load_plugins(candidates: Iterable[Candidate]) -> Plugins:
    """Import and check every candidate; a broken one becomes a fault and is not registered."""
    manager = _new_manager()
    loaded: dict[str, Plugin] = {}
    faults: list[Fault] = []
    for candidate in candidates:
        try:
            if candidate.name in loaded:
                raise _Broken(f"has the name of another plugin, of {loaded[candidate.name].distribution}")
            module = _import(candidate)
            if (other := manager.get_name(module)) is not None:
                raise _Broken(f"is the same module as plugin '{other}' ({loaded[other].distribution})")
            hooks = _check_hooks(module)
            if not hooks:
                raise _Broken("implements no hook of the harness")
            offers = _collect_offers(module)
            manager.register(module, name=candidate.name)
        except _Broken as broken:
            faults.append(
                Fault(plugin=candidate.name, distribution=candidate.distribution, problem=str(broken))
            )
        else:
            loaded[candidate.name] = Plugin(
                name=candidate.name, distribution=candidate.distribution, offers=offers, hooks=hooks
            )
    return Plugins(manager=manager, loaded=tuple(loaded.values()), faults=tuple(faults))


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _import(candidate: Candidate) -> Any:
    try:
        return candidate.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's module may raise anything, SystemExit too
        raise _Broken(f"cannot be imported: {describe(error)}") from error


def _check_hooks(module: Any) -> tuple[str, ...]:
    """Return the names of the hooks that `module` implements; refuse misspelt and wrongly declared ones."""
    trial = _new_manager()
    known = {name for name in vars(hookspecs) if name.startswith("harness_")}
    try:
        functions = inspect.getmembers(module, inspect.isroutine)
    except Exception as error:  # a plugin may be any object, and its attributes may raise anything
        raise _Broken(f"cannot be inspected: {describe(error)}") from error
    for name, function in functions:
        marked = hasattr(function, f"{hookspecs.PROJECT}_impl")
        if name.startswith("harness_") and name in known and not marked:
            raise _Broken(f"has a function '{name}' that is not marked with harness.hookimpl")
        if marked and name not in known:
            raise _Broken(f"implements the hook '{name}', which does not exist{did_you_mean(name, known)}")
    try:
        trial.register(module)
    except (pluggy.PluginValidationError, ValueError, TypeError) as error:
        message = "; ".join(line.strip() for line in str(error).splitlines())  # plugin, definition and fault
        raise _Broken(f"declares a hook wrongly: {message}") from error
    return tuple(sorted(caller.name for caller in trial.get_hookcallers(module) or ()))


def _collect_offers(module: Any) -> dict[str, tuple[Any, ...]]:
    return {kind: _collect(module, kind, wanted) for kind, wanted in OFFERED.items()}


def _collect(module: Any, kind: str, wanted: type) -> tuple[Any, ...]:
    hook = getattr(module, f"harness_{kind}", None)
    if hook is None:
        return ()
    try:
        specs = tuple(hook())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's hook may raise anything
        raise _Broken(f"failed in its hook 'harness_{kind}': {describe(error)}") from error
    for spec in specs:
        if not isinstance(spec, wanted):
            raise _Broken(
                f"returned {type(spec).__name__} from its hook 'harness_{kind}', which must yield "
                f"{wanted.__name__}"
            )
        _check_factory(spec, kind)
    names = [offer_name(spec) for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise _Broken(f"offers '{name}' twice in its hook 'harness_{kind}'")
        if kind == "commands" and (own := RENAMED.get(name, name)) in COMMANDS:
            raise _Broken(f"offers the command '{name}', which the harness itself has ({COMMANDS[own]})")
    return specs


def _check_factory(spec: Any, kind: str) -> None:
    """Check that a factory has a signature, which is its parameter schema; builtin types often have none."""
    make = getattr(spec, "make", None)
    try:
        if make is not None:
            inspect.signature(make)
    except (TypeError, ValueError) as error:
        raise _Broken(
            f"offers '{spec.name}' in its hook 'harness_{kind}' with a factory that has no signature"
        ) from error


def notify(plugins: Plugins, hook: str, report: Callable[[Fault], None], **arguments: Any) -> None:
    """Call an observer hook of every plugin; report one that raises, and continue with the others."""
    for implementation in getattr(plugins.manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except (Exception, SystemExit) as error:  # a stranger's observer may raise anything
            owner = next(plugin for plugin in plugins.loaded if plugin.name == implementation.plugin_name)
            problem = f"failed in its hook '{hook}': {describe(error)}"
            report(Fault(plugin=owner.name, distribution=owner.distribution, problem=problem))


def offer_name(spec: Any) -> str:
    """Return the name of an offer: that of its spec, or the stem of a suite file."""
    return spec.stem if isinstance(spec, Path) else str(spec.name)
