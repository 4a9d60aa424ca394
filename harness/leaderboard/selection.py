"""Choice of each row's cells by validation macro-F1. Test results are not read here."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import NamedTuple, TypeVar

from harness.api.errors import NothingSelectedError, UnavailableError, name_some
from harness.api.specs import Natural
from harness.runs.record import Record, Results

BySeed = Mapping[int, "Cell"]
"""Cells of one row on one task, by seed."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def group_by(values: Iterable[Value], key: Callable[[Value], Key]) -> dict[Key, list[Value]]:
    """Return the values by key, in the order in which keys and values first occur."""
    groups: dict[Key, list[Value]] = defaultdict(list)
    for value in values:
        groups[key(value)].append(value)
    return dict(groups)


@dataclass(frozen=True, kw_only=True, order=True)
class Unit:
    """Unit that counts as one task on a board: a task's version, its training and test languages, the other task that
    it was trained on, if any, and the training regime, with the source model of a transfer.
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
        """True if the training languages differ from the tested ones."""
        return self.train_language != self.test_language


@dataclass(frozen=True, kw_only=True)
class RowKey:
    """Key of a row. The width of an arm without a model may differ between tasks and is left out."""

    model: str | None
    representation: str
    width: int | None


class Choice(NamedTuple):
    """Values chosen on validation, one for each axis of the search; "" where there is none."""

    site: str
    pooling: str
    transform: str
    classifier: str
    tokens: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Record of a cell, with the run that holds its predictions."""

    record: Record
    run: Results

    @property
    def cell_id(self) -> str:
        """Id of the record."""
        return self.record.cell_id

    @property
    def validation(self) -> float:
        """Macro-F1 on validation rows, by which cells are chosen; −∞ where it is missing."""
        return self.record.validation_metrics.get("macro_f1", -math.inf)

    def metric(self, name: str) -> float | None:
        """Return a metric's value on test rows; None where the record lacks it."""
        return self.record.metrics[name].value if name in self.record.metrics else None

    @cached_property
    def unit(self) -> Unit:
        """Task that the cell belongs to."""
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
        """Row that the cell belongs to."""
        record = self.record
        width = None if record.model is None else record.width
        return RowKey(model=record.model, representation=record.representation, width=width)

    @cached_property
    def choice(self) -> Choice:
        """Values of the cell on the axes of the search."""
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
    """Chosen cells of a board: those of each row, and those of each model's baseline over all its sites."""

    selected: Mapping[RowKey, Mapping[Unit, BySeed]]
    hidden: Mapping[str, Mapping[Unit, BySeed]]
    baselines: Set[RowKey]
    _hidden_cells: Mapping[tuple[object, ...], Cell]

    def hidden_for(self, row: RowKey, unit: Unit) -> BySeed:
        """Return the selected baseline cells of the row's model; none for a baseline or a row without a model."""
        is_compared = row.model is not None and row not in self.baselines
        return self.hidden.get(row.model or "", {}).get(unit, {}) if is_compared else {}

    def matched_for(self, row: RowKey, unit: Unit) -> BySeed:
        """Return the baseline cells at the row's own choice, where there are any."""
        if row.model is None or row in self.baselines:
            return {}
        places = {seed: _place(cell) for seed, cell in self.selected[row][unit].items()}
        return {seed: self._hidden_cells[at] for seed, at in places.items() if at in self._hidden_cells}

    def budget(self, row: RowKey) -> Set[tuple[Unit, Choice, int]]:
        """Return task, choice and seed of every baseline cell of the row's model; none for an arm without a model."""
        return self._budgets.get(row.model, frozenset())

    @cached_property
    def _budgets(self) -> Mapping[str | None, Set[tuple[Unit, Choice, int]]]:
        by_model = group_by(self._hidden_cells.values(), lambda cell: cell.record.model)
        return {
            model: {(cell.unit, cell.choice, cell.record.seed) for cell in cells}
            for model, cells in by_model.items()
        }

    def cells(self, unit: Unit) -> list[Cell]:
        """Return every cell of a task that the board needs, each once."""
        rows = [row for row, units in self.selected.items() if unit in units]
        return once(
            cell
            for row in rows
            for arm in (self.selected[row][unit], self.hidden_for(row, unit), self.matched_for(row, unit))
            for cell in arm.values()
        )

    def units(self) -> list[Unit]:
        """Return the tasks of the board, in order."""
        return sorted({unit for tasks in self.selected.values() for unit in tasks})

    @cached_property
    def main_units(self) -> Sequence[Unit]:
        """Units that rows are ranked by: tasks trained as they are; if there are none, each language by itself (first
        by a regime for this, else any unit trained and tested in the same languages); if there are none either, all
        units.
        """
        units = self.units()
        return (
            [unit for unit in units if unit.natural == "task"]
            or [unit for unit in units if unit.natural == "language"]
            or [unit for unit in units if not unit.is_across]
            or units
        )


