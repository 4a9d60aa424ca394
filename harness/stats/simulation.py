"""Arms with a known truth in, how often the verdicts find it out.

Test rows, predictions and scores are simulated, so that what an interval should hold and a test should say is known.
They go through the functions that records and boards use (`metrics`, `stats`), over and over: every rate is of
independent replicates. All replicates of a design have the same class counts, as the resamples have: the population
that a score is of is that of the test set's class counts.
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
from harness.stats.metrics import (
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
"""Where the coverage of a 95 % interval has to lie: it misses half to one and a half times as often as it says (Bradley
1978, "Robustness?", the liberal criterion). Percentile intervals are known to be a little narrow for small classes.
"""

_SHARED = 20
"""Replicates that share one drawing of weights. Their rows are new, so their resamples are as good as independent.
"""

_LUCK = 0.8
"""Correlation of two arms' luck on a row."""

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of simulated arms, and what was measured.

    `measured` is a share of the replicates (of one line their mean) and `interval` the 99 % interval of it; `wanted`
    the range that the true value has to lie in. `ok` says whether the interval meets that range; both are None
    where the value is only stated.
    """

    name: str
    what: str
    wanted: tuple[float, float] | None
    measured: float
    interval: tuple[float, float]
    replicates: int
    ok: bool | None


@dataclass(frozen=True, kw_only=True)
class Design:
    """Test rows of each class, and by how much (in standard deviations) an arm scores a row's own class higher."""

    name: str
    counts: tuple[int, ...]
    shift: float


DESIGNS = (
    Design(name="2 classes", counts=(200, 200), shift=1.2),
    Design(name="2 classes, 10 % in one", counts=(360, 40), shift=1.2),
    Design(name="5 classes, 10 to 40 %", counts=(160, 80, 60, 60, 40), shift=1.8),
)


def measure(replicates: int = 2000, seed: int = 0) -> tuple[Truth, ...]:
    """Every line, from that many replicates; the same numbers for the same arguments."""
    lines = (_null, _coverage, _clusters, _advantage, _family, _detectable)
    return tuple(
        truth
        for number, line in enumerate(lines)
        for truth in line(replicates, np.random.default_rng([seed, number]))
    )


