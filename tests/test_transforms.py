"""Transforms that learn from training rows, against scikit-learn and plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import StandardScaler

import harness
from harness import UsageError
from harness.registry.catalog import Registry

Array = np.ndarray[Any, Any]
CRITERIA = ("mean_difference", "mutual_information", "variance", "l1")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cpu").registry


def make(registry: Registry, reference: str) -> Any:
    return registry.choose("transforms", reference).make()


def table(seed: int = 0, *, n: int = 90, width: int = 12, n_classes: int = 3) -> tuple[Array, Array]:
    """Features of which some fire seldom, some nearly always, some below zero, and one never."""
    random = np.random.default_rng(seed)
    y = random.integers(n_classes, size=n)
    y[:n_classes] = range(n_classes)
    X = random.normal(size=(n, width)) + 1.5 * np.eye(n_classes, width)[y]
    X[random.random((n, width)) < np.linspace(0, 0.9, width)] = 0
    X[:, 3] = -np.abs(X[:, 3])
    X[:, 5] = np.abs(X[:, 5])
    X[:, 7] = 0
    return X.astype(np.float32), y


def oracle(X: Array, y: Array, by: str) -> Array:
    """One number for each feature, from scikit-learn or written out."""
    classes = np.unique(y)
    if by == "mean_difference":
        told = [X[y == c].mean(axis=0, dtype=float) - X[y != c].mean(axis=0, dtype=float) for c in classes]
        return np.abs(told).max(axis=0)
    if by == "mutual_information":
        return np.array([mutual_info_score(y, column > np.median(column)) for column in X.T])
    if by == "variance":
        return np.asarray(VarianceThreshold().fit(X.astype(float)).variances_)
    rows = X / np.sqrt((X.astype(float) ** 2).sum() / len(X))
    fits = [
        LogisticRegression(l1_ratio=1, solver="liblinear", C=1, max_iter=1000, random_state=0).fit(
            rows, y == c
        )
        for c in (classes if len(classes) > 2 else classes[:1])
    ]
    return np.abs([fit.coef_[0] for fit in fits]).max(axis=0)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("by", CRITERIA)
@settings(max_examples=15)
@given(seed=st.integers(0, 999), n=st.integers(12, 60), k=st.integers(1, 11))
def test_select_takes_the_best_features_of_an_oracle_dense_or_sparse(
    registry: Registry, by: str, n_classes: int, seed: int, n: int, k: int
) -> None:
    X, y = table(seed, n=n, n_classes=n_classes)
    told = oracle(X, y, by)
    for rows in (X, sparse.csr_array(X)):
        selected = make(registry, f"select(k={k}, by={by})").fit(rows, y)
        assert len(selected.chosen) == (min(k, max(1, np.count_nonzero(told))) if by == "l1" else k)
        assert told[selected.chosen].sum() == pytest.approx(np.sort(told)[-k:].sum(), rel=1e-4, abs=1e-6)
        got = selected.transform(rows)
        assert sparse.issparse(got) == sparse.issparse(rows)
        np.testing.assert_array_equal(got.toarray() if sparse.issparse(got) else got, X[:, selected.chosen])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@settings(max_examples=25)
@given(seed=st.integers(0, 999), n=st.integers(4, 40), n_classes=st.integers(2, 4))
def test_mutual_information_is_that_of_scikit_learn(kind: Any, seed: int, n: int, n_classes: int) -> None:
    from harness_poolings.selection import mutual_information

    X, y = table(seed, n=n, n_classes=n_classes)
    np.testing.assert_allclose(mutual_information(kind(X), y), oracle(X, y, "mutual_information"), atol=1e-12)


def test_l1_takes_no_feature_without_a_coefficient(registry: Registry) -> None:
    X, y = table(n=60, n_classes=2)
    X = np.concatenate([np.zeros((60, 5), np.float32), X], axis=1)  # none of the first could be chosen
    selected = make(registry, "select(k=1000, by=l1)").fit(X[:, :6] * 0.01, y)
    assert 1 <= len(selected.chosen) <= 6
    chosen = make(registry, "select(k=8, by=l1)").fit(X, y).chosen
    assert len(chosen) and not set(chosen) & {0, 1, 2, 3, 4}


def test_a_sparse_feature_tells_by_firing() -> None:
    from harness_poolings.selection import mutual_information

    X, y = np.abs(table()[0]) * (np.random.default_rng(1).random((90, 12)) < 0.3), table()[1]
    assert ((X > 0).mean(axis=0) < 0.5).all()
    fires = [mutual_info_score(y, column > 0) for column in X.T]
    np.testing.assert_allclose(mutual_information(sparse.csr_array(X), y), fires, atol=1e-12)


@pytest.mark.parametrize("by", CRITERIA)
def test_of_equal_features_select_takes_the_first_and_of_too_few_all(registry: Registry, by: str) -> None:
    X, y = table()
    doubled = np.hstack([X[:, :1]] * 6)
    for rows in (doubled, sparse.csr_array(doubled)):
        if by != "l1":  # of equal columns it is free to use any
            assert make(registry, f"select(k=2, by={by})").fit(rows, y).chosen.tolist() == [0, 1]
        everything = make(registry, f"select(k=99, by={by})").fit(rows, y)
        assert everything.chosen.tolist() == list(range(6))
        assert everything.transform(rows[:4]).shape == (4, 6)


@pytest.mark.parametrize("by", CRITERIA)
def test_select_chooses_alike_every_time(registry: Registry, by: str) -> None:
    X, y = table()
    chosen = {tuple(make(registry, f"select(k=4, by={by})").fit(X, y).chosen) for _ in range(3)}
    assert len(chosen) == 1


def test_select_needs_a_whole_k_and_a_known_criterion(registry: Registry) -> None:
    for reference, fault in {
        "select": r"transform 'select' .* needs its parameter 'k'",
        "select(k=0)": r"transform 'select' .* cannot be made: .*k=0 must be a whole number, at least 1",
        "select(k=1.5)": r"k=1.5 must be a whole number",
        "select(k=true)": r"k=True must be a whole number",
        "select(k=3, by=luck)": r"by=luck must be one of mean_difference, mutual_information, variance, l1",
        "standardize(k=1)": r"transform 'standardize' .* has no parameter 'k'; it takes none",
    }.items():
        with pytest.raises(UsageError, match=fault):
            make(registry, reference)


@settings(max_examples=25)
@given(seed=st.integers(0, 999), offset=st.sampled_from([0, 3, 1000]))
def test_standardize_is_that_of_scikit_learn(registry: Registry, seed: int, offset: float) -> None:
    X, y = table(seed)
    other = table(seed + 1)[0]
    X[:, :3] += offset
    varies = X.std(axis=0) > 0
    dense = make(registry, "standardize").fit(X, y).transform(other)
    wanted = StandardScaler().fit(X.astype(float)).transform(other.astype(float))
    np.testing.assert_allclose(dense[:, varies], wanted[:, varies], rtol=1e-4, atol=1e-4)
    assert dense.dtype == np.float32
    got = make(registry, "standardize").fit(sparse.csr_array(X), y).transform(sparse.csr_array(other))
    assert isinstance(got, sparse.csr_array) and got.dtype == np.float32
    only_divided = StandardScaler(with_mean=False).fit(X.astype(float)).transform(other.astype(float))
    np.testing.assert_allclose(got.toarray()[:, varies], only_divided[:, varies], rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_standardize_leaves_a_feature_without_variance(registry: Registry, value: float) -> None:
    X = np.column_stack([np.full(30, value), np.arange(30)]).astype(np.float32)
    X_new = X + 1
    for rows, new in ((X, X_new), (sparse.csr_array(X), sparse.csr_array(X_new))):
        got = make(registry, "standardize").fit(rows, np.arange(30) % 2).transform(new)
        np.testing.assert_array_equal((got.toarray() if sparse.issparse(got) else got)[:, 0], X_new[:, 0])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_select_with_a_threshold_is_binarize_then_select(form: Any) -> None:
    from harness_poolings.transforms import Binarize, Select

    random = np.random.default_rng(0)
    X, y = form(random.exponential(size=(50, 12)).astype(np.float32)), np.arange(50) % 2
    above = Binarize(1.0).transform(X)
    chained, plain = (
        Select(4, "mutual_information", 1.0).fit(X, y),
        Select(4, "mutual_information").fit(above, y),
    )
    np.testing.assert_array_equal(chained.chosen, plain.chosen)
    found, expected = chained.transform(X), plain.transform(above)
    assert (found != expected).sum() == 0
