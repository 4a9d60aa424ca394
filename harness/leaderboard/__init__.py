"""Records in, a ranked table out. Nothing here runs a model.

A row is (model, representation, width). `choice` finds the cell each row goes by, on validation alone;
`estimate` scores those cells on test with shared resamples; `board` compares and ranks; `ablation`, `quiver`, `noise`,
`regimes` and `controls` ask one more question each, and `features` what classifiers go by; `matrix` shows what carries
over to other languages, and `heatmap` draws it; `frames` and `render` write;
`published` keeps what a board needs small enough to commit; `check` looks whether all of that still holds; `comparison`
sets two runs side by side.
"""

from harness.leaderboard.board import Board, Row, TaskResult, TaskSummary, build
from harness.leaderboard.check import check_published
from harness.leaderboard.choice import FULL, Cell, Unit
from harness.leaderboard.comparison import Arm, Comparison, Difference, compare
from harness.leaderboard.estimate import Estimate, bootstrap_seed
from harness.leaderboard.features import find_shown
from harness.leaderboard.frames import to_csv, to_frame
from harness.leaderboard.published import PublishedRun, find_published, find_results, publish
from harness.leaderboard.render import remove, to_markdown, write

__all__ = [
    "FULL",
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
    "to_csv",
    "to_frame",
    "to_markdown",
    "write",
]
