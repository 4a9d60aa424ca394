"""Metrics of stored predictions, with bootstrap resamples that all arms of a task share.

Where a task is tested in several languages, source items (the groups of its rows) are drawn once for all of them: a
resample holds an item equally often in every language, so that translations do not count as independent, and scores of
different training languages are paired. With few rows in a language, such a resample may lack a class, or all rows: its
sample is then the value itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.api.errors import UnavailableError
from harness.leaderboard.selection import BySeed, Cell, Unit, group_by
from harness.runs.predicted import Predicted, TableRows
from harness.runs.record import classes_of, give_auroc, read_scored
from harness.stats import bootstrap, few_groups, metrics
from harness.stats.few_groups import Support

_ARMS_AT_ONCE = 256
"""Most arms whose samples and scores are held at once."""

Metric = Literal["macro_f1", "accuracy", "balanced_accuracy", "auroc"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Number with its bootstrap samples `[resamples]`, paired with those of other estimates of the board.

    `drawn` replaces the samples for the interval where resamples of a perfect score show nothing. `least` is the lowest
    possible value: 0 of a score, −1 of a difference; `least_p` the smallest p-value that its rows can give. Test rows
    may have too few groups for an interval or a p-value.
    """

    value: float
    samples: NDArray[np.float64]
    drawn: NDArray[np.float64] | None = None
    least: float = 0.0
    least_p: float = 0.0
    has_interval: bool = True
    has_p_value: bool = True

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % percentile interval; None where the test rows have too few groups for one."""
        if not self.has_interval:
            return None
        low, high = bootstrap.percentile_interval(self.spread)
        if self.drawn is None:
            return max(low, self.least), min(high, 1.0)
        return max(min(low, self.value), self.least), max(high, self.value)

    @cached_property
    def p_value(self) -> float | None:
        """The two-sided p-value of "no difference": 1 without an interval, as such rows show nothing; None where tests
        on such rows raise too many false alarms.
        """
        if not self.has_interval:
            return 1.0
        if not self.has_p_value:
            return None
        return max(bootstrap.bootstrap_p_value(self.samples), self.least_p)

    @property
    def spread(self) -> NDArray[np.float64]:
        """The samples that an interval is made of."""
        return self.samples if self.drawn is None else self.drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskScores:
    """Scores of the arms of one task on their common test rows, in the order of `ids`: `labels [rows]` are class
    numbers 0 … n_classes − 1, `groups [rows]` are numbers. By cell: the metric, and whether each row is right (`hits
    [rows]`).
    """

    ids: NDArray[np.object_]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    n_classes: int
    support: Support
    by_cell: Mapping[str, Estimate]
    hits: Mapping[str, NDArray[np.bool_]]

    def of(self, cell: Cell) -> Estimate:
        """Return the metric of a cell."""
        return self.by_cell[cell.cell_id]

    def compare(self, own: BySeed, other: BySeed) -> Estimate | None:
        """Return the mean paired difference over the seeds that both have; None where there is none."""
        seeds = sorted(own.keys() & other.keys())
        return mean_of([self._difference(own[seed], other[seed]) for seed in seeds])

    def _difference(self, own: Cell, other: Cell) -> Estimate:
        hits = self.hits[own.cell_id], self.hits[other.cell_id]
        return bound_p(difference(self.of(own), self.of(other)), [hits], self.groups)

    @property
    def is_grouped(self) -> bool:
        """True if any two rows form a group."""
        return len(np.unique(self.groups)) < len(self.groups)

    @property
    def absent(self) -> int:
        """Number of classes without a test row: each counts 0 in macro-F1, whatever an arm predicts."""
        return self.n_classes - len(np.unique(self.labels))

    @property
    def chance(self) -> float:
        """Macro-F1 of guessing every class equally often, from expected counts."""
        share = np.bincount(self.labels, minlength=self.n_classes) / len(self.labels)
        guess = 1 / self.n_classes
        return float(np.mean(2 * share * guess / (share + guess)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predictions of a cell on its test rows, sorted by example id: labels and predictions `[rows]` are class numbers;
    sources `[rows]` are groups by `number_name`, in digits, None for a row without one. `rows` are those of the file,
    where it was read as class numbers.
    """

    cell: Cell
    ids: NDArray[np.object_]
    classes: list[str]
    sources: NDArray[np.object_]
    labels: NDArray[np.int64]
    predicted: NDArray[np.integer[Any]]
    rows: TableRows | None = None

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Groups `[rows]` as numbers."""
        return bootstrap.number_groups(self.sources.tolist())

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Scores `[rows, classes]`. Raise UnavailableError where the run keeps none, or others than were scored."""
        frame = read_scored(self.cell.run, self.cell.record)
        names = [f"score_{name}" for name in self.classes]
        if not set(names) <= set(frame.columns):
            raise UnavailableError(
                f"'{self.cell.run.path}' keeps no scores, as published runs do not, so there is no auroc to compare; "
                f"name the run folder"
            )
        order = np.argsort(frame["example_id"].to_numpy(object), kind="stable")
        if not give_auroc(self.cell.record, frame):
            raise UnavailableError(
                f"the scores of {_name(self.cell)} do not give the auroc of its record; {self.cell.run.remedy}"
            )
        return frame[names].to_numpy(np.float64)[order]


