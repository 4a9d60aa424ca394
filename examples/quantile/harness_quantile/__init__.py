"""A pooling: a quantile of every feature over the tokens of an example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    import torch

HARNESS_API = 1


@dataclass(frozen=True)
class Quantile:
    """The value at a share `q` of the way from the least to the largest of the tokens, the next one up between two."""

    q: float

    def __call__(self, values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return `[examples, features]`; the tokens of example i are `values[offsets[i]:offsets[i + 1]]`."""
        import torch

        # Sorted, and not torch.quantile: that makes a tensor of q on the CPU, whatever device the values lie on.
        pooled = [
            example.sort(dim=0).values[math.ceil(self.q * (len(example) - 1))]
            for example in values.tensor_split(offsets[1:-1].cpu())
        ]
        return torch.stack(pooled)


def make(*, q: float = 0.9) -> harness.Pooling:
    """Return the pooling. A suite may set these parameters: `quantile(q=0.5)`."""
    if not 0 <= q <= 1:
        raise ValueError(f"q={q} must lie between 0 and 1")
    return Quantile(q)


@harness.hookimpl
def harness_poolings() -> list[harness.PoolingSpec]:
    return [harness.PoolingSpec(name="quantile", summary="a quantile over tokens, the 90 % one", make=make)]
