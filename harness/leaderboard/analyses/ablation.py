"""Ablation: each row at every value of one axis of the search, such as every site or every pooling.

At each value of an axis a row takes the cell with the best validation macro-F1 among those with that value; the other
axes are free. It is compared with the baseline of its model chosen under the same value, or, without such a cell, with
the baseline chosen over all values. This describes the search and is no leaderboard: to take a row at its best value
would be to choose on test.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.leaderboard.board import Ablated
from harness.leaderboard.scoring import Estimate, TaskScores, mean, mean_all
from harness.leaderboard.selection import BySeed, Cell, Choices, RowKey, Unit, choose_by_value, once

Place = tuple[str, str]
"""Axis of the search, and a value on it."""


@dataclass(frozen=True, kw_only=True)
class AblationChoices:
    """Cells that an ablation needs. `left_out` are rows without all predictions of their own or their baseline's cells:
    a published run may lack some.
    """

    main: Choices
    by_place: Mapping[Place, Choices]
    units: frozenset[Unit]
    left_out: frozenset[RowKey] = frozenset()

    def cells(self, unit: Unit) -> list[Cell]:
        """Return every cell of a task that the ablation needs, each once."""
        return once(cell for place, row in self.places() for cell in self.pair(place, row, unit))

    def places(self) -> Iterator[tuple[Place, RowKey]]:
        """Yield every axis, value and row."""
        for place, choices in self.by_place.items():
            yield from ((place, row) for row in choices.selected if row not in self.left_out)

    def pair(self, place: Place, row: RowKey, unit: Unit) -> list[Cell]:
        """Return the cells of a row at a value of an axis, and those of its baseline."""
        return [*self.own(place, row, unit).values(), *self.hidden(place, row, unit).values()]

    def own(self, place: Place, row: RowKey, unit: Unit) -> BySeed:
        """Return the row's cells at a value of an axis."""
        return self.by_place[place].selected[row].get(unit, {}) if unit in self.units else {}

    def hidden(self, place: Place, row: RowKey, unit: Unit) -> BySeed:
        """Return the cells of the baseline that the row is compared with there."""
        if unit not in self.units:
            return {}
        choices = self.main if self.is_overall(place, row) else self.by_place[place]
        return choices.hidden_for(row, unit)

    def is_overall(self, place: Place, row: RowKey) -> bool:
        """Return whether the baseline of the row's model has no cell with this value."""
        return (
            row.model is not None
            and row not in self.main.baselines
            and row.model not in self.by_place[place].hidden
        )


def choose_ablation(cells: Iterable[Cell], main: Choices) -> AblationChoices:
    """Choose over the tasks that rows are ranked by, and the rows for which every prediction exists."""
    units = frozenset(main.main_units)
    by_place = choose_by_value(cell for cell in cells if cell.unit in units)
    whole = AblationChoices(main=main, by_place=by_place, units=units)
    missing: set[str] = set()
    for unit in units:
        known = {cell.cell_id for cell in main.cells(unit)}
        missing |= {
            cell.cell_id
            for cell in whole.cells(unit)
            if cell.cell_id not in known and not cell.run.has_predictions(cell.record)
        }
    left_out = {
        row
        for place, row in (whole.places() if missing else ())
        for unit in units
        if any(cell.cell_id in missing for cell in whole.pair(place, row, unit))
    }
    return AblationChoices(main=main, by_place=by_place, units=units, left_out=frozenset(left_out))


def ablate(choices: AblationChoices, scored: Iterable[tuple[Unit, TaskScores]]) -> tuple[Ablated, ...]:
    """Return the ablation by axis, value and row. Scores come task by task and are not kept. Axes along which no row
    varies are left out.
    """
    sums: dict[tuple[Place, RowKey], _Sum] = defaultdict(_Sum)
    for unit, scores in scored:
        if not scores.support.has_interval:
            continue  # as in the ranks of the board
        for place, row in choices.places():
            if own := choices.own(place, row, unit):
                sums[place, row].add(own, choices.hidden(place, row, unit), scores)
    values = Counter((axis, row) for (axis, _), row in sums)
    axes = {axis for (axis, _), count in values.items() if count > 1}
    return tuple(
        Ablated(
            axis=place[0],
            value=place[1],
            row=row,
            n_tasks=found.score.n,
            macro_f1=found.score.mean(),
            auroc=mean_all(found.auroc),
            validation=mean_all(found.validation),
            delta=found.delta.mean() if found.delta.n else None,
            overall=choices.is_overall(place, row),
        )
        for (place, row), found in sums.items()
        if place[0] in axes
    )


@dataclass
class _Mean:
    """Running mean of estimates. Only their sums are kept: an ablation has very many."""

    n: int = 0
    value: float = 0.0
    least: float = 0.0
    samples: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    drawn: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    is_drawn: bool = False

    def add(self, estimate: Estimate) -> None:
        self.n += 1
        self.value += estimate.value
        self.least = estimate.least
        self.samples = self.samples + estimate.samples
        self.is_drawn |= estimate.drawn is not None
        self.drawn = self.drawn + (estimate.samples if estimate.drawn is None else estimate.drawn)

    def mean(self) -> Estimate:
        return Estimate(
            value=self.value / self.n,
            samples=self.samples / self.n,
            drawn=self.drawn / self.n if self.is_drawn else None,
            least=self.least,
        )


@dataclass
class _Sum:
    """Running results of a row at one value; a metric that a cell lacks is None."""

    score: _Mean = field(default_factory=_Mean)
    delta: _Mean = field(default_factory=_Mean)
    auroc: list[float | None] = field(default_factory=list)
    validation: list[float | None] = field(default_factory=list)

    def add(self, own: BySeed, hidden: BySeed, scores: TaskScores) -> None:
        self.score.add(mean([scores.of(own[seed]) for seed in sorted(own)]))
        if change := scores.compare(own, hidden):
            self.delta.add(change)
        self.auroc.append(mean_all(cell.metric("auroc") for cell in own.values()))
        self.validation.append(
            mean_all(cell.record.validation_metrics.get("macro_f1") for cell in own.values())
        )