def _null(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Labels that nothing predicts, and two arms that guess on their own."""
    for counts, rates in (((200, 200), (0.5, 0.2)), ((360, 40), (0.5, 0.2)), ((360, 40), (0.1, 0.1))):
        y = _labels(counts)
        rejected = dict.fromkeys(("balanced accuracy", "AUROC", "macro-F1"), 0)
        for weights in _weights(y, replicates, generator):
            first, second = (_resample(y, _guess(rate, generator), weights) for rate in rates)
            for metric in rejected:
                rejected[metric] += _p_value(first[metric], second[metric]) < LEVEL
        where = f"{counts[1] / ROWS:.0%} in class 1, predicted {rates[0]:.0%} and {rates[1]:.0%}"
        for metric, count in rejected.items():
            yield _rate(
                f"null, {metric}: {where}",
                "labels are random; a paired test finds a difference",
                count,
                replicates,
                wanted=None if metric == "macro-F1" else (LEVEL, LEVEL),
            )


def _coverage(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Scores of known arms in their intervals."""
    for design in DESIGNS:
        y, truth = _labels(design.counts), _population(design)
        covered = dict.fromkeys(truth, 0)
        for weights in _weights(y, replicates, generator):
            scores = generator.normal(size=(len(y), len(design.counts)))
            scores[np.arange(len(y)), y] += design.shift
            found = score(y, scores.argmax(axis=1), scores, weights=weights, grouped=False)
            for metric, value in truth.items():
                low, high = found[metric].low, found[metric].high
                assert low is not None and high is not None
                covered[metric] += low <= value <= high
        for metric, count in covered.items():
            yield _rate(
                f"coverage, {metric}: {design.name}",
                f"the 95 % interval holds the population's {truth[metric]:.3f}",
                count,
                replicates,
                wanted=TOLERATED,
            )


def _clusters(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Rows in groups of 5 of one class, whose luck correlates by ½; an arm is right on 75 % of rows."""
    chance, size = 0.75, 5
    groups = np.arange(ROWS) // size
    y = groups % 2
    covered = {"groups": 0, "rows": 0}
    drawings = (_weights(y, replicates, generator, groups), _weights(y, replicates, generator))
    for by_group, by_row in zip(*drawings, strict=True):
        shared = np.repeat(generator.normal(size=ROWS // size), size)
        right = (shared + generator.normal(size=ROWS)) / np.sqrt(2) < ndtri(chance)
        for name, weights in (("groups", by_group), ("rows", by_row)):
            low, high = percentile_interval(resampled_accuracy(y, np.where(right, y, 1 - y), weights=weights))
            covered[name] += low <= chance <= high
    what = "groups of 5 rows share half their luck; the interval of accuracy holds the population's"
    yield _rate("coverage, groups drawn whole", what, covered["groups"], replicates, wanted=TOLERATED)
    yield _rate("coverage, groups ignored (the wrong way)", what, covered["rows"], replicates)


def _advantage(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Two arms that differ by .06 and are right on much the same rows."""
    lead, y = 0.06, _labels((200, 200))
    count = dict.fromkeys(("found", "reversed", "covered", "unpaired"), 0)
    ratios = []
    drawings = (_weights(y, replicates, generator), _weights(y, replicates, generator))
    for weights, others in zip(*drawings, strict=True):
        better, worse = _pair(y, lead, generator)
        samples, reference, apart = (
            resampled_macro_f1(y, predicted, n_classes=2, weights=own)
            for predicted, own in ((better, weights), (worse, weights), (worse, others))
        )
        significant, positive = _p_value(samples, reference) < LEVEL, np.median(samples - reference) > 0
        low, high = paired_interval(samples, reference)
        unpaired = paired_interval(samples, apart)
        count["found"] += bool(significant and positive)
        count["reversed"] += bool(significant and not positive)
        count["covered"] += low <= lead <= high
        count["unpaired"] += unpaired[0] > 0
        ratios.append((unpaired[1] - unpaired[0]) / (high - low))
    what = f"an arm leads by {lead:.2f} in macro-F1; "
    yield _rate("advantage found", what + "the paired test finds it", count["found"], replicates)
    yield _rate(
        "advantage reversed",
        what + "the paired test finds the other arm better",
        count["reversed"],
        replicates,
        wanted=(0.0, LEVEL / 2),
    )
    yield _rate(
        "advantage covered",
        what + "the paired interval holds it",
        count["covered"],
        replicates,
        wanted=TOLERATED,
    )
    yield _rate(
        "advantage found, unpaired",
        what + "the unpaired interval lies above 0",
        count["unpaired"],
        replicates,
    )
    reach = float(ndtri((1 + SURE) / 2) * np.std(ratios) / np.sqrt(replicates))
    mean = float(np.mean(ratios))
    yield Truth(
        name="width, unpaired over paired",
        what=what + "mean ratio of the two intervals' widths",
        wanted=None,
        measured=mean,
        interval=(mean - reach, mean + reach),
        replicates=replicates,
        ok=None,
    )


def _family(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Ten tasks on which two arms are equally good."""
    n_tasks, y = 10, _labels((200, 200))
    found = {"holm": 0, "none": 0}
    for weights in _weights(y, replicates, generator):
        p_values = [
            _p_value(
                *(resampled_balanced_accuracy(y, arm, weights=weights) for arm in _pair(y, 0.0, generator))
            )
            for _ in range(n_tasks)
        ]
        found["holm"] += bool(holm(p_values).min() < LEVEL)
        found["none"] += min(p_values) < LEVEL
    what = f"of {n_tasks} tasks without a difference at least one shows one"
    yield _rate("family, Holm", what, found["holm"], replicates, wanted=(0.0, LEVEL))
    yield _rate("family, not adjusted (the wrong way)", what, found["none"], replicates)


def _detectable(replicates: int, generator: np.random.Generator) -> Iterator[Truth]:
    """Two arms that differ by what the harness calls detectable."""
    y, lead = _labels((200, 200)), 0.05
    for _ in range(4):  # how much is detectable depends, a little, on how much there is
        pilot = [_lead(y, lead, weights, generator) for weights in _weights(y, 100, generator)]
        lead = float(np.mean([minimum_detectable_difference(differences) for differences in pilot]))
    found = sum(
        bootstrap_p_value(_lead(y, lead, weights, generator)) < LEVEL
        for weights in _weights(y, replicates, generator)
    )
    what = f"the arms differ by the minimum detectable difference, {lead:.3f}; the paired test finds one"
    yield _rate("power at the detectable difference", what, found, replicates, wanted=(0.8, 0.8))


def _lead(y: Array, lead: float, weights: Array, generator: np.random.Generator) -> Array:
    """Bootstrap differences in macro-F1 of a new pair of arms."""
    better, worse = (
        resampled_macro_f1(y, predicted, n_classes=2, weights=weights)
        for predicted in _pair(y, lead, generator)
    )
    return paired_differences(better, worse)


def _pair(y: Array, lead: float, generator: np.random.Generator) -> list[Array]:
    """Predictions of two arms, right on .74 + lead and .74 of the rows of either class, and often on the same: with as
    many rows in both classes these are also their population's macro-F1.
    """
    luck = generator.normal(size=len(y))
    arms = []
    for chance in (0.74 + lead, 0.74):
        own = np.sqrt(_LUCK) * luck + np.sqrt(1 - _LUCK) * generator.normal(size=len(y))
        arms.append(np.where(own < ndtri(chance), y, 1 - y))
    return arms


def _guess(rate: float, generator: np.random.Generator) -> Array:
    """Scores `[rows, 2]` that know nothing, the second the higher one in that share of rows."""
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
    """The scores of infinitely many rows: normal scores, of a row's own class shifted, the highest predicted."""
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
    """Weights for each replicate."""
    groups = np.arange(len(y)) if groups is None else groups
    for replicate in range(replicates):
        if replicate % _SHARED == 0:
            seed = int(generator.integers(2**32))
            weights = cluster_weights(y, groups, resamples=RESAMPLES, seed=seed)
        yield weights


def _p_value(samples: Array, reference: Array) -> float:
    return bootstrap_p_value(paired_differences(samples, reference))


def _rate(
    name: str, what: str, count: int, replicates: int, *, wanted: tuple[float, float] | None = None
) -> Truth:
    """Return a line of `count` in `replicates`, with the exact binomial interval (Clopper & Pearson 1934)."""
    low, high = map(float, binomtest(count, replicates).proportion_ci(SURE, method="exact"))
    return Truth(
        name=name,
        what=what,
        wanted=wanted,
        measured=count / replicates,
        interval=(low, high),
        replicates=replicates,
        ok=None if wanted is None else low <= wanted[1] and wanted[0] <= high,
    )
