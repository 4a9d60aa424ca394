"""Leaderboards: a ranked table of (model, representation, width) rows. No model is run here.

Records and predictions of runs enter; a board, its pages and published files leave. `selection` chooses each row's
cells on validation, `scoring` scores them on test with shared resamples, `build` compares and ranks. `analyses/` answer
one further question each; `pages/`, `plots/` and `web/` write a board, and `files` puts it into a folder. `published/`
stores and checks what is needed to build one again, `submissions/` takes it from others, `upload/` and `exports/` pass
it on.
"""

from harness.leaderboard.analyses.comparison import Comparison, Difference, compare
from harness.leaderboard.board import Board, Row
from harness.leaderboard.build import build
from harness.leaderboard.files import remove, write
from harness.leaderboard.pages.board_page import to_markdown
from harness.leaderboard.pages.features_page import displayed_cell_ids
from harness.leaderboard.pages.frames import to_csv, to_frame
from harness.leaderboard.published.check import check_published
from harness.leaderboard.published.store import (
    PublishedRun,
    find_all_results,
    find_published,
    find_results,
    publish,
    replace_published,
)

__all__ = [
    "Board",
    "Comparison",
    "Difference",
    "PublishedRun",
    "Row",
    "build",
    "check_published",
    "compare",
    "displayed_cell_ids",
    "find_all_results",
    "find_published",
    "find_results",
    "publish",
    "remove",
    "replace_published",
    "to_csv",
    "to_frame",
    "to_markdown",
    "write",
]
