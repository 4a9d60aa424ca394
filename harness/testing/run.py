"""Runner of checks: a name enters, the outcomes of all checks of its offers leave."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError, UsageError, describe, did_you_mean, name_some
from harness.api.memory import find_memory_error
from harness.api.specs import Spec
from harness.registry.catalog import Registry
from harness.registry.loading import Fault, Plugin, find_candidates, is_module, offer_name
from harness.registry.local_modules import importable
from harness.registry.opening import open_registry
from harness.registry.parameters import parameters_of
from harness.testing.check import Check, CheckFailed, NotApplicable, Outcome, Subject
from harness.testing.checks import CHECKS, EXERCISES
from harness.testing.checks.common import required
from harness.testing.elsewhere import Elsewhere


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One check of one offer, not yet run. `number` counts the trials of a name."""

    number: int
    subject: Subject
    check: Check

    @property
    def label(self) -> str:
        """Name of the trial: `pooling 'spread': order`."""
        return f"{self.subject.kind.removesuffix('s')} '{self.subject.name}': {self.check.name}"

    def outcome(self, status: Any, sentence: str = "") -> Outcome:
        """Return an outcome of this trial."""
        subject = self.subject
        return Outcome(
            kind=subject.kind, offer=subject.name, check=self.check.name, status=status, sentence=sentence
        )


def find_plugin(registry: Registry, name: str) -> Plugin | None:
    """Return the loaded plugin of a name, or of the module of that name; None where there is none."""
    for plugin in registry.plugins.loaded:
        module = registry.plugins.manager.get_plugin(plugin.name)
        if name in (plugin.name, getattr(module, "__name__", None)):
            return plugin
    return None


def find_trials(
    registry: Registry,
    name: str,
    folder: Path,
    *,
    modules: Sequence[str] = (),
    beside: Mapping[str, str] | None = None,
) -> list[Trial]:
    """Return the checks of a plugin with all its offers, or of the offers that a reference names.

    `modules` are loaded besides installed plugins, in other processes too; `beside` names offers that representations
    are tried with, by kind. `folder` takes what is written. Raise UsageError where nothing has that name.
    """
    plugin = find_plugin(registry, name)
    found = _of_plugin(plugin) if plugin else [*_of_reference(registry, name)]
    if not found:
        raise _unknown(registry, name)
    asked = [
        (number, (kind, reference, beside or {}))
        for number, (_, kind, _, reference) in enumerate(found)
        if kind in EXERCISES and reference is not None
    ]
    first = plugin or found[0][0]
    elsewhere = Elsewhere(
        first.name,
        first.distribution,
        tuple(modules),
        [one for _, one in asked],
        registry.cache_dir,
    )
    places = {number: place for place, (number, _) in enumerate(asked)}
    trials: list[Trial] = []
    for number, (owner, kind, offer, reference) in enumerate(found):
        subject = Subject(
            kind=kind,
            name=offer,
            plugin=owner,
            registry=registry,
            folder=folder,
            reference=reference or "",
            beside=beside or {},
            elsewhere=partial(elsewhere.digest, places[number]) if number in places else lambda: None,
            listed=lambda: elsewhere.listing,
        )
        own = sorted((one for one in CHECKS if kind in one.kinds), key=lambda one: _depth(one, kind))
        trials += [Trial(number=len(trials) + i, subject=subject, check=one) for i, one in enumerate(own)]
    return trials


def _depth(one: Check, kind: str) -> int:
    """Return the length of the chain of checks that one rests on, so that it comes after all of them."""
    needed = [other for other in CHECKS if other.name in one.requires and kind in other.kinds]
    return 1 + max((_depth(other, kind) for other in needed), default=-1)


def _of_plugin(plugin: Plugin) -> list[tuple[Plugin, str, str, Any]]:
    """Return the plugin itself and each of its offers: owner, kind, name and reference."""
    found: list[tuple[Plugin, str, str, Any]] = [(plugin, "plugins", plugin.name, None)]
    for kind, specs in plugin.offers.items():
        found += [(plugin, kind, offer_name(spec), _reference(spec)) for spec in specs]
    return found


def _reference(spec: Any) -> dict[str, Any] | None:
    """Return a reference to an offer with values for the parameters that it needs; None for what is not made."""
    if not isinstance(spec, Spec):
        return None
    return {"name": spec.name, **required(spec)}


def _of_reference(registry: Registry, name: str) -> Iterator[tuple[Plugin, str, str, Any]]:
    """Yield the offers of every kind that a reference names."""
    for kind, catalog in registry.catalogs.items():
        known = next((one for one in sorted(catalog, key=len, reverse=True) if _begins(name, one)), None)
        if known is None:
            continue
        entry = registry.get(kind, known)
        reference: Any = name if name != known else _reference(entry.spec)
        yield registry.plugins.find(entry.plugin), kind, known, reference


