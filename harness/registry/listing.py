"""List of plugins, installed or named: their interface, whether each is loaded, and whether it was checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.api.errors import UnavailableError
from harness.registry.catalog import Registry
from harness.registry.checked import describe_checked
from harness.registry.interface import InterfaceError, read_declared
from harness.registry.loading import OFFERED, Candidate, Plugin, find_candidates

Status = Literal["loaded", "left out", "not asked for"]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Plugin in a list. `interface` is the version that it declares, None where it declares none that can be known.

    `summary` is what it offers or, of one that is not loaded, why; `problems` of one that is loaded complete the
    sentence `plugin 'x' …`. `checked` says whether it was checked, empty where its files cannot be told.
    """

    name: str
    distribution: str
    interface: int | None
    status: Status
    summary: str
    problems: tuple[str, ...] = ()
    checked: str = ""


def list_plugins(registry: Registry) -> Iterator[Listed]:
    """Yield the plugins of a registry, those that were left out, and installed ones that were not asked for."""
    installed = {(each.name, each.distribution): each for each in find_candidates()}
    problems: dict[tuple[str, str], list[str]] = {}
    for found in (*registry.plugins.warnings, *registry.faults):
        problems.setdefault((found.plugin, found.distribution), []).append(found.problem)
    loaded = {(one.name, one.distribution) for one in registry.plugins.loaded}
    for plugin in registry.plugins.loaded:
        yield Listed(
            name=plugin.name,
            distribution=plugin.distribution,
            interface=plugin.interface,
            status="loaded",
            summary=_describe_offers(plugin),
            problems=tuple(problems.get((plugin.name, plugin.distribution), ())),
            checked=describe_checked(plugin, registry.cache_dir),
        )
    for fault in registry.plugins.faults:
        key = (fault.plugin, fault.distribution)
        if key not in loaded:
            yield Listed(
                name=fault.plugin,
                distribution=fault.distribution,
                interface=fault.interface,
                status="left out",
                summary=fault.problem,
                checked=_describe_checked(installed.get(key), registry),
            )
    for key, candidate in installed.items():
        if key not in loaded | problems.keys():
            yield Listed(
                name=candidate.name,
                distribution=candidate.distribution,
                interface=_read_interface(candidate),
                status="not asked for",
                summary="HARNESS_PLUGINS or -p no:NAME leaves it out",
                checked=_describe_checked(candidate, registry),
            )


def _describe_offers(plugin: Plugin) -> str:
    counts = [f"{len(specs)} {kind}" for kind, specs in plugin.offers.items() if specs]
    others = [hook for hook in plugin.hooks if hook.removeprefix("harness_") not in OFFERED]
    return ", ".join(counts + others)


def _read_interface(candidate: Candidate) -> int | None:
    try:
        return read_declared(candidate.module)
    except InterfaceError:
        return None


def _describe_checked(candidate: Candidate | None, registry: Registry) -> str:
    """Return whether a plugin that is not imported was checked."""
    if candidate is None:
        return ""
    try:
        source = candidate.source and candidate.source()
    except (OSError, UnavailableError):
        return ""
    plugin = Plugin(
        name=candidate.name,
        distribution=candidate.distribution,
        module=candidate.module,
        source=source,
        offers={},
        hooks=(),
    )
    return describe_checked(plugin, registry.cache_dir)
