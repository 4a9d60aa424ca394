"""Cells in, the one each row goes by out: chosen by validation macro-F1. Test results are not read here."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from harness.api.errors import NothingSelectedError, UnavailableError
from harness.api.specs import Natural
from harness.runs.record import Record, Results

BySeed = Mapping[int, "Cell"]


@dataclass(frozen=True, kw_only=True, order=True)
class Unit:
    """What counts as one task on a board: a task's version, trained in one language, tested in one; the other task
    whose rows it was trained on, if it was; and the regime that it was learnt under, with the model on whose features
    it was learnt where that is another.
    """

    task: str
    version: int
    train_language: str
    test_language: str
    trained_on: str = ""
    regime: str
    natural: Natural | None = field(compare=False)  # follows from the regime, and None has no order

    @property
    def is_across(self) -> bool:
        """Whether it is tested in another language than it was learnt in, or learnt in more than it is tested in."""
        return self.train_language != self.test_language


@dataclass(frozen=True, kw_only=True)
class RowKey:
    """What makes a row; the width of an arm without a model may differ between tasks and is left out."""

    model: str | None
    representation: str
    width: int | None


class Choice(NamedTuple):
    """What is chosen on validation; empty where there is none."""

    site: str
    pooling: str
    transform: str
    classifier: str
    tokens: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A record and the run its predictions lie in."""

    record: Record
    run: Results

    @cached_property
    def unit(self) -> Unit:
        """The task the cell belongs to."""
        record = self.record
        return Unit(
            task=record.task,
            version=record.task_version,
            train_language=record.train_language,
            test_language=record.test_language,
            trained_on=record.trained_on or "",
            regime=_name_regime(record),
            natural=record.natural if record.learnt_on is None else None,
        )

    @cached_property
    def row(self) -> RowKey:
        """The row the cell belongs to."""
        record = self.record
        width = None if record.model is None else record.width
        return RowKey(model=record.model, representation=record.representation, width=width)

    @cached_property
    def choice(self) -> Choice:
        """Where the cell stands in what was searched."""
        record = self.record
        return Choice(
            site=record.site or "",
            pooling=record.pooling or "",
            transform=record.transform,
            classifier=record.classifier,
            tokens=(record.tokens or "") if record.model is not None else "",
        )


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The cells that a board goes by: of each row, and of each model's hidden states over all its sites."""

    selected: Mapping[RowKey, Mapping[Unit, BySeed]]
    hidden: Mapping[str, Mapping[Unit, BySeed]]
    baselines: Set[RowKey]
    _hidden_cells: Mapping[tuple[object, ...], Cell]

    def hidden_for(self, row: RowKey, unit: Unit) -> BySeed:
        """The selected hidden cells of the row's model; none for a row that is hidden or has no model."""
        if row.model is None or row in self.baselines:
            return {}
        return self.hidden.get(row.model, {}).get(unit, {})

    def matched_for(self, row: RowKey, unit: Unit) -> BySeed:
        """The hidden cells at the row's own choice, where there are any."""
        if row.model is None or row in self.baselines:
            return {}
        own = self.selected[row][unit]
        matched = {seed: self._hidden_cells.get(_place(cell)) for seed, cell in own.items()}
        return {seed: cell for seed, cell in matched.items() if cell is not None}

    def budget(self, row: RowKey) -> set[tuple[Unit, Choice, int]]:
        """Task, choice and seed of every hidden cell of the row's model; none for an arm without a model."""
        hidden = self._hidden_cells.values()
        return {
            (cell.unit, cell.choice, cell.record.seed) for cell in hidden if cell.record.model == row.model
        }

    def cells(self, unit: Unit) -> list[Cell]:
        """Every cell of a task that the board needs, each once."""
        needed: dict[str, Cell] = {}
        for row, units in self.selected.items():
            if unit in units:
                arms = (units[unit], self.hidden_for(row, unit), self.matched_for(row, unit))
                needed |= {cell.record.cell_id: cell for arm in arms for cell in arm.values()}
        return list(needed.values())

    def units(self) -> list[Unit]:
        """The tasks of the board, in order."""
        return sorted({unit for tasks in self.selected.values() for unit in tasks})

    @cached_property
    def main_units(self) -> Sequence[Unit]:
        """Those that rows are ranked by: learnt under the regime `full`; where none is, every language by itself
        (`native`, else whatever was learnt and tested in the same); all where there is no such thing either.
        """
        units = self.units()
        return (
            [unit for unit in units if unit.natural == "task"]
            or [unit for unit in units if unit.natural == "language"]
            or [unit for unit in units if not unit.is_across]
            or units
        )


