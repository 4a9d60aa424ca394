"""All cells in, one axis of what is searched at a time out: each row at every site, every pooling and so on.

At each value of an axis a row goes by the cell with the best validation macro-F1 among those with that value, the
other axes free. It is compared with its model's hidden states chosen under the same value, or, where they have no such
cell, with those chosen over all values. This shows the search, not the board: to take a row at its best value here
would be to choose on test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.leaderboard.board import Ablated
from harness.leaderboard.scoring import Estimate, TaskScores, difference, mean
from harness.leaderboard.selection import BySeed, Cell, Choices, RowKey, Unit, choose_by_value

Place = tuple[str, str]
"""An axis of what is searched, and a value on it."""


@dataclass(frozen=True, kw_only=True)
class AblationChoices:
    """The cells that an ablation goes by. `left_out` are the rows of which, or of whose hidden states, predictions that
    it needs are not there: of a published run they may not be.
    """

    main: Choices
    by_place: Mapping[Place, Choices]
    units: frozenset[Unit]
    left_out: frozenset[RowKey] = frozenset()

    def cells(self, unit: Unit) -> list[Cell]:
        """Every cell of a task that the ablation needs, each once."""
        needed: dict[str, Cell] = {}
        for place, row in self.places():
            for arm in (self.own(place, row, unit), self.hidden(place, row, unit)):
                needed |= {cell.record.cell_id: cell for cell in arm.values()}
        return list(needed.values())

    def places(self) -> Iterator[tuple[Place, RowKey]]:
        """Every axis, value and row."""
        for place, choices in self.by_place.items():
            yield from ((place, row) for row in choices.selected if row not in self.left_out)

    def own(self, place: Place, row: RowKey, unit: Unit) -> BySeed:
        """The row's cells at a value of an axis."""
        return self.by_place[place].selected[row].get(unit, {}) if unit in self.units else {}

    def hidden(self, place: Place, row: RowKey, unit: Unit) -> BySeed:
        """What the row is compared with there."""
        if unit not in self.units:
            return {}
        choices = self.main if self.is_overall(place, row) else self.by_place[place]
        return choices.hidden_for(row, unit)

    def is_overall(self, place: Place, row: RowKey) -> bool:
        """Whether the hidden states of the row's model have no cell with this value."""
        return (
            row.model is not None
            and row not in self.main.baselines
            and row.model not in self.by_place[place].hidden
        )


def choose_ablation(cells: Iterable[Cell], main: Choices) -> AblationChoices:
    """Over the tasks that rows are ranked by, and the rows for which every prediction is there."""
    units = frozenset(main.main_units)
    by_place = choose_by_value(cell for cell in cells if cell.unit in units)
    whole = AblationChoices(main=main, by_place=by_place, units=units)
    missing: set[str] = set()
    for unit in units:
        known = {cell.record.cell_id for cell in main.cells(unit)}
        for cell in whole.cells(unit):
            if cell.record.cell_id not in known and not cell.run.is_done(cell.record):
                missing.add(cell.record.cell_id)
    left_out = {
        row
        for place, row in (whole.places() if missing else ())
        for unit in units
        for arm in (whole.own(place, row, unit), whole.hidden(place, row, unit))
        if any(cell.record.cell_id in missing for cell in arm.values())
    }
    return AblationChoices(main=main, by_place=by_place, units=units, left_out=frozenset(left_out))


def ablate(choices: AblationChoices, scored: Iterable[tuple[Unit, TaskScores]]) -> tuple[Ablated, ...]:
    """The ablation by axis, value and row, from the scores of one task after the other; they are not kept. Axes along
    which no row varies are left out.
    """
    sums: dict[tuple[Place, RowKey], _Sum] = defaultdict(_Sum)
    for unit, scores in scored:
        for place, row in choices.places():
            if own := choices.own(place, row, unit):
                sums[place, row].add(own, choices.hidden(place, row, unit), scores)
    values: dict[tuple[str, RowKey], int] = defaultdict(int)
    for (axis, _), row in sums:
        values[axis, row] += 1
    axes = {axis for (axis, _), count in values.items() if count > 1}
    return tuple(
        Ablated(
            axis=place[0],
            value=place[1],
            row=row,
            n_tasks=found.score.n,
            macro_f1=found.score.mean(),
            auroc=_mean(found.auroc),
            validation=_mean(found.validation),
            delta=found.delta.mean() if found.delta.n else None,
            overall=choices.is_overall(place, row),
        )
        for (place, row), found in sums.items()
        if place[0] in axes
    )


@dataclass
class _Mean:
    """Estimates as they come; only their sum is kept."""

    n: int = 0
    value: float = 0.0
    samples: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    def add(self, estimate: Estimate) -> None:
        self.n, self.value, self.samples = (
            self.n + 1,
            self.value + estimate.value,
            self.samples + estimate.samples,
        )

    def mean(self) -> Estimate:
        return Estimate(value=self.value / self.n, samples=self.samples / self.n)


@dataclass
class _Sum:
    """What is known so far of a row at one value; a metric that a cell lacks is None."""

    score: _Mean = field(default_factory=_Mean)
    delta: _Mean = field(default_factory=_Mean)
    auroc: list[float | None] = field(default_factory=list)
    validation: list[float | None] = field(default_factory=list)

    def add(self, own: BySeed, hidden: BySeed, scores: TaskScores) -> None:
        mine = {seed: scores.by_cell[own[seed].record.cell_id] for seed in sorted(own)}
        self.score.add(mean(list(mine.values())))
        pairs = [
            difference(mine[seed], scores.by_cell[hidden[seed].record.cell_id])
            for seed in mine
            if seed in hidden
        ]
        if pairs:
            self.delta.add(mean(pairs))
        records = [cell.record for cell in own.values()]
        areas = [record.metrics["auroc"].value for record in records if "auroc" in record.metrics]
        chosen = [record.validation_metrics.get("macro_f1") for record in records]
        self.auroc.append(_mean(areas) if len(areas) == len(records) else None)
        self.validation.append(_mean(chosen))


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a value is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
