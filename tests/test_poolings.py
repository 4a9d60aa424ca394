"""Poolings and transforms against plain numpy."""

from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

import harness
from harness import UsageError
from harness.features.featurize import Reading, pool_reading
from harness.registry.catalog import Registry

Array = np.ndarray[Any, Any]

ORACLES: dict[str, Any] = {
    "max": lambda x: x.max(axis=0),
    "mean": lambda x: x.mean(axis=0),
    "sum": lambda x: x.sum(axis=0),
    "last": lambda x: x[-1],
    "first": lambda x: x[0],
    "count": lambda x: (x > 0).sum(axis=0),
    "count(t=1.5)": lambda x: (x > 1.5).sum(axis=0),
    "count(t=-2)": lambda x: (x > -2).sum(axis=0),
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cpu").registry


def make(registry: Registry, kind: str, reference: str) -> Any:
    return registry.choose(kind, reference).make()


@pytest.mark.parametrize("pooling", ORACLES)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    width=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=20)
def test_a_pooling_sees_each_examples_tokens_and_no_others(
    registry: Registry, pooling: str, lengths: list[int], width: int, seed: int
) -> None:
    values = (np.random.default_rng(seed).standard_normal((sum(lengths), width)) * 3).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    given_values = torch.from_numpy(values.copy())
    got = make(registry, "poolings", pooling)(given_values, torch.from_numpy(offsets))
    parts = [values[start:stop].astype(np.float64) for start, stop in itertools.pairwise(offsets)]
    np.testing.assert_allclose(got, [ORACLES[pooling](part) for part in parts], rtol=1e-5, atol=1e-5)
    assert got.dtype == torch.float32
    assert np.array_equal(given_values, values), "slices are shared between poolings"


def test_the_maximum_of_negative_values_is_negative(registry: Registry) -> None:
    values = torch.tensor([[-3.0], [-1.0], [-7.0]])
    assert make(registry, "poolings", "max")(values, torch.tensor([0, 2, 3])).tolist() == [[-1.0], [-7.0]]


def top_counts(values: Array, offsets: Array, n: int) -> Array:
    """How many tokens of each example have a feature among their n largest and above zero; ties to the lowest."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :n]
    hot = np.zeros_like(values)
    np.put_along_axis(hot, order, 1, axis=1)
    hot *= values > 0
    return np.array([hot[start:stop].sum(0) for start, stop in itertools.pairwise(offsets)])


@given(
    values=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 9), st.just(11)), elements=st.integers(-2, 3).map(float)
    ),
    n=st.integers(1, 12),
    size=st.integers(1, 11),
    as_sparse=st.booleans(),
)
@settings(max_examples=80)
def test_topn_count_counts_tokens_where_a_feature_is_among_the_largest_in_any_slices(
    registry: Registry, values: Array, n: int, size: int, as_sparse: bool
) -> None:
    counts = [len(values) // 2, 0, len(values) - len(values) // 2]
    encoder = harness.Dictionary(
        name="toy", width=11, activation="identity", W_enc=torch.eye(11), b_enc=torch.zeros(11)
    )
    pooling = make(registry, "poolings", f"topn_count(n={n})")
    mean = make(registry, "poolings", "mean")
    reading = Reading(
        site=harness.Site.parse("resid_post.0"),
        encoder=encoder,
        sparse=as_sparse,
        poolings={"top": pooling, "mean": mean},
    )
    with mock.patch("harness.dictionaries.decoding.SLICE_VALUES", {"cpu": size * len(values)}):
        got = pool_reading(reading, torch.from_numpy(values), counts)["top"]
    dense = got.toarray() if sparse.issparse(got) else got
    np.testing.assert_array_equal(dense, top_counts(values, np.concatenate([[0], np.cumsum(counts)]), n))


def test_topn_count_takes_a_positive_whole_number(registry: Registry) -> None:
    for wrong in (0, -3, 1.5, "true"):
        with pytest.raises(UsageError, match=r"pooling 'topn_count' .* cannot be made"):
            make(registry, "poolings", f"topn_count(n={wrong})")


def test_a_count_needs_a_number_and_no_pooling_takes_another_parameter(registry: Registry) -> None:
    with pytest.raises(UsageError, match=r"pooling 'count' .* takes a number as t, not much"):
        make(registry, "poolings", "count(t=much)")
    with pytest.raises(UsageError, match="has no parameter 'n'; it takes: t"):
        make(registry, "poolings", "count(n=1)")
    with pytest.raises(UsageError, match=r"pooling 'max' .* has no parameter 't'; it takes none"):
        make(registry, "poolings", "max(t=0)")


floats = st.floats(-3, 3, width=32) | st.just(0.0)


@given(
    matrix=arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=floats),
    t=st.sampled_from([0, 0.0, 1.25, -1]),
)
def test_binarize_is_one_above_t_dense_or_sparse(registry: Registry, matrix: Array, t: float) -> None:
    transform = make(registry, "transforms", f"binarize(t={t})")
    for X in (matrix, sparse.csr_array(matrix)):
        got = transform.fit(X, np.zeros(len(matrix))).transform(X)
        kept = got.toarray() if sparse.issparse(got) else got
        np.testing.assert_array_equal(kept, (matrix > t).astype(np.float32))
        assert kept.dtype == np.float32
        assert sparse.issparse(got) == (sparse.issparse(X) and t >= 0)


def test_none_changes_nothing(registry: Registry) -> None:
    X = np.eye(3)
    assert make(registry, "transforms", "none").fit(X, np.zeros(3)).transform(X) is X


def test_poolings_of_bases_made_on_each_access_share_nothing() -> None:
    class Scaled:
        def __init__(self, k: int) -> None:
            self.k = k

        @property
        def base(self) -> Any:
            return lambda values, offsets: values.sum(0, keepdim=True) * self.k

        def derive(self, pooled: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
            return pooled + 0

        def __call__(self, values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
            return self.derive(self.base(values, offsets), offsets)

    reading = Reading(
        site=harness.Site.parse("resid_post.0"),
        encoder=harness.Dictionary(name="hidden", width=2, activation="identity"),
        sparse=False,
        poolings={str(k): Scaled(k) for k in range(1, 8)},
    )
    found = pool_reading(reading, torch.ones(3, 2), [3])
    assert [found[str(k)][0, 0] for k in range(1, 8)] == [3.0 * k for k in range(1, 8)]