def _begins(reference: str, name: str) -> bool:
    return reference == name or reference.startswith((f"{name}[", f"{name}("))


def _unknown(registry: Registry, name: str) -> UsageError:
    for each in find_candidates():
        if each.name == name:
            return UsageError(
                f"plugin '{name}' ({each.distribution}) is not loaded: HARNESS_PLUGINS or -p no:{name} leaves it out"
            )
    own = [each.name for each in find_candidates() if each.distribution.rsplit(" ", 1)[0] == name]
    if own:
        return UsageError(f"'{name}' is a distribution: check its plugins, {name_some(own)}")
    names = [plugin.name for plugin in registry.plugins.loaded]
    names += [one for catalog in registry.catalogs.values() for one in catalog]
    return UsageError(
        f"neither a plugin, a module nor an offer is called '{name}'"
        f"{did_you_mean(name, names, listed_by='harness ls plugins')}"
    )


def run_trial(trial: Trial, failed: set[tuple[str, str, str]]) -> Outcome | None:
    """Run one check; None where it is not about this offer, or rests on one that did not pass.

    `failed` holds the checks that did not pass, as (kind, offer, check), and takes this one.
    """
    subject, check = trial.subject, trial.check
    key = (subject.kind, subject.name, check.name)
    if rests_on_failed(trial, failed):
        return None
    try:
        if missing := _missing(subject):
            raise NotApplicable(
                f"its parameter '{missing}' has no default: check it as {subject.name}({missing}=…)"
            )
        if not check.applies(subject):
            return None
        check.run(subject)
    except NotApplicable as error:
        failed.add(key)
        return trial.outcome("skipped", str(error))
    except CheckFailed as error:
        failed.add(key)
        return trial.outcome("failed", str(error))
    except HarnessError as error:
        failed.add(key)
        status = "skipped" if isinstance(error, UnavailableError) else "failed"
        return trial.outcome(status, str(error))
    except Exception as error:  # a stranger's code may raise anything
        if find_memory_error(error):
            raise
        failed.add(key)
        return trial.outcome("failed", f"it raises {describe(error)}")
    return trial.outcome("passed")


def rests_on_failed(trial: Trial, failed: set[tuple[str, str, str]]) -> bool:
    """Return True if a check that this one rests on did not pass, and add this one to those `failed`."""
    subject, check = trial.subject, trial.check
    rests = any((subject.kind, subject.name, needed) in failed for needed in check.requires)
    if rests:
        failed.add((subject.kind, subject.name, check.name))
    return rests


def _missing(subject: Subject) -> str | None:
    """Return a parameter without default for which the reference has no value, or one that was made up for trials and
    that the factory refuses.
    """
    if not isinstance(subject.reference, dict) or subject.kind not in EXERCISES or subject.spec.make is None:
        return None
    grid = getattr(subject.spec, "grid", {})
    for name, default in parameters_of(subject.spec).items():
        if default is inspect.Parameter.empty and name not in subject.reference and name not in grid:
            return name
    if invented := required(subject.spec):
        try:
            subject.make()
        except UsageError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, ValueError):
                return None  # a fault of its code, which the checks find
            return next((one for one in invented if subject.reference.get(one) == invented[one]), None)
    return None


def check(
    name: str, *, plugins: Sequence[str] = (), model: str | None = None, registry: Registry | None = None
) -> list[Outcome]:
    """Check a plugin, a module or an offer in this process, and return the outcomes.

    `plugins` are modules to load besides installed plugins, and `model` is the reference of the model on which
    representations are tried, a toy if None. Raise UsageError where nothing is called `name`.
    """
    name = importable(name)
    if registry is None:
        registry, plugins = open_for(name, plugins)
    failed: set[tuple[str, str, str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        beside = {"models": model} if model else {}
        trials = find_trials(registry, name, Path(folder), modules=plugins, beside=beside)
        outcomes = [run_trial(trial, failed) for trial in trials]
    return [one for one in outcomes if one is not None]


def open_for(
    name: str,
    plugins: Sequence[str] = (),
    report: Callable[[Fault], None] = lambda fault: None,
    *,
    cache_dir: Path | None = None,
) -> tuple[Registry, tuple[str, ...]]:
    """Return the registry in which a name is known, and the modules that were loaded for that: `name` itself where it
    is a module and no installed plugin.

    Raise UnavailableError, with the fault, where that plugin is left out.
    """
    modules = tuple(plugins)
    registry = open_registry(modules, report, cache_dir=cache_dir)
    if find_plugin(registry, name) is None and not [*_of_reference(registry, name)]:
        left_out = [fault for fault in registry.faults if fault.plugin == name]
        if not left_out and name not in modules and is_module(name):
            modules = (*modules, name)
            registry = open_registry(modules, report, cache_dir=cache_dir)
            left_out = [fault for fault in registry.faults if fault.plugin == name]
        if left_out:
            raise UnavailableError(str(left_out[0]))
    return registry, modules
