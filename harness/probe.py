"""A matrix and labels in, test predictions out: fit on train, choose on validation, score test once."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.api import Classifier, Examples, Split
from harness.metrics import Score, macro_f1, score
from harness.registry import Choice

if TYPE_CHECKING:
    from harness.api import Matrix

    Array = np.ndarray[Any, Any]

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Class numbers of all examples, the row numbers of each split, and bootstrap weights over test rows.

    `test` is in the order of example ids, so that arms on the same rows share their resamples.
    """

    y: Array
    classes: tuple[str, ...]
    train: Array
    validation: Array
    test: Array
    weights: Array


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A scored cell: what was chosen, what it predicts for the test rows, and how good that is."""

    parameters: Mapping[str, Any]
    predicted: Array
    scores: Array
    metrics: Mapping[str, Score]
    validation: Mapping[str, float]
    n_features: int
    flags: tuple[str, ...]


def make_rows(
    examples: Examples, classes: Sequence[str], splits: Mapping[Split, Sequence[int]], *, seed: int
) -> Rows:
    """The rows that all arms of a task share; `seed` draws the bootstrap."""
    numbers = {name: number for number, name in enumerate(classes)}
    y = np.array([numbers[label] for label in examples.labels])
    test = np.array(sorted(splits["test"], key=lambda row: examples.ids[row]))
    return Rows(
        y=y,
        classes=tuple(classes),
        train=np.array(splits["train"]),
        validation=np.array(splits["validation"]),
        test=test,
        weights=stats.bootstrap_weights(y[test], resamples=RESAMPLES, seed=seed),
    )


def probe(matrix: Matrix, rows: Rows, *, transform: Choice, classifier: Choice, seed: int) -> Outcome:
    """Fit every point of the classifier's grid on train, keep the best on validation (the first of equals),
    and score that one on test. `matrix [examples, features]`.
    """
    fitted = transform.make().fit(matrix[rows.train], rows.y[rows.train])
    train, validation, test = (
        fitted.transform(matrix[part]) for part in (rows.train, rows.validation, rows.test)
    )
    best = _choose(train, validation, rows, classifier, seed)
    scores = best.model.predict_proba(test)
    predicted = scores.argmax(axis=1)
    return Outcome(
        parameters=best.parameters,
        predicted=predicted,
        scores=scores,
        metrics=score(rows.y[rows.test], predicted, scores, weights=rows.weights),
        validation={"macro_f1": best.macro_f1},
        n_features=int(train.shape[1]),
        flags=best.flags,
    )


@dataclass(frozen=True, kw_only=True)
class _Fit:
    model: Classifier
    parameters: Mapping[str, Any]
    macro_f1: float
    flags: tuple[str, ...]


def _choose(train: Matrix, validation: Matrix, rows: Rows, classifier: Choice, seed: int) -> _Fit:
    best: _Fit | None = None
    for point in grid_points(classifier):
        model, flags = _fit(train, rows.y[rows.train], classifier, point, seed)
        predicted = model.predict_proba(validation).argmax(axis=1)
        value = float(macro_f1(rows.y[rows.validation], predicted, n_classes=len(rows.classes)))
        if best is None or value > best.macro_f1:
            parameters = {**classifier.parameters, **point}
            best = _Fit(model=model, parameters=parameters, macro_f1=value, flags=flags)
    assert best is not None
    return best


def grid_points(classifier: Choice) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values, of the parameters that the suite leaves open."""
    free = {key: values for key, values in classifier.spec.grid.items() if key not in classifier.given}
    for values in itertools.product(*free.values()):
        yield dict(zip(free, values, strict=True))


def _fit(
    train: Matrix, y: Array, classifier: Choice, point: Mapping[str, Any], seed: int
) -> tuple[Classifier, tuple[str, ...]]:
    """A fitted classifier; `unconverged` when it warned that it did not converge."""
    model: Classifier = classifier.make(**point, **({"seed": seed} if classifier.takes_seed else {}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(train, y)
    unconverged = any("converge" in f"{entry.category.__name__} {entry.message}".lower() for entry in caught)
    return model, ("unconverged",) if unconverged else ()
