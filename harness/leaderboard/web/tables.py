"""Tables of the page: rows, results task by task, and the ablation, as columns of plain values.

A table is sorted, filtered and drawn in the browser. Values are those of the CSV files: numbers to six digits, texts on
one line. Texts that occur often are written once, and their places in the table are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.api.text import plain_line, shorten
from harness.leaderboard.board import Board, Row, TaskResult
from harness.leaderboard.pages.frames import (
    ablation_line,
    choice_of,
    join,
    result_line,
    row_line,
)
from harness.leaderboard.pages.markdown import NONE, span
from harness.leaderboard.plugins import PluginsBehind, write_plugins
from harness.leaderboard.web.commands import Commands
from harness.leaderboard.web.overview import kind_of

Look = Literal["text", "score", "difference", "number", "count", "bytes", "flags", "outcome"]
"""Drawing of the cells of a column: scores and differences have their interval in the columns `low` and `high`."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a table. `low` and `high` name the columns of its interval, `first` says that it is shown at first,
    `filter` that its values can be chosen from; `about` is a sentence.
    """

    key: str
    title: str
    look: Look = "text"
    low: str = ""
    high: str = ""
    first: bool = False
    filter: bool = False
    about: str = ""


_BESIDE = ("command", "plugins")
"""Texts of a line beside its columns, each of several lines."""

GROUP = "group"
"""Column that says which rows are ranked together: only one of its values is shown at a time."""

_ARM = (
    Column(key="model", title="model", first=True, filter=True),
    Column(key="representation", title="representation", first=True, filter=True),
    Column(key="kind", title="kind", filter=True, about="Hidden states, dictionary, control, or no model."),
    Column(key="width", title="width", look="count", first=True, filter=True),
)

_SCORE = Column(
    key="macro_f1",
    title="macro-F1",
    look="score",
    low="macro_f1_low",
    high="macro_f1_high",
    first=True,
    about="On test rows, with its 95 % interval.",
)

_DELTA = Column(
    key="delta_vs_hidden",
    title="Δ hidden",
    look="difference",
    low="delta_vs_hidden_low",
    high="delta_vs_hidden_high",
    first=True,
    about="Minus the selected hidden states of the same model, paired. The bar is the 95 % interval; the line is 0.",
)

_MATCHED = Column(
    key="delta_matched",
    title="Δ matched",
    look="difference",
    low="delta_matched_low",
    high="delta_matched_high",
    about="Minus hidden states at the row's own site and pooling, paired.",
)

_CHOICE = (
    Column(key="site", title="site", filter=True),
    Column(key="tokens", title="tokens", filter=True),
    Column(key="pooling", title="pooling", filter=True),
    Column(key="transform", title="transform", filter=True),
    Column(key="classifier", title="classifier", filter=True),
)

_FLAGS = Column(key="flags", title="flags", look="flags", first=True)

_ROWS = (
    Column(
        key="places",
        title="rank",
        first=True,
        about="The range of places that noise leaves for these tasks.",
    ),
    *_ARM,
    _SCORE,
    _DELTA,
    Column(
        key="won",
        title="won",
        look="count",
        first=True,
        about="Better, Holm-adjusted p below .05.",
    ),
    Column(key="tied", title="tied", look="count", first=True),
    Column(key="lost", title="lost", look="count", first=True),
    _MATCHED,
    Column(key="auroc", title="AUROC", look="number"),
    Column(key="accuracy", title="accuracy", look="number"),
    Column(key="ties", title="tie groups", about="Rows that share a number are not told apart."),
    Column(
        key="places_over_tasks",
        title="rank over tasks",
        about="The interval of the rank for tasks like these: tasks are drawn anew, too.",
    ),
    *_CHOICE,
    Column(key="n_tasks", title="tasks", look="count"),
    Column(key="reads", title="reads", filter=True, about="Texts or images."),
    Column(
        key="tried",
        title="tried",
        look="count",
        about="Configurations that each choice was made from, at most.",
    ),
    Column(key="seeds", title="seeds", look="count"),
    Column(key="seed_sd", title="seed sd", look="number"),
    Column(key="repeat_largest", title="largest repeat difference", look="number"),
    Column(key="tokens_per_s", title="tokens/s", look="count"),
    Column(
        key="seconds",
        title="seconds",
        look="count",
        about="Of the forward pass that made the row's features.",
    ),
    Column(key="peak_memory", title="peak memory", look="bytes"),
    Column(
        key="fidelity", title="fidelity", filter=True, about="Whether the dictionary fits its activations."
    ),
    Column(key="explained_variance", title="explained variance", look="number"),
    Column(key="l0", title="L0", look="number"),
    Column(key="published_l0", title="published L0", look="number"),
    Column(key="dictionary", title="dictionary"),
    Column(key="suite", title="suite", filter=True),
    _FLAGS,
)

_RESULTS = (
    Column(key="task", title="task", first=True, filter=True),
    Column(key="train_language", title="trained in", filter=True),
    Column(key="test_language", title="language", filter=True),
    Column(key="regime", title="regime", filter=True),
    *_ARM,
    _SCORE,
    _DELTA,
    Column(key="outcome", title="outcome", look="outcome", first=True, filter=True),
    Column(key="p_value", title="p", look="number", first=True, about="Holm-adjusted over the row's tasks."),
    Column(
        key="detectable",
        title="detectable",
        look="number",
        about="The true difference that this test set would show with probability .8.",
    ),
    _MATCHED,
    Column(key="auroc", title="AUROC", look="number"),
    Column(key="accuracy", title="accuracy", look="number"),
    Column(
        key="chance", title="chance", look="number", about="Macro-F1 of guessing every class equally often."
    ),
    Column(key="n_test", title="test rows", look="count", first=True),
    *_CHOICE,
    Column(key="modality", title="modality", filter=True),
    Column(key="seeds", title="seeds", look="count"),
    _FLAGS,
)

_ABLATION = (
    Column(key="axis", title="axis", first=True, filter=True),
    Column(key="value", title="value", first=True, filter=True),
    *_ARM,
    _SCORE,
    _DELTA,
    Column(
        key="compared_with",
        title="compared with",
        about="Hidden states at the value; or, where they have none there, those chosen over all values.",
    ),
    Column(key="validation_macro_f1", title="validation macro-F1", look="number", first=True),
    Column(key="auroc", title="AUROC", look="number"),
    Column(key="n_tasks", title="tasks", look="count"),
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of the page: its columns, and the lines, each a mapping of values by key."""

    name: str
    title: str
    about: str
    columns: tuple[Column, ...]
    lines: tuple[Mapping[str, Any], ...]

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """Columns that have a value in some line."""
        return tuple(
            one
            for one in self.columns
            if any(line.get(one.key) not in (None, "", NONE) for line in self.lines)
        )


