"""Scores of explanations of features, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from harness import Score

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

CHANCE: Mapping[str, float] = {
    "simulation": 0.0,
    "detection": 0.5,
    "detection AUROC": 0.5,
    "fuzzing": 0.5,
    "fuzzing AUROC": 0.5,
}
"""Score → its value for an explanation that says nothing, in the order of pages."""

DRAWS, LEVEL = 2000, 0.95

YES = 0.5
"""Probability from which a judge's answer is yes."""


def correlate(true: Sequence[Array], simulated: Sequence[Array]) -> float:
    """Return Pearson's correlation of activations over all tokens of all fragments; 0 where either is constant."""
    x, y = (np.concatenate(parts).astype(np.float64) for parts in (true, simulated))
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float(x @ y) / size if size > 1e-12 else 0.0


def balance(probabilities: Array, is_true: Array) -> float:
    """Return balanced accuracy: the mean of the share of true ones that get a yes, and of others that do not."""
    yes = probabilities >= YES
    return float((yes[is_true].mean() + (~yes[~is_true]).mean()) / 2)


def rank(probabilities: Array, is_true: Array) -> float:
    """Return AUROC, ties counting half."""
    n_true, n_other = int(is_true.sum()), int((~is_true).sum())
    ranks = rankdata(probabilities)[is_true].sum()
    return float((ranks - n_true * (n_true + 1) / 2) / (n_true * n_other))


def average(values: Array, seed: int = 0) -> Score:
    """Return the mean of features' values `[features]` with its 95 % interval, by a bootstrap of features."""
    return _interval(float(values.mean()), _draw(values, seed))


def subtract(ours: Array, theirs: Array) -> Score:
    """Return the difference of the means of two arms' features, each resampled by itself."""
    return _interval(float(ours.mean() - theirs.mean()), _draw(ours, 0) - _draw(theirs, 1))


def _draw(values: Array, seed: int) -> Array:
    rows = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    drawn: Array = values[rows].mean(axis=1)
    return drawn


def _interval(value: float, drawn: Array) -> Score:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value=value, low=float(low), high=float(high), method="bootstrap over features")
