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

    `test` is in the order of example ids, so that arms on the same rows share their resamples; a resample
    takes groups whole.
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
    groups = stats.number_groups([examples.groups[row] for row in test])
    return Rows(
        y=y,
        classes=tuple(classes),
        train=np.array(splits["train"]),
        validation=np.array(splits["validation"]),
        test=test,
        weights=stats.cluster_weights(y[test], groups, resamples=RESAMPLES, seed=seed),
    )


def probe(matrix: Matrix, rows: Rows, *, transform: Choice, classifier: Choice, seed: int) -> Outcome:
    """Fit every point of the classifier's grid on train, keep the best on validation (the first of equals),
    and score that one on test. `matrix [examples, features]`.
    """
    matrix = _narrow(matrix)
    fitted = transform.make().fit(matrix[rows.train], _numbered(rows)[1])
    train, validation, test = (
        fitted.transform(matrix[part]) for part in (rows.train, rows.validation, rows.test)
    )
    best = _choose(train, validation, rows, classifier, seed)
    scores = best.fit.score(test)
    predicted = scores.argmax(axis=1)
    return Outcome(
        parameters=best.parameters,
        predicted=predicted,
        scores=scores,
        metrics=score(rows.y[rows.test], predicted, scores, weights=rows.weights),
        validation={"macro_f1": best.macro_f1},
        n_features=int(train.shape[1]),
        flags=best.fit.flags,
    )


def _narrow(matrix: Matrix) -> Matrix:
    """The same with 32-bit indices where they suffice: much of scikit-learn takes no others."""
    if isinstance(matrix, np.ndarray) or max(matrix.nnz, *matrix.shape) > np.iinfo(np.int32).max:
        return matrix
    parts = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return type(matrix)(parts, shape=matrix.shape)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A fitted classifier; `known` are the numbers of the classes that it has seen, of `n_classes`."""

    model: Classifier
    known: Array
    n_classes: int
    flags: tuple[str, ...]

    def score(self, matrix: Matrix) -> Array:
        """`[rows, classes]`. A class of which training holds no row (carved out for validation) comes last."""
        scores = np.asarray(self.model.predict_proba(matrix))
        wanted = (matrix.shape[0], len(self.known))
        if scores.shape != wanted:
            raise ValueError(f"the classifier's scores have shape {scores.shape}, not {wanted}")
        if len(self.known) == self.n_classes:
            return scores
        every = np.full((len(scores), self.n_classes), min(0.0, scores.min(initial=0.0)), dtype=scores.dtype)
        every[:, self.known] = scores
        return every


@dataclass(frozen=True, kw_only=True)
class _Best:
    """The fit that a grid's search ends with."""

    fit: _Fit
    parameters: Mapping[str, Any]
    macro_f1: float


def _choose(train: Matrix, validation: Matrix, rows: Rows, classifier: Choice, seed: int) -> _Best:
    best: _Best | None = None
    for point in grid_points(classifier):
        fit = _fit(train, rows, classifier, point, seed)
        predicted = fit.score(validation).argmax(axis=1)
        value = float(macro_f1(rows.y[rows.validation], predicted, n_classes=len(rows.classes)))
        if best is None or value > best.macro_f1:
            best = _Best(fit=fit, parameters={**classifier.parameters, **point}, macro_f1=value)
    assert best is not None
    return best


def _numbered(rows: Rows) -> tuple[Array, Array]:
    """The classes that training rows have (validation may have carved one out), and which each row has of them."""
    known, numbers = np.unique(rows.y[rows.train], return_inverse=True)
    return known, numbers


def grid_points(classifier: Choice) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values, of the parameters that the suite leaves open."""
    free = {key: values for key, values in classifier.spec.grid.items() if key not in classifier.given}
    for values in itertools.product(*free.values()):
        yield dict(zip(free, values, strict=True))


def _fit(train: Matrix, rows: Rows, classifier: Choice, point: Mapping[str, Any], seed: int) -> _Fit:
    """A fitted classifier; `unconverged` when it warned that it did not converge."""
    model: Classifier = classifier.make(**point, **({"seed": seed} if classifier.takes_seed else {}))
    known, numbers = _numbered(rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(train, numbers)
    unconverged = any("converge" in f"{entry.category.__name__} {entry.message}".lower() for entry in caught)
    flags = ("unconverged",) if unconverged else ()
    return _Fit(model=model, known=known, n_classes=len(rows.classes), flags=flags)
