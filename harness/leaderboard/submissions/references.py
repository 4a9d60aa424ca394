"""Comparison of a submission with the entries of its board: what both have must agree within noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.leaderboard.analyses.noise import find_repeats
from harness.leaderboard.board import Board, Row, TaskResult
from harness.leaderboard.build import build
from harness.leaderboard.published.rerun_report import Tolerance
from harness.leaderboard.scoring import difference as subtract
from harness.leaderboard.selection import Cell, Unit, group_by
from harness.leaderboard.submissions.submitted import (
    Submitted,
    name_cell,
    name_place,
    note,
)
from harness.runs.predicted import Predicted
from harness.stats.bootstrap import exact_mcnemar
from harness.stats.metrics import macro_f1
from harness.validation.finding import Finding

TOLERANCE = Tolerance(differing=0.02, macro_f1=0.02)
"""Difference of one cell between two machines. Batches of other sizes change .004 of all predictions of the published
noise floor, and rarely a whole cell by more, where rounding leads to another point of the grid.
"""

_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Cell of a submission and the same evaluation on the board, with their difference and its p-value."""

    own: Cell
    reference: Cell
    difference: Tolerance
    p_value: float


def check_references(submitted: Submitted) -> Iterator[Finding]:
    """Compare what both have: arms without a model, and arms of a model with the same weights.

    A difference beyond the board's noise is noted, and is a fault where test rows show that it is no chance.
    """
    noise = find_repeats(submitted.published).values()
    allowed = Tolerance(
        differing=max([TOLERANCE.differing, *(each.differing or 0 for each in noise)]),
        macro_f1=max([TOLERANCE.macro_f1, *(each.largest for each in noise)]),
    )
    known = {
        _evaluation(cell): cell for cell in submitted.references if cell.run.has_predictions(cell.record)
    }
    common = [(cell, known[_evaluation(cell)]) for cell in submitted.cells if _evaluation(cell) in known]
    pairs = [pair for own, reference in common if (pair := _pair(own, reference)) is not None]
    for arm, every in group_by(pairs, lambda pair: name_cell(pair.own)).items():
        beyond = [pair for pair in every if not allowed.holds(pair.difference)]
        if not beyond:
            yield note(f"{arm} agrees with the board in {_count(len(every), 'cell')} that both have")
            continue
        worst = min(beyond, key=lambda pair: (pair.p_value, -pair.difference.macro_f1))
        is_shown = worst.p_value * len(pairs) < _ALPHA
        yield Finding(
            "fault" if is_shown else "note",
            f"{arm} differs from the board in {len(beyond)} of {len(every)} cells that both have, most on "
            f"{name_place(worst.own.unit, worst.own.record.seed)}: {worst.difference.differing:.1%} of predictions, "
            f"macro-F1 {_score(worst.own):.3f} and {_score(worst.reference):.3f} on the board (allowed: "
            f"{allowed.differing:.1%} and {allowed.macro_f1:.3f})"
            f"{'' if is_shown else '; on these test rows that may be chance'}",
        )
    if submitted.references and not pairs:
        yield note("the submission and the board have no cell in common that could be compared")


def _evaluation(cell: Cell) -> object:
    record = cell.record
    arm = (record.model_hash if record.model else None, record.representation, record.representation_hash)
    return cell.unit, record.seed, arm, cell.choice


def _pair(own: Cell, reference: Cell) -> _Pair | None:
    """Return the difference of two cells; None where their predictions are missing or of other rows."""
    first, second = (cell.run.predicted(cell.record) for cell in (own, reference))
    if first is None or second is None:
        return None
    difference = measure(first, second)
    if difference is None:
        return None
    hits = [(predicted.numbers == predicted.y)[predicted.rows.order] for predicted in (first, second)]
    p_value = exact_mcnemar(int((hits[0] & ~hits[1]).sum()), int((hits[1] & ~hits[0]).sum()))
    return _Pair(own=own, reference=reference, difference=difference, p_value=p_value)


def measure(first: Predicted, second: Predicted) -> Tolerance | None:
    """Return how far predictions of the same test rows differ; None where the rows or their labels are others."""
    if first.rows.pairs != second.rows.pairs:
        return None
    named = [np.array(found.classes, object)[found.numbers][found.rows.order] for found in (first, second)]
    scores = [macro_f1(found.y, found.numbers, n_classes=len(found.classes)) for found in (first, second)]
    return Tolerance(
        differing=float(np.mean(named[0] != named[1])), macro_f1=min(1.0, abs(scores[0] - scores[1]))
    )


def _score(cell: Cell) -> float:
    return cell.record.metrics["macro_f1"].value


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def find_gained(board: Board, submitted: Submitted) -> tuple[Row, ...]:
    """Return the rows of a board that hold cells of a submission, and that the board did not have."""
    known = {cell.row for cell in submitted.references}
    own = {cell.row for cell in submitted.cells}
    return tuple(row for row in board.rows if row.key in own - known)


def find_changed(board: Board, submitted: Submitted) -> Iterator[Finding]:
    """Note each row that the board had and whose score is another with the submission.

    Of two runs of one cell the board shows the last. Where all common cells have equal predictions, nothing can change.
    """
    known = {cell.cell_id: cell.record.predictions_hash for cell in submitted.references}
    common = [cell.record for cell in submitted.cells if cell.cell_id in known]
    rows = {cell.row for cell in submitted.references}
    more = [cell for cell in submitted.cells if cell.row in rows and cell.cell_id not in known]
    if not more and all(record.predictions_hash == known[record.cell_id] for record in common):
        return
    after = {row.key: row.macro_f1 for row in board.rows}
    for row in build(submitted.published).rows:
        before, now = row.macro_f1, after[row.key]
        if before is not None and (now is None or now.value != before.value):
            arm = " ".join(filter(None, (row.model, row.representation)))
            yield note(
                f"the row '{arm}' that the board has changes: its macro-F1 was {before.value:.4f} and is "
                f"{'none' if now is None else f'{now.value:.4f}'}"
            )


def check_too_good(board: Board, gained: Sequence[Row]) -> Iterator[Finding]:
    """Note each score of a new row that is better than all others of its task on the board, beyond noise."""
    new = {row.key for row in gained}
    best: dict[Unit, TaskResult] = {}
    for result in (each for row in board.rows if row.key not in new for each in row.all_results):
        known = best.setdefault(result.unit, result)
        if result.macro_f1.value > known.macro_f1.value:
            best[result.unit] = result
    for row in gained:
        for result in row.all_results:
            other = best.get(result.unit)
            if other is not None and _leads(result, other):
                arm = " ".join(filter(None, (row.model, row.representation)))
                yield note(
                    f"'{arm}' on {result.task} has macro-F1 {result.macro_f1.value:.3f}, and the best of the board "
                    f"{other.macro_f1.value:.3f}: more than noise, so run cells of it again before believing it"
                )


def _leads(result: TaskResult, other: TaskResult) -> bool:
    """Return whether the paired interval of the difference lies above 0."""
    interval = subtract(result.macro_f1, other.macro_f1).interval
    return interval is not None and interval[0] > 0
