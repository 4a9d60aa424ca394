"""Heat maps of the page: macro-F1, differences and shared features by the languages of training and test."""

from __future__ import annotations

from typing import Any

from harness.api.text import plain_line
from harness.leaderboard.analyses.transfer import Grid, Matrices, Matrix, axes, find_grid
from harness.leaderboard.pages.heatmap import DIVERGING, HeatMap, heat_maps
from harness.leaderboard.web.overview import kind_of


def encode_matrices(matrices: Matrices) -> list[dict[str, Any]]:
    """Return the heat maps of every task and row for the browser."""
    return [
        _encode(matrix, row, grid)
        for matrix in matrices.tasks
        for row, pairs in matrix.rows.items()
        if (grid := find_grid(pairs))
    ]


def _encode(matrix: Matrix, row: str, grid: Grid) -> dict[str, Any]:
    of = next(iter(grid.values())).row
    trained, tested = axes(matrix, grid)
    return {
        "task": plain_line(matrix.task),
        "row": plain_line(row),
        "control": kind_of(of) == "control",
        "trained": [plain_line(matrix.mark(one, of)) for one in trained],
        "tested": [plain_line(matrix.mark(one, of)) for one in tested],
        "maps": [_encode_map(one, trained, tested) for one in heat_maps("", grid)],
    }


def _encode_map(one: HeatMap, trained: list[str], tested: list[str]) -> dict[str, Any]:
    values = [[one.values.get((train, test)) for test in tested] for train in trained]
    return {
        "title": one.title.lstrip(", :"),
        "low": one.low,
        "high": one.high,
        "diverging": one.colours == DIVERGING,
        "values": [[None if value is None else round(value, 4) for value in line] for line in values],
    }
