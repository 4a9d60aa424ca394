"""Poolings over the tokens of each example, in float32.

Each pooling maps `values [tokens, features]` and `offsets [examples + 1]` to `[examples, features]`. The
tokens of example i are `values[offsets[i]:offsets[i + 1]]`; every example has at least one token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def total(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the sum over the tokens of each example."""
    # On CUDA index_add_ adds in no fixed order, so that two runs would differ in the last bits.
    if values.is_cuda:
        import torch

        return torch.segment_reduce(values, "sum", offsets=offsets, axis=0)
    return _empty(values, offsets).index_add_(0, _owners(offsets), values)


class Mean:
    """Mean over the tokens of each example, from their sum."""

    base = staticmethod(total)

    def __call__(self, values: Tensor, offsets: Tensor) -> Tensor:
        return self.derive(total(values, offsets), offsets)

    def derive(self, pooled: Tensor, offsets: Tensor) -> Tensor:
        """Return means from sums."""
        return pooled / offsets.diff().unsqueeze(1)


mean = Mean()


def largest(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the maximum over the tokens of each example."""
    owners = _owners(offsets).unsqueeze(1).expand_as(values)
    return _empty(values, offsets).scatter_reduce_(0, owners, values, "amax", include_self=False)


def last(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the value at the last token of each example."""
    return values[offsets[1:] - 1]


def first(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the value at the first token of each example."""
    return values[offsets[:-1]]


class Count:
    """Number of tokens of each example whose value exceeds `t`."""

    def __init__(self, t: float) -> None:
        self.t = float(t)

    def __call__(self, values: Tensor, offsets: Tensor) -> Tensor:
        return total((values > self.t).to(values.dtype), offsets)


class TopCount:
    """Number of tokens of each example in which a feature is above zero and among the `n` largest.

    This is the sum of one-hot codes of MOSAIC (Gallifant et al. 2025), without the features that did not
    fire.
    """

    def __init__(self, n: int) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n={n} must be a positive whole number")
        self.top = n  # read by the core: values then hold only the `top` largest of each token

    def __call__(self, values: Tensor, offsets: Tensor) -> Tensor:
        return total((values > 0).to(values.dtype), offsets)


def _empty(values: Tensor, offsets: Tensor) -> Tensor:
    return values.new_zeros((len(offsets) - 1, values.shape[1]))


def _owners(offsets: Tensor) -> Tensor:
    """Return the example number of each token, `[tokens]`."""
    import torch

    examples = torch.arange(len(offsets) - 1, device=offsets.device)
    return examples.repeat_interleave(offsets.diff())
