"""Checks of poolings."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from harness.api.protocols import DerivedPooling, RankedPooling
from harness.testing import samples
from harness.testing.check import CONTRACT, CheckFailed, NotApplicable, Subject, check, fail_unless
from harness.testing.exercises import exercise
from harness.testing.pretended import Pretended, pretended_device
from harness.testing.results import check_same


@exercise("poolings")
def pool(subject: Subject) -> list[Tensor]:
    """Return pooled samples `[examples, features]`."""
    return [_pool(subject.make(), *samples.tokens())]


def _pool(pooling: Any, values: Tensor, offsets: Tensor) -> Tensor:
    """Pool as the core does: a ranked pooling gets the largest features of each token, and zeros."""
    if isinstance(pooling, RankedPooling):
        top = values.topk(min(pooling.top, values.shape[1]), dim=1)
        values = torch.zeros_like(values).scatter(1, top.indices, top.values)
    # Copies: `inputs` is about what is changed.
    result: Tensor = pooling(values.clone(), offsets.clone())
    return result


@check("poolings", requires=())
def contract(subject: Subject) -> None:
    """It returns a float32 tensor `[examples, features]` for `values [tokens, features]` and offsets."""
    values, offsets = samples.tokens()
    pooled = _pool(subject.make(), values, offsets)
    fail_unless(isinstance(pooled, Tensor), f"it returns {type(pooled).__name__}, and no tensor")
    expected = [len(offsets) - 1, values.shape[1]]
    fail_unless(
        list(pooled.shape) == expected, f"it returns {list(pooled.shape)} where {expected} are expected"
    )
    fail_unless(pooled.dtype == torch.float32, f"it returns {pooled.dtype} where torch.float32 is expected")


@check("poolings")
def order(subject: Subject) -> None:
    """The row of an example depends neither on the other examples of a batch nor on their order."""
    pooling = subject.make()
    values, offsets = samples.tokens()
    whole = _pool(pooling, values, offsets)
    parts = [values[a:b] for a, b in itertools.pairwise(offsets.tolist())]
    for number, part in reversed([*enumerate(parts)]):
        if len(part) == 1:  # `one-token` is about these
            continue
        alone = _pool(pooling, part, torch.tensor([0, len(part)]))
        check_same(whole[number : number + 1], alone, "an example alone is pooled otherwise than in a batch")
    turned = _pool(
        pooling, torch.cat(parts[::-1]), torch.cat((offsets[:1], offsets.diff().flip(0).cumsum(0)))
    )
    check_same(whole.flip(0), turned, "examples in another order are pooled otherwise")


@check("poolings", requires=(CONTRACT, "finite"))
def one_token(subject: Subject) -> None:
    """An example of one token has a row as any other."""
    values, offsets = samples.tokens(sizes=(1,))
    alone = _pool(subject.make(), values, offsets)
    fail_unless(list(alone.shape) == [1, values.shape[1]], f"one token alone gives {list(alone.shape)}")
    fail_unless(bool(torch.isfinite(alone).all()), "one token alone gives values that are not finite")


@check("poolings")
def features(subject: Subject) -> None:
    """Each feature is pooled by itself, so that features can be pooled in slices."""
    pooling = subject.make()
    if isinstance(pooling, RankedPooling):
        raise NotApplicable("it ranks the features of a token, which the core does for it")
    values, offsets = samples.tokens()
    whole = _pool(pooling, values, offsets)
    for start, end in ((0, 2), (2, 3), (3, samples.WIDTH)):
        sliced = _pool(pooling, values[:, start:end], offsets)
        check_same(whole[:, start:end], sliced, f"features {start} to {end - 1} alone are pooled otherwise")


@check("poolings")
def inputs(subject: Subject) -> None:
    """Neither values nor offsets are changed."""
    values, offsets = samples.tokens()
    kept = values.clone(), offsets.clone()
    subject.make()(values, offsets)
    check_same(kept[0], values, "it changes the values that it is given")
    check_same(kept[1], offsets, "it changes the offsets that it is given")


@check("poolings")
def own_memory(subject: Subject) -> None:
    """The result has memory of its own: the values are overwritten afterwards."""
    values, offsets = samples.tokens(sizes=(1, 1, 1))
    pooled = subject.make()(values, offsets)
    kept = pooled.clone()
    values.fill_(7.0)
    check_same(kept, pooled, "its result changes when the values that it was given are overwritten")


@check("poolings", applies=lambda subject: isinstance(subject.make(), DerivedPooling))
def derived(subject: Subject) -> None:
    """What is derived from the result of its base is what the pooling itself returns; the base's result stays."""
    pooling = subject.make()
    values, offsets = samples.tokens()
    base = pooling.base(values.clone(), offsets)
    kept = base.clone()
    check_same(
        pooling(values.clone(), offsets),
        pooling.derive(base, offsets),
        "derived rows are not the pooling's own",
    )
    check_same(kept, base, "it changes the rows of its base")


@check("poolings", requires=(CONTRACT, "deterministic"))
def device(subject: Subject) -> None:
    """It computes on the device of its values, and returns its result there."""
    values, offsets = samples.tokens()
    with pretended_device() as there:
        try:
            pooled = _pool(subject.make(), Pretended(values), Pretended(offsets))
        except (RuntimeError, TypeError, NotImplementedError) as error:
            line = str(error).splitlines()[0][:160]
            raise CheckFailed(f"it fails on values that lie on another device: {line}") from error
        fail_unless(
            isinstance(pooled, Pretended), f"its result lies on {pooled.device}, and the values on {there}"
        )
    check_same(pool(subject)[0], pooled.cpu(), "on another device its results are others")
