"""Section of a board: scores under each regime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.leaderboard.analyses.regimes import UnderRegime, regimes_of, under_regimes
from harness.leaderboard.board import Board
from harness.leaderboard.pages import markdown
from harness.leaderboard.selection import group_by, in_natural_order


def section(board: Board) -> list[str]:
    """Return tables of rows × regimes, one for each number; [] where there is one regime only."""
    found = under_regimes(board)
    if not found:
        return []
    common = _common(board)
    regimes = [name for name in regimes_of(board.all_results) if any(one.regime == name for one in found)]
    tables = [
        markdown.wide_table(
            name,
            regimes,
            {
                (one.row.key, one.regime): text + _beside(tasks, common)
                for one in found
                for text, tasks in [write(one)]
                if text != markdown.NONE
            },
        )
        for name, write in _TABLES.items()
    ]
    return [
        "## Regimes",
        "What arms learn from was changed; choices were made under each regime for itself"
        f"{_on_folds(board)}. {_over(board, common, found)}, with 95 % intervals; Δ hidden is paired."
        " leaderboard-regimes.csv has the same numbers.",
        *(table for table in tables if table),
        *([_CARRIED] if any(_is_carried(one) for one in found) else []),
    ]


_TABLES: Mapping[str, Callable[[UnderRegime], tuple[str, Sequence[str]]]] = {
    "macro-F1": lambda one: (markdown.score(one.macro_f1), one.tasks),
    "Δ hidden": lambda one: (markdown.difference(one.delta), one.compared),
    "AUROC": lambda one: (markdown.optional(one.auroc), one.tasks),
}
"""Tables by name: the text of a cell, and the tasks that it is the mean of."""

_CARRIED = (
    "Δ hidden of what was carried from another model is against hidden states carried by the same alignment; the scores"
    " above say which alignment serves hidden states best."
)


def _is_carried(one: UnderRegime) -> bool:
    """Return whether it has a difference, and was trained on the features of another model."""
    results = [result for result in one.row.all_results if result.regime == one.regime]
    return one.delta is not None and results[0].cells[0].record.learnt_on is not None


def _common(board: Board) -> set[str]:
    """Return the tasks that the board has under every one of its regimes."""
    by_regime = group_by(board.all_results, lambda result: result.regime).values()
    return set.intersection(*({result.target for result in same} for same in by_regime))


def _beside(tasks: Sequence[str], common: set[str]) -> str:
    """Return the number of tasks of a mean, where they are not those that every regime has."""
    if set(tasks) == common:
        return ""
    return f" ({len(tasks)} task{'s' * (len(tasks) > 1)})"


def _over(board: Board, common: set[str], found: Sequence[UnderRegime]) -> str:
    """Return the tasks that the means are over, in words."""
    beside = "a number of other tasks has their number beside it"
    if not common:
        return f"Mean over tasks; none was learnt under every regime, so {beside}"
    said = [str(len(common))]
    every = {result.target for result in board.all_results}
    if left_out := sorted(every - common, key=in_natural_order):
        said.append(f"left out, as a regime lacks them: {', '.join(map(markdown.escape, left_out))}")
    if any(set(tasks) != common for one in found for tasks in (one.tasks, one.compared) if tasks):
        said.append(beside)
    return f"Mean over the tasks that were learnt under every regime ({'; '.join(said)})"


def _on_folds(board: Board) -> str:
    """Return the regimes with choices made on folds, in words."""
    regimes = regimes_of(
        result
        for result in board.all_results
        if any(cell.record.selected_on == "folds" for cell in result.cells)
    )
    names = ", ".join(markdown.escape(regime) for regime in regimes)
    return f", on folds of the training rows under {names}" if names else ""
