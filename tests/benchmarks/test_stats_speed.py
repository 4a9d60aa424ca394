"""Seconds of a large board's intervals: 50 arms (AUROC: 5) on 20,000 test rows, 2,000 resamples.

Then those of one cell with 77 classes. `make bench`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.stats.bootstrap import bootstrap_weights, rank_intervals
from harness.stats.metrics import (
    resampled_accuracy,
    resampled_auroc,
    resampled_balanced_accuracy,
    resampled_macro_f1,
    score,
)

Array = np.ndarray[Any, Any]

ARMS, ROWS, RESAMPLES = 50, 20_000, 2_000

METRICS: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "macro-F1": lambda y, predicted, scores, weights: resampled_macro_f1(
        y, predicted, n_classes=scores.shape[1], weights=weights
    ),
    "accuracy": lambda y, predicted, scores, weights: resampled_accuracy(y, predicted, weights=weights),
    "balanced accuracy": lambda y, predicted, scores, weights: resampled_balanced_accuracy(
        y, predicted, weights=weights
    ),
    "AUROC": lambda y, predicted, scores, weights: resampled_auroc(y, scores, weights=weights),
}


@pytest.fixture(scope="module", params=[2, 5], ids=lambda n_classes: f"{n_classes} classes")
def board(request: pytest.FixtureRequest) -> tuple[Array, list[Array], Array]:
    """Labels, the arms' scores `[rows, classes]`, weights."""
    generator = np.random.default_rng(0)
    y = generator.integers(request.param, size=ROWS)
    arms = []
    for _ in range(ARMS):
        scores = generator.normal(size=(ROWS, request.param)).astype(np.float32)
        scores[np.arange(ROWS), y] += 1
        arms.append(scores)
    return y, arms, bootstrap_weights(y, resamples=RESAMPLES, seed=0)


@pytest.mark.parametrize("metric", METRICS)
def test_resamples_of_many_arms(benchmark: Any, board: tuple[Array, list[Array], Array], metric: str) -> None:
    y, arms, weights = board
    arms = arms[:5] if metric == "AUROC" else arms  # it takes about four times as long for each class
    predicted = [scores.argmax(axis=1) for scores in arms]

    def resample() -> Array:
        found = [
            METRICS[metric](y, own, scores, weights) for own, scores in zip(predicted, arms, strict=True)
        ]
        return np.stack(found)

    samples = benchmark.pedantic(resample, rounds=1)
    assert samples.shape == (len(arms), RESAMPLES)
    benchmark.extra_info.update(arms=len(arms), rows=ROWS, resamples=RESAMPLES, classes=arms[0].shape[1])


def test_weights(benchmark: Any) -> None:
    y = np.random.default_rng(0).integers(2, size=ROWS)
    weights = benchmark.pedantic(lambda: bootstrap_weights(y, resamples=RESAMPLES, seed=0), rounds=3)
    assert weights.shape == (RESAMPLES, ROWS)
    benchmark.extra_info.update(rows=ROWS, resamples=RESAMPLES)


def test_rank_intervals(benchmark: Any) -> None:
    samples = np.random.default_rng(0).normal(size=(20, ARMS, RESAMPLES))
    low, high = benchmark.pedantic(lambda: rank_intervals(samples, seed=0), rounds=3)
    assert (low <= high).all()
    benchmark.extra_info.update(tasks=20, arms=ARMS, resamples=RESAMPLES)


def test_scores_of_many_classes(benchmark: Any) -> None:
    generator = np.random.default_rng(0)
    y, scores = generator.integers(77, size=3000), generator.random((3000, 77))
    weights = bootstrap_weights(y, resamples=1000, seed=0)
    found = benchmark.pedantic(lambda: score(y, scores.argmax(1), scores, weights=weights), rounds=1)
    assert 0 < found["accuracy"].value < 0.05  # chance, of 77 classes
