"""Probes: fit on training rows, chosen on validation, scored once on test.

`train` and `apply` are two steps because a probe trained in one language is tested in many.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.api.data import Examples, Image, Partition
from harness.api.errors import PluginResultError
from harness.api.events import Score
from harness.api.protocols import Classifier, GridClassifier, LinearClassifier, Transform
from harness.data.partitions import FOLDS, REPEATS
from harness.probing.attribution import TopFeature, find_effects, find_top_features
from harness.probing.threads import one_thread
from harness.registry.catalog import Choice
from harness.stats import bootstrap as stats
from harness.stats.few_groups import Support, assess, tabulate
from harness.stats.finite import check_rows, name_row
from harness.stats.metrics import macro_f1, score

if TYPE_CHECKING:
    from harness.api.data import Matrix

    Array = np.ndarray[Any, Any]

RESAMPLES = 1000
"""Number of bootstrap resamples of the test rows."""

SelectedOn = Literal["validation", "folds", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Class numbers of all examples as trained on, row numbers of splits, groups, bootstrap weights of test rows, and
    what the groups of these allow to say.

    `test` is in the order of example ids, so that arms on the same rows share their resamples. Resamples and folds
    take whole groups. `texts` are the inputs of all examples, none of images, and `ids` name the examples in messages.
    """

    y: Array
    classes: tuple[str, ...]
    train: Array
    validation: Array
    test: Array
    groups: Array
    weights: Array
    support: Support | None = None
    texts: Sequence[object] = ()
    ids: Sequence[str] = ()

    def name(self, row: int) -> str:
        """Describe an example in a message."""
        return f"example '{self.ids[row]}'" if self.ids else name_row(row)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Choice of a probe's parameters, with the fit's facts: `tried` points of the grid were compared on `selected_on`;
    `validation` holds the best point's score there, `used` the most influential features.
    """

    parameters: Mapping[str, Any]
    selected_on: SelectedOn
    tried: int
    validation: Mapping[str, float]
    n_features: int
    flags: tuple[str, ...]
    used: tuple[TopFeature, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome(Selection):
    """Test result of a probe: predictions `[test rows]`, scores `[test rows, classes]` and metrics."""

    predicted: Array
    scores: Array
    metrics: Mapping[str, Score]


def order_test(examples: Examples, partition: Partition) -> tuple[int, ...]:
    """Return the test rows in the order of their ids."""
    return tuple(sorted(partition.test, key=lambda row: examples.ids[row]))


Resampling = tuple["Array", Support]
"""Bootstrap weights of test rows, and what the groups of these rows allow to say."""


@one_thread()
def draw_weights(examples: Examples, test: Sequence[int], *, seed: int) -> Resampling:
    """Draw bootstrap weights `[RESAMPLES, test rows]`, stratified by label, of whole groups; assess these groups."""
    labels = np.unique([examples.labels[row] for row in test], return_inverse=True)[1]
    groups = stats.number_groups([examples.groups[row] for row in test])
    weights = stats.cluster_weights(labels, groups, resamples=RESAMPLES, seed=seed)
    return weights, assess(tabulate(labels, groups))


def make_rows(
    examples: Examples,
    classes: Sequence[str],
    partition: Partition,
    test: Sequence[int],
    resampling: Resampling,
) -> Rows:
    """Return the rows that all arms of a task share under one partition. `test` comes from `order_test` and
    `resampling` from `draw_weights`: many partitions share them.
    """
    weights, support = resampling
    return Rows(
        y=_number_labels(partition.labels, tuple(classes)),
        classes=tuple(classes),
        train=np.array(partition.train),
        validation=np.array(partition.validation, dtype=np.int64),
        test=np.array(test),
        groups=_number_groups(examples.groups),
        weights=weights,
        support=support,
        texts=() if isinstance(examples.inputs[0], Image) else examples.inputs,
        ids=examples.ids,
    )


@lru_cache(maxsize=4)
def _number_labels(labels: tuple[str, ...], classes: tuple[str, ...]) -> Array:
    """Return labels as numbers into `classes`; cached, as many partitions of a task share their labels."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[label] for label in labels])


