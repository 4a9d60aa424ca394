"""Section of a board: scores on tasks whose test rows have too few groups for an interval."""

from __future__ import annotations

from harness.leaderboard.board import Board
from harness.leaderboard.pages import markdown
from harness.leaderboard.selection import group_by


def section(board: Board) -> list[str]:
    """Return a table of rows × these tasks; [] without any. Pairs of languages are on the page of transfer."""
    found = [(row, result) for row in board.rows for result in row.below]
    if not found:
        return []
    by_task = group_by((result for _, result in found), lambda result: result.task)
    said = ", ".join(
        f"{markdown.escape(task)}: {same[0].n_test} test rows, {markdown.escape(', '.join(same[0].flags))}"
        for task, same in by_task.items()
    )
    texts = {(row.key, result.task): markdown.score(result.macro_f1) for row, result in found}
    return [
        "## Too few groups for an interval",
        "Macro-F1 on test rows of which every class has one group, or so few that intervals would not hold what they"
        f" promise: a score without interval, and no evidence of any difference ({said}).",
        markdown.wide_table("macro-F1", list(by_task), texts),
    ]