@dataclass(frozen=True, kw_only=True)
class Behind:
    """Commands that make the rows of a board, and the plugins behind them."""

    commands: Commands
    plugins: PluginsBehind

    def describe(self, row: Row, result: TaskResult | None = None) -> dict[str, str]:
        """Return what a line says beside its columns, of a whole row or of one result."""
        return {
            "command": self.commands.run_row(row, result),
            "plugins": write_plugins(self.plugins.find(row.cells if result is None else result.cells)),
        }


def make_tables(board: Board, groups: Sequence[str], behind: Behind) -> tuple[Table, ...]:
    """Return the tables of a board that have lines; `groups` are the names of its groups, in their order."""
    tables = (
        Table(
            name="rows",
            title="All rows",
            about="Each row's site, pooling, transform and classifier were chosen on validation; scores are means over"
            " tasks, on test.",
            columns=_ROWS,
            lines=tuple(_row_lines(board, groups, behind)),
        ),
        Table(
            name="results",
            title="Task by task",
            about="One line for each row and task. Select a task, a language or a model: the address of this page then"
            " leads back to the selection.",
            columns=_RESULTS,
            lines=tuple(_result_lines(board, groups, behind)),
        ),
        Table(
            name="ablation",
            title="Ablation",
            about="Every row at every value of what was searched, chosen on validation at that value. This describes"
            " the search and is no leaderboard: to take a row at its best value would be to choose on test.",
            columns=_ABLATION,
            lines=tuple(_ablation_lines(board, groups, behind)),
        ),
    )
    return tuple(table for table in tables if table.lines)


