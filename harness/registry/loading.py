"""Entry points in, loaded plugins out; a broken one is left out whole, and named.

Strangers' code runs here. pluggy alone would let one broken plugin end the program, skip a second plugin
under a used name silently, and leave a failed one half registered; each plugin is therefore tried on a manager
of its own, and joins the real one only when everything it offers is sound.
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
from harness.registry.commands import COMMANDS
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
"""Kind → what its hook `harness_<kind>` must yield."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plugin not yet imported: its name, its distribution with version, and how to import it."""

    name: str
    distribution: str
    load: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A loaded plugin and all it offers: kind → specs."""

    name: str
    distribution: str
    offers: Mapping[str, tuple[Any, ...]]
    hooks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something of a plugin that was left out, and why."""

    plugin: str
    distribution: str
    problem: str

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' ({self.distribution}) {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """What was loaded, what was left out, and the manager that calls the loaded ones."""

    manager: pluggy.PluginManager
    loaded: tuple[Plugin, ...]
    faults: tuple[Fault, ...]


class _Broken(Exception):
    """A plugin must be left out; the message completes the sentence `plugin 'x' …`."""


def find_candidates(
    *, only: Collection[str] | None = None, without: Collection[str] = (), modules: Collection[str] = ()
) -> list[Candidate]:
    """Installed plugins in a fixed order: those in `only` (all when None), less `without`, plus `modules`.

    UsageError for a name in `only` or `without` that no installed plugin has, UnavailableError for a module that is
    not there: who asked for it by name would not want to go on without it.
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
    """Whether a module can be found; one whose package cannot be imported is found broken when it is loaded."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        return not module.startswith(f"{error.name}.")
    except Exception:  # a stranger's package may raise anything, and so does find_spec for a name like '.'
        return not module.startswith(".")


def _source_hash(module: str) -> str:
    """What stands in for a version where there is none: without it, results of another plugin, or of the same
    file before an edit, would be taken for this one's.
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
    """Import and check every candidate; the broken ones become faults and nothing of them stays."""
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
    except BaseException as error:  # a stranger's module may raise anything, SystemExit too
        raise _Broken(f"cannot be imported: {describe(error)}") from error


def _check_hooks(module: Any) -> tuple[str, ...]:
    """Names of the hooks that `module` implements; every misspelt or wrongly declared one is refused."""
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
        said = "; ".join(line.strip() for line in str(error).splitlines())  # plugin, definition and fault
        raise _Broken(f"declares a hook wrongly: {said}") from error
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
    except BaseException as error:  # a stranger's hook may raise anything
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
        if kind == "commands" and name in COMMANDS:
            raise _Broken(f"offers the command '{name}', which the harness itself has ({COMMANDS[name]})")
    return specs


def _check_factory(spec: Any, kind: str) -> None:
    """A factory's signature is its parameter schema, so it must have one; builtin types often have none."""
    make = getattr(spec, "make", None)
    try:
        if make is not None:
            inspect.signature(make)
    except (TypeError, ValueError) as error:
        raise _Broken(
            f"offers '{spec.name}' in its hook 'harness_{kind}' with a factory that has no signature"
        ) from error


def notify(plugins: Plugins, hook: str, report: Callable[[Fault], None], **arguments: Any) -> None:
    """Tell every observer; one that raises is reported and disturbs neither the run nor the other observers."""
    for implementation in getattr(plugins.manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except (Exception, SystemExit) as error:  # a stranger's observer may raise anything
            owner = next(plugin for plugin in plugins.loaded if plugin.name == implementation.plugin_name)
            problem = f"failed in its hook '{hook}': {describe(error)}"
            report(Fault(plugin=owner.name, distribution=owner.distribution, problem=problem))


def offer_name(spec: Any) -> str:
    """The name under which an offer is found: a spec's own, or a suite file's stem."""
    return spec.stem if isinstance(spec, Path) else str(spec.name)
