"""A matrix and labels in, test predictions out: the same choice as a plain loop, and never a look at test rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_info, threadpool_limits

from harness.api.data import Examples, Partition
from harness.api.errors import PluginResultError
from harness.api.specs import ClassifierSpec, TransformSpec
from harness.data.partitions import make_draws
from harness.probing.probe import (
    Outcome,
    Rows,
    draw_folds,
    draw_weights,
    grid_points,
    make_rows,
    order_test,
    probe,
)
from harness.registry.catalog import Choice, Registry
from harness.session import open_registry
from harness.stats.bootstrap import bootstrap_weights

GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)


def make_partition(examples: Examples, regime: Choice, seed: int) -> Partition:
    """The one partition of a regime that does not go by languages."""
    (draw,) = make_draws(examples, regime, seed)
    return draw.partition


@pytest.fixture(scope="module")
def registry() -> Registry:
    return open_registry()


class Unchanged:
    def fit(self, X: Any, y: Any) -> Unchanged:
        return self

    def transform(self, X: Any) -> Any:
        return X


def choice(
    make: Callable[..., Any], grid: Mapping[str, tuple[Any, ...]] | None = None, **given: Any
) -> Choice:
    """A classifier of a test."""
    spec = ClassifierSpec(name="toy", summary="", make=make, grid=grid or {})
    return Choice(
        kind="classifiers",
        name="toy",
        spec=spec,
        plugin="test",
        distribution="test 1",
        parameters=given,
        given=given,
    )


UNCHANGED = Choice(
    kind="transforms",
    name="none",
    spec=TransformSpec(name="none", summary="", make=Unchanged),
    plugin="test",
    distribution="test 1",
    parameters={},
    given={},
)


def table(seed: int = 0, n: int = 240, width: int = 12, n_classes: int = 3) -> tuple[Any, Rows]:
    """A learnable matrix and its rows, a fifth of them test, a fifth validation."""
    random = np.random.default_rng(seed)
    y = random.integers(n_classes, size=n)
    X = random.normal(size=(n, width)) + 0.9 * np.eye(n_classes, width)[y]
    order = random.permutation(n)
    test = order[: n // 5]
    rows = Rows(
        y=y,
        classes=tuple("abcdefgh"[:n_classes]),
        train=order[2 * (n // 5) :],
        validation=order[n // 5 : 2 * (n // 5)],
        test=test,
        groups=np.arange(n),
        weights=bootstrap_weights(y[test], resamples=20, seed=0),
    )
    return X.astype(np.float32), rows


def plain_loop(X: Any, rows: Rows) -> tuple[float, float, float]:
    """scikit-learn by itself: the C chosen on validation, its validation and its test macro-F1."""
    scale = np.sqrt((X[rows.train].astype(float) ** 2).sum() / len(rows.train))
    best: tuple[float, float, float] | None = None
    for C in GRID:
        model = LogisticRegression(C=C, tol=1e-8, max_iter=9999).fit(
            X[rows.train] / scale, rows.y[rows.train]
        )
        found = f1_score(rows.y[rows.validation], model.predict(X[rows.validation] / scale), average="macro")
        if best is None or found > best[1]:
            test = f1_score(rows.y[rows.test], model.predict(X[rows.test] / scale), average="macro")
            best = (C, found, test)
    assert best is not None
    return best


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("seed", range(3))
def test_logreg_is_a_plain_scikit_learn_loop(registry: Registry, kind: str, seed: int) -> None:
    X, rows = table(seed)
    C, validation, test = plain_loop(X, rows)
    matrix = X if kind == "dense" else sparse.csr_array(X)
    outcome = probe(
        matrix, rows, transform=UNCHANGED, classifier=registry.choose("classifiers", "logreg"), seed=0
    )
    assert outcome.parameters["C"] == C
    assert outcome.validation["macro_f1"] == pytest.approx(validation, abs=1e-12)
    assert outcome.metrics["macro_f1"].value == pytest.approx(test, abs=1e-12)
    assert outcome.n_features == 12
    assert outcome.scores.shape == (len(rows.test), 3)


@settings(max_examples=10)
@given(st.integers(0, 50), st.randoms())
def test_the_labels_of_the_test_rows_change_no_choice(registry: Registry, seed: int, random: Any) -> None:
    X, rows = table(seed, n=120)
    y = rows.y.copy()
    shuffled = list(y[rows.test])
    random.shuffle(shuffled)
    y[rows.test] = shuffled
    other = Rows(**{**{name: getattr(rows, name) for name in rows.__dataclass_fields__}, "y": y})
    classifier = registry.choose("classifiers", "logreg")
    one, two = (probe(X, each, transform=UNCHANGED, classifier=classifier, seed=0) for each in (rows, other))
    assert one.parameters == two.parameters
    assert one.validation == two.validation
    np.testing.assert_array_equal(one.scores, two.scores)


class Watched(np.ndarray):
    """An array that writes down which of its rows are asked for."""

    seen: list[Any]

    def __getitem__(self, key: Any) -> Any:
        self.seen.append(np.atleast_1d(np.asarray(key)))
        return np.asarray(self)[key]


def test_test_labels_are_read_once_and_after_the_last_fit() -> None:
    X, rows = table()
    y = rows.y.view(Watched)
    y.seen = []
    log: list[str] = []

    def asked() -> bool:
        return any(np.intersect1d(key, rows.test).size for key in y.seen)

    class Spy(LogisticRegression):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            log.append("too late" if asked() else "fit")
            assert len(X) == len(rows.train)
            return super().fit(X, y)

        def predict_proba(self, X: Any) -> Any:
            log.append("too late" if asked() else f"predict {len(X)}")
            return super().predict_proba(X)

    watched = Rows(**{**{name: getattr(rows, name) for name in rows.__dataclass_fields__}, "y": y})
    probe(
        X,
        watched,
        transform=UNCHANGED,
        classifier=choice(lambda C: Spy(C=C), {"C": (1.0, 10.0)}),
        seed=0,
    )
    one = ["fit", f"predict {len(rows.validation)}"]
    assert log == [*one, *one, f"predict {len(rows.test)}"]
    assert sum(bool(np.intersect1d(key, rows.test).size) for key in y.seen) == 1


def test_a_transform_is_fitted_on_training_rows_only() -> None:
    X, rows = table()
    given_rows: list[Any] = []

    class Spy(Unchanged):
        def fit(self, X: Any, y: Any) -> Unchanged:
            given_rows.append((np.array(X), np.array(y)))
            return self

    transform = Choice(
        kind="transforms",
        name="spy",
        spec=TransformSpec(name="spy", summary="", make=Spy),
        plugin="test",
        distribution="test 1",
        parameters={},
        given={},
    )
    probe(X, rows, transform=transform, classifier=choice(lambda: LogisticRegression()), seed=0)
    ((matrix, y),) = given_rows
    np.testing.assert_array_equal(matrix, X[rows.train])
    np.testing.assert_array_equal(y, rows.y[rows.train])


def test_of_equal_grid_points_the_first_is_kept() -> None:
    X, rows = table()
    outcome = probe(
        X,
        rows,
        transform=UNCHANGED,
        classifier=choice(lambda number: LogisticRegression(), {"number": (3, 1, 2)}),
        seed=0,
    )
    assert outcome.parameters == {"number": 3}


def test_a_parameter_that_the_suite_fixes_is_not_searched(registry: Registry) -> None:
    assert [point["C"] for point in grid_points(registry.choose("classifiers", "logreg"))] == list(GRID)
    fixed = registry.choose("classifiers", {"name": "logreg", "C": 3.0})
    assert list(grid_points(fixed)) == [{}]
    X, rows = table()
    assert probe(X, rows, transform=UNCHANGED, classifier=fixed, seed=0).parameters["C"] == 3.0


def test_a_fit_that_did_not_converge_is_flagged(registry: Registry) -> None:
    X, rows = table()
    logreg = registry.choose("classifiers", {"name": "logreg", "C": 1000.0, "max_iter": 1})
    assert probe(X, rows, transform=UNCHANGED, classifier=logreg, seed=0).flags == ("unconverged",)
    enough = registry.choose("classifiers", {"name": "logreg", "C": 1.0})
    assert probe(X, rows, transform=UNCHANGED, classifier=enough, seed=0).flags == ()


class Gridded(LogisticRegression):
    """A classifier that fits its whole grid at once."""

    def fit_grid(self, X: Any, y: Any, points: Any) -> Any:
        for point in points:
            if point["C"] == 10.0:
                warnings.warn("did not converge", ConvergenceWarning)
            yield Gridded(C=point["C"], tol=1e-8).fit(X, y)


def test_a_classifier_that_fits_its_grid_at_once_is_chosen_as_one_that_does_not() -> None:
    X, rows = table(seed=4)
    grid = {"C": (0.01, 1.0, 10.0)}
    for validation in (rows.validation, np.empty(0, np.int64)):
        own = replace(rows, validation=validation)
        plain, gridded = (
            probe(X, own, transform=UNCHANGED, classifier=choice(make, grid), seed=0)
            for make in (lambda C: LogisticRegression(C=C, tol=1e-8), lambda C: Gridded(C=C))
        )
        assert plain.parameters == gridded.parameters
        assert plain.validation == gridded.validation
        np.testing.assert_array_equal(plain.scores, gridded.scores)
        assert gridded.flags == (("unconverged",) if gridded.parameters["C"] == 10.0 else ())


def test_a_grid_with_too_few_fits_is_told_by_the_plugin_that_owns_it() -> None:
    class Short(LogisticRegression):
        def fit_grid(self, X: Any, y: Any, points: Any) -> Any:
            yield self.fit(X, y)

    X, rows = table()
    short = choice(lambda C: Short(C=C), {"C": (1.0, 10.0)})
    with pytest.raises(
        PluginResultError, match=r"'toy'.*: `fit_grid` gave fewer classifiers than the 2 grid points; mend"
    ):
        probe(X, rows, transform=UNCHANGED, classifier=short, seed=0)


def test_only_the_chosen_fit_can_be_flagged() -> None:
    class Warns(LogisticRegression):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            if self.C < 1e-6:
                warnings.warn("no luck", ConvergenceWarning)
            return super().fit(X, y)

    X, rows = table()
    toy = choice(lambda C: Warns(C=C), {"C": (1e-9, 10.0)})
    outcome = probe(X, rows, transform=UNCHANGED, classifier=toy, seed=0)
    assert outcome.parameters == {"C": 10.0}
    assert outcome.flags == ()


class Drawn:
    """Scores drawn from its seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Drawn:
        self.n_classes = int(y.max()) + 1
        return self

    def predict_proba(self, X: Any) -> Any:
        return np.random.default_rng(self.seed).random((X.shape[0], self.n_classes))