def number_name(group: str) -> int:
    """Return the number of a group in published runs: 48 bits of the name's hash."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big")


def score_units(
    cells: Mapping[Unit, Sequence[Cell]],
    *,
    metric: Metric = "macro_f1",
    resamples: Callable[[Unit], int],
) -> Iterator[tuple[Unit, TaskScores]]:
    """Score the cells of every unit, in order, the rows sorted by example id. Resamples depend on the task's name, the
    labels and, where it is tested in several languages, on these languages, so that all arms, also of a later run,
    share them; a unit that takes fewer takes the first. Raise UnavailableError when the cells of a unit were not tested
    on the same rows, or lack scores that `metric` needs.
    """
    for units in group_by(sorted(cells), lambda unit: (unit.task, unit.version)).values():
        first = {unit: read_predictions(cells[unit][0]) for unit in units}
        draws = _draw_items(first, resamples=max(resamples(unit) for unit in units))
        are_joint = _is_in_several(units)
        for unit in units:
            arm = first.pop(unit)
            weights = draws(arm, resamples(unit))
            lacking = _lack_a_class(arm, weights) if are_joint else np.zeros(len(weights), np.bool_)
            yield unit, _score_cells(arm, cells[unit], metric=metric, weights=weights, lacking=lacking)


def _is_in_several(units: Iterable[Unit]) -> bool:
    """Return whether a task is tested in several languages."""
    return len({unit.test_language for unit in units}) > 1


def _lack_a_class(arm: Predictions, weights: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each resample `[resamples]` lacks a class that the rows have."""
    held = [weights @ (arm.labels == label).astype(weights.dtype) > 0 for label in np.unique(arm.labels)]
    return np.asarray(~np.all(held, axis=0))


def _score_cells(
    first: Predictions,
    cells: Sequence[Cell],
    *,
    metric: Metric,
    weights: NDArray[Any],
    lacking: NDArray[np.bool_],
) -> TaskScores:
    """Score cells on common rows, with weights `[resamples, rows]`; `lacking [resamples]` is as in `_estimate`."""
    support = few_groups.assess(few_groups.tabulate(first.labels, first.groups))
    estimates: dict[str, Estimate] = {}
    hits: dict[str, NDArray[np.bool_]] = {}
    for start in range(0, len(cells), _ARMS_AT_ONCE):
        arms = [
            first if cell is first.cell else read_predictions(cell, like=first)
            for cell in cells[start : start + _ARMS_AT_ONCE]
        ]
        for arm, estimate in zip(arms, _estimate(arms, metric, weights, lacking, support), strict=True):
            estimates[arm.cell.cell_id] = estimate
            hits[arm.cell.cell_id] = arm.labels == arm.predicted
    return TaskScores(
        ids=first.ids,
        labels=first.labels,
        groups=first.groups,
        n_classes=len(first.classes),
        support=support,
        by_cell=estimates,
        hits=hits,
    )


