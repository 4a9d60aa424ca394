"""Runs in; how far scores lie apart that nothing should tell apart, out: cells that were run more than once.

Two runs of one cell differ in what its identity leaves out: the batch size, the machine, the number of threads. What
they differ by is a floor below which no difference of a board means anything, whatever its interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import median

import pandas as pd

from harness.api.errors import UnavailableError
from harness.leaderboard.board import Repeats
from harness.leaderboard.selection import Cell, RowKey
from harness.runs.record import Record, Results


def find_repeats(runs: Sequence[Results]) -> dict[RowKey, Repeats]:
    """By row. A record that two runs share to the last digit, costs included, is one run published or copied."""
    by_cell: dict[str, list[Cell]] = defaultdict(list)
    for run in {run.path.resolve(): run for run in runs}.values():
        for record in run.records():
            known = by_cell[record.cell_id]
            if _is_scored(record) and not any(_is_copy(record, other.record) for other in known):
                known.append(Cell(record=record, run=run))
    by_row: dict[RowKey, list[list[Cell]]] = defaultdict(list)
    for cells in by_cell.values():
        if len(cells) > 1:
            by_row[cells[0].row].append(cells)
    return {row: _measure(repeated) for row, repeated in by_row.items()}


def _is_scored(record: Record) -> bool:
    return record.status == "ok" and "macro_f1" in record.metrics


def _is_copy(one: Record, other: Record) -> bool:
    return (one.metrics, one.cost, one.classifier_params) == (
        other.metrics,
        other.cost,
        other.classifier_params,
    )


def _measure(repeated: Sequence[Sequence[Cell]]) -> Repeats:
    pairs = [pair for cells in repeated for pair in combinations(cells, 2)]
    apart = [abs(_score(one) - _score(other)) for one, other in pairs]
    known = [counts for one, other in pairs if (counts := _count_differing(one, other)) is not None]
    return Repeats(
        cells=len(repeated),
        median=median(apart),
        largest=max(apart),
        differing=sum(differing for differing, _ in known) / sum(rows for _, rows in known)
        if known
        else None,
    )


def _score(cell: Cell) -> float:
    return cell.record.metrics["macro_f1"].value


def _count_differing(one: Cell, other: Cell) -> tuple[int, int] | None:
    """How many of how many test rows are predicted differently; None where that is not known."""
    known, rows = one.record.predictions_hash, one.record.n_test
    if rows and known is not None and known == other.record.predictions_hash:
        return 0, rows
    try:
        frames = [cell.run.predictions(cell.record.cell_id) for cell in (one, other)]
    except UnavailableError:
        return None
    first, second = (_by_example(frame) for frame in frames)
    if not first.index.equals(second.index) or first.empty:
        return None
    return int((first != second).sum()), len(first)


def _by_example(frame: pd.DataFrame) -> pd.Series[str]:
    predicted = frame["prediction"].astype(str)
    predicted.index = pd.Index(frame["example_id"])
    return predicted.sort_index()
