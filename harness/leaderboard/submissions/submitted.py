"""Runs of a submission beside those of its board, and the words of findings on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.leaderboard.published.store import PublishedRun
from harness.leaderboard.selection import Cell, Unit
from harness.leaderboard.submissions.files import Entry
from harness.runs.record import Record
from harness.validation.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Runs of a submission, and those that are published on its board already."""

    entries: tuple[Entry, ...]
    published: tuple[PublishedRun, ...]
    references: tuple[Cell, ...]
    """Cells of the board that ended well."""

    @classmethod
    def beside(cls, published: Sequence[PublishedRun], entries: Sequence[Entry]) -> Submitted:
        """Return runs of a submission beside those of a board. Raise UnavailableError when the board cannot be read,
        which is no finding on the submission.
        """
        return cls(entries=tuple(entries), published=tuple(published), references=tuple(_cells(published)))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Cells of the submission that ended well."""
        return tuple(_cells(entry.run for entry in self.entries))


def _cells(runs: Iterable[PublishedRun]) -> Iterator[Cell]:
    for run in runs:
        for record in run.records():
            if record.status == "ok":
                yield Cell(record=record, run=run)


def fault(sentence: str) -> Finding:
    return Finding("fault", sentence)


def note(sentence: str) -> Finding:
    return Finding("note", sentence)


def find_unlike(
    submitted: Submitted, what: str, identify: Callable[[Record], Mapping[str, tuple[object, str | None]]]
) -> Iterator[str]:
    """Yield a sentence for each name that stands for one thing on the board and for another in the submission."""
    known: dict[tuple[str, object], str] = {}
    for cell in submitted.references:
        for said, (name, value) in identify(cell.record).items():
            if value is not None:
                known[said, name] = value
    told = (
        f"{said} than on the board: it needs a name of its own, or the {what} of the board"
        for cell in submitted.cells
        for said, (name, value) in identify(cell.record).items()
        if value is not None and known.get((said, name), value) != value
    )
    yield from dict.fromkeys(told)


def name_place(unit: Unit, seed: int) -> str:
    languages = unit.test_language if not unit.is_across else f"{unit.train_language}→{unit.test_language}"
    return f"task '{unit.task}' ({languages}), regime '{unit.regime}', seed {seed}"


def name_cell(cell: Cell) -> str:
    record = cell.record
    return f"'{' '.join(filter(None, (record.model, record.representation)))}'"
