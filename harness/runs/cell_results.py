"""Results of a bundle's cells: the predictions and records that they leave."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Bundle, Cell, ModelFeatures, Plan
from harness.probing.probe import Rows
from harness.runs.context import RunContext
from harness.runs.make_record import make_record
from harness.runs.record import Cost, Record
from harness.runs.work import Failure, Probed, Result


@dataclass(frozen=True, kw_only=True)
class CellResults:
    """Writer of the results of one bundle's cells."""

    context: RunContext
    plan: Plan
    bundle: Bundle

    def take(self, cell: Cell, rows: Rows, fidelity: Fidelity, result: Result) -> None:
        """Keep and announce the result of a cell."""
        if isinstance(result, Failure):
            self.fail([cell], result)
            return
        try:
            record = self.keep(cell, rows, result, fidelity=fidelity)
        except ENDS_RUN:
            raise
        except (
            Exception
        ) as error:  # what a transform or classifier of any plugin returned may fail in any way
            self.fail([cell], Failure.of(error))
        else:
            self.context.announce(record)

    def keep(self, cell: Cell, rows: Rows, result: Probed, *, fidelity: Fidelity) -> Record:
        """Write the predictions of a cell, then its record: a record without predictions would count as damage.

        Return the record, which is to be announced where no fault of an observer can be taken for one of the cell.
        """
        examples, outcome = self.bundle.data.examples, result.outcome
        self.context.folder.write_predictions(
            cell.cell_id,
            example_ids=[examples.ids[row] for row in rows.test],
            groups=[examples.groups[row] for row in rows.test],
            labels=[examples.labels[row] for row in rows.test],
            predictions=[rows.classes[number] for number in outcome.predicted],
            scores=outcome.scores,
            classes=rows.classes,
        )
        forward: dict[str, float] = {}
        if isinstance(cell.features, ModelFeatures):
            forward = _read_cost(self.context.store.about(cell.features.key).get("cost"))
        record = make_record(
            cell,
            self.bundle,
            self.plan,
            status="ok",
            rows=rows,
            outcome=outcome,
            cost={**forward, "probe_seconds": result.seconds},
            fidelity=fidelity,
            sharing=result.sharing,
        )
        self.context.folder.add(record)
        return record

    def fail(self, cells: Iterable[Cell], failure: Failure) -> None:
        """Record and announce cells as failed."""
        for cell in cells:
            record = make_record(cell, self.bundle, self.plan, status=failure.status, error=failure.error)
            self.context.folder.add(record)
            self.context.announce(record)


def _read_cost(told: Any) -> dict[str, float]:
    """Return the cost that the cache tells of a forward pass: numbers from 0 on, by name."""
    found = told.items() if isinstance(told, dict) else ()
    return {name: value for name, value in found if _is_cost(name, value)}


def _is_cost(name: str, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return name in Cost.model_fields and is_number and 0 <= value < sys.float_info.max
