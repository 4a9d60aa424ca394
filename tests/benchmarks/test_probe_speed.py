"""CPU seconds of the whole grid of logreg, and of the best warm-started solver of scikit-learn at the same gap."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

import harness
from harness.probing.threads import one_thread

GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)

GAP = 1e-6
"""Largest distance from the optimal penalised mean loss, in nats, at which solvers are compared."""

SOLVERS = ("lbfgs", "newton-cg")
TOLERANCES = (1e-5, 1e-6, 1e-7)
"""Tolerances of scikit-learn from which the loosest is taken that ends within the gap for every point of the grid."""

ROUNDS = 3


@dataclass(frozen=True)
class Shape:
    """Shape of what is timed: a pooled matrix and its classes; `nonzero` values a row, or None if dense."""

    rows: int
    features: int
    classes: int
    nonzero: int | None = None


SHAPES = {
    "2 classes, 4k dense": Shape(rows=3000, features=4096, classes=2),
    "20 classes, 4k dense": Shape(rows=3000, features=4096, classes=20),
    "150 classes, 4k dense": Shape(rows=3000, features=4096, classes=150),
    "2 classes, 16k sparse": Shape(rows=3000, features=16384, classes=2, nonzero=60),
    "20 classes, 16k sparse": Shape(rows=3000, features=16384, classes=20, nonzero=60),
    "150 classes, 16k sparse": Shape(rows=3000, features=16384, classes=150, nonzero=60),
    "77 classes, 256 dense": Shape(rows=4000, features=256, classes=77),
}


def make_rows(shape: Shape) -> tuple[Any, Any]:
    """Rows with a root mean square norm of 1, and their classes."""
    random = np.random.default_rng(0)
    y = random.integers(shape.classes, size=shape.rows)
    y[: shape.classes] = range(shape.classes)
    X = make_dense(shape, y, random) if shape.nonzero is None else make_sparse(shape, y, random)
    squares = X.multiply(X).sum() if sparse.issparse(X) else np.square(X).sum()
    return (X / np.sqrt(squares / len(y))).astype(np.float32), y


def make_dense(shape: Shape, y: Any, random: Any) -> Any:
    """Class means and noise whose size falls off from direction to direction, as that of activations does."""
    sizes = np.arange(1, shape.features + 1) ** -0.7
    means = random.normal(size=(shape.classes, shape.features))
    X = (means[y] + 1.5 * random.normal(size=(shape.rows, shape.features)) + 2) * sizes
    for _ in range(3):  # reflections mix the directions
        axis = random.normal(size=shape.features)
        axis /= np.linalg.norm(axis)
        X -= 2 * np.outer(X @ axis, axis)
    return X


def make_sparse(shape: Shape, y: Any, random: Any) -> Any:
    """Rows in which some features fire often and most hardly ever, with rates that differ between classes."""
    assert shape.nonzero
    often = random.permutation(np.arange(1, shape.features + 1) ** -0.8)
    rates = often * np.exp(0.8 * random.normal(size=(shape.classes, shape.features)))
    rates /= rates.sum(axis=1, keepdims=True)
    fires = [random.choice(shape.features, shape.nonzero, replace=False, p=rates[own]) for own in y]
    values = random.gamma(2.0, size=shape.rows * shape.nonzero)
    places = (np.repeat(np.arange(shape.rows), shape.nonzero), np.concatenate(fires))
    return sparse.csr_array((values, places), shape=(shape.rows, shape.features))


def objective(X: Any, y: Any, coef: Any, intercept: Any, C: float) -> float:
    """The penalised mean loss, in float64."""
    coef = coef.astype(np.float64)
    decided = np.asarray(X @ coef.T) + intercept
    decided = np.hstack([np.zeros_like(decided), decided]) if len(coef) == 1 else decided
    value = logsumexp(decided, axis=1).mean() - decided[np.arange(len(y)), y].mean()
    return float(value + np.square(coef).sum() / (2 * C * len(y)))


Fit = tuple[Any, Any]
"""Weights `[classes, features]` or `[1, features]`, and intercepts."""


def fit_grid(X: Any, y: Any) -> list[Fit]:
    """The harness's own fits of the grid."""
    model = harness.open(device="cpu").registry.choose("classifiers", "logreg").make()
    fits = model.fit_grid(X, y, [{"C": C} for C in GRID])
    return [(fit.solution.coef / fit.scale.size, fit.solution.intercept) for fit in fits]


def fit_warm(X: Any, y: Any, solver: str, tolerances: Sequence[float]) -> list[Fit]:
    """scikit-learn's fits, each begun at the one before it."""
    model = LogisticRegression(solver=solver, max_iter=20_000, warm_start=True)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for C, tolerance in zip(GRID, tolerances, strict=True):
            model.set_params(C=C, tol=tolerance).fit(X, y)
            found.append((model.coef_.copy(), model.intercept_.copy()))
    return found


def find_tolerances(X: Any, y: Any, solver: str, best: Sequence[float]) -> list[float]:
    """For each point of the grid the loosest tolerance within the gap; the tightest one where none is."""
    chosen = [TOLERANCES[-1]] * len(GRID)
    for tolerance in reversed(TOLERANCES):
        fits = fit_warm(X, y, solver, [tolerance] * len(GRID))
        for number, (fit, C) in enumerate(zip(fits, GRID, strict=True)):
            if objective(X, y, *fit, C) - best[number] <= GAP:
                chosen[number] = tolerance
    return chosen


def time_once(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.mark.parametrize("name", SHAPES)
def test_the_grid_beside_the_best_warm_started_solver(benchmark: Any, name: str) -> None:
    X, y = make_rows(SHAPES[name])
    with one_thread():
        fits = benchmark.pedantic(lambda: fit_grid(X, y), rounds=1, warmup_rounds=0)
        values = [objective(X, y, *fit, C) for fit, C in zip(fits, GRID, strict=True)]
        assert all(math.isfinite(value) for value in values)
        if not benchmark.stats:  # absent with --benchmark-disable
            return
        tolerances = {solver: find_tolerances(X, y, solver, values) for solver in SOLVERS}
        seconds: dict[str, list[float]] = {"own": [], **{solver: [] for solver in SOLVERS}}
        gaps: dict[str, float] = {}
        for _ in range(ROUNDS):
            seconds["own"].append(time_once(lambda: fit_grid(X, y)))
            for solver in SOLVERS:
                seconds[solver].append(time_once(lambda: fit_warm(X, y, solver, tolerances[solver])))  # noqa: B023 (called here)
    best = list(values)
    for solver in SOLVERS:
        theirs = [
            objective(X, y, *fit, C)
            for fit, C in zip(fit_warm(X, y, solver, tolerances[solver]), GRID, strict=True)
        ]
        gaps[solver] = max(a - b for a, b in zip(theirs, values, strict=True))
        best = [min(pair) for pair in zip(best, theirs, strict=True)]
    medians = {arm: statistics.median(taken) for arm, taken in seconds.items()}
    own_gap = max(a - b for a, b in zip(values, best, strict=True))
    assert own_gap <= GAP
    benchmark.extra_info.update(
        shape=name,
        cpu_seconds=medians,
        gaps={"own": own_gap, **gaps},
        times_faster=min(medians[solver] for solver in SOLVERS) / medians["own"],
    )
    print(f"\n{name}: {benchmark.extra_info}")
