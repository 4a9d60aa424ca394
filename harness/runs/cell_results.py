"""Results of a bundle's cells: the matrices that they read, and the predictions and records that they leave."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy import sparse

from harness.api.errors import UnavailableError, describe
from harness.api.memory import explain, find_memory_error
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Bundle, Cell, Features, ModelFeatures, Plan
from harness.probing.probe import Outcome, Rows, narrow
from harness.probing.shared_features import Sharing
from harness.probing.threads import one_thread
from harness.runs.context import RunContext
from harness.runs.make_record import make_record
from harness.runs.record import Cost, Record, Status
from harness.stats.finite import check_rows

if TYPE_CHECKING:
    from harness.api.data import Matrix


@dataclass(frozen=True, kw_only=True)
class CellResults:
    """Reader of the matrices and writer of the results of one bundle's cells."""

    context: RunContext
    plan: Plan
    bundle: Bundle

    def matrix(self, features: Features, rows: Rows, tested: Set[int]) -> Matrix:
        """Return `[examples, features]`, from the store or from the inputs. Of texts, only rows that are used for
        training, for selection, or are in `tested` are read; others count as empty.
        """
        if not isinstance(features, ModelFeatures):
            inputs = list(self.bundle.data.examples.inputs)
            used: Sequence[int] = range(len(inputs))
            if features.representation.spec.needs == "text":
                used = sorted({*tested, *rows.train.tolist(), *rows.validation.tolist()})
                kept = set(used)
                # A conversation as plain text.
                inputs = [str(one) if row in kept else "" for row, one in enumerate(inputs)]
            with one_thread():
                fitted = features.representation.make().fit([inputs[row] for row in rows.train])
                made: Matrix = fitted.transform(inputs)
            check_rows(made, len(inputs), owner=features.representation.owner, name=rows.name, used=used)
            return made
        matrix = self.context.store.read(features.key, len(self.bundle.data.examples))
        if matrix is None:
            raise UnavailableError(
                "features vanished from the cache while the run was reading them; run again"
            )
        # A shard is dense where that is smaller; what a transform sees must not depend on where shards end.
        return narrow(sparse.csr_array(matrix) if features.placed.sparse else matrix)

    def keep(
        self,
        cell: Cell,
        rows: Rows,
        outcome: Outcome,
        *,
        seconds: float,
        fidelity: Fidelity,
        sharing: Sharing | None = None,
    ) -> Record:
        """Write the predictions of a cell, then its record: a record without predictions would count as damage.

        Return the record, which is to be announced where no fault of an observer can be taken for one of the cell.
        """
        examples = self.bundle.data.examples
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
            cost={**forward, "probe_seconds": seconds},
            fidelity=fidelity,
            sharing=sharing,
        )
        self.context.folder.add(record)
        return record

    def fail(self, cells: Iterable[Cell], error: Exception) -> None:
        """Record and announce cells as failed by an error, or by a lack of memory."""
        status: Status = "oom" if (lack := find_memory_error(error)) else "failed"
        said = explain(error) if lack else describe(error)
        for cell in cells:
            record = make_record(cell, self.bundle, self.plan, status=status, error=said)
            self.context.folder.add(record)
            self.context.announce(record)


def _read_cost(told: Any) -> dict[str, float]:
    """Return the cost that the cache tells of a forward pass: numbers from 0 on, by name."""
    found = told.items() if isinstance(told, dict) else ()
    return {name: value for name, value in found if _is_cost(name, value)}


def _is_cost(name: str, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return name in Cost.model_fields and is_number and 0 <= value < sys.float_info.max