def test_a_classifier_that_takes_a_seed_gets_that_of_the_cell() -> None:
    def scores(seed: int) -> Any:
        X, rows = table()
        return probe(
            X, rows, transform=UNCHANGED, classifier=choice(lambda *, seed: Drawn(seed)), seed=seed
        ).scores

    np.testing.assert_array_equal(scores(1), scores(1))
    assert not np.array_equal(scores(1), scores(2))


def outcome_without(missing: int) -> tuple[Outcome, Rows]:
    """Training rows that lack a class which validation and test rows have."""
    X, rows = table()
    train = rows.train[rows.y[rows.train] != missing]
    fewer = Rows(**{**{name: getattr(rows, name) for name in rows.__dataclass_fields__}, "train": train})
    toy = choice(lambda: LogisticRegression())
    return probe(X, fewer, transform=UNCHANGED, classifier=toy, seed=0), fewer


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_class_without_training_rows_shifts_no_other_class(missing: int) -> None:
    outcome, rows = outcome_without(missing)
    assert outcome.scores.shape == (len(rows.test), 3)
    assert missing not in outcome.predicted
    y = rows.y[rows.test]
    others = y != missing
    assert np.mean(outcome.predicted[others] == y[others]) > 0.6
    assert outcome.metrics["macro_f1"].value == pytest.approx(
        f1_score(y, outcome.predicted, average="macro", labels=[0, 1, 2], zero_division=0)
    )


