"""Two runs in, what lies between them out: the same arms on the same test rows, each as its run chose it on validation.

The difference is the second run minus the first, averaged over the seeds both have; its interval is from the paired
bootstrap of a board. With a baseline, what is compared is each arm's lead over the baseline of its own run. The choice
on validation goes by macro-F1, whatever is compared on test.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import NothingSelectedError, UsageError
from harness.leaderboard.names import name_units
from harness.leaderboard.scoring import Estimate, Metric, TaskScores, difference, mean, score_units
from harness.leaderboard.selection import (
    BySeed,
    Cell,
    Choices,
    RowKey,
    Unit,
    choose,
    in_natural_order,
    read_cells,
)
from harness.runs.record import Results
from harness.stats.bootstrap import bootstrap_p_value, exact_mcnemar, holm


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A row of a board on one of its tasks, or on all of them, by name."""

    task: str
    model: str | None
    representation: str
    width: int | None

    def __str__(self) -> str:
        parts = (self.task, self.model, self.representation, self.width)
        return " ".join(str(part) for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An arm in two runs: the metric (or its lead over the baseline) in each, and second − first.

    `p_value` is the bootstrap's. `mcnemar` is the exact test of equal accuracy, of several seeds the largest: only of
    accuracy itself, and where no rows form a group. Adjusted is what Holm makes of it over all differences on single
    tasks.
    """

    arm: Arm
    tasks: int = 1
    seeds: int
    first: Estimate
    second: Estimate
    change: Estimate
    p_value: float
    adjusted: float | None = None
    mcnemar: float | None = None
    mcnemar_adjusted: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms that two runs share, task by task, and those that only one of them has. `means` are over the tasks of an
    arm that has several, unweighted; `overall` are these, and the only task of every other arm. Tasks under one regime
    are never averaged with tasks under another.
    """

    metric: Metric
    differences: tuple[Difference, ...]
    means: tuple[Difference, ...]
    overall: tuple[Difference, ...]
    only_first: tuple[Arm, ...]
    only_second: tuple[Arm, ...]

    def worse(self, delta: float) -> tuple[Difference, ...]:
        """Of `overall`, the worst first, what is credibly worse by more than `delta`: the whole 95 % interval of the
        difference lies below −delta. Each arm is judged by itself: one that did not change at all is found so with
        a probability of at most about .025.
        """
        found = [each for each in self.overall if each.change.interval[1] < -delta]
        return tuple(sorted(found, key=lambda each: each.change.value))


def compare(
    first: Results,
    second: Results,
    *,
    baseline: str | None = None,
    metric: Metric = "macro_f1",
    resamples: int = 1000,
) -> Comparison:
    """UsageError when a task has other rows in one run than in the other, or no arm has the baseline in both;
    NothingSelectedError when the runs share no arm; UnavailableError for a metric that needs scores where none were
    kept. Arms without a baseline are not compared with one.

    More than ten differences take 100 resamples for each, so that the adjusted p-value of one clear difference can fall
    below .05; what is tested in other languages than it was learnt in does not.
    """
    runs = (first, second)
    chosen = [by_place(choose(read_cells([run]))) for run in runs]
    _check_same_rows(chosen, runs)
    names = name_units(sorted({unit for places in chosen for _, unit in places}))
    shared = chosen[0].keys() & chosen[1].keys()
    if not shared:
        raise NothingSelectedError(f"'{first.path}' and '{second.path}' have no arm in common")
    places, found = [], []
    units = {unit for _, unit in shared}
    more = max(resamples, 100 * sum(not unit.is_across for _, unit in shared))
    scores = [
        score_units(
            cells_by_unit(own, units),
            metric=metric,
            resamples=lambda unit: resamples if unit.is_across else more,
        )
        for own in chosen
    ]
    for (unit, one_scored), (_, two_scored) in zip(*scores, strict=True):
        scored = (one_scored, two_scored)
        if not all(
            np.array_equal(getattr(scored[0], one), getattr(scored[1], one)) for one in ("ids", "labels")
        ):
            raise _other_rows(unit, runs)
        for row in (row for row, other in shared if other == unit):
            one, two = (
                _Side(own=own[row, unit], base=find_baseline(own, row, unit, baseline), scored=of_run)
                for own, of_run in zip(chosen, scored, strict=True)
            )
            if seeds := sorted(one.seeds & two.seeds):
                places.append((row, unit.regime))
                exact = metric == "accuracy" and baseline is None and not scored[0].is_grouped
                found.append(_difference(_arm(row, names[unit]), one, two, seeds=seeds, exact=exact))
    if not found:
        raise UsageError(f"no arm of both runs has '{baseline}' beside it, on a task and seed of both")
    differences = _adjust(found)
    by_arm: dict[tuple[RowKey, str], list[Difference]] = defaultdict(list)
    for place, each in zip(places, differences, strict=True):
        by_arm[place].append(each)
    whole = {unit.regime for unit in units if unit.natural == "task"}
    overall = [
        _overall(row, "" if {regime} == whole else f" {regime}", tasks)
        for (row, regime), tasks in by_arm.items()
    ]
    return Comparison(
        metric=metric,
        differences=_in_order(differences),
        means=_in_order(each for each in overall if each.tasks > 1),
        overall=_in_order(overall),
        only_first=_only(chosen[0], chosen[1], names),
        only_second=_only(chosen[1], chosen[0], names),
    )


Places = Mapping[tuple[RowKey, Unit], BySeed]
"""The cells that each row goes by on each task."""


def by_place(choices: Choices) -> Places:
    """The choices of all rows, whatever their rank."""
    return {
        (row, unit): by_seed for row, units in choices.selected.items() for unit, by_seed in units.items()
    }


def cells_by_unit(places: Places, units: Container[Unit]) -> dict[Unit, list[Cell]]:
    """The cells of all rows on each of these tasks."""
    found: dict[Unit, list[Cell]] = defaultdict(list)
    for (_, unit), by_seed in places.items():
        if unit in units:
            found[unit] += by_seed.values()
    return found


def _check_same_rows(chosen: Sequence[Places], runs: Sequence[Results]) -> None:
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


# ── differences ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Side:
    """An arm in one of the runs, with its baseline where there is to be one."""

    own: BySeed
    base: BySeed | None
    scored: TaskScores

    @property
    def seeds(self) -> set[int]:
        """Those for which there is something to compare."""
        return set(self.own) if self.base is None else set(self.own) & set(self.base)

    def estimate(self, seeds: Sequence[int]) -> Estimate:
        """The metric, or the lead over the baseline, over these seeds."""
        estimates = [self.scored.by_cell[self.own[seed].record.cell_id] for seed in seeds]
        if self.base is not None:
            bases = [self.scored.by_cell[self.base[seed].record.cell_id] for seed in seeds]
            estimates = [difference(one, base) for one, base in zip(estimates, bases, strict=True)]
        return mean(estimates)

    def hits(self, seed: int) -> NDArray[np.bool_]:
        return self.scored.hits[self.own[seed].record.cell_id]


def _difference(arm: Arm, one: _Side, two: _Side, *, seeds: Sequence[int], exact: bool) -> Difference:
    first, second = one.estimate(seeds), two.estimate(seeds)
    change = difference(second, first)
    return Difference(
        arm=arm,
        seeds=len(seeds),
        first=first,
        second=second,
        change=change,
        p_value=bootstrap_p_value(change.samples),
        mcnemar=max(_mcnemar(one.hits(seed), two.hits(seed)) for seed in seeds) if exact else None,
    )


def _mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return exact_mcnemar(int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first)))


