"""Arms of a group of rows that are ranked together: their names, looks and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.api.names import short_names
from harness.leaderboard.board import Board, Row, TaskResult
from harness.leaderboard.plots.chart import SERIES, Line, Style
from harness.leaderboard.plots.texts import clean, count
from harness.leaderboard.selection import RowKey, group_by

HIDDEN_COLOUR = "#7a7a7a"
"""Colour of hidden states in every plot, and of nothing else: it is read on white and on black."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours by Okabe and Ito, told apart by readers who are colour-blind; without black and yellow, which are not seen on
a dark and on a white page.
"""

MARKS = "osD^vPX*"
LINES: tuple[Line, ...] = ("solid", (0, (5, 2)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
NO_MODEL_LINE: Line = (0, (1, 1.5))

NO_MODEL = "without a model"


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Rows of one kind of models, and of one modality where a board has two, with the arms without a model.

    `suffix` is the end of the names of their plots, `kind` says in words what they are.
    """

    board: Board
    rows: tuple[Row, ...]
    suffix: str
    kind: str

    @property
    def of_models(self) -> tuple[Row, ...]:
        """Rows with a model and a score, by rank."""
        return tuple(row for row in self.rows if row.model is not None and row.macro_f1 is not None)

    @cached_property
    def by_key(self) -> dict[RowKey, Row]:
        """Rows by key."""
        return {row.key: row for row in self.rows}

    @cached_property
    def hidden_widths(self) -> dict[str, int]:
        """Width of the hidden states by model, the least first: its size. A model without a baseline has none."""
        found: dict[str, int] = {}
        for row in self.rows:
            if row.is_baseline and row.model is not None and row.width:
                found[row.model] = min(row.width, found.get(row.model, row.width))
        return dict(sorted(found.items(), key=lambda pair: (pair[1], pair[0])))

    @cached_property
    def models(self) -> list[str]:
        """Models by size, those of unknown size last."""
        every = dict.fromkeys(row.model for row in self.rows if row.model is not None)
        sizes = self.hidden_widths
        return sorted(every, key=lambda model: (sizes.get(model, 1 << 62), model))

    @cached_property
    def _short(self) -> dict[str, str]:
        return short_names(row.model for row in self.board.rows if row.model)

    @cached_property
    def _short_representations(self) -> dict[str, str]:
        return short_names(row.representation for row in self.board.rows)

    def model(self, row: Row) -> str:
        """Return the model's name, or that there is none."""
        return self.name_model(row.model) if row.model else NO_MODEL

    def name_model(self, model: str) -> str:
        """Return a model's name as it is shown."""
        return clean(self._short.get(model, model))

    def label(self, row: Row) -> str:
        """Return the name of a row within its model: the representation, with its width where another has the same
        name.
        """
        name = clean(self._short_representations[row.representation])
        return f"{name}, {row.width:,}" if len(self._twins(row)) > 1 and row.width else name

    def twin(self, row: Row) -> int:
        """Return which of the rows of its model and representation it is, by width."""
        return self._twins(row).index(row.width or 0)

    def _twins(self, row: Row) -> list[int]:
        return self._widths[row.model, row.representation]

    @cached_property
    def _widths(self) -> dict[tuple[str | None, str], list[int]]:
        """Widths of the rows of each model and representation, the least first."""
        same = group_by(self.rows, lambda row: (row.model, row.representation))
        return {name: sorted(row.width or 0 for row in rows) for name, rows in same.items()}

    def name(self, row: Row) -> str:
        """Return the name of a row among all."""
        return f"{self.model(row)} {self.label(row)}" if row.model else self.label(row)

    def role(self, row: Row) -> str:
        """Return a representation's name with `‹model›` in place of its own model's: what stands for the same in models
        that each have a dictionary of their own.
        """
        name = self._short_representations[row.representation]
        base = self._short.get(row.model or "", "").partition("[")[0]
        return re.sub(rf"(?<!\w){re.escape(base)}(?!\w)", "‹model›", name) if base else name

    def family(self, row: Row) -> str:
        """Return the role without its parameters."""
        return self.role(row).partition("[")[0] or self.role(row)

    @cached_property
    def _colours(self) -> dict[str, str]:
        """Colours by family, the same in every plot of a board."""
        families = dict.fromkeys(self.family(row) for row in self.board.rows if not row.is_baseline)
        return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(families)}

    @cached_property
    def _places(self) -> dict[RowKey, int]:
        return {row.key: place for place, row in enumerate(self.rows)}

    def style(self, row: Row) -> Style:
        """Return the look of a row: the colour is its representation's, the line its model's, the mark its own."""
        place = self._places[row.key]
        return Style(
            colour=HIDDEN_COLOUR if row.is_baseline else self._colours[self.family(row)],
            mark=MARKS[place % len(MARKS)],
            filled=place // len(MARKS) % 2 == 0,
            line=NO_MODEL_LINE if row.model is None else LINES[self.models.index(row.model) % len(LINES)],
        )

    def best(self, rows: Iterable[Row], most: int = SERIES) -> tuple[list[Row], str]:
        """Return at most so many of the rows: the best by rank, and the hidden states of the best of them; and what is
        said of the others.
        """
        wanted = {row.key for row in rows}
        found = [row for row in self.rows if row.key in wanted]
        if len(found) <= most:
            return found, ""
        first = next((row.model for row in found if row.model is not None), None)
        kept = {row.key for row in found if row.is_baseline and row.model == first}
        kept |= {row.key for row in [one for one in found if one.key not in kept][: most - len(kept)]}
        return [row for row in found if row.key in kept], (
            f"{len(kept)} of {count(len(found), 'arm')} are shown: the best by rank, and hidden states of the model"
            " that is the best of them."
        )

    def by_model(self, rows: Iterable[Row]) -> list[Row]:
        """Return rows below one another by model, arms without a model last."""
        order = {model: place for place, model in enumerate(self.models)}
        return sorted(rows, key=lambda row: (order.get(row.model or "", len(order)), self._places[row.key]))

    def subtitle(self, *parts: str) -> str:
        """Return what the numbers are of, in words."""
        suites = clean(", ".join(self.board.suites))
        return "; ".join(filter(None, (suites, self.kind, *parts)))


def find_arms(board: Board) -> Iterator[Arms]:
    """Yield the arms of each kind of models, and of each modality where a board has two: no plot shows two kinds."""
    for group in board.groups:
        by_modality = group_by(group.rows, lambda row: row.reads) if board.is_mixed else {"": group.rows}
        for reads, rows in by_modality.items():
            if not any(row.model is not None for row in rows):
                continue
            suffix = "-toys" * group.of_toys + (f"-{'-'.join(reads.split())}" if reads else "")
            kinds = ["toy models (trained here)"] * group.of_toys + [f"tasks of {reads}"] * bool(reads)
            yield Arms(board=board, rows=tuple(rows), suffix=suffix, kind=", ".join(kinds))


def count_tests(results: Sequence[TaskResult]) -> str:
    """Return of how many tasks and test rows a mean is."""
    return f"{count(len(results), 'task')}, {count(sum(one.n_test for one in results), 'test row')}"


def count_all(rows: Iterable[Row]) -> str:
    """Return how many tasks and test rows ranked scores are of, over all rows."""
    return count_tests(list({one.task: one for row in rows for one in row.results}.values()))