def test_a_transform_is_told_of_classes_that_have_training_rows() -> None:
    told: list[set[int]] = []

    class Listening(Unchanged):
        def fit(self, X: Any, y: Any) -> Unchanged:
            told.append(set(y.tolist()))
            return self

    X, rows = table()
    train = rows.train[rows.y[rows.train] != 1]
    spec = TransformSpec(name="listening", summary="", make=Listening)
    probe(
        X,
        replace(rows, train=train),
        transform=replace(UNCHANGED, spec=spec),
        classifier=choice(lambda: LogisticRegression()),
        seed=0,
    )
    assert told == [{0, 1}]


def test_scores_of_a_wrong_shape_are_refused() -> None:
    class Narrow(Drawn):
        def predict_proba(self, X: Any) -> Any:
            return super().predict_proba(X)[:, :2]

    X, rows = table()
    said = r"^classifier 'toy' \(test 1\) returned values of shape \(48, 2\), not shape \(48, 3\): mend the plugin$"
    with pytest.raises(PluginResultError, match=said):
        probe(X, rows, transform=UNCHANGED, classifier=choice(lambda: Narrow(0)), seed=0)


class Nearest:
    """A classifier of the nearest mean that gives NaN or infinity for the row whose first feature is `marked`."""

    def __init__(self, marked: float, value: float) -> None:
        self.marked, self.value = marked, value

    def fit(self, X: Any, y: Any) -> Nearest:
        self.means = np.stack([X[y == number].mean(0) for number in range(int(y.max()) + 1)])
        return self

    def predict_proba(self, X: Any) -> Any:
        scores = -((X[:, None] - self.means[None]) ** 2).sum(2)
        scores[X[:, 0] == self.marked, 0] = self.value
        return scores


