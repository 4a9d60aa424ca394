"""Intervals, p-values and weights against textbook definitions and scipy."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.stats.bootstrap import (
    bootstrap_p_value,
    bootstrap_weights,
    cluster_weights,
    exact_mcnemar,
    holm,
    minimum_detectable_difference,
    number_groups,
    paired_differences,
    paired_interval,
    percentile_interval,
    rank_intervals,
    tie_groups,
    wilson_interval,
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
    monkeypatch.setattr("harness.stats.bootstrap._DRAWS_AT_ONCE", 64)
    weights = bootstrap_weights(np.repeat([0, 1], [30, 20]), resamples=500, seed=3)
    assert (weights[:, :30].sum(axis=1) == 30).all() and (weights[:, 30:].sum(axis=1) == 20).all()
    assert len(np.unique(weights, axis=0)) == 500


@given(
    st.lists(st.floats(-1, 1) | st.sampled_from([0.25, 0.5]), min_size=1, max_size=60), st.floats(0.01, 0.99)
)
def test_a_percentile_interval_is_that_of_numpy_to_the_last_bit(values: list[float], level: float) -> None:
    samples = np.array(values * 3)
    expected = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    assert percentile_interval(samples, level) == tuple(expected.tolist())
    given_as_float32 = percentile_interval(samples.astype(np.float32), level)
    assert given_as_float32 == tuple(
        np.quantile(samples.astype(np.float32), [(1 - level) / 2, (1 + level) / 2]).tolist()
    )


def test_a_percentile_interval_of_samples_that_are_no_numbers_is_none() -> None:
    assert np.isnan(percentile_interval(np.array([0.1, np.nan, 0.3]))).all()


def test_weights_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    strata = np.repeat([0, 1, 2], [30, 7, 1])
    whole = bootstrap_weights(strata, resamples=500, seed=3)
    for most in (1, 100, 1_000_000):
        with patch("harness.stats.bootstrap._DRAWS_AT_ONCE", most):
            assert np.array_equal(bootstrap_weights(strata, resamples=500, seed=3), whole)


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
    with patch(
        "gc.collect"
    ):  # which it calls each time, a second or two in a process that has done much before
        expected = multitest.multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected)


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


@given(st.data(), st.integers(1, 500), st.floats(0.5, 0.999))
def test_a_wilson_interval_is_that_of_scipy_and_statsmodels(
    data: st.DataObject, n: int, level: float
) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    successes = data.draw(st.integers(0, n))
    found = wilson_interval(successes, n, level)
    expected = scipy_stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found == pytest.approx(
        proportion.proportion_confint(successes, n, alpha=1 - level, method="wilson"), abs=1e-12
    )


@given(st.data(), st.integers(1, 500), st.floats(0.5, 0.999))
def test_a_wilson_interval_is_that_of_the_closed_formula(data: st.DataObject, n: int, level: float) -> None:
    successes = data.draw(st.integers(0, n))
    z, share = scipy_stats.norm.ppf((1 + level) / 2), successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    low, high = wilson_interval(successes, n, level)
    assert (low, high) == pytest.approx((centre - reach, centre + reach), abs=1e-12)
    assert low >= 0 and high <= 1
    assert (successes > 0 or low == 0) and (successes < n or high == 1)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_a_share_of_no_rows_or_more_than_all_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_that_of_statsmodels_and_scipy(only_first: int, only_second: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    found = exact_mcnemar(only_first, only_second)
    assert found == exact_mcnemar(only_second, only_first) and 0 < found <= 1
    expected = tables.mcnemar([[7, only_first], [only_second, 9]], exact=True).pvalue
    assert found == pytest.approx(min(1.0, expected))
    fewer, both = min(only_first, only_second), only_first + only_second
    tail = sum(math.comb(both, right) for right in range(fewer + 1)) / 2**both
    assert found == pytest.approx(min(1.0, 2 * tail), abs=1e-12)
    if only_first + only_second:
        assert found == pytest.approx(
            scipy_stats.binomtest(only_first, only_first + only_second, 0.5).pvalue, abs=1e-9
        )


def test_without_rows_that_tell_them_apart_arms_do_not_differ() -> None:
    assert exact_mcnemar(0, 0) == exact_mcnemar(5, 5) == 1.0


def tasks_without_row_noise(scores: object, resamples: int = 4000) -> np.ndarray:
    """`[tasks, arms]` as samples that are the same in every resample."""
    return np.repeat(np.asarray(scores, float)[:, :, None], resamples, axis=2)


def test_ranks_are_told_apart_where_a_bootstrap_of_scipy_over_tasks_tells_means_apart() -> None:
    generator = np.random.default_rng(0)
    told_apart = []
    for lead in np.linspace(0, 0.12, 13):
        scores = generator.normal(0.7, 0.1, size=(25, 1)) + generator.normal([lead, 0], 0.08, size=(25, 2))
        low, high = rank_intervals(tasks_without_row_noise(scores), seed=1)
        expected = scipy_stats.bootstrap(
            (scores[:, 0] - scores[:, 1],), np.mean, method="percentile", n_resamples=4000, rng=2
        ).confidence_interval
        if min(abs(expected.low), abs(expected.high)) > 0.004:  # else the two may differ by chance
            assert (high[0] < low[1]) == (expected.low > 0)
            told_apart.append(bool(expected.low > 0))
    assert True in told_apart and False in told_apart


def test_of_one_task_rank_intervals_are_percentiles_of_the_ranks_over_its_rows() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(np.array([0.8, 0.78, 0.7, 0.6])[None, :, None], 0.01, size=(1, 4, 20_000))
    low, high = rank_intervals(samples, seed=0)
    ranks = scipy_stats.rankdata(-samples[0], axis=0)
    assert low.tolist() == np.quantile(ranks, 0.025, axis=1, method="inverted_cdf").tolist() == [1, 1, 3, 4]
    assert high.tolist() == np.quantile(ranks, 0.975, axis=1, method="inverted_cdf").tolist() == [2, 2, 3, 4]


def test_of_three_tasks_no_interval_leaves_out_the_rank_on_any_one() -> None:
    scores = [[0.9, 0.5, 0.2], [0.9, 0.5, 0.2], [0.51, 0.52, 0.2]]  # the first leads by far on two of three
    low, high = rank_intervals(tasks_without_row_noise(scores), seed=0)
    assert (low.tolist(), high.tolist()) == ([1, 1, 3], [2, 2, 3])
    low, high = rank_intervals(tasks_without_row_noise([*scores, [0.9, 0.5, 0.2]]), seed=0)
    assert (low.tolist(), high.tolist()) == ([1, 2, 3], [1, 2, 3])


def test_rows_count_within_tasks() -> None:
    scores = np.tile([0.71, 0.7], (12, 1))
    assert rank_intervals(tasks_without_row_noise(scores), seed=0)[1].tolist() == [1, 2]
    noisy = tasks_without_row_noise(scores) + np.random.default_rng(0).normal(0, 0.04, size=(12, 2, 4000))
    assert rank_intervals(noisy, seed=0)[1].tolist() == [2, 2]
    shared = tasks_without_row_noise(scores) + np.random.default_rng(0).normal(0, 0.04, size=(12, 1, 4000))
    assert rank_intervals(shared, seed=0)[1].tolist() == [1, 2]  # luck that both arms have is no noise


def test_equal_arms_have_every_rank_between_them() -> None:
    samples = np.random.default_rng(0).normal(size=(5, 1, 500))
    low, high = rank_intervals(np.concatenate([samples, samples + 1e-16, samples - 9], axis=1), seed=0)
    assert (low.tolist(), high.tolist()) == ([1, 1, 3], [2, 2, 3])


def told_apart(n: int, *pairs: tuple[int, int]) -> np.ndarray:
    """`[arms, arms]`, true where a pair is told apart."""
    apart = np.zeros((n, n), bool)
    for one, other in pairs:
        apart[one, other] = apart[other, one] = True
    return apart


def test_arms_that_are_like_their_neighbours_are_not_all_alike() -> None:
    assert tie_groups(told_apart(3, (0, 2))) == ((0,), (0, 1), (1,))
    assert tie_groups(told_apart(4, (0, 2), (0, 3), (1, 3), (2, 3))) == ((0,), (0, 1), (1,), (2,))
    assert tie_groups(told_apart(3)) == ((0,), (0,), (0,))
    assert tie_groups(told_apart(3, (0, 1), (0, 2), (1, 2))) == ((0,), (1,), (2,))
    assert tie_groups(told_apart(1)) == ((0,),) and tie_groups(told_apart(0)) == ()


def test_groups_need_no_order_of_their_arms() -> None:
    # 0 is like 1 and 2, which are apart; 3 is like 1 and 2 but not like 0: no row of intervals says that.
    assert tie_groups(told_apart(4, (0, 3), (1, 2))) == ((0, 1), (0, 2), (1, 3), (2, 3))


@given(st.integers(0, 9).flatmap(lambda n: st.lists(st.booleans(), min_size=n * n, max_size=n * n)))
def test_arms_share_a_group_exactly_when_they_are_not_told_apart(drawn: list[bool]) -> None:
    n = round(len(drawn) ** 0.5)
    upper = np.triu(np.array(drawn, bool).reshape(n, n), 1)
    apart = upper | upper.T
    groups = tie_groups(apart)
    assert len(groups) == n
    for one, mine in enumerate(groups):
        assert mine and list(mine) == sorted(set(mine))
        for other, theirs in enumerate(groups[:one]):
            assert bool(set(mine) & set(theirs)) == (not apart[one, other])
    members = [
        [arm for arm, mine in enumerate(groups) if group in mine]
        for group in sorted({group for mine in groups for group in mine})
    ]
    assert members == sorted(members) and not any(
        set(one) <= set(other) for one in members for other in members if one is not other
    )


def test_groups_are_the_maximal_cliques_of_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    generator = np.random.default_rng(0)
    for n in range(1, 13):
        for share in (0.1, 0.4, 0.8):
            upper = np.triu(generator.random((n, n)) < share, 1)
            groups = tie_groups(upper | upper.T)
            members = [
                [arm for arm in range(n) if group in groups[arm]]
                for group in range(max(map(max, groups)) + 1)
            ]
            alike = networkx.from_numpy_array(~(upper | upper.T | np.eye(n, dtype=bool)))
            assert members == sorted(sorted(clique) for clique in networkx.find_cliques(alike))


def test_more_groups_than_anybody_could_read_are_none() -> None:
    random = np.random.default_rng(0).random((60, 60)) < 0.5
    assert tie_groups(random | random.T) == ((),) * 60
