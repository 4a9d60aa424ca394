"""Plugins behind the rows of a board: their versions, interfaces and checks, as the runs say themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.leaderboard.board import Board
from harness.leaderboard.exports.exported import runs_of
from harness.leaderboard.provenance import RunFacts, find_facts
from harness.leaderboard.selection import Cell, group_by

NOT_RECORDED = "not recorded"
"""Interface and check of a plugin in a run that does not tell of them."""


@dataclass(frozen=True, kw_only=True, order=True)
class PluginBehind:
    """Plugin that supplied a part of a cell, with its distribution (with version): the interface that it declares and
    whether it was checked, in words.
    """

    distribution: str
    plugin: str
    interface: str
    checked: str


@dataclass(frozen=True, kw_only=True)
class PluginsBehind:
    """Plugins of the runs of a board. `facts` are those of the runs, by their paths."""

    facts: Mapping[Path, RunFacts]

    def find(self, cells: Iterable[Cell]) -> tuple[PluginBehind, ...]:
        """Return the plugins that supplied models, representations, poolings, transforms, classifiers, regimes and
        alignments of cells.
        """
        origins = {(cell.run.path, origin) for cell in cells for origin in cell.record.origins.values()}
        return tuple(sorted({_describe(origin, self.facts[path]) for path, origin in origins}))


def find_plugins(board: Board) -> PluginsBehind:
    """Return the plugins behind the rows of a board.

    Raise UnavailableError where a run does not say in which form it was made.
    """
    cells = (cell for row in board.rows for one in (*row.all_results, *row.unsupported) for cell in one.cells)
    return PluginsBehind(facts={run.path: find_facts(run) for run in runs_of(cells)})


def write_plugins(plugins: Iterable[PluginBehind]) -> str:
    """Return plugins as text: a line for those of one distribution of which the same is known."""
    alike = group_by(plugins, lambda one: (one.distribution, one.interface, one.checked))
    return "\n".join(
        f"{distribution} ({', '.join(one.plugin for one in each)}): {describe(interface, checked)}"
        for (distribution, interface, checked), each in alike.items()
    )


def describe(interface: str, checked: str) -> str:
    """Return interface and check of a plugin in words."""
    if (interface, checked) == (NOT_RECORDED, NOT_RECORDED):
        return f"interface and check {NOT_RECORDED}"
    return f"interface {interface}, {checked}"


def describe_plugin(name: str, facts: RunFacts) -> tuple[str, str]:
    """Return interface and check of a plugin of a run."""
    if name not in facts.interfaces:
        return NOT_RECORDED, NOT_RECORDED
    interface = facts.interfaces[name]
    checked = facts.checks.get(name)
    return "not declared" if interface is None else str(interface), str(checked or "not checked")


def _describe(origin: str, facts: RunFacts) -> PluginBehind:
    """Return the plugin of an origin in a record: its name, distribution, and perhaps the hash of its files."""
    names = [name for name in facts.plugins if origin.startswith(f"{name} ")]
    name = max(names, key=len, default=origin.partition(" ")[0])
    distribution = origin.removeprefix(name).strip()
    version, _, files = distribution.partition("@")
    interface, checked = NOT_RECORDED, NOT_RECORDED
    if facts.plugins.get(name) in (
        distribution,
        version,
    ):  # a resumed run may have begun with another version
        interface, checked = describe_plugin(name, facts)
        if files and name in facts.checks and facts.checks[name].files != files:
            checked = "not checked"
    return PluginBehind(distribution=distribution, plugin=name, interface=interface, checked=checked)