def encode(table: Table) -> dict[str, Any]:
    """Return a table for the browser: its columns, and the values of each as a list, or as numbers of `texts`."""
    known = table.known_columns
    keys = dict.fromkeys(
        [GROUP, *(key for one in known for key in (one.key, one.low, one.high) if key), *_BESIDE]
    )
    return {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "columns": [{name: value for name, value in asdict(one).items() if value} for one in known],
        "n": len(table.lines),
        "values": {
            key: _encode([line.get(key) for line in table.lines])
            for key in keys
            if key != "plugins" or any(line.get(key) for line in table.lines)
        },
    }


def _encode(values: Sequence[Any]) -> Any:
    if any(isinstance(value, str) for value in values):
        texts = {
            text: number for number, text in enumerate(dict.fromkeys("" if v is None else v for v in values))
        }
        return {"texts": list(texts), "at": [texts["" if value is None else value] for value in values]}
    return [round(value, 6) if isinstance(value, float) else value for value in values]


def _row_lines(board: Board, groups: Sequence[str], behind: Behind) -> Iterator[dict[str, Any]]:
    for name, group in zip(groups, board.groups, strict=True):
        for row in group.rows:
            line = row_line(row)
            line |= {"delta_vs_hidden_low": line["delta_low"], "delta_vs_hidden_high": line["delta_high"]}
            yield _clean(
                {
                    **line,
                    GROUP: name,
                    "places": span(row.rank, row.last_rank),
                    "places_over_tasks": span(*(row.rank_interval or (None, None))),
                    "kind": kind_of(row),
                    "reads": row.reads,
                    **behind.describe(row),
                }
            )


def _result_lines(board: Board, groups: Sequence[str], behind: Behind) -> Iterator[dict[str, Any]]:
    for name, group in zip(groups, board.groups, strict=True):
        for row in group.rows:
            others = [one for one in row.others if not one.unit.is_across]
            for result in (*row.results, *others, *row.below):
                yield _clean({**_result(row, result, behind), GROUP: name})


def _result(row: Row, result: TaskResult, behind: Behind) -> dict[str, Any]:
    records = [cell.record for cell in result.cells]
    flags = dict.fromkeys((*result.flags, *(flag for record in records for flag in record.flags)))
    return {
        **result_line(row, result),
        "kind": kind_of(row),
        "train_language": result.unit.train_language,
        "test_language": result.unit.test_language,
        "regime": result.regime,
        "modality": records[0].modality,
        **{axis: join(getattr(cell.choice, axis) for cell in result.cells) for axis in choice_of(row)},
        **{metric: _mean([cell.metric(metric) for cell in result.cells]) for metric in ("auroc", "accuracy")},
        "chance": result.chance,
        "n_test": result.n_test,
        "seeds": len(result.cells),
        "flags": ", ".join(flags),
        **behind.describe(row, result),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return sum(value for value in known if value is not None) / len(known) if None not in known else None


def _ablation_lines(board: Board, groups: Sequence[str], behind: Behind) -> Iterator[dict[str, Any]]:
    rows = {row.key: row for row in board.rows}
    for name, group in zip(groups, board.groups, strict=True):
        told = {row.key: behind.commands.run_row(row) for row in group.rows}
        for one in board.ablation:
            if one.row in told:
                yield _clean(
                    {
                        **ablation_line(one),
                        "kind": kind_of(rows[one.row]),
                        GROUP: name,
                        "command": told[one.row],
                    }
                )


def _clean(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line whose texts are one line each, without hidden characters and of a bounded length."""
    return {key: _clean_text(key, value) if isinstance(value, str) else value for key, value in line.items()}


def _clean_text(key: str, text: str) -> str:
    if key in _BESIDE:  # whole, on as many lines as it has
        return "\n".join(map(plain_line, text.split("\n")))
    return plain_line(shorten(text))
