"""A Board in, its rows under each regime out: the means over the tasks that were learnt under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.leaderboard import markdown
from harness.leaderboard.board import Board, Row, mean_metric, mean_of
from harness.leaderboard.choice import FULL, in_natural_order
from harness.leaderboard.estimate import Estimate
from harness.leaderboard.markdown import NONE


@dataclass(frozen=True, kw_only=True)
class UnderRegime:
    """A row under one regime; `delta` is paired with its model's hidden states chosen under the same one."""

    row: Row
    regime: str
    n_tasks: int
    macro_f1: Estimate
    auroc: float | None
    delta: Estimate | None


def under_regimes(board: Board) -> tuple[UnderRegime, ...]:
    """Every row of the board under each of its regimes, `full` first, the others in natural order; none where there is
    one regime only.
    """
    regimes = sorted({result.regime for row in board.rows for result in row.all_results}, key=_order)
    if len(regimes) < 2:
        return ()
    return tuple(
        UnderRegime(
            row=row,
            regime=regime,
            n_tasks=len(results),
            macro_f1=score,
            auroc=mean_metric(results, "auroc"),
            delta=mean_of([result.delta for result in results]),
        )
        for row in board.rows
        for regime in regimes
        if (results := [result for result in row.all_results if result.regime == regime])
        if (score := mean_of([result.macro_f1 for result in results]))
    )


def _order(regime: str) -> tuple[bool, list[tuple[str, float]]]:
    return regime != FULL, in_natural_order(regime)


def section(board: Board) -> list[str]:
    """Tables of rows × regimes, one a number; [] where there is one regime only."""
    found = under_regimes(board)
    if not found:
        return []
    tables = [
        _table("macro-F1", found, {_place(one): markdown.score(one.macro_f1) for one in found}),
        _table(
            "Δ hidden", found, {_place(one): markdown.difference(one.delta) for one in found if one.delta}
        ),
        _table(
            "AUROC", found, {_place(one): markdown.point(one.auroc) for one in found if one.auroc is not None}
        ),
    ]
    return [
        "## Regimes",
        "What arms learn from was changed; choices were made under each regime for itself. Mean over the tasks that"
        f" were learnt under it ({_tasks(found)}), with 95 % intervals; Δ hidden is paired."
        " leaderboard-regimes.csv has the same numbers.",
        *(table for table in tables if table),
    ]


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


def _tasks(found: Sequence[UnderRegime]) -> str:
    """How many tasks the regimes have, said once where it is the same number."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.regime] = max(one.n_tasks, counts.get(one.regime, 0))
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} under each"
    regimes = sorted(counts, key=_order)
    return ", ".join(f"{markdown.escape(regime)}: {counts[regime]}" for regime in regimes)
