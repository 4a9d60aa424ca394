"""Controls of a board: each model's baseline against arms that should know less.

Those are the arms without a model (the most frequent class, the text's length, its words) and the same model under
other parameters, such as random weights: rows whose model is called `NAME[…]` beside a model `NAME`. Where a baseline
is no better than these, features computed from it mean little. Where a control scores below chance (one class for
all rows, say), chance is used instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.leaderboard.board import Board, Row
from harness.leaderboard.scoring import Estimate, difference, mean


@dataclass(frozen=True, kw_only=True)
class Control:
    """Comparison of a model's baseline with a control, or chance where that is higher: paired differences by task."""

    model: str
    control: str
    differences: tuple[tuple[str, Estimate], ...]

    @property
    def mean(self) -> Estimate:
        """Unweighted mean over tasks."""
        return mean([one for _, one in self.differences])

    @property
    def least(self) -> tuple[str, Estimate]:
        """Task on which the baseline is least ahead, and the difference there."""
        return min(self.differences, key=lambda pair: pair[1].value)

    def count(self, sign: int) -> int:
        """Return the number of tasks whose 95 % interval lies above (1), around (0) or below (−1) zero."""
        return sum(_sign(one) == sign for _, one in self.differences)


def controls(board: Board) -> Iterator[Control]:
    """Yield the comparison of every model of the board with each of its controls, in the board's order."""
    chances = {task.name: task.chance for task in board.tasks}
    names = {row.model for row in board.rows if row.model}
    for row in board.rows:
        if row.is_baseline and row.model and row.model.partition("[")[0] not in names - {row.model}:
            for other in board.rows:
                if (name := _name(other, row.model)) and (found := _differences(row, other, chances)):
                    yield Control(model=row.model, control=name, differences=found)


def _name(other: Row, model: str) -> str | None:
    """Return the name of a row that is a control of the model; None for other rows."""
    if other.model is None:
        return other.representation
    return other.model if other.is_baseline and other.model.startswith(f"{model}[") else None


def _differences(row: Row, other: Row, chances: Mapping[str, float]) -> tuple[tuple[str, Estimate], ...]:
    theirs = {result.task: _at_least(chances[result.task], result.macro_f1) for result in other.results}
    return tuple(
        (result.task, difference(result.macro_f1, theirs[result.task]))
        for result in row.results
        if result.task in theirs
    )


def _at_least(chance: float, estimate: Estimate) -> Estimate:
    """Return the estimate, or chance where it is lower; chance is the same in every resample."""
    if estimate.value >= chance:
        return estimate
    return replace(estimate, value=chance, samples=np.full_like(estimate.samples, chance), drawn=None)


def _sign(estimate: Estimate) -> int:
    low, high = estimate.interval or (0.0, 0.0)
    return int(low > 0) - int(high < 0)