@lru_cache(maxsize=4)
def _number_groups(groups: tuple[str | None, ...]) -> Array:
    return stats.number_groups(groups)


@dataclass(frozen=True, kw_only=True)
class Trained(Selection):
    """Trained probe, which can be tested on many rows: a fit and the sizes of its `effects [features]`
    (`harness.probing.attribution.Effects`), None for a classifier that is not linear.
    """

    effects: Array | None
    fit: _Fit


@one_thread()
def train(matrix: Matrix, rows: Rows, *, transform: Choice, classifier: Choice, seed: int) -> Trained:
    """Choose a point of the classifier's grid on validation rows, or on folds of the training rows if there are none
    (the first of equals), and fit it on the training rows of `matrix [examples, features]`. No test row is read.
    """
    matrix = narrow(matrix)
    task = _Task(rows=rows, transform=transform, classifier=classifier, seed=seed)
    chosen = _choose(matrix, task)
    fit = chosen.fit or next(_fit_transformed(_transform(matrix, rows.train, task), [chosen.point], task))
    used, effects = _explain(fit, matrix, rows)
    return Trained(
        parameters={**classifier.parameters, **chosen.point},
        selected_on="validation" if len(rows.validation) else "folds" if chosen.tried else "nothing",
        tried=chosen.tried,
        validation={} if chosen.macro_f1 is None else {"macro_f1": chosen.macro_f1},
        n_features=fit.n_features,
        flags=fit.flags if chosen.tried else ("unchosen", *fit.flags),
        used=used,
        effects=effects,
        fit=fit,
    )


@one_thread()
def apply(trained: Trained, matrix: Matrix, rows: Rows) -> Outcome:
    """Score a trained probe on the test rows of `matrix [examples, features]`; no other row is read."""
    # Test rows and their labels are read here and nowhere else, once.
    scores = trained.fit.score(narrow(matrix), rows.test, rows)
    y, grouped = rows.y[rows.test], len(np.unique(rows.groups[rows.test])) < len(rows.test)
    predicted = scores.argmax(axis=1)
    metrics = score(y, predicted, scores, weights=rows.weights, grouped=grouped, support=rows.support)
    chosen = {field.name: getattr(trained, field.name) for field in fields(Selection)}
    return Outcome(**chosen, predicted=predicted, scores=scores, metrics=metrics)


def probe(matrix: Matrix, rows: Rows, *, transform: Choice, classifier: Choice, seed: int) -> Outcome:
    """Train a probe and apply it once."""
    return apply(train(matrix, rows, transform=transform, classifier=classifier, seed=seed), matrix, rows)


def _explain(fit: _Fit, matrix: Matrix, rows: Rows) -> tuple[tuple[TopFeature, ...], Array | None]:
    """Return the most influential features of a linear classifier and the effects of all; nothing for others."""
    if not isinstance(fit.model, LinearClassifier):
        return (), None
    weights = fit.model.weights
    if not np.isfinite(weights).all():
        raise PluginResultError(f"{fit.owner} has weights that are NaN or infinite: mend the plugin")
    pooled = matrix[rows.train]
    effects = find_effects(
        weights,
        pooled=pooled,
        transformed=fit.transform.apply(matrix, rows.train, rows),
        chosen=getattr(fit.transform.transform, "chosen", None),
        n_classes=len(fit.known),
    )
    if effects is None:
        return (), None
    used = find_top_features(
        effects,
        pooled=pooled,
        y=np.searchsorted(fit.known, rows.y[rows.train]),
        classes=[rows.classes[number] for number in fit.known],
        texts=[rows.texts[row] for row in rows.train] if rows.texts else (),
    )
    return used, effects.sizes


def narrow(matrix: Matrix) -> Matrix:
    """Return the matrix with 32-bit indices if they suffice: much of scikit-learn takes no others."""
    if isinstance(matrix, np.ndarray) or max(matrix.nnz, *matrix.shape) > np.iinfo(np.int32).max:
        return matrix
    places = (one.astype(np.int32, copy=False) for one in (matrix.indices, matrix.indptr))
    return type(matrix)((matrix.data, *places), shape=matrix.shape)