class Spoilt(Unchanged):
    """A transform that gives NaN or infinity for the row whose first feature is `marked`."""

    def __init__(self, marked: float, value: float) -> None:
        self.marked, self.value = marked, value

    def transform(self, X: Any) -> Any:
        changed = X.copy()
        changed[X[:, 0] == self.marked, -1] = self.value
        return changed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("kind", "part"),
    [(kind, part) for kind in ("transform", "classifier") for part in ("folds", "validation", "test")]
    + [("transform", "train")],
)
def test_one_row_that_is_not_finite_is_named_with_the_plugin_that_made_it(
    kind: str, part: str, value: float
) -> None:
    X, rows = table()
    if part == "folds":
        rows = replace(rows, validation=rows.validation[:0])
    rows = replace(rows, ids=[f"id-{row}" for row in range(len(X))])
    row = int(getattr(rows, "train" if part == "folds" else part)[5])
    marked = {"marked": float(X[row, 0]), "value": value}
    transform, classifier = UNCHANGED, choice(lambda *, C: Nearest(np.inf, 0), {"C": (1, 2)})
    if kind == "transform":
        spec = TransformSpec(name="toy", summary="", make=lambda: Spoilt(**marked))
        transform = replace(UNCHANGED, name="toy", spec=spec)
    else:
        classifier = choice(lambda *, C: Nearest(**marked), {"C": (1, 2)})
    said = f"^{kind} 'toy' \\(test 1\\) returned a value that is NaN or infinite for example 'id-{row}': mend"
    with pytest.raises(PluginResultError, match=said):
        probe(X, rows, transform=transform, classifier=classifier, seed=0)


def test_weights_that_are_not_finite_are_refused() -> None:
    class Weighty(Nearest):
        @property
        def weights(self) -> Any:
            return np.full_like(self.means, np.nan)

    X, rows = table()
    with pytest.raises(PluginResultError, match=r"^classifier 'toy' \(test 1\) has weights that are NaN"):
        probe(X, rows, transform=UNCHANGED, classifier=choice(lambda: Weighty(np.inf, 0)), seed=0)


def _rows_of(examples: Examples, partition: Partition) -> Rows:
    test = order_test(examples, partition)
    return make_rows(examples, "ab", partition, test, draw_weights(examples, test, seed=5))


