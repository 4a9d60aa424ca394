"""Bootstrap weights, intervals, p-values, ranks and detectable differences.

Samples `[resamples]` drawn with the same weights are paired: their differences are taken one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.floating[Any]]

_DRAWS_AT_ONCE = 200_000  # they stay in the processor's cache while they are counted
_ROUNDING = 1e-12
"""Differences below this are rounding errors: no metric of test rows has steps so small."""


def number_groups(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Return group names `[rows]` as numbers in order of appearance; a row without a name is a group of its own."""
    numbers: dict[str | int, int] = {}
    named = (row if group is None else group for row, group in enumerate(groups))
    return np.array([numbers.setdefault(name, len(numbers)) for name in named])


def cluster_weights(
    strata: NDArray[np.integer[Any]], groups: NDArray[np.int64], *, resamples: int, seed: int
) -> NDArray[np.float32]:
    """Return `bootstrap_weights` of rows in groups (templates, translations): whole groups are drawn, so that related
    rows are not counted as independent (Davison & Hinkley 1997, §3.8). `groups [rows]` are numbers from 0; a group
    belongs to the stratum of most of its rows. If each row is its own group, the result is `bootstrap_weights`.
    """
    members = np.zeros((groups.max() + 1, strata.max() + 1), np.int64)
    np.add.at(members, (groups, strata), 1)
    drawn = bootstrap_weights(members.argmax(axis=1), resamples=resamples, seed=seed)
    if np.array_equal(groups, np.arange(len(groups))):  # a copy would hold a thousand numbers a row twice
        return drawn
    weights: NDArray[np.float32] = drawn.T[groups].T
    return weights