# ── choosing ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Inputs of a fit apart from its rows and its point of the grid."""

    rows: Rows
    transform: Choice
    classifier: Choice
    seed: int


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """Best of `tried` points of the grid, its score, and its fit on all training rows if one was made. With too few
    rows to choose on, the point is empty: the classifier's own parameters serve.
    """

    point: Mapping[str, Any]
    macro_f1: float | None
    tried: int
    fit: _Fit | None


def _choose(matrix: Matrix, task: _Task) -> _Chosen:
    points = list(grid_points(task.classifier))
    if len(task.rows.validation):
        return _choose_on_validation(matrix, task, points)
    if not list(draw_folds(task.rows, seed=0)):
        return _Chosen(point={}, macro_f1=None, tried=0, fit=None)
    values = _judge_on_folds(matrix, task, points)
    best = int(np.argmax(values))
    return _Chosen(point=points[best], macro_f1=float(values[best]), tried=len(points), fit=None)


def _choose_on_validation(matrix: Matrix, task: _Task, points: Sequence[Mapping[str, Any]]) -> _Chosen:
    rows = task.rows
    transformed = _transform(matrix, rows.train, task)
    judged = transformed.transform.apply(matrix, rows.validation, rows)
    best: _Chosen | None = None
    for point, fit in zip(points, _fit_transformed(transformed, points, task), strict=True):
        predicted = fit.score_transformed(judged, rows.validation, rows).argmax(axis=1)
        value = float(macro_f1(rows.y[rows.validation], predicted, n_classes=len(rows.classes)))
        if best is None or best.macro_f1 is None or value > best.macro_f1:
            best = _Chosen(point=point, macro_f1=value, tried=len(points), fit=fit)
    assert best is not None
    return best


def _judge_on_folds(matrix: Matrix, task: _Task, points: Sequence[Mapping[str, Any]]) -> Array:
    """Return each point's macro-F1 over training rows, each predicted by a fit without it; the mean over repeats."""
    # One F1 over all folds together: that of a small fold is biased (Forman & Scholz 2010, "Apples-to-apples in
    # cross-validation studies").
    rows = task.rows
    values = np.zeros((REPEATS, len(points)))
    for repeat in range(REPEATS):
        predicted = np.empty((len(points), len(rows.train)), np.int64)
        for inner, outer in draw_folds(rows, seed=task.seed * REPEATS + repeat):
            transformed = _transform(matrix, rows.train[inner], task)
            judged = transformed.transform.apply(matrix, rows.train[outer], rows)
            for number, fit in enumerate(_fit_transformed(transformed, points, task)):
                scores = fit.score_transformed(judged, rows.train[outer], rows)
                predicted[number, outer] = scores.argmax(axis=1)
        for number in range(len(points)):
            y = rows.y[rows.train]
            values[repeat, number] = macro_f1(y, predicted[number], n_classes=len(rows.classes))
    return np.asarray(values.mean(axis=0))


