"""Comparison of two runs: the same arms on the same test rows, each as its run chose it on validation.

The difference is the second run minus the first, averaged over the seeds both have; its interval is from the paired
bootstrap of a board. With a baseline, each arm's lead over the baseline of its own run is compared. Choices on
validation use macro-F1, whatever metric is compared on test.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import NothingSelectedError, UsageError, did_you_mean
from harness.leaderboard.names import name_units
from harness.leaderboard.scoring import (
    Estimate,
    Metric,
    TaskScores,
    bound_p,
    difference,
    mean,
    score_units,
)
from harness.leaderboard.selection import (
    BySeed,
    Cell,
    Choices,
    RowKey,
    Unit,
    choose,
    group_by,
    in_natural_order,
    read_cells,
)
from harness.runs.record import Results
from harness.stats.bootstrap import exact_mcnemar, holm


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Row of a board on one of its tasks, or on all of them, by name."""

    task: str
    model: str | None
    representation: str
    width: int | None

    def __str__(self) -> str:
        parts = (self.task, self.model, self.representation, self.width)
        return " ".join(str(part) for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of an arm between two runs: the metric (or its lead over the baseline) in each, and second − first.

    `p_value` is the bootstrap's. `mcnemar` is the exact test of equal accuracy, of several seeds the largest: only of
    accuracy itself, and where no rows form a group. Adjusted is what Holm makes of it over all differences on single
    tasks. Where test rows have too few groups for an interval, the difference has none, and p 1; it enters no mean and
    no adjustment. Where tests on such rows raise false alarms, p is None.
    """

    arm: Arm
    tasks: int = 1
    seeds: int
    first: Estimate
    second: Estimate
    change: Estimate
    p_value: float | None
    adjusted: float | None = None
    mcnemar: float | None = None
    mcnemar_adjusted: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of all arms that two runs share, task by task, with the arms that only one of them has. `means` are
    over the tasks of an arm that has several, unweighted; `overall` are these, and the only task of every other arm.
    Tasks under one regime are never averaged with tasks under another.
    """

    metric: Metric
    differences: tuple[Difference, ...]
    means: tuple[Difference, ...]
    overall: tuple[Difference, ...]
    only_first: tuple[Arm, ...]
    only_second: tuple[Arm, ...]

    def worse(self, delta: float) -> tuple[Difference, ...]:
        """Return the arms of `overall` that are credibly worse by more than `delta`, the worst first: the whole 95 %
        interval of the difference lies below −delta. Each arm is judged by itself: one that did not change is found
        with a probability of at most about .025.
        """
        found = [each for each in self.overall if each.change.interval and each.change.interval[1] < -delta]
        return tuple(sorted(found, key=lambda each: each.change.value))


def compare(
    first: Results,
    second: Results,
    *,
    baseline: str | None = None,
    metric: Metric = "macro_f1",
    resamples: int = 1000,
) -> Comparison:
    """Compare two runs, each arm of `second` with the same arm of `first`.

    Raise UsageError when a task has other rows in one run than in the other, or no arm has the baseline in both;
    NothingSelectedError when the runs share no arm; UnavailableError for a metric that needs scores where none were
    kept. With a baseline, arms without it are left out.

    With more than ten differences each takes 100 resamples, so that the adjusted p-value of one clear difference can
    fall below .05. Pairs of languages (`Unit.is_across`) are not counted for this.
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
        if any(not np.array_equal(*map(attrgetter(one), scored)) for one in ("ids", "labels")):
            raise _other_rows(unit, runs)
        for row in (row for row, other in shared if other == unit):
            one, two = (
                _Side(own=own[row, unit], base=find_baseline(own, row, unit, baseline), scored=of_run)
                for own, of_run in zip(chosen, scored, strict=True)
            )
            if seeds := sorted(one.seeds & two.seeds):
                places.append((row, unit.regime))
                exact = metric == "accuracy" and baseline is None and not one_scored.is_grouped
                arm = Arm(task=names[unit], **vars(row))
                found.append(_difference(arm, one, two, seeds=seeds, exact=exact))
    if not found:
        hint = did_you_mean(baseline, {row.representation for row, _ in shared}) if baseline else ""
        raise UsageError(f"no arm of both runs has '{baseline}' beside it, on a task and seed of both{hint}")
    differences = _adjust(found)
    by_arm = group_by(zip(places, differences, strict=True), itemgetter(0))
    whole = {unit.regime for unit in units if unit.natural == "task"}
    overall = [
        _overall(row, "" if {regime} == whole else f" {regime}", supported)
        for (row, regime), each in by_arm.items()
        if (supported := [task for _, task in each if task.change.has_interval])
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
"""Chosen cells of each row on each task."""


def by_place(choices: Choices) -> Places:
    """Return the choices of all rows, whatever their rank."""
    return {
        (row, unit): by_seed for row, units in choices.selected.items() for unit, by_seed in units.items()
    }


def cells_by_unit(places: Places, units: Container[Unit]) -> dict[Unit, list[Cell]]:
    """Return the cells of all rows on each of these tasks."""
    cells = (cell for (_, unit), by_seed in places.items() if unit in units for cell in by_seed.values())
    return group_by(cells, lambda cell: cell.unit)


def _check_same_rows(chosen: Sequence[Places], runs: Sequence[Results]) -> None:
    """Raise UsageError where the examples, labels or splits of a task differ."""
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
    """An arm in one of the two runs, with its baseline if there is to be one."""

    own: BySeed
    base: BySeed | None
    scored: TaskScores

    @property
    def seeds(self) -> set[int]:
        """Seeds on which the arm, and the baseline if any, have cells."""
        return set(self.own) if self.base is None else set(self.own) & set(self.base)

    def estimate(self, seeds: Sequence[int]) -> Estimate:
        """Return the mean over seeds of the metric, or of the lead over the baseline."""
        of, base = self.scored.of, self.base
        own = ((seed, of(self.own[seed])) for seed in seeds)
        return mean([one if base is None else difference(one, of(base[seed])) for seed, one in own])

    def hits(self, seed: int) -> NDArray[np.bool_]:
        return self.scored.hits[self.own[seed].cell_id]


def _difference(arm: Arm, one: _Side, two: _Side, *, seeds: Sequence[int], exact: bool) -> Difference:
    mcnemar = max(_mcnemar(one.hits(seed), two.hits(seed)) for seed in seeds) if exact else None
    found = _make_difference(arm, one.estimate(seeds), two.estimate(seeds), seeds=len(seeds))
    if one.base is None:
        hits = [(two.hits(seed), one.hits(seed)) for seed in seeds]
        change = bound_p(found.change, hits, one.scored.groups)
        found = replace(found, change=change, p_value=change.p_value)
    return replace(found, mcnemar=mcnemar)


def _make_difference(
    arm: Arm, first: Estimate, second: Estimate, *, seeds: int, tasks: int = 1
) -> Difference:
    change = difference(second, first)
    return Difference(
        arm=arm, tasks=tasks, seeds=seeds, first=first, second=second, change=change, p_value=change.p_value
    )


def _mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return exact_mcnemar(int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first)))


def _adjust(found: Sequence[Difference]) -> list[Difference]:
    """Return the same with p-values adjusted by Holm, McNemar's apart; each over the differences that have one and an
    interval.
    """
    by_test = {}
    for name in ("p_value", "mcnemar"):
        values = {
            place: value
            for place, each in enumerate(found)
            if each.change.has_interval and (value := getattr(each, name)) is not None
        }
        by_test[name] = dict(zip(values, map(float, holm(list(values.values()))), strict=True))
    return [
        replace(each, adjusted=by_test["p_value"].get(place), mcnemar_adjusted=by_test["mcnemar"].get(place))
        for place, each in enumerate(found)
    ]


def _overall(row: RowKey, regime: str, tasks: Sequence[Difference]) -> Difference:
    """Return the mean over tasks, sample by sample; a single task as it is."""
    if len(tasks) == 1:
        return tasks[0]
    means = mean([each.first for each in tasks]), mean([each.second for each in tasks])
    arm = Arm(task=f"all tasks{regime}", **vars(row))
    return _make_difference(arm, *means, seeds=min(each.seeds for each in tasks), tasks=len(tasks))


def find_baseline(places: Places, row: RowKey, unit: Unit, baseline: str | None) -> BySeed | None:
    """Return the baseline's cells: those of the row's model, over all widths the best on validation, or else those of
    the arm without a model. None when no baseline is given.
    """
    if baseline is None:
        return None
    own: dict[int, Cell] = {}
    for model in (row.model, None):
        for (other, task), by_seed in places.items():
            if task == unit and other.representation == baseline and other.model == model and other != row:
                for seed, cell in by_seed.items():
                    own[seed] = max(own.get(seed, cell), cell, key=lambda one: one.validation)
        if own:
            break
    return own


def _only(these: Places, others: Places, names: Mapping[Unit, str]) -> tuple[Arm, ...]:
    only = these.keys() - others.keys()
    return tuple(sorted((Arm(task=names[unit], **vars(row)) for row, unit in only), key=_order))


def _in_order(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda each: _order(each.arm)))


def _order(arm: Arm) -> tuple[str, Iterable[tuple[str, float]], Iterable[tuple[str, float]], int]:
    names = in_natural_order(arm.model or ""), in_natural_order(arm.representation)
    return arm.task, *names, arm.width or 0
