"""Poolings over tokens and transforms of pooled features."""

from __future__ import annotations

from typing import Any

import harness

HARNESS_API = 1


def _pooling(function: str) -> Any:
    """Return a factory without parameters that imports torch only when it is called."""

    def make() -> harness.Pooling:
        from harness_poolings import segments

        pooling: harness.Pooling = getattr(segments, function)
        return pooling

    return make


def _count(*, t: float = 0.0) -> harness.Pooling:
    from harness_poolings.segments import Count

    return Count(t)


def _topn_count(*, n: int = 20) -> harness.Pooling:
    from harness_poolings.segments import TopCount

    return TopCount(n)


def _none() -> harness.Transform:
    from harness_poolings.transforms import Unchanged

    return Unchanged()


def _binarize(*, t: float = 0.0) -> harness.Transform:
    from harness_poolings.transforms import Binarize

    return Binarize(t)


def _select(*, k: int, by: str = "mean_difference", t: float | None = None) -> harness.Transform:
    from harness_poolings.transforms import Select

    return Select(k, by, t)


def _standardize() -> harness.Transform:
    from harness_poolings.transforms import Standardize

    return Standardize()


@harness.hookimpl
def harness_poolings() -> list[harness.PoolingSpec]:
    return [
        harness.PoolingSpec(name="max", summary="the largest value over tokens", make=_pooling("largest")),
        harness.PoolingSpec(name="mean", summary="the mean over tokens", make=_pooling("mean")),
        harness.PoolingSpec(name="sum", summary="the sum over tokens", make=_pooling("total")),
        harness.PoolingSpec(name="last", summary="the last token's value", make=_pooling("last")),
        harness.PoolingSpec(name="first", summary="the first token's value", make=_pooling("first")),
        harness.PoolingSpec(name="count", summary="number of tokens whose value exceeds t", make=_count),
        harness.PoolingSpec(
            name="topn_count",
            summary="number of tokens in which a feature is above zero and among the n largest",
            make=_topn_count,
        ),
    ]


@harness.hookimpl
def harness_transforms() -> list[harness.TransformSpec]:
    return [
        harness.TransformSpec(name="none", summary="pooled features as they are", make=_none),
        harness.TransformSpec(name="binarize", summary="1 where a feature exceeds t, else 0", make=_binarize),
        harness.TransformSpec(
            name="select",
            summary="the k best features on the training rows, by mean_difference, mutual_information, variance or l1; "
            "with t, features are binarised first",
            make=_select,
        ),
        harness.TransformSpec(
            name="standardize",
            summary="mean 0 and standard deviation 1 on the training rows; sparse features are only divided",
            make=_standardize,
        ),
    ]