_Draws = Callable[[Predictions, int], NDArray[np.float32]]
"""Function from an arm and a number of resamples to the weights `[resamples, rows]` of its rows."""


def _draw_items(arms: Mapping[Unit, Predictions], *, resamples: int) -> _Draws:
    """Draw the items of one task: of each set of rows by itself if all are in one language, else of all languages
    together. An item is the rows of one group, in the stratum of most of them; a row without a group is its own item.
    """
    seed = bootstrap.bootstrap_seed(next(iter(arms)).task)
    if not _is_in_several(arms):
        last: dict[bytes, NDArray[np.float32]] = {}  # regimes of a task mostly share its test rows

        def draw_apart(arm: Predictions, size: int) -> NDArray[np.float32]:
            rows = arm.labels.tobytes() + arm.groups.tobytes()
            if rows not in last:
                last.clear()
                last[rows] = bootstrap.cluster_weights(arm.labels, arm.groups, resamples=resamples, seed=seed)
            return last[rows][:size]

        return draw_apart
    items: dict[tuple[bool, str], int] = {}
    labels: dict[str, int] = {}
    rows: dict[tuple[str, tuple[bool, str]], tuple[int, int]] = {}  # item and label of every row, each once
    for unit in sorted(arms, key=lambda unit: (unit.test_language, unit)):
        arm = arms[unit]
        for name in arm.classes:
            labels.setdefault(name, len(labels))
        for row, item, label in zip(arm.ids.tolist(), _items(arm), arm.labels.tolist(), strict=True):
            if (row, item) not in rows:
                rows[row, item] = items.setdefault(item, len(items)), labels[arm.classes[label]]
    members = np.zeros((len(items), len(labels)), np.int64)
    np.add.at(members, tuple(np.array(list(rows.values())).T), 1)
    drawn = bootstrap.bootstrap_weights(members.argmax(axis=1), resamples=resamples, seed=seed)

    def draw_together(arm: Predictions, size: int) -> NDArray[np.float32]:
        weights: NDArray[np.float32] = drawn[:size].T[[items[item] for item in _items(arm)]].T
        return weights

    return draw_together


def _items(arm: Predictions) -> list[tuple[bool, str]]:
    """Return the item of each row: its group, or itself."""
    return [
        (False, str(row)) if source is None else (True, str(source))
        for row, source in zip(arm.ids.tolist(), arm.sources.tolist(), strict=True)
    ]


_RESAMPLED: Mapping[Metric, Callable[[Sequence[Predictions], NDArray[Any]], NDArray[np.float64]]] = {
    "macro_f1": lambda arms, weights: metrics.resampled_macro_f1s(
        arms[0].labels,
        np.stack([arm.predicted for arm in arms]),
        n_classes=len(arms[0].classes),
        weights=weights,
    ),
    "accuracy": lambda arms, weights: np.stack(
        [metrics.resampled_accuracy(arm.labels, arm.predicted, weights=weights) for arm in arms]
    ),
    "balanced_accuracy": lambda arms, weights: np.stack(
        [metrics.resampled_balanced_accuracy(arm.labels, arm.predicted, weights=weights) for arm in arms]
    ),
    "auroc": lambda arms, weights: np.stack(
        [metrics.resampled_auroc(arm.labels, arm.scores, weights=weights) for arm in arms]
    ),
}
"""Samples `[arms, resamples]` of each metric, of arms on the same rows."""


