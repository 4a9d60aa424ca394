"""Noise floor: differences between repeated runs of one cell.

Two runs of one cell differ in settings outside its identity: the batch size, the machine, the number of threads. A
difference on a board below this floor means nothing, whatever its interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from operator import attrgetter
from statistics import median

import numpy as np
import pandas as pd

from harness.leaderboard.board import Repeats
from harness.leaderboard.selection import Cell, RowKey, group_by
from harness.runs.record import Results, read_scored


def find_repeats(runs: Sequence[Results]) -> dict[RowKey, Repeats]:
    """Return the repeats of each row. A record that two runs share to the last digit, costs included, is a copy."""
    by_cell: dict[str, list[Cell]] = defaultdict(list)
    for run in {run.path.resolve(): run for run in runs}.values():
        for record in run.records():
            known = by_cell[record.cell_id]
            is_scored = record.status == "ok" and "macro_f1" in record.metrics
            if is_scored and not any(_MEASURED(record) == _MEASURED(other.record) for other in known):
                known.append(Cell(record=record, run=run))
    repeated = [cells for cells in by_cell.values() if len(cells) > 1]
    by_row = group_by(repeated, lambda cells: cells[0].row)
    return {row: _measure(every) for row, every in by_row.items()}


_MEASURED = attrgetter("metrics", "cost", "classifier_params")
"""Fields of a record that differ between two runs of a cell, and not between copies of one."""


def _measure(repeated: Sequence[Sequence[Cell]]) -> Repeats:
    pairs = [pair for cells in repeated for pair in combinations(cells, 2)]
    apart = [abs(_score(one) - _score(other)) for one, other in pairs]
    known = np.array([counts for one, other in pairs if (counts := _count_differing(one, other))])
    differing = float(np.divide(*known.sum(axis=0))) if len(known) else None
    return Repeats(cells=len(repeated), median=median(apart), largest=max(apart), differing=differing)


def _score(cell: Cell) -> float:
    return cell.record.metrics["macro_f1"].value


def _count_differing(one: Cell, other: Cell) -> tuple[int, int] | None:
    """Return the number of test rows predicted differently, and of all; None where that is unknown."""
    known, rows = one.record.predictions_hash, one.record.n_test
    if rows and known is not None and known == other.record.predictions_hash:
        return 0, rows
    if not all(cell.run.has_predictions(cell.record) for cell in (one, other)):
        return None
    first, second = (_by_example(read_scored(cell.run, cell.record)) for cell in (one, other))
    if not first.index.equals(second.index) or first.empty:
        return None
    return int((first != second).sum()), len(first)


def _by_example(frame: pd.DataFrame) -> pd.Series[str]:
    predicted = frame["prediction"].astype(str)
    predicted.index = pd.Index(frame["example_id"])
    return predicted.sort_index()
