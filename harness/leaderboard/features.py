"""A Board in, what the classifiers of its rows go by out: for each row and task the features that weigh most.

A weight says what a classifier does, not what a feature means: features that go together share a weight, and another
seed may divide it otherwise. Beginnings of training texts are in a run's own page; what is published has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.leaderboard import markdown
from harness.leaderboard.board import Board, Row
from harness.leaderboard.markdown import NONE
from harness.records import Record, Used

TASKS = 20
"""Of more tasks a row's first are shown."""

FEATURES = 3
"""Of a cell, the ones with the largest effect."""


def page(board: Board, *, title: str) -> str:
    """leaderboard-features.md: a table for each row of whose cells it is known; "" where it is of none."""
    known = [(row, records) for row in board.rows if (records := _records(row))]
    if not known:
        return ""
    texts = any(used.snippets for _, records in known for record in records.values() for used in record.used)
    parts = [
        f"# What classifiers go by: {title}",
        f"Of the cell that each row goes by (the first seed) the {FEATURES} features whose weight, times the feature's"
        " deviation in training, is largest: its number in the representation, the class it speaks for, its weight for"
        " that class, its mean pooled value by class"
        + (", and the beginning of the training text in which it is highest." if texts else ".")
        + " A weight says what a classifier does, not what a feature means. The rows are those of"
        " [leaderboard.md](leaderboard.md).",
    ]
    for row, records in known:
        name = " ".join(filter(None, (row.model, row.representation, str(row.width or ""))))
        header = ["task", "feature", "class", "weight", "mean by class"] + ["text"] * texts
        lines = [
            [markdown.escape(task), *_line(used, texts)]
            for task, record in records.items()
            for used in record.used[:FEATURES]
        ]
        parts += [f"## {markdown.escape(name)}", markdown.table_of_markdown(header, lines)]
        if len(records) == TASKS < len(row.results):
            parts.append(f"The first {TASKS} of its {len(row.results)} tasks.")
    return "\n\n".join(parts) + "\n"


def _records(row: Row) -> dict[str, Record]:
    """By task, the record of the row's cell with the lowest seed, where it says what was used."""
    first = {
        result.task: min((cell.record for cell in result.cells), key=lambda record: record.seed)
        for result in row.results
    }
    known = [(task, record) for task, record in first.items() if record.used]
    return dict(known[:TASKS])


def _line(used: Used, texts: bool) -> list[str]:
    line = [
        markdown.link(str(used.feature), used.link),
        markdown.escape(used.label),
        _number(used.weight),
        _means(used.means),
    ]
    return [*line, markdown.quote(used.snippets[0]) if used.snippets else NONE] if texts else line


def _means(means: Mapping[str, float]) -> str:
    """The highest three, then an ellipsis."""
    highest = sorted(means.items(), key=lambda pair: -pair[1])[:3]
    said = [f"{markdown.escape(name)} {_number(value)}" for name, value in highest]
    return ", ".join(said + ["…"] * (len(means) > 3)) or NONE


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
