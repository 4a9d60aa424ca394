"""Section of a board: what the features and the probes of each row cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

from harness.leaderboard.board import Board, Row
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.markdown import ARM, NONE


def section(board: Board) -> list[str]:
    """Return a table of the rows whose cost is known; [] without any."""
    lines = [
        [*markdown.arm(row.key), *(write(row) for write in _COLUMNS.values())]
        for row in board.rows
        if row.seconds is not None or _probe(row) is not None
    ]
    if not lines:
        return []
    return [
        "## Cost",
        "Medians over the row's cells. A forward pass makes the features of all of its model's rows together, so that"
        " its time and memory tell models apart, not rows; a probe is fitted over its whole grid for each row alone."
        " Runs on other machines, or beside other work, are not comparable.",
        markdown.table([*ARM, *_COLUMNS], lines),
    ]


def _probe(row: Row) -> float | None:
    seconds = [cell.record.cost.probe_seconds for cell in row.cells if cell.record.cost.probe_seconds > 0]
    return median(seconds) if seconds else None


def _write(value: float | None, spelling: str) -> str:
    return NONE if value is None else spelling.format(value)


_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "seconds of a forward pass": lambda row: _write(row.seconds, "{:,.1f}"),
    "tokens/s": lambda row: _write(row.tokens_per_s, "{:,.0f}"),
    "peak memory, GB": lambda row: _write(row.peak_memory and row.peak_memory / 1e9, "{:.2f}"),
    "seconds of a probe": lambda row: _write(_probe(row), "{:,.2f}"),
}
"""Text of a row by the head of its column."""
