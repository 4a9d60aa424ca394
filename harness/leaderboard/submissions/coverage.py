"""Check of what a submission covers of its board: tasks, seeds and baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.api.errors import name_some
from harness.leaderboard.selection import Cell, Unit, group_by
from harness.leaderboard.submissions.submitted import (
    Submitted,
    fault,
    name_cell,
    name_place,
    note,
)
from harness.validation.finding import Finding


def check_covered(submitted: Submitted) -> Iterator[Finding]:
    """Compare tasks × seeds × arms with those of the board.

    A task that the board lacks is refused: all rows of the board would lose their rank. So is an arm of a model without
    the baseline of that model on the same tasks and seeds, as a board says how far an arm is from it. A row that lacks
    tasks or seeds is noted: the board shows it without a rank, or with fewer seeds.
    """
    board = {(cell.unit, cell.record.seed): cell.record.modality for cell in submitted.references}
    if not board:
        yield note("the board is empty: there is nothing to compare the submission with")
    tasks = {unit.task for unit, _ in board}
    if new := sorted({cell.record.task for cell in submitted.cells} - tasks) if board else []:
        yield fault(
            f"the board has no task {name_some(new)}: its rows would lose their ranks; add it to another board"
        )
    suites = {cell.record.suite for cell in submitted.references}
    for suite in sorted({cell.record.suite for cell in submitted.cells} - suites) if board else ():
        yield note(
            f"suite '{suite}' is none of the board's ({name_some(sorted(suites))}): tasks and seeds are compared"
        )
    for row, cells in group_by(submitted.cells, lambda cell: cell.row).items():
        places = {(cell.unit, cell.record.seed) for cell in cells}
        modalities = {cell.record.modality for cell in cells}
        lacking = sorted({place for place, kind in board.items() if kind in modalities} - places)
        if lacking:
            yield note(
                f"{name_cell(cells[0])} lacks {len(lacking)} of the board's {len(board)} places, the first on "
                f"{name_place(*lacking[0])}: it is shown without a rank unless only seeds are missing"
            )
        if board and (more := sorted(places - board.keys())):
            yield note(
                f"{name_cell(cells[0])} has {len(more)} places that the board lacks, the first on "
                f"{name_place(*more[0])}"
            )
        if row.model is not None:
            yield from _check_baseline(submitted, cells, places)


def _check_baseline(
    submitted: Submitted, cells: Sequence[Cell], places: set[tuple[Unit, int]]
) -> Iterator[Finding]:
    if cells[0].record.baseline:
        return
    model = cells[0].record.model
    known = {
        (cell.unit, cell.record.seed)
        for cell in (*submitted.cells, *submitted.references)
        if cell.record.baseline and cell.record.model == model
    }
    if lacking := sorted(places - known):
        yield fault(
            f"{name_cell(cells[0])} has no hidden states of its model to be compared with in {len(lacking)} of "
            f"{len(places)} places, the first on {name_place(*lacking[0])}: run 'hidden' of '{model}' too"
        )
