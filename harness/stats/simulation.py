"""Simulations of arms with known truth: how often intervals and tests are right.

Test rows, predictions and scores are simulated, so that the right interval and the right verdict are known. They go
through the functions that records and boards use (`metrics`, `bootstrap`), over and over: every rate is of independent
replicates. All replicates of a design have the same class counts, as the resamples have: the population of a score is
that of the test set's class counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from harness.stats.bootstrap import (
    bootstrap_p_value,
    cluster_weights,
    holm,
    minimum_detectable_difference,
    paired_differences,
    paired_interval,
    percentile_interval,
)
from harness.stats.few_groups import ALARMS, FLAGGED, assess, tabulate
from harness.stats.metrics import (
    macro_f1,
    resampled_accuracy,
    resampled_auroc,
    resampled_balanced_accuracy,
    resampled_macro_f1,
    score,
)

RESAMPLES = 1000
ROWS = 400
"""Test rows of every design."""

LEVEL = 0.05
SURE = 0.99
"""Level of the interval of a measured rate."""

TOLERATED = (0.925, 0.975)
"""Range of acceptable coverage of a 95 % interval: it misses half to one and a half times as often as stated (Bradley
1978, "Robustness?", the liberal criterion). Percentile intervals are known to be a little narrow for small classes.
"""

_SHARED = 20
"""Replicates that share one drawing of weights. Their rows are new, so their resamples are practically independent.
"""

_LUCK = 0.8
"""Correlation of two arms' luck on a row."""

Array = NDArray[Any]
Range = tuple[float, float]
Line = tuple[str, str, Range | None]
"""Name of a line, what it measures, and the range that the true value has to lie in."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Known property of simulated arms, with its measurement.

    `measured` is a share of the replicates (for one line their mean) and `interval` its 99 % interval; `wanted` is the
    range that the true value has to lie in. `ok` reports whether the interval meets that range; both are None where the
    value is only stated.
    """

    name: str
    what: str
    wanted: Range | None
    measured: float
    interval: Range
    replicates: int
    ok: bool | None


@dataclass(frozen=True, kw_only=True)
class Design:
    """Test rows of each class, and by how many standard deviations an arm scores a row's own class higher."""

    name: str
    counts: tuple[int, ...]
    shift: float


DESIGNS = (
    Design(name="2 classes", counts=(200, 200), shift=1.2),
    Design(name="2 classes, 10 % in one", counts=(360, 40), shift=1.2),
    Design(name="5 classes, 10 to 40 %", counts=(160, 80, 60, 60, 40), shift=1.8),
)

_BALANCED = np.repeat([0, 1], 200)

_GUESSES = (((200, 200), (0.5, 0.2)), ((360, 40), (0.5, 0.2)), ((360, 40), (0.1, 0.1)))
"""Test rows of each of two classes, and the shares of rows in which two guessing arms predict class 1."""


def measure(replicates: int = 2000, seed: int = 0) -> tuple[Truth, ...]:
    """Return every line, measured on that many replicates; equal arguments give equal numbers."""
    lines = (_null, _coverage, _clusters, _advantage, _family, _detectable, _few_groups, _perfect)
    # Each family of lines has a generator of its own, so that a new line changes no other.
    return tuple(
        truth
        for number, line in enumerate(lines)
        for truth in line(replicates, np.random.default_rng([seed, number]))
    )


