"""Reliability of a score: how far it moves by chance, and whether it orders dictionaries as the truth does.

The questions are those of Chanin 2026 (arXiv 2605.18229), put to the scores of boards; the formulas are stated here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import nct, rankdata

from harness.api.events import Score

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
RESAMPLES = 2000
"""Bootstrap resamples of settings of dictionaries for the interval of a rank correlation."""


def signal_to_noise(earlier: ArrayLike, later: ArrayLike) -> Score:
    """Return the difference between two states of a dictionary in units of the noise over seeds, with 95 % interval.

    For scores `[K seeds]` each it is (mean of later − mean of earlier) / s, where s² is the mean of the two variances
    over seeds (K − 1 degrees of freedom each): Cohen's d. Its interval inverts the noncentral t distribution with
    2 (K − 1) degrees of freedom (Steiger & Fouladi 1997), for normal noise of equal size. States of one run vary
    together, which makes the interval too wide rather than too narrow. ValueError for fewer than two seeds, or without
    any noise.
    """
    first, last = np.asarray(earlier, dtype=float), np.asarray(later, dtype=float)
    if first.shape != last.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError("noise over seeds needs two states of at least two seeds each")
    noise = noise_over(np.stack([first, last]))
    if noise == 0:
        raise ValueError("scores that do not move over seeds have no noise to compare with")
    value = float((last.mean() - first.mean()) / noise)
    scale, freedom = float(np.sqrt(len(first) / 2)), 2 * (len(first) - 1)
    tail = (1 - LEVEL) / 2
    low = _solve(lambda delta: float(nct.sf(value * scale, freedom, delta)) - tail, value * scale)
    high = _solve(lambda delta: tail - float(nct.cdf(value * scale, freedom, delta)), value * scale)
    return Score(value=value, low=low / scale, high=high / scale, method="noncentral t")


def noise_over(scores: ArrayLike) -> float:
    """Return the standard deviation over repeats of scores `[states, repeats]`, pooled over states."""
    return float(np.sqrt(np.asarray(scores, dtype=float).var(axis=1, ddof=1).mean()))


def rank_correlation(scores: ArrayLike, truth: ArrayLike, *, seed: int = 0) -> Score:
    """Return Spearman's correlation of `scores` with `truth`, each `[settings]` or `[seeds, settings]`, with the
    percentile interval of resampled settings. ValueError for fewer than three, or where one of the two is constant.

    A setting is drawn with all of its seeds, which are near copies: drawn one by one, the interval would be too narrow.
    """
    first, second = (np.atleast_2d(np.asarray(values, dtype=float)) for values in (scores, truth))
    settings = first.shape[-1]
    if first.shape != second.shape or first.ndim != 2 or settings < 3:
        raise ValueError("a rank correlation needs three settings of dictionaries")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise ValueError("a constant has no ranks")
    drawn = np.random.default_rng(seed).integers(settings, size=(RESAMPLES, settings))
    (value,) = _spearman(first.reshape(1, -1), second.reshape(1, -1))
    found = _spearman(*(np.concatenate([row[drawn] for row in values], axis=1) for values in (first, second)))
    found = found[np.isfinite(found)]  # a resample of equal values has no ranks
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value=float(value), low=float(low), high=float(high), method="bootstrap of settings")


def _spearman(first: Floats, second: Floats) -> Floats:
    """Return the correlation of ranks in each row of `[resamples, dictionaries]`; NaN for a constant row."""
    one, other = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (first, second))
    sizes = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found = np.full(len(first), np.nan)
    np.divide((one * other).sum(axis=1), sizes, out=found, where=sizes > 0)
    return found


def _solve(rising: Callable[[float], float], start: float) -> float:
    """Return the root of a rising function near `start`."""
    width = 2.0
    while rising(start - width) > 0 or rising(start + width) < 0:
        width *= 2
    return float(brentq(rising, start - width, start + width))
