"""Construction of the events that observers receive."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields
from pathlib import Path

from harness.api.events import CellFinished, RunStarted
from harness.planning.cells import Plan
from harness.runs.record import Record


def run_started(plan: Plan, folder: Path, done: Set[str]) -> RunStarted:
    """Return the event of a run's start; `done` are the cells finished earlier."""
    bundles = (*plan.bundles, *(transfer.target for transfer in plan.transfers))
    cells = [cell for bundle in bundles for cell in bundle.cells]
    return RunStarted(
        suite=plan.suite.name,
        folder=folder,
        n_cells=len(plan.cells),
        done=sum(cell.cell_id in done for cell in plan.cells),
        tasks=tuple(dict.fromkeys(bundle.data.spec.name for bundle in bundles)),
        models=tuple(dict.fromkeys(bundle.model.label for bundle in bundles if bundle.model)),
        representations=tuple(dict.fromkeys(cell.features.representation.label for cell in cells)),
        left_out=plan.left_out,
    )


def cell_finished(record: Record) -> CellFinished:
    """Return the event of a cell's end."""
    shared = {name: getattr(record, name) for name in _SHARED}
    return CellFinished(**shared, source_model=record.learnt_on)


_SHARED = {one.name for one in fields(CellFinished)} - {"source_model"}
"""Fields that an event of a cell has in common with its record."""
