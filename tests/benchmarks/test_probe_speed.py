"""Seconds of one many-class fit: logreg, and scikit-learn's Newton method on the same rows. `make bench`."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import harness


@dataclass(frozen=True)
class Shape:
    """What is timed: pooled features like those of an intent task."""

    rows: int
    features: int
    classes: int
    C: float


SHAPES = {
    "2 classes": Shape(rows=4000, features=128, classes=2, C=100.0),
    "77 classes, hidden": Shape(rows=4000, features=64, classes=77, C=100.0),
    "77 classes, dictionary": Shape(rows=4000, features=256, classes=77, C=100.0),
}


def make_rows(shape: Shape) -> tuple[Any, Any]:
    """Class means and noise whose size falls off from direction to direction, as that of activations does."""
    random = np.random.default_rng(0)
    y = random.integers(shape.classes, size=shape.rows)
    y[: shape.classes] = range(shape.classes)
    sizes = np.arange(1, shape.features + 1) ** -0.7
    means = random.normal(size=(shape.classes, shape.features))
    X = (means[y] + 1.5 * random.normal(size=(shape.rows, shape.features))) * sizes
    X = (X + 2 * sizes) @ np.linalg.qr(random.normal(size=(shape.features, shape.features)))[0]
    return (X / np.sqrt((X**2).sum() / len(X))).astype(np.float32), y


def objective(scores: Any, y: Any, weights: Any, C: float) -> float:
    """The penalised mean loss."""
    return float(-np.log(scores[np.arange(len(y)), y]).mean() + (weights**2).sum() / (2 * C * len(y)))


@pytest.mark.parametrize("name", SHAPES)
def test_logreg_beside_scikit_learns_newton_method(benchmark: Any, name: str) -> None:
    shape = SHAPES[name]
    X, y = make_rows(shape)
    choice = harness.open(device="cpu").registry.choose("classifiers", {"name": "logreg", "C": shape.C})
    fitted = benchmark.pedantic(lambda: choice.make().fit(X, y), rounds=3, warmup_rounds=1)
    newton = LogisticRegression(C=shape.C, solver="newton-cg", tol=1e-6, max_iter=1000)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            newton.fit(X, y)
        seconds.append(time.perf_counter() - started)
    own = objective(fitted.predict_proba(X), y, fitted.model.coef_, shape.C)
    gap = own - objective(newton.predict_proba(X), y, newton.coef_, shape.C)
    assert gap < 1e-6
    benchmark.extra_info.update(
        shape=name, rows=shape.rows, features=shape.features, classes=shape.classes, gap=gap
    )
    if benchmark.stats:  # absent with --benchmark-disable
        benchmark.extra_info["newton_seconds"] = min(seconds)
        benchmark.extra_info["times_faster"] = min(seconds) / benchmark.stats.stats.min