def _adjust(found: Sequence[Difference]) -> list[Difference]:
    """The same with what Holm makes of their p-values; of McNemar's, over those that have one."""
    adjusted = holm([each.p_value for each in found])
    tested = [index for index, each in enumerate(found) if each.mcnemar is not None]
    exact = dict(zip(tested, holm([found[index].mcnemar or 0.0 for index in tested]), strict=True))
    return [
        replace(
            each,
            adjusted=float(adjusted[index]),
            mcnemar_adjusted=float(exact[index]) if index in exact else None,
        )
        for index, each in enumerate(found)
    ]


def _overall(row: RowKey, regime: str, tasks: Sequence[Difference]) -> Difference:
    """The mean over the tasks, sample by sample; of one, that one."""
    if len(tasks) == 1:
        return tasks[0]
    first, second = mean([each.first for each in tasks]), mean([each.second for each in tasks])
    change = difference(second, first)
    return Difference(
        arm=_arm(row, f"all tasks{regime}"),
        tasks=len(tasks),
        seeds=min(each.seeds for each in tasks),
        first=first,
        second=second,
        change=change,
        p_value=bootstrap_p_value(change.samples),
    )


def find_baseline(places: Places, row: RowKey, unit: Unit, baseline: str | None) -> BySeed | None:
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


def _only(these: Places, others: Places, names: Mapping[Unit, str]) -> tuple[Arm, ...]:
    return tuple(sorted((_arm(row, names[unit]) for row, unit in these.keys() - others.keys()), key=_order))


def _arm(row: RowKey, task: str) -> Arm:
    return Arm(task=task, model=row.model, representation=row.representation, width=row.width)


def _in_order(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda each: _order(each.arm)))


def _order(arm: Arm) -> tuple[str, Iterable[tuple[str, float]], Iterable[tuple[str, float]], int]:
    return (
        arm.task,
        in_natural_order(arm.model or ""),
        in_natural_order(arm.representation),
        arm.width or 0,
    )