def _null(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield the error rates of tests on random labels and two arms that guess independently."""
    for counts, rates in _GUESSES:
        y = _labels(counts)
        where = f"{counts[1] / ROWS:.0%} in class 1, predicted {rates[0]:.0%} and {rates[1]:.0%}"
        what = "labels are random; a paired test finds a difference"
        lines = {
            metric: (f"null, {metric}: {where}", what, None if metric == "macro-F1" else (LEVEL, LEVEL))
            for metric in ("balanced accuracy", "AUROC", "macro-F1")
        }
        outcomes = []
        for weights in _weights(y, replicates, generator):
            first, second = (_resample(y, _guess(rate, generator), weights) for rate in rates)
            outcomes.append({metric: _p_value(first[metric], second[metric]) < LEVEL for metric in lines})
        yield from _rates(lines, outcomes)


def _coverage(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield how often the intervals of arms with known scores hold the population's value."""
    for design in DESIGNS:
        y, truth = _labels(design.counts), _population(design)
        outcomes = []
        for weights in _weights(y, replicates, generator):
            scores = generator.normal(size=(len(y), len(design.counts)))
            scores[np.arange(len(y)), y] += design.shift
            found = score(y, scores.argmax(axis=1), scores, weights=weights, grouped=False)
            outcomes.append(
                {
                    metric: _lies_in(value, (found[metric].low, found[metric].high))
                    for metric, value in truth.items()
                }
            )
        what = "the 95 % interval holds the population's"
        lines = {
            metric: (f"coverage, {metric}: {design.name}", f"{what} {value:.3f}", TOLERATED)
            for metric, value in truth.items()
        }
        yield from _rates(lines, outcomes)


def _clusters(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield coverage for groups of 5 rows of one class, whose luck correlates by ½; an arm is right on 75 % of rows."""
    chance, size = 0.75, 5
    groups = np.arange(ROWS) // size
    y = groups % 2
    what = "groups of 5 rows share half their luck; the interval of accuracy holds the population's"
    lines: dict[str, Line] = {
        "groups": ("coverage, groups drawn whole", what, TOLERATED),
        "rows": ("coverage, groups ignored (the wrong way)", what, None),
    }
    drawings = (_weights(y, replicates, generator, groups), _weights(y, replicates, generator))
    outcomes = []
    for drawn in zip(*drawings, strict=True):
        shared = np.repeat(generator.normal(size=ROWS // size), size)
        right = (shared + generator.normal(size=ROWS)) / np.sqrt(2) < ndtri(chance)
        samples = (resampled_accuracy(y, np.where(right, y, 1 - y), weights=weights) for weights in drawn)
        outcomes.append(
            {
                name: _lies_in(chance, percentile_interval(one))
                for name, one in zip(lines, samples, strict=True)
            }
        )
    yield from _rates(lines, outcomes)


def _advantage(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield what tests and intervals find of two arms that differ by .06 and are right on much the same rows."""
    lead, y = 0.06, _BALANCED
    outcomes, ratios = [], []
    drawings = (_weights(y, replicates, generator), _weights(y, replicates, generator))
    for weights, others in zip(*drawings, strict=True):
        better, worse = _pair(y, lead, generator)
        samples, reference, apart = (
            resampled_macro_f1(y, predicted, n_classes=2, weights=own)
            for predicted, own in ((better, weights), (worse, weights), (worse, others))
        )
        significant, positive = _p_value(samples, reference) < LEVEL, np.median(samples - reference) > 0
        paired, unpaired = paired_interval(samples, reference), paired_interval(samples, apart)
        outcomes.append(
            {
                "found": significant and positive,
                "reversed": significant and not positive,
                "covered": _lies_in(lead, paired),
                "unpaired": unpaired[0] > 0,
            }
        )
        ratios.append(float(np.ptp(unpaired) / np.ptp(paired)))
    what = f"an arm leads by {lead:.2f} in macro-F1; "
    lines: dict[str, Line] = {
        "found": ("advantage found", what + "the paired test finds it", None),
        "reversed": (
            "advantage reversed",
            what + "the paired test finds the other arm better",
            (0.0, LEVEL / 2),
        ),
        "covered": ("advantage covered", what + "the paired interval holds it", TOLERATED),
        "unpaired": ("advantage found, unpaired", what + "the unpaired interval lies above 0", None),
    }
    yield from _rates(lines, outcomes)
    reach = float(ndtri((1 + SURE) / 2) * np.std(ratios) / np.sqrt(replicates))
    mean = float(np.mean(ratios))
    line = ("width, unpaired over paired", what + "mean ratio of the two intervals' widths", None)
    yield _truth(line, mean, (mean - reach, mean + reach), replicates)


def _family(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield how often ten tasks on which two arms are equally good show a difference."""
    n_tasks, y = 10, _BALANCED
    outcomes = []
    for weights in _weights(y, replicates, generator):
        pairs = (_pair(y, 0.0, generator) for _ in range(n_tasks))
        p_values = [
            _p_value(*(resampled_balanced_accuracy(y, arm, weights=weights) for arm in pair))
            for pair in pairs
        ]
        outcomes.append({"holm": holm(p_values).min() < LEVEL, "none": min(p_values) < LEVEL})
    what = f"of {n_tasks} tasks without a difference at least one shows one"
    lines: dict[str, Line] = {
        "holm": ("family, Holm", what, (0.0, LEVEL)),
        "none": ("family, not adjusted (the wrong way)", what, None),
    }
    yield from _rates(lines, outcomes)


def _detectable(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield the power at the difference that the harness calls detectable."""
    y, lead = _BALANCED, 0.05
    for _ in range(4):  # how much is detectable depends, a little, on how much there is
        pilot = [_lead(y, lead, weights, generator) for weights in _weights(y, 100, generator)]
        lead = float(np.mean([minimum_detectable_difference(differences) for differences in pilot]))
    leads = (_lead(y, lead, weights, generator) for weights in _weights(y, replicates, generator))
    what = f"the arms differ by the minimum detectable difference, {lead:.3f}; the paired test finds one"
    line = ("power at the detectable difference", what, (0.8, 0.8))
    yield from _rates({"found": line}, [{"found": bootstrap_p_value(one) < LEVEL} for one in leads])


def _few_groups(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield coverage and false alarms where each of two classes has few groups of 12 rows; arms are right on 75 %."""
    chance, size = 0.75, 12
    for n in (2, 3, 5, 10, 30):
        groups = np.arange(2 * n * size) // size
        y = groups % 2
        support = assess(tabulate(y, groups))
        outcomes = []
        for weights in _weights(y, replicates, generator, groups):
            arms = _grouped_pair(y, chance, size, generator)
            drawn = [resampled_macro_f1(y, arm, n_classes=2, weights=weights) for arm in arms]
            values = [macro_f1(y, arm, n_classes=2) for arm in arms]
            own = support.stretch(drawn[0], values[0], seed=0)
            difference = support.stretch(drawn[0] - drawn[1], values[0] - values[1], seed=0)
            outcomes.append(
                {
                    "corrected": _lies_in(chance, percentile_interval(own)),
                    "plain": _lies_in(chance, percentile_interval(drawn[0])),
                    "alarm": _p_value(difference, np.zeros(1)) < LEVEL,
                    "plain alarm": _p_value(*drawn) < LEVEL,
                }
            )
        where = f"{n} groups a class"
        covered = "the interval of macro-F1 holds the population's, groups of 12 rows"
        alarmed = "a paired test finds a difference between two equal arms, groups of 12 rows"
        lines: dict[str, Line] = {
            "corrected": (f"coverage, {where}", covered, (FLAGGED, 1.0)),
            "plain": (f"coverage, {where}, not corrected (the wrong way)", covered, None),
            "alarm": (f"false alarms, {where}", alarmed, (0.0, ALARMS)),
            "plain alarm": (f"false alarms, {where}, not corrected (the wrong way)", alarmed, None),
        }
        yield from _rates(lines, outcomes)


def _perfect(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Yield coverage of arms that are seldom wrong, so that many have every row right."""
    chance, y = 0.98, _labels((33, 33))
    support = assess(tabulate(y, np.arange(len(y))))
    outcomes = []
    for weights in _weights(y, replicates, generator):
        predicted = np.where(generator.random(len(y)) < chance, y, 1 - y)
        found = score(y, predicted, np.eye(2)[predicted], weights=weights, support=support)["macro_f1"]
        outcomes.append({"covered": _lies_in(chance, (found.low, found.high))})
    what = f"arms right on {chance:.0%} of 66 rows; the interval of macro-F1 holds the population's"
    yield from _rates({"covered": ("coverage, perfect scores among them", what, (FLAGGED, 1.0))}, outcomes)


# ── simulated rows ───────────────────────────────────────────────────────────────────────────────────────


def _lead(y: Array, lead: float, weights: Array, generator: np.random.Generator) -> Array:
    """Return bootstrap differences in macro-F1 of a new pair of arms, `[resamples]`."""
    pair = _pair(y, lead, generator)
    better, worse = (resampled_macro_f1(y, arm, n_classes=2, weights=weights) for arm in pair)
    return paired_differences(better, worse)


def _pair(y: Array, lead: float, generator: np.random.Generator) -> list[Array]:
    """Return predictions of two arms, right on .74 + lead and .74 of the rows of either class, and often on the same
    rows. With as many rows in both classes these shares are also their population's macro-F1.
    """
    luck = generator.normal(size=len(y))
    arms = []
    for chance in (0.74 + lead, 0.74):
        own = np.sqrt(_LUCK) * luck + np.sqrt(1 - _LUCK) * generator.normal(size=len(y))
        arms.append(np.where(own < ndtri(chance), y, 1 - y))
    return arms


def _grouped_pair(y: Array, chance: float, size: int, generator: np.random.Generator) -> list[Array]:
    """Return predictions of two arms, right on equally many rows. Rows of a group share .3 of their luck, and the arms
    share .6 of that.
    """
    common = generator.normal(size=len(y) // size)
    arms = []
    for _ in range(2):
        shared = np.sqrt(0.6) * common + np.sqrt(0.4) * generator.normal(size=len(common))
        own = np.sqrt(0.3) * np.repeat(shared, size) + np.sqrt(0.7) * generator.normal(size=len(y))
        arms.append(np.where(own < ndtri(chance), y, 1 - y))
    return arms


def _guess(rate: float, generator: np.random.Generator) -> Array:
    """Return random scores `[rows, 2]`, the second the higher one in that share of rows."""
    second = generator.normal(size=ROWS) + ndtri(rate)
    return np.stack([np.zeros(ROWS), second], axis=1)


def _resample(y: Array, scores: Array, weights: Array) -> dict[str, Array]:
    predicted = scores.argmax(axis=1)
    return {
        "balanced accuracy": resampled_balanced_accuracy(y, predicted, weights=weights),
        "AUROC": resampled_auroc(y, scores, weights=weights),
        "macro-F1": resampled_macro_f1(y, predicted, n_classes=scores.shape[1], weights=weights),
    }


def _population(design: Design) -> Mapping[str, float]:
    """Return the scores over infinitely many rows: normal scores, a row's own class shifted, the highest predicted."""
    counts, rest = np.array(design.counts), len(design.counts) - 1
    z = np.linspace(-9, 9 + design.shift, 20_001)
    density = np.exp(-((z - design.shift) ** 2) / 2) / np.sqrt(2 * np.pi)
    recall = float(np.trapezoid(density * ndtr(z) ** rest, z))
    predicted = counts * recall + (counts.sum() - counts) * (1 - recall) / rest
    return {
        "accuracy": recall,
        "balanced_accuracy": recall,
        "macro_f1": float(np.mean(2 * counts * recall / (counts + predicted))),
        "auroc": float(ndtr(design.shift / np.sqrt(2))),
    }


def _labels(counts: Sequence[int]) -> Array:
    return np.repeat(np.arange(len(counts)), counts)


def _weights(
    y: Array, replicates: int, generator: np.random.Generator, groups: Array | None = None
) -> Iterator[Array]:
    """Yield bootstrap weights `[resamples, rows]` for each replicate."""
    groups = np.arange(len(y)) if groups is None else groups
    for replicate in range(replicates):
        if replicate % _SHARED == 0:
            seed = int(generator.integers(2**32))
            weights = cluster_weights(y, groups, resamples=RESAMPLES, seed=seed)
        yield weights


# ── rates ────────────────────────────────────────────────────────────────────────────────────────────────


def _p_value(samples: Array, reference: Array) -> float:
    return bootstrap_p_value(paired_differences(samples, reference))


def _lies_in(value: float, interval: tuple[Any, Any]) -> bool:
    return bool(interval[0] <= value <= interval[1])


def _rates(lines: Mapping[str, Line], outcomes: Sequence[Mapping[str, Any]]) -> Iterator[Truth]:
    """Yield for each line its share of the outcomes, with the exact binomial interval (Clopper & Pearson 1934)."""
    for key, line in lines.items():
        count = sum(bool(outcome[key]) for outcome in outcomes)
        low, high = map(float, binomtest(count, len(outcomes)).proportion_ci(SURE, method="exact"))
        yield _truth(line, count / len(outcomes), (low, high), len(outcomes))


def _truth(line: Line, measured: float, interval: Range, replicates: int) -> Truth:
    name, what, wanted = line
    ok = None if wanted is None else interval[0] <= wanted[1] and wanted[0] <= interval[1]
    return Truth(
        name=name,
        what=what,
        wanted=wanted,
        measured=measured,
        interval=interval,
        replicates=replicates,
        ok=ok,
    )
