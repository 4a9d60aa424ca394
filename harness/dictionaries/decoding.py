"""Decoding of features, slice by slice.

Few features are active: on a CPU only these are decoded, which takes a twentieth of the time of the whole product.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from harness.api.errors import UnavailableError
from harness.dictionaries.sparse_rows import compress

SLICE_VALUES = {"cpu": 1 << 20, "cuda": 1 << 25}
"""Most values, features × tokens, of one slice, by kind of device: 4 MiB of float32, which stay in a CPU's cache from
the product to the last pooling, or 128 MiB."""

ALIGNED = 64
"""Features in a slice are a multiple of this where they can be: a product whose rows begin off a cache line takes 1.5
times as long."""

SPARSE_UP_TO = 0.12
"""Share of active features up to which decoding these alone is the faster way."""


def slice_size(x: Tensor, most: int = sys.maxsize) -> int:
    """Return the number of features, at most `most`, that are encoded at once for `x [tokens, d_in]`."""
    values = SLICE_VALUES.get(x.device.type, SLICE_VALUES["cpu"])
    size = min(most, max(1, values // max(1, len(x))))
    return size - size % ALIGNED if size > ALIGNED else size


class Decoder:
    """Sum of `features W_dec` over slices of features and b_dec, `total [tokens, d_in]` in float32; the number of
    `active` features of all tokens; which features `fired [d_sae]`. UnavailableError, with `name`, without W_dec.
    """

    def __init__(self, name: str, W_dec: Tensor | None, b_dec: Tensor | None, tokens: int) -> None:
        if W_dec is None:
            raise UnavailableError(f"dictionary '{name}' has no decoder, so nothing can be rebuilt with it")
        self.W_dec = W_dec
        self.total = torch.zeros((tokens, W_dec.shape[1]), device=W_dec.device)
        if b_dec is not None:
            self.total += b_dec
        self.active = 0
        self.fired = torch.zeros(len(W_dec), dtype=torch.bool, device=W_dec.device)

    def add(self, start: int, features: Tensor) -> None:
        """Add a slice `[tokens, features]` whose first feature is `start`; it may be overwritten afterwards."""
        part = slice(start, start + features.shape[1])
        if features.device.type != "cpu":
            self.active += int(torch.count_nonzero(features))
            self.fired[part] = (features != 0).any(0)
            self.total.addmm_(features, self.W_dec[part])
            return
        found = compress(features.numpy())
        self.active += len(found.values)
        columns = torch.from_numpy(found.columns)
        self.fired[part][columns] = True
        if len(found.values) > SPARSE_UP_TO * features.numel():
            self.total.addmm_(features, self.W_dec[part])
        elif len(found.values):
            counts = torch.from_numpy(found.counts)
            self.total += embedding_bag(
                columns,
                self.W_dec[part],
                counts.cumsum(0) - counts,
                mode="sum",
                per_sample_weights=torch.from_numpy(found.values),
            )
