"""Section of a board: scores under each regime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.leaderboard.analyses.regimes import Place, UnderRegime, place_of, regimes_of, under_regimes
from harness.leaderboard.board import Board
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.markdown import NONE
from harness.leaderboard.selection import in_natural_order


def section(board: Board) -> list[str]:
    """Tables of rows × regimes, one a number; [] where there is one regime only."""
    found = under_regimes(board)
    if not found:
        return []
    common = _common(board)
    scores = {place_of(one): markdown.score(one.macro_f1) + _beside(one.tasks, common) for one in found}
    deltas = {
        place_of(one): markdown.difference(one.delta) + _beside(one.compared, common)
        for one in found
        if one.delta
    }
    areas = {
        place_of(one): markdown.point(one.auroc) + _beside(one.tasks, common)
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
    for result in board.all_results:
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
    every = {result.target for result in board.all_results}
    if left_out := sorted(every - common, key=in_natural_order):
        said.append(f"left out, as a regime lacks them: {', '.join(map(markdown.escape, left_out))}")
    if any(set(tasks) != common for one in found for tasks in (one.tasks, one.compared) if tasks):
        said.append(beside)
    return f"Mean over the tasks that were learnt under every regime ({'; '.join(said)})"


def _on_folds(board: Board) -> str:
    """Which regimes have choices that were made on folds."""
    regimes = regimes_of(
        result
        for result in board.all_results
        if any(cell.record.selected_on == "folds" for cell in result.cells)
    )
    names = ", ".join(markdown.escape(regime) for regime in regimes)
    return f", on folds of the training rows under {names}" if names else ""


def _table(name: str, found: Sequence[UnderRegime], texts: Mapping[Place, str]) -> str:
    """Rows × regimes, of the rows that have such a number; "" where none has."""
    known = {one.regime for one in found}
    regimes = [
        regime
        for regime in regimes_of(result for one in found for result in one.row.all_results)
        if regime in known
    ]
    rows = dict.fromkeys(place[:3] for one in found if (place := place_of(one)) in texts)
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