def test_test_rows_are_in_the_order_of_their_ids_whatever_the_row_order(registry: Registry) -> None:
    n = 40
    examples = Examples(
        ids=tuple(f"{(i * 17) % n:03d}" for i in range(n)),
        inputs=tuple(map(str, range(n))),
        labels=tuple("ab"[(i * 17) % n % 2] for i in range(n)),
        splits=tuple("test" if (i * 17) % n < 15 else "train" for i in range(n)),
        languages=("en",) * n,
        groups=(None,) * n,
    )
    turned = examples.take(range(n - 1, -1, -1))
    full = registry.choose("regimes", "full")
    one, two = (_rows_of(each, make_partition(each, full, 0)) for each in (examples, turned))
    assert [examples.ids[row] for row in one.test] == [turned.ids[row] for row in two.test]
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(one.y[one.test], two.y[two.test])


def test_of_many_classes_logreg_chooses_and_scores_as_a_plain_scikit_learn_loop(registry: Registry) -> None:
    X, rows = table(n=600, width=30, n_classes=8)
    classifier = registry.choose("classifiers", "logreg")
    outcome = probe(X, rows, transform=UNCHANGED, classifier=classifier, seed=0)
    C, validation, test = plain_loop(X, rows)
    assert outcome.parameters["C"] == C
    assert outcome.validation["macro_f1"] == pytest.approx(validation, abs=1e-12)
    assert outcome.metrics["macro_f1"].value == pytest.approx(test, abs=1e-12)
    assert outcome.flags == ()


@pytest.mark.parametrize(
    "transform", ["none", "binarize", "standardize", "select(k=5)", "select(k=5, by=l1)"]
)
@pytest.mark.parametrize(
    "classifier",
    ["logreg", "ksparse_logreg(k=3)", "ridge", "nearest_centroid", "linear_sgd", "decision_tree"],
)
def test_every_transform_with_every_classifier_takes_rows_with_wide_indices_as_the_store_reads_them(
    registry: Registry, transform: str, classifier: str
) -> None:
    X, rows = table(n=120)
    X *= np.random.default_rng(0).random(X.shape) < 0.09
    X[:3, :2] = 1
    wide = sparse.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    dense, csr = (
        probe(
            matrix,
            rows,
            transform=registry.choose("transforms", transform),
            classifier=registry.choose("classifiers", classifier),
            seed=0,
        )
        for matrix in (X, wide)
    )
    assert csr.n_features == dense.n_features
    if transform != "standardize":  # which moves dense rows only
        assert csr.validation["macro_f1"] == pytest.approx(dense.validation["macro_f1"], abs=0.1)


# ── folds ────────────────────────────────────────────────────────────────────────────────────────────────


def on_folds(rows: Rows, **changed: Any) -> Rows:
    return replace(
        rows, train=np.concatenate([rows.train, rows.validation]), validation=np.array([], int), **changed
    )


def test_folds_are_disjoint_stratified_and_hold_every_training_row() -> None:
    _, rows = table()
    rows = on_folds(rows)
    judged = []
    for inner, outer in draw_folds(rows, seed=1):
        assert not set(inner) & set(outer)
        assert len(inner) + len(outer) == len(rows.train)
        share = np.bincount(rows.y[rows.train[outer]], minlength=3) / len(outer)
        np.testing.assert_allclose(share, np.bincount(rows.y[rows.train]) / len(rows.train), atol=0.05)
        judged += outer.tolist()
    assert sorted(judged) == list(range(len(rows.train)))