def bootstrap_weights(strata: NDArray[np.integer[Any]], *, resamples: int, seed: int) -> NDArray[np.float32]:
    """Return how often each row is drawn, `[resamples, rows]` in float32, for `strata [rows]`.

    Each stratum of m rows is drawn m times with replacement, so every resample has the class counts of the
    test set (Davison & Hinkley 1997, §3.2). The result depends on `strata` and `seed` alone: arms tested on
    the same rows share it. The row of a one-row stratum is always drawn once: intervals do not show its uncertainty.
    """
    generator = np.random.default_rng(seed)
    counts = np.empty((len(strata), resamples), np.float32)  # transposed, which makes products fast
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        step = max(1, _DRAWS_AT_ONCE // len(rows))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            drawn = generator.integers(len(rows), size=(size, len(rows)))
            drawn *= size
            drawn += np.arange(size)[:, None]
            counted = np.bincount(drawn.ravel(), minlength=len(rows) * size)
            counts[rows, start : start + size] = counted.reshape(len(rows), size)
    return counts.T


def percentile_interval(samples: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of `samples [resamples]` (Efron & Tibshirani 1993, §13.3)."""
    ends = [(1 - level) / 2, (1 + level) / 2]
    if samples.dtype != np.float64 or samples.ndim != 1 or not len(samples):
        low, high = np.quantile(samples, ends)
        return float(low), float(high)
    # As numpy.quantile, to the last bit, which takes several times as long to prepare for a thousand numbers.
    last = len(samples) - 1
    places = [last * end for end in ends]
    around = [(int(place), min(int(place) + 1, last)) for place in places]
    sorted_there = np.partition(samples, sorted({*around[0], *around[1], last}))
    if np.isnan(sorted_there[last]):
        return np.nan, np.nan
    low, high = (
        _between(float(sorted_there[before]), float(sorted_there[after]), place - before)
        for (before, after), place in zip(around, places, strict=True)
    )
    return low, high


def _between(low: float, high: float, share: float) -> float:
    """Return the number that lies so far from `low` to `high`, rounded as numpy does."""
    step = high - low
    return high - step * (1 - share) if share >= 0.5 else low + step * share


def paired_differences(samples: Floats, reference: Floats) -> NDArray[np.float64]:
    """Return `samples − reference`, of equal or broadcast shapes; differences of rounding alone are exactly 0."""
    differences = np.subtract(samples, reference, dtype=np.float64)
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def paired_interval(samples: Floats, reference: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the paired difference `samples − reference`, both `[resamples]`."""
    return percentile_interval(paired_differences(samples, reference), level)


def bootstrap_p_value(differences: Floats) -> float:
    """Return the two-sided p-value of "no difference" from bootstrap differences `[resamples]`: twice the smaller tail
    at 0, the percentile interval inverted (Efron & Tibshirani 1993, §15.4), with one resample added to each
    tail so that it is never 0 (Davison & Hinkley 1997, eq. 4.11). Its smallest value is 2 / (resamples + 1).
    """
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (int(tail) + 1) / (len(differences) + 1))


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share, `successes` of `n` independent rows (Wilson 1927). It lies within [0, 1]
    and is not empty at 0 or n successes. ValueError unless 0 ≤ successes ≤ n and n > 0.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a share is of 0 to n successes in n > 0 rows, not of {successes} in {n}")
    from scipy.stats import binomtest  # takes a second to import, and most boards ask for no share

    interval = binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of "both arms are right equally often", from the numbers of rows that only the one
    or only the other has right: binomial with chance ½ (McNemar 1947; exact), 1 where there is no such row.
    """
    from scipy.stats import binomtest  # as above

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values `[tests]` adjusted for their number (Holm 1979, step-down), in the given order."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def minimum_detectable_difference(differences: Floats, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the true difference that a two-sided test at `alpha` would find with probability `power`, from
    bootstrap differences `[resamples]`: (z_{1−alpha/2} + z_power) · sd (Bloom 1995, "Minimum detectable
    effects").
    """
    deviation = np.std(differences, ddof=1) if len(differences) > 1 else 0.0
    return float((ndtri(1 - alpha / 2) + ndtri(power)) * deviation)


def rank_intervals(
    samples: Floats, *, seed: int, level: float = 0.95
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and the highest rank `[arms]` of each arm's mean over tasks (1 is the largest mean) when tasks
    and test rows are resampled, from `samples [tasks, arms, resamples]`, paired over arms.

    Each resample draws as many tasks as there are, with replacement, and for each of them one of its own resamples of
    rows, the same for all arms; percentiles of the ranks are taken, a tie counting as either order (two-stage
    bootstrap: Davison & Hinkley 1997, §3.8; of ranks: Goldstein & Spiegelhalter 1996). The intervals generalise to
    similar tasks: an arm that leads by far on half of the tasks and trails by far on the rest has a wide interval for
    any number of rows. The noise of rows counts in both stages, so intervals are rather too wide. Each interval is at
    `level` by itself, not all together.

    Few tasks carry little information. With two or three, a single task makes up more than 2.5 % of the draws, so that
    an arm's 95 % interval contains every rank that it has on any one of them beyond noise. With one task, only rows are
    resampled.
    """
    n_tasks, n_arms, n_resamples = samples.shape
    generator = np.random.default_rng(seed)
    total = np.zeros((n_resamples, n_arms))
    for _ in range(n_tasks):
        task, resample = generator.integers((n_tasks, n_resamples), size=(n_resamples, 2)).T
        total += samples[task, :, resample]
    means = total.T / n_tasks
    low, high = np.empty(n_arms, np.int64), np.empty(n_arms, np.int64)
    for arm in range(n_arms):
        ahead = paired_differences(means, means[arm])
        first = 1 + np.count_nonzero(ahead > 0, axis=0)
        last = n_arms - np.count_nonzero(ahead < 0, axis=0)
        low[arm] = np.quantile(first, (1 - level) / 2, method="inverted_cdf")
        high[arm] = np.quantile(last, (1 + level) / 2, method="inverted_cdf")
    return low, high


MOST_GROUPS = 200
"""Maximum number of groups of arms that a board can show legibly."""


def tie_groups(apart: NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of each arm, numbered from 0. `apart [arms, arms]` marks pairs that differ significantly; it is
    symmetric, the best arm first, and its diagonal is not read. Two arms share a group exactly if they do not differ.

    This is a compact letter display by insert-and-absorb (Piepho 2004, "An algorithm for a letter-based representation
    of all-pairwise comparisons"). "No difference" is not transitive, so an arm may be in several groups. Groups are the
    largest sets of arms without a significant difference, in the order of their best arms, then of their second best,
    and so on. Sharing a group does not show that arms are equal. All groups are empty if there would be more than
    MOST_GROUPS.
    """
    arms = range(len(apart))
    groups = [frozenset(arms)]
    for pair in np.argwhere(np.triu(apart, 1)).tolist():
        kept = [group for group in groups if not group.issuperset(pair)]
        parts = [group - {arm} for group in groups if group.issuperset(pair) for arm in pair]
        groups = kept + [part for part in parts if not any(part <= group for group in kept)]
        if len(groups) > MOST_GROUPS:
            return ((),) * len(apart)
    ordered = sorted(groups, key=sorted)
    return tuple(tuple(number for number, group in enumerate(ordered) if arm in group) for arm in arms)


def bootstrap_seed(task: str) -> int:
    """Return the seed of a task's resamples, equal for every arm, run and machine."""
    return int.from_bytes(hashlib.sha256(task.encode()).digest()[:8], "big")
