"""Intervals, p-values and weights against textbook definitions and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.stats import (
    bootstrap_p_value,
    bootstrap_weights,
    cluster_weights,
    holm,
    minimum_detectable_difference,
    number_groups,
    paired_differences,
    paired_interval,
    percentile_interval,
)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 2**32))
def test_every_resample_keeps_the_class_counts(strata: list[int], seed: int) -> None:
    classes = np.array(strata)
    weights = bootstrap_weights(classes, resamples=7, seed=seed)
    assert weights.shape == (7, len(classes)) and weights.dtype == np.float32
    for number in np.unique(classes):
        assert (weights[:, classes == number].sum(axis=1) == np.sum(classes == number)).all()


def test_weights_follow_from_strata_and_seed_alone() -> None:
    strata = np.random.default_rng(0).integers(3, size=500)
    weights = bootstrap_weights(strata, resamples=20, seed=5)
    assert np.array_equal(weights, bootstrap_weights(strata.copy(), resamples=20, seed=5))
    assert not np.array_equal(weights, bootstrap_weights(strata, resamples=20, seed=6))


def test_weights_are_multinomial_counts() -> None:
    weights = bootstrap_weights(np.zeros(50, int), resamples=20_000, seed=0)
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.01)
    assert np.mean(weights == 0) == pytest.approx((1 - 1 / 50) ** 50, rel=0.01)
    assert np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 49, abs=0.02)


def test_weights_drawn_in_parts_are_as_good_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.stats._DRAWS_AT_ONCE", 64)
    weights = bootstrap_weights(np.repeat([0, 1], [30, 20]), resamples=500, seed=3)
    assert (weights[:, :30].sum(axis=1) == 30).all() and (weights[:, 30:].sum(axis=1) == 20).all()
    assert len(np.unique(weights, axis=0)) == 500


def test_a_percentile_interval_is_that_of_the_samples() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    low, high = percentile_interval(np.arange(1001.0), level=0.5)
    assert (low, high) == pytest.approx((250.0, 750.0))


def test_an_interval_of_bootstrap_means_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(size=200)
    weights = bootstrap_weights(np.zeros(200, int), resamples=20_000, seed=2)
    low, high = percentile_interval(weights @ values / 200)
    expected = scipy_stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=3)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=0.006)


def test_equal_arms_differ_by_exactly_nothing() -> None:
    samples = np.random.default_rng(0).random(100)
    assert not paired_differences(samples, samples + 1e-16).any()
    assert paired_interval(samples, samples) == (0.0, 0.0)
    assert bootstrap_p_value(paired_differences(samples, samples)) == 1.0


def test_a_paired_interval_is_narrower_than_its_arms() -> None:
    common = np.random.default_rng(0).normal(size=1000)
    low, high = paired_interval(common + 0.1, common)
    assert (low, high) == pytest.approx((0.1, 0.1))


def test_a_bootstrap_p_value_inverts_the_interval() -> None:
    differences = np.random.default_rng(0).normal(1.5, 1, size=4999)
    expected = 2 * (np.sum(differences <= 0) + 1) / 5000
    assert bootstrap_p_value(differences) == bootstrap_p_value(-differences) == pytest.approx(expected)
    assert bootstrap_p_value(np.ones(999)) == 0.002  # never 0
    p = bootstrap_p_value(differences)
    low, _ = percentile_interval(differences, level=1 - p * 1.1)
    assert low > 0
    low, _ = percentile_interval(differences, level=1 - p * 0.9)
    assert low < 0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.5))
def test_holm_rejects_what_its_step_down_rejects(p_values: list[float], alpha: float) -> None:
    rejected, order = set(), np.argsort(p_values, kind="stable")
    for step, index in enumerate(order):
        if p_values[index] * (len(p_values) - step) > alpha:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm(p_values) <= alpha).tolist()) == rejected


def test_a_true_difference_as_large_as_detectable_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(0)
    size = minimum_detectable_difference(generator.normal(0, 0.02, size=100_000))
    assert size == pytest.approx(2.8016 * 0.02, rel=0.01)
    found = np.abs(generator.normal(size, 0.02, size=100_000)) > 1.96 * 0.02
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_groups_are_drawn_whole_and_widen_what_depends_on_them() -> None:
    groups = np.repeat(np.arange(40), 5)
    strata = np.repeat(np.arange(40) % 2, 5)
    weights = cluster_weights(strata, groups, resamples=500, seed=0)
    assert weights.shape == (500, 200)
    assert (weights.reshape(500, 40, 5) == weights.reshape(500, 40, 5)[:, :, :1]).all()
    right = np.repeat(np.random.default_rng(0).random(40) < 0.7, 5)  # siblings are right or wrong together
    rows = bootstrap_weights(strata, resamples=500, seed=0)
    assert np.std(weights @ right) > 1.8 * np.std(rows @ right)  # about the square root of 5


def test_rows_without_groups_are_drawn_as_if_there_were_none() -> None:
    strata = np.array([0, 1, 1, 0, 1, 0, 0])
    alone = number_groups([None] * 7)
    assert np.array_equal(
        cluster_weights(strata, alone, resamples=50, seed=3), bootstrap_weights(strata, resamples=50, seed=3)
    )
    assert number_groups(["a", None, "a", "b"]).tolist() == [0, 1, 0, 2]