def read_cells(runs: Sequence[Results]) -> list[Cell]:
    """Each cell of the runs once: the last that ended well and has its predictions (of a published run not all do),
    else the last that ended well, else the last. NothingSelectedError when none ended well.
    """
    cells: dict[str, Cell] = {}
    for run in runs:
        for record in run.records():
            cell = Cell(record=record, run=run)
            before = cells.get(record.cell_id)
            if before is None or _replaces(cell, before):
                cells[record.cell_id] = cell
    if not any(cell.record.status == "ok" for cell in cells.values()):
        places = ", ".join(f"'{run.path}'" for run in runs) or "no run"
        raise NothingSelectedError(f"{places}: none of {len(cells)} cells ended well, so there is no board")
    return list(cells.values())


def check_consistent(cells: Iterable[Cell]) -> None:
    """UnavailableError when one name stands for two things: a task for other rows, a model or a dictionary for
    other weights, a pooling, transform or classifier for another revision or grid. Comparing them would compare
    what is not the same.
    """
    known: dict[tuple[object, ...], tuple[str | None, Cell]] = {}
    for cell in cells:
        record, choice = cell.record, cell.choice
        for what, name, value in (
            (f"task '{record.task}' has other data", ("task", cell.unit), record.data),
            (
                f"model '{record.model}' has other weights",
                ("model", record.model, record.site),
                record.model_hash,
            ),
            (
                f"representation '{record.representation}' is another one",
                ("representation", record.model, record.site, record.representation),
                record.representation_hash,
            ),
            (
                f"'{' '.join(filter(None, choice[1:4]))}' stands for another revision or grid",
                ("protocol", choice.pooling, choice.transform, choice.classifier),
                record.protocol_hash,
            ),
        ):
            before, first = known.setdefault(name, (value, cell))
            if value is not None and before is not None and value != before:
                raise UnavailableError(
                    f"{what} in '{cell.run.path}' than in '{first.run.path}', so there is no common board"
                )


def choose(cells: Iterable[Cell]) -> Choices:
    """For each row, task and seed the cell with the best validation macro-F1 over sites × poolings ×
    transforms × classifiers × token sets. A tie goes to the first by site, pooling, transform, classifier,
    tokens, in natural order.
    """
    return _take_first(_by_preference(cells))


def choose_by_value(cells: Iterable[Cell]) -> dict[tuple[str, str], Choices]:
    """The same choices among the cells that have one value on one axis of what is searched, by axis and value: of
    every axis that has more than one.
    """
    ordered = _by_preference(cells)
    found: dict[tuple[str, str], Choices] = {}
    for axis in Choice._fields:
        by_value: dict[str, list[Cell]] = defaultdict(list)
        for cell in ordered:
            by_value[getattr(cell.choice, axis)].append(cell)
        by_value.pop("", None)
        if len(by_value) > 1:
            for value in sorted(by_value, key=in_natural_order):
                found[axis, value] = _take_first(by_value[value])
    return found


def _by_preference(cells: Iterable[Cell]) -> list[Cell]:
    """Those that ended well, the best on validation first."""
    return sorted((cell for cell in cells if cell.record.status == "ok"), key=_preference)


def _take_first(ordered: Iterable[Cell]) -> Choices:
    selected: dict[RowKey, dict[Unit, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    hidden: dict[str, dict[Unit, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    hidden_cells: dict[tuple[object, ...], Cell] = {}
    baselines: set[RowKey] = set()
    for cell in ordered:
        seed, record = cell.record.seed, cell.record
        selected[cell.row][cell.unit].setdefault(seed, cell)
        if record.baseline and record.model is not None:
            baselines.add(cell.row)
            hidden[record.model][cell.unit].setdefault(seed, cell)
            hidden_cells.setdefault(_place(cell), cell)
    return Choices(selected=selected, hidden=hidden, baselines=baselines, _hidden_cells=hidden_cells)


def in_natural_order(text: str) -> list[tuple[str, float]]:
    """A sort key by which `resid_post.5` comes before `resid_post.12`, and `rate=0.05` before `rate=0.2`."""
    parts = [*re.split(r"([0-9]+(?:\.[0-9]+)?)", text), ""]
    return [(word, float(number or -1)) for word, number in zip(parts[::2], parts[1::2], strict=True)]


def _name_regime(record: Record) -> str:
    """The regime's label, and the model whose features were learnt from instead of the record's own."""
    if record.learnt_on is None:
        return record.regime
    learnt = f"from {record.learnt_on} by {record.alignment}"
    return learnt if record.natural == "task" else f"{record.regime} {learnt}"


def _preference(cell: Cell) -> tuple[float, list[list[tuple[str, float]]], str]:
    validation = cell.record.validation_metrics.get("macro_f1", -math.inf)
    return -validation, [in_natural_order(part) for part in cell.choice], cell.record.cell_id


def _replaces(cell: Cell, before: Cell) -> bool:
    if cell.record.status != "ok" or before.record.status != "ok":
        return before.record.status != "ok"
    return cell.run.is_done(cell.record) or not before.run.is_done(before.record)


def _place(cell: Cell) -> tuple[object, ...]:
    return cell.record.model, cell.unit, cell.choice, cell.record.seed
