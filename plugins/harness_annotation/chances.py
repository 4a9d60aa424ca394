"""Statistics of paired answers: intervals over templates, and the smallest gain that a McNemar test finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import wilson_interval

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[np.float64]]
    Whole = np.ndarray[Any, np.dtype[np.int64]]

RESAMPLES = 2000
POWER, ALPHA = 0.8, 0.05


def find_share(right: Array, templates: Sequence[str]) -> tuple[float, float, float]:
    """Return the share of right answers `right [items]`, with its 95 % interval: the wider, at each end, of Wilson's
    and of a bootstrap of templates.
    """
    wilson_low, wilson_high = wilson_interval(int(right.sum()), len(right))
    value, low, high = find_mean(right, templates)
    return value, min(low, wilson_low), max(high, wilson_high)


def find_mean(values: Array, templates: Sequence[str]) -> tuple[float, float, float]:
    """Return the mean of `values [items]` with its 95 % interval by a bootstrap of whole templates."""
    sums, counts = _by_template(values, templates)
    drawn = _draw(len(sums))
    resampled = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def find_design_effect(values: Array, templates: Sequence[str]) -> float:
    """Return how many items with templates in common tell as much as one alone: at least 1."""
    variance = float(values.var())
    if variance == 0:
        return 1.0
    sums, counts = _by_template(values, templates)
    residuals = sums - values.mean() * counts
    return max(1.0, float((residuals**2).sum()) / (len(values) * variance))


def detectable_gain(n: int, churn: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest gain in accuracy that an exact two-sided McNemar test at `alpha` finds with probability
    `power` in `n` independent items, where a share `churn` of answers changes, as often for the better as for the
    worse, without any gain. 1 if none is large enough.
    """
    gains = np.linspace(0, 1 - min(churn, 1.0), 1001)
    low, high = 0, len(gains) - 1
    if _find_power(n, churn, gains[high], alpha) < power:
        return 1.0
    while low < high:  # power grows with the gain
        middle = (low + high) // 2
        if _find_power(n, churn, gains[middle], alpha) >= power:
            high = middle
        else:
            low = middle + 1
    return float(gains[high])


def _find_power(n: int, churn: float, gain: float, alpha: float) -> float:
    """Return the probability that the test finds a gain, exactly, over all numbers of changed answers."""
    from scipy.stats import binom

    changed = churn + gain
    if changed <= 0:
        return 0.0
    counts = np.arange(n + 1)
    least = binom.isf(alpha / 2, counts, 0.5) + 1  # smallest number of mended answers that is significant
    found = binom.sf(least - 1, counts, (churn / 2 + gain) / changed)
    return float((binom.pmf(counts, n, min(changed, 1.0)) * found).sum())


def _by_template(values: Array, templates: Sequence[str]) -> tuple[Array, Whole]:
    _, numbers = np.unique(np.asarray(templates), return_inverse=True)
    return np.bincount(numbers, values).astype(np.float64), np.bincount(numbers).astype(np.int64)


def _draw(templates: int) -> Whole:
    drawn: Whole = np.random.default_rng(0).multinomial(
        templates, np.full(templates, 1 / templates), size=RESAMPLES
    )
    return drawn
