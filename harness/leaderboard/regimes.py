"""A Board in, its rows under each regime out: means over the tasks that were learnt under every regime.

A regime that leaves a task out (it has too few rows, say) would else be compared with others on other tasks. What is
tested in several languages counts as a task in each; where it was learnt from several others, one after the other, it
is their mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.leaderboard import markdown
from harness.leaderboard.board import Board, Row, TaskResult, mean_metric, mean_of
from harness.leaderboard.choice import FULL, in_natural_order
from harness.leaderboard.estimate import Estimate
from harness.leaderboard.markdown import NONE


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
    regimes = sorted({result.regime for row in board.rows for result in row.all_results}, key=_order)
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


def _order(regime: str) -> tuple[bool, list[tuple[str, float]]]:
    return regime != FULL, in_natural_order(regime)


def section(board: Board) -> list[str]:
    """Tables of rows × regimes, one a number; [] where there is one regime only."""
    found = under_regimes(board)
    if not found:
        return []
    common = _common(board)
    scores = {_place(one): markdown.score(one.macro_f1) + _beside(one.tasks, common) for one in found}
    deltas = {
        _place(one): markdown.difference(one.delta) + _beside(one.compared, common)
        for one in found
        if one.delta
    }
    areas = {
        _place(one): markdown.point(one.auroc) + _beside(one.tasks, common)
        for one in found
        if one.auroc is not None
    }
    texts = (("macro-F1", scores), ("Δ hidden", deltas), ("AUROC", areas))
    tables = [_table(name, found, text) for name, text in texts]
    return [
        "## Regimes",
        "What arms learn from was changed; choices were made under each regime for itself"
        f"{_on_folds(board)}. {_over(board, common, found)}, with 95 % intervals; Δ hidden is paired."
        " leaderboard-regimes.csv has the same numbers.",
        *(table for table in tables if table),
        *([_CARRIED] if any(_is_carried(one) for one in found) else []),
    ]


_CARRIED = (
    "Δ hidden of what was carried from another model is against hidden states carried by the same alignment; the scores"
    " above say which alignment serves hidden states best."
)


def _is_carried(one: UnderRegime) -> bool:
    """Whether it has a difference, of what was learnt on the features of another model."""
    results = [result for result in one.row.all_results if result.regime == one.regime]
    return one.delta is not None and results[0].cells[0].record.learnt_on is not None


def _common(board: Board) -> set[str]:
    """The tasks that the board has under every one of its regimes."""
    by_regime: dict[str, set[str]] = defaultdict(set)
    for row in board.rows:
        for result in row.all_results:
            by_regime[result.regime].add(result.target)
    return set.intersection(*by_regime.values())


def _beside(tasks: Sequence[str], common: set[str]) -> str:
    """How many tasks a number is of, where they are not those that every regime has."""
    if set(tasks) == common:
        return ""
    return f" ({len(tasks)} task{'s' * (len(tasks) > 1)})"


def _over(board: Board, common: set[str], found: Sequence[UnderRegime]) -> str:
    """Over which tasks the means are."""
    beside = "a number of other tasks has their number beside it"
    if not common:
        return f"Mean over tasks; none was learnt under every regime, so {beside}"
    said = [str(len(common))]
    every = {result.target for row in board.rows for result in row.all_results}
    if left_out := sorted(every - common, key=in_natural_order):
        said.append(f"left out, as a regime lacks them: {', '.join(map(markdown.escape, left_out))}")
    if any(set(tasks) != common for one in found for tasks in (one.tasks, one.compared) if tasks):
        said.append(beside)
    return f"Mean over the tasks that were learnt under every regime ({'; '.join(said)})"


def _on_folds(board: Board) -> str:
    """Which regimes have choices that were made on folds."""
    regimes = {
        result.regime
        for row in board.rows
        for result in row.all_results
        for cell in result.cells
        if cell.record.selected_on == "folds"
    }
    names = ", ".join(markdown.escape(regime) for regime in sorted(regimes, key=_order))
    return f", on folds of the training rows under {names}" if names else ""


_Place = tuple[str | None, str, int | None, str]


def _place(one: UnderRegime) -> _Place:
    return one.row.model, one.row.representation, one.row.width, one.regime


def _table(name: str, found: Sequence[UnderRegime], texts: Mapping[_Place, str]) -> str:
    """Rows × regimes, of the rows that have such a number; "" where none has."""
    regimes = sorted({one.regime for one in found}, key=_order)
    rows = dict.fromkeys(place[:3] for one in found if (place := _place(one)) in texts)
    lines = [
        [
            row[0] or NONE,
            row[1],
            markdown.integer(row[2]),
            *(texts.get((*row, regime), NONE) for regime in regimes),
        ]
        for row in rows
    ]
    return markdown.table([f"{name}: model", "representation", "width", *regimes], lines) if lines else ""
