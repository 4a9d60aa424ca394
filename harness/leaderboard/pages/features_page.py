"""Page of the most influential features of a board's classifiers, for each row and task.

A weight describes a classifier, not the meaning of a feature: correlated features share a weight, and another seed may
divide it otherwise. The page of a run has beginnings of training texts and links to pictures; a published page has
neither.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote as quote_address

from harness.leaderboard.board import Board, Row
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.markdown import NONE
from harness.leaderboard.selection import Cell
from harness.probing.attribution import TopFeature
from harness.runs.layout import place_confusion, place_sheet

TASKS = 20
"""Most tasks shown for a row."""

FEATURES = 3
"""Number of features shown for a cell: those with the largest effect."""


def page(board: Board, *, title: str, folder: Path | None = None) -> str:
    """Return leaderboard-features.md: a table for each row whose cells name features, with links to the pictures in the
    cells' run folders; "" where there is neither. `folder` is that of the page: without one there are no links.
    """
    shown = [(row, _cells(row), _pictured(row, folder)) for row in board.rows]
    known = [(row, cells, pictured) for row, cells, pictured in shown if cells or pictured]
    if not known:
        return ""
    texts = any(
        used.snippets for _, cells, _ in known for cell in cells.values() for used in cell.record.used
    )
    images = any(_has_sheets(cells, folder) for _, cells, _ in known)
    parts = [
        f"# What classifiers go by: {title}",
        f"Of the cell that each row goes by (the first seed) the {FEATURES} features whose weight, times the feature's"
        " deviation in training, is largest: its number in the representation, the class it speaks for, its weight for"
        " that class, its mean pooled value by class"
        + (", and the beginning of the training text in which it is highest." if texts else ".")
        + " *Images* are the training images in which it is highest, and where in them." * images
        + " A weight says what a classifier does, not what a feature means. The rows are those of"
        " [leaderboard.md](leaderboard.md).",
    ]
    for row, cells, pictured in known:
        parts.append(f"## {markdown.escape(markdown.name_arm(row.key))}")
        if pictured:
            parts.append(f"Labels and predictions: {', '.join(pictured)}.")
        header = ["task", "feature", "class", "weight", "mean by class"] + ["text"] * texts
        lines = [
            [markdown.escape(task), *_line(cell, used, texts, folder)]
            for task, cell in cells.items()
            for used in cell.record.used[:FEATURES]
        ]
        if lines:
            parts.append(markdown.table_of_markdown(header, lines))
        if max(len(cells), len(pictured)) == TASKS < len(row.results):
            parts.append(f"The first {TASKS} of its {len(row.results)} tasks.")
    return markdown.join(*parts)


def is_pictured(board: Board, folder: Path | None) -> bool:
    """Return whether the page in `folder` has a link to a picture."""
    return any(_pictured(row, folder) or _has_sheets(_cells(row), folder) for row in board.rows)


def displayed_cell_ids(board: Board) -> frozenset[str]:
    """Return the ids of the cells on the page."""
    return frozenset(cell.record.cell_id for row in board.rows for cell in _first_cells(row).values())


def _first_cells(row: Row) -> dict[str, Cell]:
    """Return the row's cell with the lowest seed, by task."""
    return {result.task: min(result.cells, key=lambda cell: cell.record.seed) for result in row.results}


def _cells(row: Row) -> dict[str, Cell]:
    """Return the first TASKS of these cells that name features."""
    known = [(task, cell) for task, cell in _first_cells(row).items() if cell.record.used]
    return dict(known[:TASKS])


def _pictured(row: Row, folder: Path | None) -> list[str]:
    """Return links to the confusion matrices of the row's tasks."""
    cells = _first_cells(row).items()
    links = [_link(task, place_confusion(cell.run.path, cell.record.cell_id), folder) for task, cell in cells]
    return [link for link in links if link][:TASKS]


def _line(cell: Cell, used: TopFeature, texts: bool, folder: Path | None) -> list[str]:
    number = markdown.link(str(used.feature), used.link)
    line = [
        " ".join(filter(None, (number, _link_sheet(cell, used, folder)))),
        markdown.escape(used.label),
        _number(used.weight),
        _means(used.means),
    ]
    return [*line, markdown.quote(used.snippets[0]) if used.snippets else NONE] if texts else line


def _has_sheets(cells: Mapping[str, Cell], folder: Path | None) -> bool:
    return any(
        _link_sheet(cell, used, folder) for cell in cells.values() for used in cell.record.used[:FEATURES]
    )


def _link_sheet(cell: Cell, used: TopFeature, folder: Path | None) -> str:
    return _link("images", place_sheet(cell.run.path, cell.record.cell_id, used.feature), folder)


def _link(text: str, picture: Path, folder: Path | None) -> str:
    """Return a link from `folder` to a picture; "" where there is no such picture."""
    if folder is None or not picture.is_file():
        return ""
    address = quote_address(Path(os.path.relpath(picture, folder)).as_posix())
    return f"[{markdown.quote(text, longest=200)}]({address})"


def _means(means: Mapping[str, float]) -> str:
    """Return the highest three, then an ellipsis."""
    highest = sorted(means.items(), key=lambda pair: -pair[1])[:3]
    said = [f"{markdown.escape(name)} {_number(value)}" for name, value in highest]
    return ", ".join(said + ["…"] * (len(means) > 3)) or NONE


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
