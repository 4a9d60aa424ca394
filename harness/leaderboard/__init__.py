"""Records in, a ranked table out. Nothing here runs a model.

A row is (model, representation, width). `choice` finds the cell each row goes by, on validation alone;
`estimate` scores those cells on test with shared resamples; `board` compares and ranks; `controls` sets hidden
states against what should know less; `render` writes; `published` keeps what a board needs small enough to commit;
`check` looks whether all of that still holds; `comparison` sets two runs side by side.
"""

from harness.leaderboard.board import Board, Row, TaskResult, TaskSummary, build
from harness.leaderboard.check import check_published
from harness.leaderboard.choice import Cell, Unit
from harness.leaderboard.comparison import Arm, Comparison, Difference, compare
from harness.leaderboard.estimate import Estimate, bootstrap_seed
from harness.leaderboard.published import PublishedRun, find_published, find_results, publish
from harness.leaderboard.render import remove, to_csv, to_frame, to_markdown, write

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
    "publish",
    "remove",
    "to_csv",
    "to_frame",
    "to_markdown",
    "write",
]
