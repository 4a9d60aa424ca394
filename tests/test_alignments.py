"""Alignments of the features of two models, against planted truths, numpy, scipy and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness_alignments import harness_alignments, matching, regression
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

import harness

Array = np.ndarray[Any, Any]
SPECS = {spec.name: spec for spec in harness_alignments()}
NAMES = tuple(SPECS)


def make(name: str, **parameters: Any) -> Any:
    factory = SPECS[name].make
    assert factory
    return factory(**parameters)


def firing(seed: int, rows: int, width: int, *, density: float = 0.2) -> Array:
    """Features of a dictionary: mostly zero, never negative, of unlike sizes."""
    random = np.random.default_rng(seed)
    values = random.gamma(2.0, size=(rows, width)) * np.exp(random.normal(size=width))
    return np.where(random.random((rows, width)) < density, values, 0.0).astype(np.float32)


def planted(source: Array, seed: int, *, extra: int = 0) -> tuple[Array, Array]:
    """The features in another order, each times a positive number, among `extra` others; and where each now stands."""
    random = np.random.default_rng(seed)
    rows, width = source.shape
    scaled = source * random.uniform(0.1, 10, size=width).astype(np.float32)
    others = firing(seed + 1, rows, extra)
    order = random.permutation(width + extra)
    return np.concatenate([scaled, others], axis=1)[:, order], np.argsort(order)[:width]


def as_csr(X: Array) -> Any:
    return sparse.csr_array(X)


def dense(X: Any) -> Array:
    found: Array = X.toarray() if sparse.issparse(X) else X
    return found


def correlations(source: Array, target: Array) -> Array:
    a = source.shape[1]
    found: Array = np.corrcoef(source.astype(float), target.astype(float), rowvar=False)[:a, a:]
    return found


# ── one with one ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["correlation", "assignment"])
@pytest.mark.parametrize("extra", [0, 25])
@pytest.mark.parametrize("kind", [np.asarray, as_csr])
def test_a_planted_permutation_is_found_exactly(name: str, extra: int, kind: Any) -> None:
    source = firing(0, 400, 60)
    target, places = planted(source, 1, extra=extra)
    found = make(name).fit(kind(source[:300]), kind(target[:300]))
    assert found.of.tolist() == list(range(60))
    assert found.by.tolist() == places.tolist()
    mapped = found.transform(kind(target[300:]))
    assert sparse.issparse(mapped) == (kind is as_csr), "nothing is shifted, so zeros stay zeros"
    np.testing.assert_allclose(dense(mapped), source[300:], rtol=1e-5)
    assert ((dense(mapped) == 0) == (source[300:] == 0)).all()


@pytest.mark.parametrize("name", ["correlation", "assignment"])
def test_a_planted_permutation_is_found_under_noise(name: str) -> None:
    source = firing(2, 600, 80)
    target, places = planted(source, 3, extra=20)
    noise = np.random.default_rng(4).normal(size=target.shape) * target.std(axis=0) / 2
    found = make(name).fit(source, (target + noise).astype(np.float32))
    assert found.of.tolist() == list(range(80))
    assert found.by.tolist() == places.tolist()


@pytest.mark.parametrize("name", ["correlation", "assignment"])
def test_hidden_states_are_scaled_and_shifted_back(name: str) -> None:
    random = np.random.default_rng(43)
    source = (random.normal(size=(300, 50)) * np.geomspace(0.1, 10, 50) + 100).astype(np.float32)
    order = random.permutation(50)
    target = (source * random.uniform(0.1, 10, size=50) + random.normal(size=50) * 30).astype(np.float32)[
        :, order
    ]
    found = make(name).fit(source[:200], target[:200])
    assert found.by.tolist() == np.argsort(order).tolist()
    mapped = found.transform(target[200:])
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, source[200:], rtol=1e-5)


def test_more_source_than_target_features_leave_some_at_their_mean() -> None:
    source = firing(5, 300, 40)
    target, places = planted(source[:, :15], 6)
    found = make("assignment").fit(source, target)
    mapped = found.transform(target)
    assert found.by[:15].tolist() == places.tolist()
    assert len(found.of) == 15
    np.testing.assert_allclose(mapped[:, :15], source[:, :15], rtol=1e-5)
    np.testing.assert_allclose(mapped[:, 15:], np.tile(source[:, 15:].mean(axis=0), (300, 1)), rtol=1e-5)


@pytest.mark.parametrize("kinds", [(np.asarray, np.asarray), (as_csr, as_csr), (as_csr, np.asarray)])
def test_the_best_correlate_is_that_of_numpy(kinds: tuple[Any, Any]) -> None:
    source, target = firing(7, 150, 30), firing(8, 150, 45)
    table = correlations(source, target)
    found = make("correlation").fit(kinds[0](source), kinds[1](target))
    assert found.of.tolist() == list(range(30))
    assert found.by.tolist() == table.argmax(axis=1).tolist()
    mapped = dense(found.transform(kinds[1](target)))
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped.mean(axis=0), source.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(mapped.std(axis=0), source.std(axis=0), rtol=1e-4)
    own = [np.corrcoef(mapped[:, j], source[:, j])[0, 1] for j in range(30)]
    np.testing.assert_allclose(own, table.max(axis=1), atol=1e-5)


def test_what_does_not_correlate_above_least_is_its_mean() -> None:
    source, target = firing(9, 150, 30), firing(10, 150, 45)
    best = correlations(source, target).max(axis=1)
    least = float(np.median(best))
    found = make("correlation", least=least).fit(source, target)
    assert found.of.tolist() == np.flatnonzero(best > least).tolist()
    lost = np.flatnonzero(best <= least)
    expected = np.tile(source.mean(axis=0)[lost], (150, 1))
    np.testing.assert_allclose(found.transform(target)[:, lost], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["correlation", "assignment"])
def test_features_that_only_go_against_each_other_are_no_match(name: str) -> None:
    source = firing(11, 100, 1)
    found = make(name).fit(source, -source)
    np.testing.assert_allclose(found.transform(-source), np.full((100, 1), source.mean()), rtol=1e-5)


def test_the_assignment_has_the_largest_sum_of_correlations() -> None:
    source, target = firing(12, 80, 25), firing(13, 80, 35)
    table = correlations(source, target)
    found = make("assignment").fit(source, target)
    assert len(set(found.by.tolist())) == len(found.by)
    of, by = linear_sum_assignment(table, maximize=True)
    assert table[found.of, found.by].sum() == pytest.approx(table[of, by].sum(), abs=1e-4)
    greedy = make("correlation").fit(source, target)
    assert len(set(greedy.by.tolist())) < len(greedy.by), "or the two would be the same here"


def test_of_two_that_want_the_same_feature_one_yields() -> None:
    first, second = firing(14, 500, 2).T
    source = np.stack([first + 0.5 * second, first], axis=1)
    target = np.stack([first, second], axis=1)
    assert make("correlation").fit(source, target).by.tolist() == [0, 0]
    assert make("assignment").fit(source, target).by.tolist() == [1, 0]


def test_a_pair_that_goes_against_each_other_costs_nothing() -> None:
    features = firing(44, 500, 2)
    first, second = (features / features.std(axis=0)).T
    source = np.stack([first + 0.3 * second, 0.3 * first - second], axis=1)
    target = np.stack([first, second], axis=1)
    table = correlations(source, target)
    assert table[0, 0] + table[1, 1] < table[0, 1] + table[1, 0] < table[0, 0], "crossed, if it did"
    assert _pairs(make("assignment").fit(source, target)) == ([0], [0])


def _pairs(found: Any) -> tuple[list[int], list[int]]:
    return found.of.tolist(), found.by.tolist()


def test_of_features_that_fire_in_the_same_single_row_the_first_is_taken() -> None:
    source, target = np.zeros((101, 1), dtype=np.float32), np.zeros((101, 9), dtype=np.float32)
    source[37] = 3.3
    target[37, 2:] = np.random.default_rng(0).uniform(0.1, 9, size=7)
    for name in ("correlation", "assignment"):
        assert make(name).fit(as_csr(source), as_csr(target)).by.tolist() == [2]


def test_shuffled_pairs_know_nothing_but_are_one_to_one_and_repeat() -> None:
    source = firing(15, 400, 200)
    target, places = planted(source, 16)
    found, again, other = (
        make("shuffled", seed=seed).fit(as_csr(source), as_csr(target)) for seed in (0, 0, 1)
    )
    assert sorted(found.of.tolist()) == sorted(found.by.tolist()) == list(range(200))
    assert _pairs(found) == _pairs(again) != _pairs(other)
    right = sum(places[j] == k for j, k in zip(*_pairs(found), strict=True))
    assert right < 10
    mapped = dense(found.transform(as_csr(target)))
    np.testing.assert_allclose(mapped.mean(axis=0), source.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(mapped.std(axis=0), source.std(axis=0), rtol=1e-4)


def test_an_assignment_too_large_for_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = firing(17, 60, 12), firing(18, 60, 20)
    source[:, :2] = 0
    monkeypatch.setattr(matching, "MOST_PAIRS", 200)
    make("assignment").fit(source, target)
    monkeypatch.setattr(matching, "MOST_PAIRS", 199)
    with pytest.raises(
        harness.UnavailableError, match=r"of 10 to 20 features .* use alignment 'correlation'"
    ):
        make("assignment").fit(source, target)


def test_blocks_of_features_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = firing(19, 90, 31), firing(20, 90, 23)
    whole = {name: dense(make(name).fit(source, target).transform(target)) for name in NAMES}
    for module in (matching, regression):
        monkeypatch.setattr(module, "BLOCK_CELLS", 100)
    for name in NAMES:
        np.testing.assert_allclose(
            dense(make(name).fit(source, target).transform(target)), whole[name], atol=1e-5
        )


# ── least squares ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(200, 20, 30), (40, 20, 70), (31, 5, 30), (30, 5, 30)])
@pytest.mark.parametrize("ridge", [0.1, 1.0, 300.0])
@pytest.mark.parametrize("kind", [np.asarray, as_csr])
def test_least_squares_is_scikit_learns_ridge(shape: tuple[int, int, int], ridge: float, kind: Any) -> None:
    rows, a, b = shape
    source, target, new = firing(21, rows, a), firing(22, rows, b), firing(23, 50, b)
    source[:, 0] += target[:, 0]
    scaler = StandardScaler().fit(target.astype(float))
    oracle = Ridge(alpha=ridge, solver="svd").fit(
        scaler.transform(target.astype(float)), source.astype(float)
    )
    found = make("least_squares", ridge=ridge).fit(kind(source), kind(target)).transform(kind(new))
    assert found.dtype == np.float32
    wanted = oracle.predict(scaler.transform(new.astype(float)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", [np.asarray, as_csr])
@pytest.mark.parametrize("rows", [30, 42, 60, 300])
@pytest.mark.parametrize("noise", [0.5, 2.0, 8.0])
def test_the_ridge_is_chosen_by_generalised_cross_validation(kind: Any, rows: int, noise: float) -> None:
    random = np.random.default_rng(24)
    target = firing(25, rows, 40)
    Z = StandardScaler().fit_transform(target.astype(float))
    source = (Z @ random.normal(size=(40, 4)) + noise * random.normal(size=(rows, 4)) + 3).astype(np.float32)
    criteria = {}
    for ridge in (rows * share for share in regression.GRID):
        hat = Z @ np.linalg.solve(Z.T @ Z + ridge * np.eye(40), Z.T) + 1 / rows
        left = np.eye(rows) - hat
        criteria[ridge] = np.square(left @ source).sum() / np.trace(left) ** 2
    found = make("least_squares").fit(kind(source), kind(target))
    assert found.chosen == min(criteria, key=lambda ridge: criteria[ridge])


def test_a_large_mean_does_not_move_the_choice() -> None:
    random = np.random.default_rng(45)
    target = random.normal(size=(60, 200))
    source = target @ random.normal(size=(200, 5))
    choices = {make("least_squares").fit(source + mean, target).chosen for mean in (0.0, 1e3, 1e6)}
    assert len(choices) == 1


@pytest.mark.parametrize("mean", [0.0, 50.0])
@pytest.mark.parametrize(("a", "b"), [(16, 16), (16, 40), (40, 16)])
def test_least_squares_recovers_linear_maps(a: int, b: int, mean: float) -> None:
    random = np.random.default_rng(26)
    inner = random.normal(size=(500, min(a, b)))
    source = inner @ np.linalg.qr(random.normal(size=(a, min(a, b))))[0].T
    target = inner @ np.linalg.qr(random.normal(size=(b, min(a, b))))[0].T + mean
    source, target = source.astype(np.float32), target.astype(np.float32)
    found = make("least_squares").fit(source[:400], target[:400])
    np.testing.assert_allclose(found.transform(target[400:]), source[400:], atol=2e-3)
    oracle = LinearRegression().fit(target[:400].astype(float), source[:400].astype(float))
    np.testing.assert_allclose(found.transform(target[400:]), oracle.predict(target[400:]), atol=2e-3)


def test_least_squares_recovers_a_map_from_fewer_rows_than_features() -> None:
    random = np.random.default_rng(27)
    inner = random.normal(size=(120, 10))
    source = (inner @ random.normal(size=(10, 30))).astype(np.float32)
    target = (inner @ random.normal(size=(10, 300)) + 2).astype(np.float32)
    found = make("least_squares").fit(source[:80], target[:80])
    np.testing.assert_allclose(found.transform(target[80:]), source[80:], atol=2e-3 * np.abs(source).max())


def test_what_tells_nothing_is_shrunk_to_the_mean() -> None:
    source, target = firing(28, 300, 10, density=0.5), firing(29, 300, 100, density=0.5)
    found = make("least_squares").fit(source, target)
    new = found.transform(firing(30, 100, 100, density=0.5))
    assert (np.abs(new - source.mean(axis=0)) < 0.5 * source.std(axis=0)).mean() > 0.95


def test_a_regression_too_large_for_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "LARGEST", 20)
    make("least_squares").fit(firing(31, 100, 5), firing(32, 100, 20))
    make("least_squares").fit(firing(31, 20, 5), firing(32, 20, 100))
    with pytest.raises(
        harness.UnavailableError, match=r"at most 20 training rows .* here are 22 and 21: read fewer rows"
    ):
        make("least_squares").fit(firing(31, 22, 5), firing(32, 22, 21))


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.asarray, as_csr])
def test_constant_features_are_their_mean_and_tell_nothing(name: str, kind: Any) -> None:
    source, target = firing(33, 80, 12), firing(34, 80, 14)
    source[:, 3], source[:, 4] = 0.0, 0.1
    rounding = 1 + 5e-7 * np.random.default_rng(0).normal(size=80)
    target[:, 5], target[:, 6] = 0.0, 0.3 * rounding
    found = make(name).fit(kind(source), kind(target))
    mapped = dense(found.transform(kind(target)))
    np.testing.assert_allclose(mapped[:, 3:5], np.tile(np.float32([0.0, 0.1]), (80, 1)), rtol=1e-6)
    changed = target.copy()
    changed[:, 5:7] = 7.0
    np.testing.assert_allclose(dense(found.transform(kind(changed))), mapped, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.asarray, as_csr])
def test_one_row_or_nothing_that_fires_gives_the_mean(name: str, kind: Any) -> None:
    source, target, none = firing(35, 20, 6), firing(36, 20, 9), np.zeros((20, 9), dtype=np.float32)
    one = make(name).fit(kind(source[:1]), kind(target[:1]))
    np.testing.assert_allclose(dense(one.transform(kind(target))), np.tile(source[0], (20, 1)), rtol=1e-6)
    dead = make(name).fit(kind(source), kind(none))
    wanted = np.tile(source.mean(axis=0), (20, 1))
    np.testing.assert_allclose(dense(dead.transform(kind(target))), wanted, rtol=1e-6)
    silent = make(name).fit(kind(none), kind(source))
    assert not dense(silent.transform(kind(source))).any()
    assert silent.transform(kind(source[:0])).shape == (0, 9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.asarray, as_csr])
def test_rows_that_do_not_fit_are_refused_in_a_sentence(name: str, kind: Any) -> None:
    source, target = firing(37, 20, 6), firing(38, 20, 9)
    with pytest.raises(ValueError, match="the source has 19 and the target 20"):
        make(name).fit(kind(source[:19]), kind(target))
    with pytest.raises(ValueError, match="at least one row"):
        make(name).fit(kind(source[:0]), kind(target[:0]))
    with pytest.raises(ValueError, match="learnt on 9 target features, but is given 6"):
        make(name).fit(kind(source), kind(target)).transform(kind(source))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.asarray, as_csr])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_in_a_sentence(name: str, kind: Any, value: float) -> None:
    source, target = firing(39, 20, 6), firing(40, 20, 9)
    broken_source, broken = source.copy(), target.copy()
    broken_source[3, 2] = broken[5, 7] = value
    with pytest.raises(ValueError, match="some of the source are not"):
        make(name).fit(kind(broken_source), kind(target))
    with pytest.raises(ValueError, match="some of the target are not"):
        make(name).fit(kind(source), kind(broken))
    with pytest.raises(ValueError, match="some of the target are not"):
        make(name).fit(kind(source), kind(target)).transform(kind(broken))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), rows=st.integers(5, 60))
def test_the_order_of_rows_changes_nothing(name: str, seed: int, rows: int) -> None:
    source, target = firing(seed, rows, 12), firing(seed + 1, rows, 17)
    order = np.random.default_rng(seed).permutation(rows)
    new = firing(seed + 2, 20, 17)
    first = dense(make(name).fit(as_csr(source), as_csr(target)).transform(as_csr(new)))
    second = dense(make(name).fit(as_csr(source[order]), as_csr(target[order])).transform(as_csr(new)))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(first).max())))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), rows=st.integers(5, 60))
def test_csr_and_dense_give_the_same(name: str, seed: int, rows: int) -> None:
    source, target, new = firing(seed, rows, 12), firing(seed + 1, rows, 17), firing(seed + 2, 20, 17)
    first = make(name).fit(source, target).transform(new)
    second = make(name).fit(as_csr(source), as_csr(target)).transform(as_csr(new))
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_allclose(
        first, dense(second), rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(first).max()))
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_goes_in_is_left_as_it_was(name: str) -> None:
    source, target = as_csr(firing(41, 40, 12)), as_csr(firing(42, 40, 17))
    before = source.toarray(), target.toarray()
    make(name).fit(source, target).transform(target)
    assert (source.toarray() == before[0]).all()
    assert (target.toarray() == before[1]).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        *(("correlation", {"least": least}) for least in (-0.1, 1.0, True, "0", float("nan"))),
        *(("least_squares", {"ridge": ridge}) for ridge in (0, -1.0, True, "1", float("inf"), float("nan"))),
        *(("shuffled", {"seed": seed}) for seed in (-1, 0.5, True)),
    ],
)
def test_parameters_that_make_no_sense_are_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make(name, **parameters)