def _estimate(
    arms: Sequence[Predictions],
    metric: Metric,
    weights: NDArray[Any],
    lacking: NDArray[np.bool_],
    support: Support,
) -> Iterator[Estimate]:
    """Yield for each arm a metric's value on the rows as they are, and its samples, stretched where classes have few
    groups. The value replaces samples of resamples that are `lacking` a class, or on which the metric is undefined.
    """
    task = arms[0].cell.record.task
    values = _RESAMPLED[metric](arms, np.ones((1, len(arms[0].ids))))
    if np.isnan(values).any():
        raise UnavailableError(
            f"task '{task}' has test rows of one class only, so {metric} is not defined there"
        )
    samples = _RESAMPLED[metric](arms, weights)
    samples = np.where(lacking | np.isnan(samples), values, samples)
    seed = bootstrap.bootstrap_seed(task)
    stretched = support.stretch(samples.T, values[:, 0], seed=seed).T
    for arm, value, own in zip(arms, values[:, 0].tolist(), stretched, strict=True):
        # Every resample of an arm that is never wrong is equal, below 1 where a class has no test row.
        is_perfect = value == 1.0 if metric == "auroc" else np.array_equal(arm.labels, arm.predicted)
        yield Estimate(
            value=value,
            samples=own.copy(),  # those of all arms are not kept
            drawn=value * support.draw_perfect(len(own), seed=seed) if is_perfect else None,
            has_interval=support.has_interval,
            has_p_value=support.has_p_value,
        )


