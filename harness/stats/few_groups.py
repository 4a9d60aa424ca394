"""Intervals and tests where a class has few groups of test rows.

A bootstrap of two or three groups a class draws too little: its intervals are too short and its tests find too much.
Here its deviations are stretched to those of Student's t, and a simulation of the very same numbers and sizes of groups
decides whether what comes out may be shown. With one group in every class there is nothing to draw at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, ndtri

Floats = NDArray[np.floating[Any]]

Table = tuple[tuple[int, ...], ...]
"""Numbers of rows of the groups of each class that has test rows, both in rising order."""

FEW = 30
"""Groups of a class below which the bootstrap is corrected: at 30 its intervals cover .94, at 10 .91, at 3 .80."""

FLAGS = ("groups", "single", "absent")
"""Names of the flags of test rows, before the colon."""

SHOWN, FLAGGED, ALARMS = 0.92, 0.85, 0.07
"""Least coverage of a 95 % interval that is shown as it is, and of one that is shown with a flag; most false alarms of
a test at .05 whose p-value is shown.
"""

_RATES = (0.6, 0.75, 0.9)
"""Shares of right rows of the simulated arms. The worst of them decides."""

_REPLICATES, _RESAMPLES = 1000, 500

_LUCK = 0.3
"""Correlation of the rows of a simulated group. What is shown below was little different for .1 and .5."""

_LIKENESS = 0.6
"""Correlation of the luck of two simulated arms in a group."""

_MOST = FEW
"""Most groups of a class in a simulation: more of them would not change what it decides."""


@dataclass(frozen=True, kw_only=True)
class Support:
    """Strength of the evidence that the groups of some test rows give.

    `fewest` are the groups of the class that has fewest of those that have two or more, 1 where none has two; `single`
    of the `classes` have one. `coverage` and `false_alarms` are simulated, None where that is not needed. `spread` is
    the factor by which deviations of resamples are too small, `freedom` the degrees of freedom of Student's t.
    """

    fewest: int
    single: int
    classes: int
    table: Table
    spread: float = 1.0
    freedom: float = np.inf
    coverage: float | None = None
    false_alarms: float | None = None

    @property
    def has_interval(self) -> bool:
        """True if intervals are near enough to what they promise to be shown."""
        return self.fewest > 1 and (self.coverage is None or self.coverage >= FLAGGED)

    @property
    def has_p_value(self) -> bool:
        """True if tests raise few enough false alarms for their p-values to be shown."""
        return self.has_interval and (self.false_alarms is None or self.false_alarms <= ALARMS)

    @property
    def is_plain(self) -> bool:
        """True if intervals and p-values need no flag."""
        return self.has_p_value and (self.coverage is None or self.coverage >= SHOWN)

    @property
    def flags(self) -> tuple[str, ...]:
        """`groups:n` if intervals are poor or missing or p-values missing, `single:n/m` if n of m classes have one
        group.
        """
        groups = () if self.is_plain else (f"groups:{self.fewest}",)
        single = (f"single:{self.single}/{self.classes}",) if self.single and self.has_interval else ()
        return groups + single

    def stretch(self, samples: Floats, value: float | Floats, *, seed: int) -> NDArray[np.float64]:
        """Return resampled values `[resamples, …]`, their deviations from `value` stretched to those of Student's t.

        The resamples of m groups vary by (m − 1)/m of what m groups vary by, and how much that is, is itself known from
        m groups only. Each resample's deviation is multiplied by √(ν/χ²ν), which makes a normal one Student's; of equal
        `seed` and support all arms get the same factors, so that they stay paired.
        """
        if not np.isfinite(self.freedom):
            return np.asarray(samples, np.float64)
        factors = self.spread * _draw_student(self.freedom, len(samples), seed)
        by_sample = factors.reshape(-1, *[1] * (samples.ndim - 1))
        return np.asarray(value + by_sample * (samples - value), np.float64)

    def draw_perfect(self, resamples: int, *, seed: int) -> NDArray[np.float64]:
        """Return scores `[resamples]` that an arm which has every row right may truly have, for the lower end of its
        interval: of each class a share drawn from Beta(groups, 1), whose quantiles are the lower limits of Clopper and
        Pearson (1934), and of the shares their mean, as in balanced accuracy.
        """
        groups = [len(sizes) for sizes in self.table]
        drawn = np.random.default_rng(seed).beta(groups, 1.0, size=(resamples, len(groups)))
        return np.asarray(drawn.mean(axis=1))


@lru_cache(maxsize=64)
def _draw_student(freedom: float, resamples: int, seed: int) -> NDArray[np.float64]:
    """Draw √(ν/χ²ν) for each resample; fewer resamples are the first of more."""
    drawn = np.random.default_rng(seed).random(resamples)
    # The quantiles of `scipy.stats.chi2`, whose import takes a second.
    return np.asarray(np.sqrt(freedom / (2 * gammaincinv(freedom / 2, drawn))))


def tabulate(labels: NDArray[np.integer[Any]], groups: NDArray[np.int64]) -> Table:
    """Return the sizes of the groups of each class, of `labels [rows]` and `groups [rows]`, numbers from 0. A group
    belongs to the class of most of its rows, as in `cluster_weights`.
    """
    members = np.zeros((groups.max() + 1, labels.max() + 1), np.int64)
    np.add.at(members, (groups, labels), 1)
    members = members[members.any(axis=1)]
    owner, sizes = members.argmax(axis=1), members.sum(axis=1)
    by_class = (sizes[owner == number] for number in np.unique(owner))
    return tuple(sorted(tuple(sorted(own.tolist())) for own in by_class))


@lru_cache(maxsize=4096)
def assess(table: Table) -> Support:
    """Return what groups of these sizes allow to say. Equal tables give equal answers: the simulation has a seed."""
    counts = np.array([len(sizes) for sizes in table])
    several = counts[counts > 1]
    facts: dict[str, Any] = {
        "fewest": int(several.min()) if len(several) else 1,
        "single": int(np.count_nonzero(counts == 1)),
        "classes": len(counts),
        "table": table,
    }
    if not len(several) or several.min() >= FEW:
        return Support(**facts)
    # Of a mean over classes, each with variance σ²/m (Satterthwaite 1946); unbiased is Σ 1/(m − 1).
    unbiased = 1 / (several - 1)
    support = Support(
        **facts,
        spread=float(np.sqrt(unbiased.sum() / (1 / several).sum())),
        freedom=float(unbiased.sum() ** 2 / (unbiased**2 / (several - 1)).sum()),
    )
    found = [_simulate(support, rate) for rate in _RATES]
    return Support(
        **facts,
        spread=support.spread,
        freedom=support.freedom,
        coverage=min(coverage for coverage, _ in found),
        false_alarms=max(alarms for _, alarms in found),
    )


def _simulate(support: Support, rate: float) -> tuple[float, float]:
    """Return the share of intervals that hold `rate`, and of tests that find a difference between two equal arms."""
    generator = np.random.default_rng(0)
    table = [sizes[:: max(1, len(sizes) // _MOST)] for sizes in support.table if len(sizes) > 1]
    values = np.zeros((2, _REPLICATES))
    samples = np.zeros((2, _RESAMPLES, _REPLICATES), np.float32)
    for sizes in table:
        rows, m = np.array(sizes), len(sizes)
        right = _draw_right(rows, rate, generator)
        weights = generator.multinomial(m, np.full(m, 1 / m), size=_RESAMPLES).astype(np.float32)
        values += right.sum(axis=1) / rows.sum() / len(table)
        samples += np.matmul(weights, right.astype(np.float32)) / (weights @ rows)[:, None] / len(table)
    stretched = support.stretch(samples[0], values[0], seed=1)
    low, high = np.quantile(stretched, [0.025, 0.975], axis=0)
    perfect = values[0] == 1
    low[perfect] = np.quantile(support.draw_perfect(2000, seed=1), 0.025)
    difference = support.stretch(samples[0] - samples[1], values[0] - values[1], seed=1)
    difference[np.abs(difference) < 1e-6] = 0.0  # 32 bits
    tail = np.minimum((difference <= 0).sum(axis=0), (difference >= 0).sum(axis=0))
    p_values = 2 * (tail + 1) / (_RESAMPLES + 1)
    return float(np.mean((low <= rate) & (rate <= high + perfect))), float(np.mean(p_values < 0.05))


def _draw_right(rows: NDArray[np.int64], rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw the numbers of right rows of groups with `rows [groups]`, of two arms: `[2, groups, _REPLICATES]`."""
    shape = (len(rows), _REPLICATES)
    common = generator.normal(size=shape)
    luck = [np.sqrt(_LIKENESS) * common + np.sqrt(1 - _LIKENESS) * generator.normal(size=shape) for _ in "ab"]
    # A row is right if its normal luck, of which the group shares a part, is below the quantile of the rate.
    chance = ndtr((ndtri(rate) - np.sqrt(_LUCK) * np.array(luck)) / np.sqrt(1 - _LUCK))
    return np.asarray(generator.binomial(rows[:, None], chance))


def summarize(supports: Sequence[Support]) -> tuple[str, ...]:
    """Return the flags of several sets of test rows: the fewest groups of all, and the classes of all together."""
    few = [support.fewest for support in supports if not support.is_plain]
    shown = [support for support in supports if support.has_interval]
    single, classes = sum(one.single for one in shown), sum(one.classes for one in shown)
    return (*([f"groups:{min(few)}"] if few else []), *([f"single:{single}/{classes}"] if single else []))
