"""Classifiers against plain scikit-learn, dense and CSR, two classes and more."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import logsumexp
from separate_fits import SeparateLogReg
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.tree import DecisionTreeClassifier

import harness
from harness import UsageError
from harness.probing.probe import grid_points
from harness.registry.catalog import Registry

Array = np.ndarray[Any, Any]
KINDS: dict[str, Callable[[Array], Any]] = {"dense": np.asarray, "csr": sparse.csr_array}
REFERENCES = (
    "logreg",
    "ksparse_logreg(k=4)",
    "ridge",
    "ridge(alpha=0.01)",
    "nearest_centroid",
    "linear_sgd",
    "decision_tree",
    "decision_tree(depth=2)",
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cpu").registry


def make(registry: Registry, reference: str, **filled: Any) -> Any:
    return registry.choose("classifiers", reference).make(**filled)


def table(seed: int = 0, *, n: int = 200, width: int = 20, n_classes: int = 3) -> tuple[Array, Array]:
    """Learnable rows, an eleventh of them not zero beside what tells the class."""
    random = np.random.default_rng(seed)
    y = random.integers(n_classes, size=n)
    y[:n_classes] = range(n_classes)
    X = random.normal(size=(n, width)) * (random.random((n, width)) < 0.09)
    X += 0.7 * random.random((n, 1)) * np.eye(n_classes, width)[y] * (random.random((n, 1)) < 0.8)
    return (40 * X).astype(np.float32), y


def scaled(X: Array) -> Array:
    """Rows with a root mean square norm of 1, in float64."""
    rows: Array = X / np.sqrt((X.astype(float) ** 2).sum() / len(X))
    return rows


def plain(reference: str, X: Array, y: Array) -> Array:
    """What scikit-learn by itself predicts for its training rows."""
    rows = scaled(X)
    if reference.startswith("ksparse"):
        means = np.array(
            [X[y == c].mean(axis=0, dtype=float) - X[y != c].mean(axis=0, dtype=float) for c in set(y)]
        )
        best = np.argsort(-np.abs(means).max(axis=0), kind="stable")[:4]
        rows = scaled(X[:, np.sort(best)])
    oracle = {
        "logreg": LogisticRegression(C=10, tol=1e-9, max_iter=9999),
        "ksparse_logreg(k=4)": LogisticRegression(C=10, tol=1e-9, max_iter=9999),
        "ridge": RidgeClassifier(alpha=1.0),
        "ridge(alpha=0.01)": RidgeClassifier(alpha=0.01),
        "nearest_centroid": NearestCentroid(),
        "linear_sgd": SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0),
        "decision_tree": DecisionTreeClassifier(max_depth=8, random_state=0),
        "decision_tree(depth=2)": DecisionTreeClassifier(max_depth=2, random_state=0),
    }[reference]
    predicted: Array = oracle.fit(X if "tree" in reference else rows, y).predict(
        X if "tree" in reference else rows
    )
    return predicted


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_classifier_predicts_what_scikit_learn_does(
    registry: Registry, reference: str, kind: str, n_classes: int
) -> None:
    X, y = table(n_classes, n_classes=n_classes)
    wanted = plain(reference, X, y)
    scores = make(registry, reference).fit(KINDS[kind](X), y).predict_proba(KINDS[kind](X))
    # Sums in float32 and in another order may turn a row that lies between two classes, or the path of SGD.
    assert (scores.argmax(axis=1) == wanted).mean() >= (0.9 if "sgd" in reference else 0.99)
    assert scores.shape == (len(y), n_classes)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert (scores >= 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("sizes", [(9, 8), (10, 8), (17, 5), (100, 31), (9, 8, 5), (3, 40, 11, 2)])
def test_a_constant_feature_is_fitted_in_few_steps_for_every_penalty(
    registry: Registry, sizes: tuple[int, ...], value: float
) -> None:
    """The start is the optimum from the second penalty on, and the loss changes by rounding errors only."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = np.full((len(y), 1), value, np.float32)
    points = [{"C": 10.0**power} for power in range(-3, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = list(make(registry, "logreg").fit_grid(X, y, points))
    shares = np.tile(np.divide(sizes, len(y)), (len(y), 1))
    for one in fitted:
        np.testing.assert_allclose(one.predict_proba(X), shares, atol=1e-4)
        assert one.solution.steps <= 10


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("reference", REFERENCES)
def test_the_size_of_the_inputs_means_nothing(registry: Registry, reference: str, n_classes: int) -> None:
    X, y = table(n_classes=n_classes)
    small, large = (make(registry, reference).fit(X * f, y).predict_proba(X * f) for f in (1, 1024))
    np.testing.assert_allclose(small, large, atol=1e-6)


@pytest.mark.parametrize("reference", REFERENCES)
def test_two_fits_with_one_seed_are_equal(registry: Registry, reference: str) -> None:
    X, y = table()
    choice = registry.choose("classifiers", reference)
    seed = {"seed": 3} if choice.takes_seed else {}
    one, two = (choice.make(**seed).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_sgd_goes_through_the_rows_in_an_order_of_its_seed(registry: Registry) -> None:
    X, y = table()
    one, two = (make(registry, "linear_sgd", seed=seed).fit(X, y).predict_proba(X) for seed in (0, 1))
    assert not np.array_equal(one, two)


def test_two_nearest_means_score_as_their_distances(registry: Registry) -> None:
    X, y = table(n_classes=2)
    rows = scaled(X)
    means = [rows[y == c].mean(axis=0) for c in (0, 1)]
    distances = np.stack([((rows - mean) ** 2).sum(axis=1) for mean in means], axis=1)
    odds = np.exp((distances[:, 0] - distances[:, 1]) / 2)
    scores = make(registry, "nearest_centroid").fit(X, y).predict_proba(X)
    np.testing.assert_allclose(scores[:, 1] / scores[:, 0], odds, rtol=1e-3)


def test_centroids_of_features_that_never_vary_tell_nothing(registry: Registry) -> None:
    y = np.array([0, 1, 2, 0])
    for X in (np.ones((4, 1), np.float32), sparse.csr_array((4, 3), dtype=np.float32)):
        scores = make(registry, "nearest_centroid").fit(X, y).predict_proba(X)
        np.testing.assert_allclose(scores, 1 / 3, rtol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), k=st.integers(1, 25))
def test_ksparse_reads_k_features_and_no_others(registry: Registry, seed: int, k: int) -> None:
    X, y = table(seed, n=60)
    fitted = make(registry, f"ksparse_logreg(k={k})").fit(X, y)
    scores = fitted.predict_proba(X)
    moved = 50 * np.eye(20, dtype=np.float32)
    read = [i for i in range(20) if not np.array_equal(fitted.predict_proba(X + moved[i]), scores)]
    assert set(read) <= set(fitted.chosen.tolist())
    assert len(fitted.chosen) == min(k, 20)


def test_ksparse_finds_the_feature_that_tells_the_class(registry: Registry) -> None:
    X, y = table(n_classes=2)
    X[:, 13] = 100 * y + np.linspace(0, 1, len(y))
    assert make(registry, "ksparse_logreg(k=1)").fit(X, y).chosen.tolist() == [13]
    assert SelectKBest(f_classif, k=1).fit(X, y).get_support().argmax() == 13


def loss(scores: Array, y: Array) -> float:
    return float(-np.log(scores[np.arange(len(y)), y]).mean())


def optimum(rows: Array, y: Array, C: float) -> tuple[float, Any]:
    """scikit-learn's penalised mean loss, converged as far as float64 goes, and its model."""
    model = LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=9999).fit(rows, y)
    return loss(model.predict_proba(rows), y) + (model.coef_**2).sum() / (2 * C * len(y)), model


def hard_rows(n_classes: int, width: int, *, n: int = 400) -> tuple[Array, Array]:
    """Rows with one direction that dwarfs the others, as in hidden states."""
    random = np.random.default_rng(0)
    y = random.integers(n_classes, size=n)
    y[:n_classes] = range(n_classes)
    X = random.normal(size=(n, width)) + 2 * np.eye(n_classes, width)[y]
    X = np.where(random.random(X.shape) < 0.09, X, 0).astype(np.float32)
    X[:, 0] *= 30
    return X, y


def rounded(X: Array) -> Array:
    """The scaled rows as they are where they are fitted."""
    size = float(np.sqrt((X.astype(float) ** 2).sum() / len(X)))
    rows: Array = (X / size).astype(float)
    return rows


def objective(fitted: Any, rows: Array, y: Array, C: float) -> float:
    """The penalised mean loss of a fitted logreg, in float64."""
    coef = fitted.solution.coef.astype(float)
    decided = rows @ coef.T + fitted.solution.intercept
    decided = np.hstack([np.zeros_like(decided), decided]) if len(coef) == 1 else decided
    value = logsumexp(decided, axis=1).mean() - decided[np.arange(len(y)), y].mean()
    return float(value + (coef**2).sum() / (2 * C * len(y)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("C", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize(
    "n_classes, width", [(2, 30), (3, 30), (20, 30), (2, 600), (3, 600), (20, 600), (3, 2100)]
)
def test_logreg_is_at_its_optimum(
    registry: Registry, kind: str, C: float, n_classes: int, width: int
) -> None:
    X, y = hard_rows(n_classes, width)
    rows = rounded(X)
    best, model = optimum(rows, y, C)
    fitted = make(registry, f"logreg(C={C})").fit(KINDS[kind](X), y)
    assert objective(fitted, rows, y, C) == pytest.approx(best, abs=1e-8)
    assert (fitted.predict_proba(KINDS[kind](X)).argmax(axis=1) == model.predict(rows)).mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_classes, width", [(2, 30), (3, 200), (7, 90), (2, 600), (9, 600)])
def test_the_fits_of_a_grid_are_those_of_its_points_one_by_one(
    registry: Registry, kind: str, n_classes: int, width: int
) -> None:
    X, y = hard_rows(n_classes, width, n=300)
    train, other = KINDS[kind](X[:200]), KINDS[kind](X[200:])
    points = list(grid_points(registry.choose("classifiers", "logreg")))
    fits = list(make(registry, "logreg").fit_grid(train, y[:200], points))
    assert [fit.C for fit in fits] == [point["C"] for point in points]
    for fit in fits:
        for separate in (SeparateLogReg(C=fit.C), make(registry, f"logreg(C={fit.C})")):
            separate.fit(train, y[:200])
            np.testing.assert_allclose(
                fit.predict_proba(other), separate.predict_proba(other), atol=5e-3, err_msg=f"{fit.C}"
            )
            largest = np.abs(separate.weights).max()
            weights = separate.weights - separate.weights.mean(axis=0)
            np.testing.assert_allclose(fit.weights, weights, atol=2e-2 * largest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_in_any_order_has_the_same_fits(registry: Registry, kind: str) -> None:
    X, y = hard_rows(3, 40)
    rows = rounded(X)
    for order in ((0.1, 1000.0, 1.0), (1000.0, 10.0, 0.1), (5.0, 5.0)):
        fits = make(registry, "logreg").fit_grid(KINDS[kind](X), y, [{"C": C} for C in order])
        for fit, C in zip(fits, order, strict=True):
            assert objective(fit, rows, y, C) == pytest.approx(optimum(rows, y, C)[0], abs=1e-8)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_ksparse_fits_a_grid_on_the_same_k_features(registry: Registry, n_classes: int) -> None:
    X, y = table(n_classes=n_classes)
    fits = list(make(registry, "ksparse_logreg(k=4)").fit_grid(X, y, [{"C": 0.1}, {"C": 100.0}]))
    for fit, C in zip(fits, (0.1, 100.0), strict=True):
        one = make(registry, f"ksparse_logreg(k=4,C={C})").fit(X, y)
        np.testing.assert_array_equal(fit.chosen, one.chosen)
        np.testing.assert_allclose(fit.predict_proba(X), one.predict_proba(X), atol=1e-4)
        assert fit.weights.shape == (n_classes, 20)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("value", [0.0, 7.0])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_all_equal_are_classed_by_the_shares_of_classes(
    registry: Registry, kind: str, value: float, n_classes: int
) -> None:
    y = np.array([0, 0, 0, *range(n_classes)])
    X = np.full((len(y), 3), value, np.float32)
    scores = make(registry, "logreg").fit(KINDS[kind](X), y).predict_proba(KINDS[kind](X))
    np.testing.assert_allclose(scores, np.tile(np.bincount(y) / len(y), (len(y), 1)), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float32])
def test_logreg_reads_numbers_of_any_type(registry: Registry, dtype: Any) -> None:
    X, y = table(n_classes=3)
    wanted = make(registry, "logreg").fit(X.round(), y).predict_proba(X.round())
    for kind in KINDS.values():
        given = kind(X.round().astype(dtype))
        np.testing.assert_allclose(
            make(registry, "logreg").fit(given, y).predict_proba(given), wanted, atol=1e-4
        )


def test_every_grid_has_as_many_points_and_a_fixed_parameter_is_not_searched(registry: Registry) -> None:
    for reference in ("logreg", "ksparse_logreg(k=1)", "ridge", "linear_sgd", "decision_tree"):
        assert len(list(grid_points(registry.choose("classifiers", reference)))) == 5
    for reference in ("nearest_centroid", "ridge(alpha=2)", "decision_tree(depth=3)"):
        assert list(grid_points(registry.choose("classifiers", reference))) == [{}]


@pytest.mark.parametrize(
    "reference, fault",
    {
        "logreg(C=0)": "C=0 must be a positive number",
        "logreg(C=much)": "takes a number as C, not much",
        "logreg(max_iter=1.5)": "max_iter=1.5 must be a whole number, at least 1",
        "ridge(alpha=-1)": "alpha=-1 must be a positive number",
        "ridge(alpha=true)": "alpha=True must be a positive number",
        "linear_sgd(alpha=x)": "takes a number as alpha, not x",
        "linear_sgd(max_iter=0)": "max_iter=0 must be a whole number, at least 1",
        "decision_tree(depth=0)": "depth=0 must be a whole number, at least 1",
        "decision_tree(depth=2.5)": "depth=2.5 must be a whole number",
        "ksparse_logreg(k=0)": "k=0 must be a whole number, at least 1",
        "ksparse_logreg": "needs its parameter 'k'",
        "nearest_centroid(k=2)": "has no parameter 'k'; it takes none",
    }.items(),
)
def test_a_parameter_that_cannot_be_is_one_sentence(registry: Registry, reference: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as refusal:
        make(registry, reference)
    assert reference.split("(")[0] in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("C", [0.1, 10.0, 1000.0])
def test_fewer_rows_than_features_give_the_same_classifier(form: str, C: float) -> None:
    from harness_classifiers.logreg import LogReg
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(1)
    y = random.integers(4, size=60)
    X = (random.random((60, 300)) * (random.random((60, 300)) < 0.1) + 0.5 * np.eye(4, 300)[y]).astype(
        np.float32
    )
    given = sparse.csr_array(X) if form == "csr" else X
    found = LogReg(C=C, max_iter=1000, seed=0).fit(given, y)
    size = np.sqrt(np.square(X, dtype=np.float64).sum() / len(X))
    plain = LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=5000).fit(X / size, y)
    np.testing.assert_allclose(found.predict_proba(given), plain.predict_proba(X / size), atol=1e-4)
    weights = found.weights - found.weights.mean(axis=0)
    np.testing.assert_allclose(
        weights, (plain.coef_ - plain.coef_.mean(axis=0)) / size, atol=2e-3 * np.abs(weights).max()
    )
