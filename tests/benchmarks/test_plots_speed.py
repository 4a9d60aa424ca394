"""Seconds to draw the plots of a board, as SVG and one of them as PNG. `make bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import leaderboard
from harness.leaderboard.plots import draw_plots, to_png

BOARDS = Path(__file__).parents[2] / "leaderboards"


@pytest.mark.parametrize("name", ["gemma-real", "probing-scarcity"])
def test_plots_of_a_board(benchmark: Any, name: str) -> None:
    board = leaderboard.build(leaderboard.find_results(BOARDS / name))
    plots = benchmark.pedantic(lambda: draw_plots(board), rounds=5, warmup_rounds=1)
    assert len(plots) > 5
    benchmark.extra_info.update(plots=len(plots), rows=len(board.rows))


def test_a_plot_as_png(benchmark: Any) -> None:
    plot = draw_plots(leaderboard.build(leaderboard.find_results(BOARDS / "planted")))[0]
    assert benchmark.pedantic(lambda: to_png(plot), rounds=5, warmup_rounds=1)