def draw_folds(rows: Rows, *, seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield stratified folds of the training rows, of whole groups: the places in `rows.train` to fit on and to judge.
    None if rows or groups are too few for two folds.
    """
    y, groups = rows.y[rows.train], rows.groups[rows.train]
    n = min(FOLDS, int(np.bincount(y).max()), len(np.unique(groups)))
    if n < 2:
        return
    # A board needs the names of this module, and no probe.
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_splits=n, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer rows than folds is rightly missing from some
        yield from ((a, b) for a, b in folds.split(y[:, None], y, groups) if len(a) and len(b))


def grid_points(classifier: Choice) -> Iterator[dict[str, Any]]:
    """Yield every combination of the grid's values, for the parameters that the suite leaves open."""
    free = classifier.searched
    for values in itertools.product(*free.values()):
        yield dict(zip(free, values, strict=True))


# ── fitting ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _FittedTransform:
    """Transform fitted on training rows, whose results are checked; `owner` describes it in messages."""

    transform: Transform
    owner: str

    def apply(self, matrix: Matrix, numbers: Array, rows: Rows) -> Matrix:
        """Return the rows `numbers` of `matrix`, changed. Raise PluginResultError where they are not finite."""
        made = self.transform.transform(matrix[numbers])
        check_rows(made, len(numbers), owner=self.owner, name=lambda place: rows.name(numbers[place]))
        return made


@dataclass(frozen=True, kw_only=True)
class _Transformed:
    """Training rows, transformed by a transform fitted on them; `known` are the numbers of their classes."""

    transform: _FittedTransform
    matrix: Matrix
    known: Array
    numbers: Array


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Fitted classifier (None if training has one class only) and its transform; `known` are the numbers of the classes
    in training, out of `n_classes`. `owner` describes the classifier in messages.
    """

    transform: _FittedTransform
    model: Classifier | None
    owner: str
    known: Array
    n_classes: int
    n_features: int
    flags: tuple[str, ...]

    def score(self, matrix: Matrix, numbers: Array, rows: Rows) -> Array:
        """Return scores `[numbers, classes]` of the rows `numbers` of a matrix."""
        return self.score_transformed(self.transform.apply(matrix, numbers, rows), numbers, rows)

    def score_transformed(self, matrix: Matrix, numbers: Array, rows: Rows) -> Array:
        """Return scores `[numbers, classes]` of transformed rows, which have these numbers among all.

        Raise PluginResultError where the classifier's have another shape or are not finite.
        """
        wanted = (matrix.shape[0], len(self.known))
        scores = np.ones(wanted) if self.model is None else np.asarray(self.model.predict_proba(matrix))
        check_rows(
            scores,
            wanted[0],
            columns=wanted[1],
            owner=self.owner,
            name=lambda place: rows.name(numbers[place]),
        )
        if len(self.known) == self.n_classes:
            return scores
        # A class without training rows (all went to validation) has the lowest score.
        every = np.full((len(scores), self.n_classes), min(0.0, scores.min(initial=0.0)), dtype=scores.dtype)
        every[:, self.known] = scores
        return every


def _transform(matrix: Matrix, train: Array, task: _Task) -> _Transformed:
    known, numbers = np.unique(task.rows.y[train], return_inverse=True)
    fitted = task.transform.make().fit(matrix[train], numbers)
    transform = _FittedTransform(transform=fitted, owner=task.transform.owner)
    return _Transformed(
        transform=transform, matrix=transform.apply(matrix, train, task.rows), known=known, numbers=numbers
    )


def _fit_transformed(
    transformed: _Transformed, points: Sequence[Mapping[str, Any]], task: _Task
) -> Iterator[_Fit]:
    """Yield the classifier fitted at each point of the grid, flagged `unconverged` if it warns of this."""
    models: Iterator[Classifier | None] = itertools.repeat(None, len(points))
    if len(transformed.known) > 1:
        models = _fit_models(transformed, points, task)
    for _ in points:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = next(models, None)
        if model is None and len(transformed.known) > 1:
            raise PluginResultError(
                f"{task.classifier.owner}: `fit_grid` gave fewer classifiers than the {len(points)} grid points; "
                "mend the plugin"
            )
        said = " ".join(f"{entry.category.__name__} {entry.message}" for entry in caught)
        yield _Fit(
            transform=transformed.transform,
            model=model,
            owner=task.classifier.owner,
            known=transformed.known,
            n_classes=len(task.rows.classes),
            n_features=int(transformed.matrix.shape[1]),
            flags=("unconverged",) if "converge" in said.lower() else (),
        )


def _fit_models(
    transformed: _Transformed, points: Sequence[Mapping[str, Any]], task: _Task
) -> Iterator[Classifier]:
    """Yield the classifier of each point of the grid, from one fit of the whole grid where it can do that."""
    seed = {"seed": task.seed} if task.classifier.takes_seed else {}
    first = task.classifier.make(**points[0], **seed)
    if isinstance(first, GridClassifier):
        yield from first.fit_grid(transformed.matrix, transformed.numbers, points)
        return
    for number, point in enumerate(points):
        model: Classifier = task.classifier.make(**point, **seed) if number else first
        model.fit(transformed.matrix, transformed.numbers)
        yield model
