"""A Board in, its rows under each regime out: means over the tasks that were learnt under every regime.

A regime that leaves a task out (it has too few rows, say) would else be compared with others on other tasks. What is
tested in several languages counts as a task in each; where it was learnt from several others, one after the other, it
is their mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.leaderboard.board import Board, Row, TaskResult, mean_metric, mean_of
from harness.leaderboard.scoring import Estimate
from harness.leaderboard.selection import in_natural_order


@dataclass(frozen=True, kw_only=True)
class UnderRegime:
    """A row under one regime: means over `tasks`, which are those that the row has under every regime of the board, or
    all that it has under this one where there is no such task. `delta` is paired with its model's hidden states chosen
    under the same one; `compared` are its tasks, in the same way.
    """

    row: Row
    regime: str
    tasks: tuple[str, ...]
    compared: tuple[str, ...]
    macro_f1: Estimate
    auroc: float | None
    delta: Estimate | None

    @property
    def n_tasks(self) -> int:
        """How many tasks the score is of."""
        return len(self.tasks)


_ByTask = Mapping[str, Sequence[TaskResult]]
"""By task and language that is tested, the results of all that was learnt from."""


def under_regimes(board: Board) -> tuple[UnderRegime, ...]:
    """Every row of the board under each of its regimes, `full` first, the others in natural order; none where there is
    one regime only.
    """
    regimes = regimes_of(board.all_results)
    if len(regimes) < 2:
        return ()
    return tuple(one for row in board.rows for one in _under_each(row, regimes))


def _under_each(row: Row, regimes: Sequence[str]) -> Iterator[UnderRegime]:
    scored = _in_every({regime: _by_task(row, regime) for regime in regimes})
    compared = _in_every(
        {
            regime: {
                task: results for task, results in by_task.items() if all(result.delta for result in results)
            }
            for regime, by_task in scored.items()
        }
    )
    for regime, by_task in scored.items():
        if score := mean_of([_mean([result.macro_f1 for result in results]) for results in by_task.values()]):
            areas = [mean_metric(results, "auroc") for results in by_task.values()]
            known = [area for area in areas if area is not None]
            yield UnderRegime(
                row=row,
                regime=regime,
                tasks=tuple(by_task),
                compared=tuple(compared[regime]),
                macro_f1=score,
                auroc=sum(known) / len(known) if len(known) == len(areas) else None,
                delta=mean_of(
                    [_mean([result.delta for result in results]) for results in compared[regime].values()]
                ),
            )


def _by_task(row: Row, regime: str) -> _ByTask:
    found: dict[str, list[TaskResult]] = defaultdict(list)
    for result in row.all_results:
        if result.regime == regime:
            found[result.target].append(result)
    return found


def _mean(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """What one learns from, as it is: a mean of one is not always it to the last digit."""
    return estimates[0] if len(estimates) == 1 else mean_of(estimates)


def _in_every(by_regime: Mapping[str, _ByTask]) -> Mapping[str, _ByTask]:
    """Of each regime the tasks that all of them have; all tasks where there is no such one."""
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


Place = tuple[str | None, str, int | None, str]


def place_of(one: UnderRegime) -> Place:
    return one.row.model, one.row.representation, one.row.width, one.regime
