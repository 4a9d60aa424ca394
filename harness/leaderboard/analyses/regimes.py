"""Rows of a board under each regime: means over the tasks that were trained under every regime.

Regimes are compared on the same tasks: one that leaves a task out (it has too few rows, say) takes it from all. A task
tested in several languages counts once in each; where it was trained on several others one by one, their mean counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.leaderboard.board import Board, Row, TaskResult, mean_metric
from harness.leaderboard.scoring import Estimate, mean_all, mean_of
from harness.leaderboard.selection import group_by, in_natural_order


@dataclass(frozen=True, kw_only=True)
class UnderRegime:
    """Scores of a row under one regime: means over `tasks`, those that the row has under every regime of the board, or
    all of this regime where there are none. `delta` is paired with the model's baseline chosen under the same regime;
    `compared` are its tasks, found in the same way.
    """

    row: Row
    regime: str
    tasks: tuple[str, ...]
    compared: tuple[str, ...]
    macro_f1: Estimate
    auroc: float | None
    delta: Estimate | None


_ByTask = Mapping[str, Sequence[TaskResult]]
"""Results by task and tested language, one for each language or task trained on."""


@lru_cache(maxsize=1)  # asked for by each page of a board, and by its plots
def under_regimes(board: Board) -> tuple[UnderRegime, ...]:
    """Return every row of the board under each of its regimes, the task as it is first, the others in natural order;
    () where there is one regime only.
    """
    regimes = regimes_of(board.all_results)
    if len(regimes) < 2:
        return ()
    return tuple(one for row in board.rows for one in _under_each(row, regimes))


def _under_each(row: Row, regimes: Sequence[str]) -> Iterator[UnderRegime]:
    scored = _in_every(
        {
            regime: group_by(
                (result for result in row.all_results if result.regime == regime),
                lambda result: result.target,
            )
            for regime in regimes
        }
    )
    compared = _in_every(
        {
            regime: {task: same for task, same in by_task.items() if all(result.delta for result in same)}
            for regime, by_task in scored.items()
        }
    )
    for regime, by_task in scored.items():
        if score := mean_of(_mean([result.macro_f1 for result in same]) for same in by_task.values()):
            yield UnderRegime(
                row=row,
                regime=regime,
                tasks=tuple(by_task),
                compared=tuple(compared[regime]),
                macro_f1=score,
                auroc=mean_all(mean_metric(same, "auroc") for same in by_task.values()),
                delta=mean_of(_mean([result.delta for result in same]) for same in compared[regime].values()),
            )


def _mean(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Return the mean; one estimate as it is, since a mean of one may differ in the last digit."""
    return estimates[0] if len(estimates) == 1 else mean_of(estimates)


def _in_every(by_regime: Mapping[str, _ByTask]) -> Mapping[str, _ByTask]:
    """Return the tasks that all regimes have; all tasks of each where there are none."""
    common = set.intersection(*(set(by_task) for by_task in by_regime.values()))
    if not common:
        return by_regime
    return {
        regime: {task: results for task, results in by_task.items() if task in common}
        for regime, by_task in by_regime.items()
    }


def regimes_of(results: Iterable[TaskResult]) -> list[str]:
    """Return the regimes of results: the task as it is, then the others in natural order."""
    found = {result.regime: result.unit.natural != "task" for result in results}
    return sorted(found, key=lambda regime: (found[regime], in_natural_order(regime)))