def mean_of(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """Return the mean of the estimates that exist; None where none does."""
    known = [estimate for estimate in estimates if estimate is not None]
    return mean(known) if known else None


def mean_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that exist; None where none does."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def mean_all(values: Iterable[float | None]) -> float | None:
    """Return the mean of numbers; None where one is missing, or there is none."""
    known = list(values)
    return None if None in known else mean_known(known)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the unweighted mean, sample by sample, of the samples that all have."""
    if len(estimates) == 1:  # as most are, of boards with one seed
        (only,) = estimates
        return replace(only, least_p=0.0) if only.least_p and np.ptp(only.samples) else only
    size = min(len(estimate.samples) for estimate in estimates)

    def average(samples: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.asarray(np.mean(np.stack([one[:size] for one in samples]), axis=0))

    samples = average(estimate.samples for estimate in estimates)
    return replace(
        estimates[0],
        value=float(np.mean([estimate.value for estimate in estimates])),
        samples=samples,
        drawn=None
        if all(estimate.drawn is None for estimate in estimates)
        else average(estimate.spread for estimate in estimates),
        # A mean whose resamples differ, as over tasks, has a p-value of its own.
        least_p=0.0 if np.ptp(samples) else max(estimate.least_p for estimate in estimates),
        has_interval=all(estimate.has_interval for estimate in estimates),
        has_p_value=all(estimate.has_p_value for estimate in estimates),
    )


def difference(estimate: Estimate, reference: Estimate) -> Estimate:
    """Return `estimate − reference`, sample by sample, of the samples that both have."""
    size = min(len(estimate.samples), len(reference.samples))
    value = float(bootstrap.paired_differences(np.array(estimate.value), np.array(reference.value)))
    samples = bootstrap.paired_differences(estimate.samples[:size], reference.samples[:size])
    drawn = bootstrap.paired_differences(estimate.spread[:size], reference.spread[:size])
    return Estimate(
        value=value,
        samples=samples,
        drawn=drawn if value != 0 and not np.ptp(samples) and np.ptp(drawn) else None,
        least=-1.0,
        has_interval=estimate.has_interval and reference.has_interval,
        has_p_value=estimate.has_p_value and reference.has_p_value,
    )


Hits = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Pair of arms: for each, which rows it has right, `[rows]`."""


def bound_p(change: Estimate, hits: Sequence[Hits], groups: NDArray[np.int64]) -> Estimate:
    """Return a difference with the least p-value that its rows can give, where its resamples are all alike.

    Those of an arm that is never wrong and of one that names one class know no p-value. The exact sign test does, of
    the groups in which the one arm has more rows right than the other; of several seeds the largest counts.
    """
    if change.value == 0 or np.ptp(change.samples):
        return change
    p_values = []
    for own, other in hits:
        lead = np.bincount(groups, weights=own.astype(np.int64) - other.astype(np.int64))
        p_values.append(
            bootstrap.exact_mcnemar(int(np.count_nonzero(lead > 0)), int(np.count_nonzero(lead < 0)))
        )
    return replace(change, least_p=max(p_values))


def read_predictions(cell: Cell, like: Predictions | None = None) -> Predictions:
    """Read the predictions of a cell. Raise UnavailableError when they are missing, incomplete or not those that were
    scored, or (with `like`) are of other rows than those of another cell.
    """
    found = cell.run.predicted(cell.record)
    if found is None:
        arm = _read_frame(cell, like)
    elif like is not None and set(found.classes) != set(like.classes):
        raise _unlike(like.cell, cell)
    else:
        arm = _read_numbers(cell, found, like)
    if like is not None and not (
        (arm.rows is not None and arm.rows is like.rows)
        or (np.array_equal(arm.ids, like.ids) and np.array_equal(arm.labels, like.labels))
    ):
        raise _unlike(like.cell, cell)
    return arm


def _read_numbers(cell: Cell, found: Predicted, like: Predictions | None) -> Predictions:
    """Return predictions that were read as class numbers, those of `like` in the order of its classes."""
    rows, names = found.rows, list(found.classes) if like is None else like.classes
    numbers = found.numbers
    if names != list(found.classes):
        numbers = np.array([names.index(name) for name in found.classes])[numbers]
    is_same = like is not None and like.rows is rows
    return Predictions(
        cell=cell,
        ids=rows.sorted_ids,
        classes=names,
        sources=like.sources if like is not None and is_same else _digits(rows.groups)[rows.order],
        labels=like.labels if like is not None and is_same else rows.number(tuple(names))[rows.order],
        predicted=numbers[rows.order],
        rows=rows,
    )


def _read_frame(cell: Cell, like: Predictions | None) -> Predictions:
    frame = read_scored(cell.run, cell.record)
    classes = classes_of(frame)
    if not {"example_id", "label", "prediction"} <= set(frame.columns) or not classes or frame.empty:
        raise UnavailableError(f"the predictions of {_name(cell)} lack rows or columns; run the cell again")
    if like is not None and set(classes) != set(like.classes):
        raise _unlike(like.cell, cell)
    ids = frame["example_id"].to_numpy(object)
    order = np.argsort(ids, kind="stable")
    names = classes if like is None else like.classes
    return Predictions(
        cell=cell,
        ids=ids[order],
        classes=names,
        sources=_groups(frame)[order],
        labels=_class_numbers(cell, frame["label"], names)[order],
        predicted=_class_numbers(cell, frame["prediction"], names)[order],
    )


def _groups(frame: pd.DataFrame) -> NDArray[np.object_]:
    """Return the group of each row in digits, None without one. Published runs have numbers in place of names."""
    groups = frame["group"] if "group" in frame else pd.Series([None] * len(frame), dtype=object)
    return _digits(groups.astype(object).where(groups.notna(), None).to_numpy(object))


def _digits(groups: NDArray[np.object_]) -> NDArray[np.object_]:
    numbers = {
        group: str(number_name(group) if isinstance(group, str) else group)
        for group in {*groups.tolist()} - {None}
    }
    return np.array([numbers.get(group) for group in groups.tolist()], object)


def _unlike(one: Cell, other: Cell) -> UnavailableError:
    return UnavailableError(
        f"{_name(one)} and {_name(other)} were not tested on the same rows of task '{one.record.task}',"
        " so they cannot be compared; run both on the same data"
    )


def _class_numbers(cell: Cell, names: pd.Series[Any], classes: Sequence[str]) -> NDArray[np.int64]:
    known = {name: number for number, name in enumerate(classes)}
    numbers = np.array([known.get(name, -1) for name in names.to_numpy(object)], dtype=np.int64)
    if (numbers < 0).any():
        stray = names.iloc[int(np.argmax(numbers < 0))]
        raise UnavailableError(f"the predictions of {_name(cell)} name a class without a score: '{stray}'")
    return numbers


def _name(cell: Cell) -> str:
    return f"cell '{cell.record.cell_id}' in '{cell.run.path}'"