def once(cells: Iterable[Cell]) -> list[Cell]:
    """Return each cell once, by its id."""
    return list({cell.cell_id: cell for cell in cells}.values())


def read_cells(runs: Sequence[Results]) -> list[Cell]:
    """Return each cell of the runs once: the last that ended well and has its predictions (a published run may lack
    some), else the last that ended well, else the last. Raise NothingSelectedError when none ended well.
    """
    cells: dict[str, Cell] = {}
    for run in runs:
        for record in run.records():
            cell = Cell(record=record, run=run)
            before = cells.get(record.cell_id)
            if before is None or _replaces(cell, before):
                cells[record.cell_id] = cell
    if not any(cell.record.status == "ok" for cell in cells.values()):
        places = name_some([f"'{run.path}'" for run in runs], nothing="no run")
        raise NothingSelectedError(f"{places}: none of {len(cells)} cells ended well, so there is no board")
    return list(cells.values())


def check_consistent(cells: Iterable[Cell]) -> None:
    """Raise UnavailableError when one name means two things: a task with other rows, a model or a dictionary with other
    weights, a pooling, transform or classifier of another revision or grid. Such cells cannot be compared.
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
    """Choose for each row, task and seed the cell with the best validation macro-F1 over sites × poolings × transforms
    × classifiers × token sets. A tie goes to the first by site, pooling, transform, classifier, tokens, in natural
    order.
    """
    return _take_first(_by_preference(cells))


def choose_by_value(cells: Iterable[Cell]) -> dict[tuple[str, str], Choices]:
    """Make the same choices among the cells with one value on one axis of the search, by axis and value, for every axis
    with more than one value.
    """
    ordered = _by_preference(cells)
    found: dict[tuple[str, str], Choices] = {}
    for axis in Choice._fields:
        by_value = group_by(ordered, attrgetter(f"choice.{axis}"))
        by_value.pop("", None)
        if len(by_value) > 1:
            for value in sorted(by_value, key=in_natural_order):
                found[axis, value] = _take_first(by_value[value])
    return found


def _by_preference(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that ended well, the best on validation first."""
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


@lru_cache(maxsize=4096)
def in_natural_order(text: str) -> tuple[tuple[str, float], ...]:
    """Return a sort key by which `resid_post.5` comes before `resid_post.12`, and `rate=0.05` before `rate=0.2`."""
    parts = [*re.split(r"([0-9]+(?:\.[0-9]+)?)", text), ""]
    return tuple((word, float(number or -1)) for word, number in zip(parts[::2], parts[1::2], strict=True))


def _name_regime(record: Record) -> str:
    """Return the regime's label, and the model whose features were trained on instead of the record's own."""
    if record.learnt_on is None:
        return record.regime
    learnt = f"from {record.learnt_on} by {record.alignment}"
    return learnt if record.natural == "task" else f"{record.regime} {learnt}"


def _preference(cell: Cell) -> tuple[float, list[tuple[tuple[str, float], ...]], str]:
    return -cell.validation, [in_natural_order(part) for part in cell.choice], cell.cell_id


def _replaces(cell: Cell, before: Cell) -> bool:
    if cell.record.status != "ok" or before.record.status != "ok":
        return before.record.status != "ok"
    return cell.run.has_predictions(cell.record) or not before.run.has_predictions(before.record)


def _place(cell: Cell) -> tuple[object, ...]:
    return cell.record.model, cell.unit, cell.choice, cell.record.seed
