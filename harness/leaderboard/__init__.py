"""Records in, a ranked table out. Nothing here runs a model.

A row is (model, representation, width). `choice` finds the cell each row goes by, on validation alone;
`estimate` scores those cells on test with shared resamples; `board` compares and ranks; `ablation`, `quiver`, `noise`,
`regimes` and `controls` ask one more question each, and `features` what classifiers go by; `matrix` shows what carries
over to other languages, and `heatmap` draws it; `frames` and `render` write;
`published` keeps what a board needs small enough to commit; `check` looks whether all of that still holds; `comparison`
sets two runs side by side.
"""

from harness.leaderboard.analyses.comparison import Arm, Comparison, Difference, compare
from harness.leaderboard.board import Board, Row, TaskResult, TaskSummary
from harness.leaderboard.build import build
from harness.leaderboard.pages.board_page import remove, to_markdown, write
from harness.leaderboard.pages.features_page import find_shown
from harness.leaderboard.pages.frames import to_csv, to_frame
from harness.leaderboard.published.check import check_published
from harness.leaderboard.published.store import (
    PublishedRun,
    find_published,
    find_results,
    publish,
    replace_published,
)
from harness.leaderboard.scoring import Estimate
from harness.leaderboard.selection import Cell, Unit
from harness.stats.bootstrap import bootstrap_seed

__all__ = [
    "Arm",
    "Board",
    "Cell",
    "Comparison",
    "Difference",
    "Estimate",
    "PublishedRun",
    "Row",
    "TaskResult",
    "TaskSummary",
    "Unit",
    "bootstrap_seed",
    "build",
    "check_published",
    "compare",
    "find_published",
    "find_results",
    "find_shown",
    "publish",
    "remove",
    "replace_published",
    "to_csv",
    "to_frame",
    "to_markdown",
    "write",
]
