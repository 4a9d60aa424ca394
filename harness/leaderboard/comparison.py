"""Two runs in, what lies between them out: the same arms on the same test rows, each as its run chose it on validation.

The difference is the second run minus the first, averaged over the seeds both have; its interval is from the paired
bootstrap of a board. With a baseline, what is compared is each arm's lead over the baseline of its own run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import NothingSelectedError, UsageError
from harness.leaderboard.board import _name_units
from harness.leaderboard.choice import (
    BySeed,
    Cell,
    Choices,
    RowKey,
    Unit,
    choose,
    in_natural_order,
    read_cells,
)
from harness.leaderboard.estimate import Estimate, TaskScores, difference, mean, score_cells
from harness.records import Results


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A row of a board on one of its tasks, by name."""

    task: str
    model: str | None
    representation: str
    width: int | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An arm in two runs: macro-F1 (or its lead over the baseline) in each, and second − first."""

    arm: Arm
    seeds: int
    first: Estimate
    second: Estimate
    change: Estimate


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms that two runs share, and those that only one of them has."""

    differences: tuple[Difference, ...]
    only_first: tuple[Arm, ...]
    only_second: tuple[Arm, ...]


def compare(
    first: Results, second: Results, *, baseline: str | None = None, resamples: int = 1000
) -> Comparison:
    """UsageError when a task has other rows in one run than in the other, or no arm has the baseline in both;
    NothingSelectedError when the runs share no arm. Arms without a baseline are not compared with one.
    """
    runs = (first, second)
    chosen = [_by_place(choose(read_cells([run]))) for run in runs]
    _check_same_rows(chosen, runs)
    names = _name_units(sorted({unit for places in chosen for _, unit in places}))
    shared = chosen[0].keys() & chosen[1].keys()
    if not shared:
        raise NothingSelectedError(f"'{first.path}' and '{second.path}' have no arm in common")
    differences = []
    for unit in sorted({unit for _, unit in shared}):
        scores = [_score(places, unit, resamples) for places in chosen]
        if not np.array_equal(scores[0].labels, scores[1].labels):
            raise _other_rows(unit, runs)
        for row in (row for row, other in shared if other == unit):
            pair = [
                _lead(places[row, unit], _baseline(places, row, unit, baseline), score)
                for places, score in zip(chosen, scores, strict=True)
            ]
            if seeds := sorted(pair[0].keys() & pair[1].keys()):
                one, two = (mean([lead[seed] for seed in seeds]) for lead in pair)
                differences.append(
                    Difference(
                        arm=_arm(row, unit, names),
                        seeds=len(seeds),
                        first=one,
                        second=two,
                        change=difference(two, one),
                    )
                )
    if not differences:
        raise UsageError(f"no arm of both runs has '{baseline}' beside it, on a task and seed of both")
    return Comparison(
        differences=tuple(sorted(differences, key=lambda each: _order(each.arm))),
        only_first=_only(chosen[0], chosen[1], names),
        only_second=_only(chosen[1], chosen[0], names),
    )


_Places = Mapping[tuple[RowKey, Unit], BySeed]


def _by_place(choices: Choices) -> _Places:
    return {
        (row, unit): by_seed for row, units in choices.selected.items() for unit, by_seed in units.items()
    }


def _check_same_rows(chosen: Sequence[_Places], runs: Sequence[Results]) -> None:
    """UsageError where the examples, labels or splits of a task differ."""
    first, second = (
        {(unit, cell.record.data) for (_, unit), by_seed in places.items() for cell in by_seed.values()}
        for places in chosen
    )
    shared = {unit for unit, _ in first} & {unit for unit, _ in second}
    for unit, _ in sorted(first ^ second, key=lambda pair: pair[0]):
        if unit in shared:
            raise _other_rows(unit, runs)


def _other_rows(unit: Unit, runs: Sequence[Results]) -> UsageError:
    return UsageError(
        f"task '{unit.task}' has other data in '{runs[1].path}' than in '{runs[0].path}', so they cannot be "
        f"compared; run both on the same data"
    )


def _score(places: _Places, unit: Unit, resamples: int) -> TaskScores:
    cells = [cell for (_, other), by_seed in places.items() if other == unit for cell in by_seed.values()]
    return score_cells(unit, cells, resamples=resamples)


def _baseline(places: _Places, row: RowKey, unit: Unit, baseline: str | None) -> BySeed | None:
    """The arm that leads are over, None when there is to be none: that of the row's model, over all widths the
    best on validation, or else the one without a model.
    """
    if baseline is None:
        return None
    own: dict[int, Cell] = {}
    for model in (row.model, None):
        for (other, task), by_seed in places.items():
            if task == unit and other.representation == baseline and other.model == model and other != row:
                own |= {
                    seed: max(own.get(seed, cell), cell, key=_validation) for seed, cell in by_seed.items()
                }
        if own:
            break
    return own


def _validation(cell: Cell) -> float:
    return cell.record.validation_metrics.get("macro_f1", -math.inf)


def _lead(by_seed: BySeed, baseline: BySeed | None, scores: TaskScores) -> dict[int, Estimate]:
    """Macro-F1 for each seed, or the lead over the baseline where there is one."""
    own = {seed: scores.by_cell[cell.record.cell_id] for seed, cell in by_seed.items()}
    if baseline is None:
        return own
    return {
        seed: difference(own[seed], scores.by_cell[cell.record.cell_id])
        for seed, cell in baseline.items()
        if seed in own
    }


def _only(these: _Places, others: _Places, names: Mapping[Unit, str]) -> tuple[Arm, ...]:
    return tuple(sorted((_arm(row, unit, names) for row, unit in these.keys() - others.keys()), key=_order))


def _arm(row: RowKey, unit: Unit, names: Mapping[Unit, str]) -> Arm:
    return Arm(task=names[unit], model=row.model, representation=row.representation, width=row.width)


def _order(arm: Arm) -> tuple[str, Iterable[tuple[str, int]], Iterable[tuple[str, int]], int]:
    return (
        arm.task,
        in_natural_order(arm.model or ""),
        in_natural_order(arm.representation),
        arm.width or 0,
    )