def test_folds_take_groups_whole() -> None:
    _, rows = table()
    rows = on_folds(rows, groups=np.arange(len(rows.y)) // 4)
    for inner, outer in draw_folds(rows, seed=1):
        assert not set(rows.groups[rows.train[inner]]) & set(rows.groups[rows.train[outer]])


def test_without_validation_rows_the_choice_is_that_of_a_plain_loop_over_folds(registry: Registry) -> None:
    X, rows = table()
    rows = on_folds(rows)
    outcome = probe(X, rows, transform=UNCHANGED, classifier=registry.choose("classifiers", "logreg"), seed=3)
    y, train = rows.y[rows.train], X[rows.train]
    values = []
    for C in GRID:
        repeats = []
        for repeat in range(2):
            predicted = np.empty(len(y), int)
            for inner, outer in draw_folds(rows, seed=6 + repeat):
                size = np.sqrt((train[inner] ** 2).sum() / len(inner))
                model = LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=5000)
                predicted[outer] = model.fit(train[inner] / size, y[inner]).predict(train[outer] / size)
            repeats.append(f1_score(y, predicted, average="macro"))
        values.append(np.mean(repeats))
    assert outcome.selected_on == "folds" and outcome.tried == len(GRID)
    assert outcome.parameters["C"] == GRID[int(np.argmax(values))]
    assert outcome.validation["macro_f1"] == pytest.approx(max(values), abs=1e-12)
    size = np.sqrt((train**2).sum() / len(train))
    final = LogisticRegression(C=outcome.parameters["C"], solver="newton-cg", tol=1e-10, max_iter=5000)
    np.testing.assert_array_equal(outcome.predicted, final.fit(train / size, y).predict(X[rows.test] / size))


def test_test_labels_and_rows_change_no_choice_on_folds(registry: Registry) -> None:
    X, rows = table()
    rows = on_folds(rows)
    classifier = registry.choose("classifiers", "logreg")
    one = probe(X, rows, transform=UNCHANGED, classifier=classifier, seed=0)
    y, other = rows.y.copy(), X.copy()
    y[rows.test] = np.random.default_rng(0).permutation(y[rows.test])
    other[rows.test] *= -3
    two = probe(other, replace(rows, y=y), transform=UNCHANGED, classifier=classifier, seed=0)
    assert (one.parameters, one.validation, one.used) == (two.parameters, two.validation, two.used)


def test_a_fold_that_has_one_class_only_predicts_it(registry: Registry) -> None:
    X, rows = table(n_classes=2)
    train = np.concatenate([rows.train[rows.y[rows.train] == 0][:6], rows.train[rows.y[rows.train] == 1][:6]])
    groups = np.arange(len(rows.y))
    groups[train[rows.y[train] == 1]] = 10_000  # one group: never on both sides
    rows = on_folds(replace(rows, train=train, validation=np.array([], int)), groups=groups)
    outcome = probe(X, rows, transform=UNCHANGED, classifier=registry.choose("classifiers", "logreg"), seed=0)
    assert outcome.selected_on == "folds"


def test_where_rows_are_too_few_to_choose_by_defaults_are_taken_and_said_to_be(registry: Registry) -> None:
    X, rows = table()
    rows = on_folds(rows, groups=np.zeros(len(rows.y), int))
    assert list(draw_folds(rows, seed=0)) == []
    outcome = probe(X, rows, transform=UNCHANGED, classifier=registry.choose("classifiers", "logreg"), seed=0)
    assert (outcome.selected_on, outcome.tried, outcome.validation) == ("nothing", 0, {})
    assert outcome.parameters["C"] == 10.0 and outcome.flags == ("unchosen",)


def test_a_fit_has_one_thread_whatever_the_process_has_and_gives_the_others_back() -> None:
    """Beside busy processes, threads that wait for one another make a fit many times slower."""
    counts: dict[str, set[int]] = {}

    def count(when: str) -> None:
        threads = {one["num_threads"] for one in threadpool_info()} | {torch.get_num_threads()}
        counts[when] = counts.get(when, set()) | threads

    class Counting(LogisticRegression):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            count("fit")
            return super().fit(X, y)

        def predict_proba(self, X: Any) -> Any:
            count("predict")
            return super().predict_proba(X)

    X, rows = table()
    before = torch.get_num_threads()
    try:
        with threadpool_limits(limits=2):
            torch.set_num_threads(2)
            count("before")
            probe(X, rows, transform=UNCHANGED, classifier=choice(Counting), seed=0)
            count("after")
    finally:
        torch.set_num_threads(before)
    assert counts == {"before": {2}, "fit": {1}, "predict": {1}, "after": {2}}
