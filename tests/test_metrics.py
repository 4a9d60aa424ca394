"""Every metric, and every resample of it, against scikit-learn with sample_weight."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from harness.stats.bootstrap import bootstrap_p_value, bootstrap_weights, paired_differences
from harness.stats.metrics import (
    accuracy,
    auroc,
    balanced_accuracy,
    macro_f1,
    resampled_accuracy,
    resampled_auroc,
    resampled_balanced_accuracy,
    resampled_macro_f1,
    resampled_macro_f1s,
    score,
)

Array = np.ndarray[Any, Any]


def sklearn_macro_f1(y: Array, predicted: Array, n_classes: int, weight: Array | None = None) -> float:
    labels = np.arange(n_classes)
    with warnings.catch_warnings(action="ignore"):
        return float(
            f1_score(y, predicted, labels=labels, average="macro", zero_division=0, sample_weight=weight)
        )


def sklearn_balanced_accuracy(y: Array, predicted: Array, weight: Array | None = None) -> float:
    with warnings.catch_warnings(action="ignore"):
        return float(balanced_accuracy_score(y, predicted, sample_weight=weight))


def sklearn_auroc(y: Array, scores: Array, weight: Array | None = None) -> float | None:
    weight = np.ones(len(y)) if weight is None else weight
    y, scores, weight = y[weight > 0], scores[weight > 0], weight[weight > 0]
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [
        roc_auc_score(y == number, scores[:, number], sample_weight=weight)
        for number in classes
        if 0 < np.sum(y == number) < len(y)
    ]
    return float(np.mean(areas)) if areas else None


@st.composite
def cells(draw: st.DrawFn) -> tuple[Array, Array, Array, Array]:
    """y, predicted, scores with many ties, weights that may leave out rows and classes."""
    n_classes, n = draw(st.integers(2, 5)), draw(st.integers(1, 25))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels, top = draw(st.integers(1, 6)), draw(st.integers(1, n_classes))
    y = generator.integers(top, size=n)
    scores = generator.integers(levels, size=(n, n_classes)) / levels
    weights = generator.integers(3, size=(6, n)).astype(np.float32)
    weights[:, generator.integers(n)] += 1
    return y, generator.integers(n_classes, size=n), scores, weights


@settings(max_examples=200)
@given(cells())
def test_macro_f1_and_accuracy_are_those_of_scikit_learn(cell: tuple[Array, Array, Array, Array]) -> None:
    y, predicted, scores, weights = cell
    n_classes = scores.shape[1]
    assert macro_f1(y, predicted, n_classes=n_classes) == sklearn_macro_f1(y, predicted, n_classes)
    assert accuracy(y, predicted) == accuracy_score(y, predicted)
    expected = [sklearn_macro_f1(y, predicted, n_classes, weight) for weight in weights]
    samples = resampled_macro_f1(y, predicted, n_classes=n_classes, weights=weights)
    assert samples == pytest.approx(expected, abs=1e-12)
    expected = [accuracy_score(y, predicted, sample_weight=weight) for weight in weights]
    assert resampled_accuracy(y, predicted, weights=weights) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200)
@given(cells())
def test_balanced_accuracy_is_that_of_scikit_learn_with_missing_classes(
    cell: tuple[Array, Array, Array, Array],
) -> None:
    y, predicted, _, weights = cell
    assert balanced_accuracy(y, predicted) == pytest.approx(
        sklearn_balanced_accuracy(y, predicted), abs=1e-12
    )
    expected = [sklearn_balanced_accuracy(y, predicted, weight) for weight in weights]
    samples = resampled_balanced_accuracy(y, predicted, weights=weights)
    assert samples == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200)
@given(cells())
def test_auroc_is_that_of_scikit_learn_with_ties_and_missing_classes(
    cell: tuple[Array, Array, Array, Array],
) -> None:
    y, _, scores, weights = cell
    value, expected = auroc(y, scores), sklearn_auroc(y, scores)
    assert value is expected if expected is None else value == pytest.approx(expected, abs=1e-12)
    for sample, weight in zip(resampled_auroc(y, scores, weights=weights), weights, strict=True):
        expected = sklearn_auroc(y, scores, weight)
        assert np.isnan(sample) if expected is None else sample == pytest.approx(expected, abs=1e-12)


def test_multiclass_auroc_is_macro_one_against_the_rest() -> None:
    generator = np.random.default_rng(0)
    y, scores = generator.integers(6, size=400), generator.dirichlet(np.ones(6), size=400)
    scores[np.arange(400), y] += 0.1
    scores /= scores.sum(axis=1, keepdims=True)
    assert auroc(y, scores) == pytest.approx(roc_auc_score(y, scores, multi_class="ovr"), abs=1e-12)


def test_stratified_resamples_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], [60, 25, 2])
    scores = np.round(generator.random((87, 3)), 1)
    predicted = scores.argmax(axis=1)
    weights = bootstrap_weights(y, resamples=50, seed=0)
    expected = [sklearn_macro_f1(y, predicted, 3, weight) for weight in weights]
    assert resampled_macro_f1(y, predicted, n_classes=3, weights=weights) == pytest.approx(expected)
    areas = [sklearn_auroc(y, scores, weight) for weight in weights]
    assert resampled_auroc(y, scores, weights=weights) == pytest.approx(areas)
    recalls = [sklearn_balanced_accuracy(y, predicted, weight) for weight in weights]
    assert resampled_balanced_accuracy(y, predicted, weights=weights) == pytest.approx(recalls)


def test_a_score_lies_in_its_interval_and_names_its_method() -> None:
    generator = np.random.default_rng(2)
    y = generator.integers(2, size=300)
    scores = generator.random((300, 2))
    scores[np.arange(300), y] += 0.4
    found = score(y, scores.argmax(1), scores, weights=bootstrap_weights(y, resamples=1000, seed=0))
    assert set(found) == {"macro_f1", "accuracy", "balanced_accuracy", "auroc"}
    assert found["balanced_accuracy"].value == balanced_accuracy_score(y, scores.argmax(1))
    for value in found.values():
        assert value.low is not None and value.high is not None
        assert value.low < value.value < value.high
        assert value.method == "stratified bootstrap of groups, 1000 resamples"


def test_an_undefined_auroc_is_left_out() -> None:
    y, scores = np.zeros(10, int), np.ones((10, 2)) / 2
    found = score(y, y, scores, weights=bootstrap_weights(y, resamples=10, seed=0))
    assert set(found) == {"macro_f1", "accuracy", "balanced_accuracy"}
    assert found["macro_f1"].value == 0.5  # of two given classes one has no rows
    assert found["balanced_accuracy"].value == 1.0  # of the classes that have rows


@pytest.mark.parametrize("metric", ["balanced accuracy", "AUROC"])
def test_arms_are_compared_pair_by_pair_in_any_metric(metric: str) -> None:
    generator = np.random.default_rng(4)
    y = np.repeat([0, 1], [700, 100])
    worse = generator.random((800, 2))
    worse[np.arange(800), y] += 0.3
    better = worse.copy()
    better[np.arange(800), y] += 0.1  # the same luck: the gap is far smaller than either arm's interval
    weights = bootstrap_weights(y, resamples=1000, seed=0)
    samples, reference = (
        resampled_auroc(y, scores, weights=weights)
        if metric == "AUROC"
        else resampled_balanced_accuracy(y, scores.argmax(1), weights=weights)
        for scores in (better, worse)
    )
    assert bootstrap_p_value(paired_differences(samples, reference)) == 2 / 1001
    assert np.std(samples - reference) < np.std(samples)


def test_guessing_has_a_balanced_accuracy_of_chance_at_any_predicted_class_rate() -> None:
    generator = np.random.default_rng(5)
    y = np.repeat([0, 1], [90_000, 10_000])
    for rate in (0.1, 0.5, 0.9):
        predicted = (generator.random(len(y)) < rate).astype(int)
        assert balanced_accuracy(y, predicted) == pytest.approx(0.5, abs=0.01)


def test_without_weights_there_is_no_interval() -> None:
    y = np.array([0, 1, 1])
    found = score(y, y, np.eye(2)[y], weights=None)
    assert (found["auroc"].value, found["auroc"].low, found["auroc"].method) == (1.0, None, "")


def test_scores_that_are_not_finite_are_refused() -> None:
    y = np.array([0, 1])
    with pytest.raises(ValueError, match="NaN"):
        score(y, y, np.array([[0, 1], [np.nan, 1]]), weights=None)


@pytest.mark.filterwarnings("error")
def test_a_resample_without_rows_has_no_accuracy() -> None:
    y, weights = np.array([0, 1, 1]), np.array([[0, 0, 0], [1, 2, 0]], np.float32)
    samples = resampled_accuracy(y, np.array([0, 0, 1]), weights=weights)
    assert np.isnan(samples[0]) and samples[1] == pytest.approx(1 / 3)


def test_accuracy_of_independent_rows_has_wilsons_interval() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    y = np.repeat([0, 1], [88, 12])
    predicted, scores = np.zeros(100, int), np.tile([1.0, 0.0], (100, 1))
    weights = bootstrap_weights(y, resamples=50, seed=0)
    found = score(y, predicted, scores, weights=weights, grouped=False)["accuracy"]
    assert (found.low, found.high) == pytest.approx(proportion.proportion_confint(88, 100, method="wilson"))
    assert found.method == "Wilson"
    drawn = score(y, predicted, scores, weights=weights)["accuracy"]
    assert drawn.low == drawn.high == found.value  # of one class only, resamples with its count tell nothing


def macro_f1_by_counts(y: Array, predicted: Array, *, n_classes: int, weights: Array) -> Array:
    """Macro-F1 of one arm, class by class, from dense products."""
    classes = np.arange(n_classes)[:, None]
    true, said = (y == classes).astype(np.float64), (predicted == classes).astype(np.float64)
    hits, either = weights @ (true * said).T, weights @ (true + said).T
    return np.divide(2 * hits, either, out=np.zeros(hits.shape), where=either > 0).mean(axis=1)


@pytest.mark.parametrize("n_classes", [2, 3, 7, 8, 9, 20, 150])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_macro_f1_of_many_arms_is_that_of_each_to_the_last_bit(n_classes: int, share: float) -> None:
    generator = np.random.default_rng(n_classes)
    y = generator.integers(n_classes, size=211)
    arms = np.where(generator.random((37, 211)) < share, y, generator.integers(n_classes, size=(37, 211)))
    weights = bootstrap_weights(y, resamples=301, seed=0)
    found = resampled_macro_f1s(y, arms.astype(np.uint8), n_classes=n_classes, weights=weights)
    for arm, samples in zip(arms, found, strict=True):
        wanted = macro_f1_by_counts(y, arm, n_classes=n_classes, weights=weights)
        np.testing.assert_array_equal(samples, wanted)
        one = resampled_macro_f1(y, arm, n_classes=n_classes, weights=weights)
        np.testing.assert_array_equal(samples, one)


@pytest.mark.parametrize("n_classes", [2, 3, 7, 8, 9, 20, 150])
def test_each_metric_of_the_rows_as_they_are_is_that_of_one_resample_to_the_last_bit(n_classes: int) -> None:
    generator = np.random.default_rng(n_classes)
    once = np.ones((1, 211))
    for _ in range(20):
        y = generator.integers(n_classes, size=211)
        scores = generator.integers(9, size=(211, n_classes)) / 7  # with ties
        predicted = scores.argmax(axis=1)
        assert auroc(y, scores) == resampled_auroc(y, scores, weights=once)[0]
        assert (
            macro_f1(y, predicted, n_classes=n_classes)
            == (resampled_macro_f1(y, predicted, n_classes=n_classes, weights=once)[0])
        )
        assert balanced_accuracy(y, predicted) == resampled_balanced_accuracy(y, predicted, weights=once)[0]
        assert accuracy(y, predicted) == resampled_accuracy(y, predicted, weights=once)[0]
