"""The canonical sparse autoencoder: parameters and an activation rule. Every checkpoint format becomes one.

Encoding exists once, here, in float32, and is done by slices of features, so that a dictionary a million wide
never makes a `[tokens, d_sae]` tensor of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.api import Encoder
from harness.errors import MissingError

Activation = Literal["identity", "relu", "jumprelu", "topk"]


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """Encoder parameters in float32 on one device.

    `W_enc [d_in, d_sae]`, `b_enc [d_sae]`; `threshold [d_sae]` for jumprelu, `k` for topk; `subtract [d_in]`
    is taken from the input first (some formats subtract `b_dec`, Gemma Scope does not). The rule `identity`
    has no parameters but `width`: the hidden state itself. `W_dec [d_sae, d_in]` and `b_dec [d_in]` may be
    left out. MissingError when shapes disagree or a value is not finite; `name` is who is blamed.
    """

    name: str
    width: int
    activation: Activation
    W_enc: Tensor | None = None
    b_enc: Tensor | None = None
    threshold: Tensor | None = None
    k: int | None = None
    subtract: Tensor | None = None
    W_dec: Tensor | None = None
    b_dec: Tensor | None = None

    def __post_init__(self) -> None:
        if self.activation == "identity":
            return
        if self.W_enc is None or self.b_enc is None or self.W_enc.ndim != 2:
            raise MissingError(f"dictionary '{self.name}' needs a two-dimensional W_enc, and b_enc")
        d_in = self.W_enc.shape[0]
        wanted: dict[str, tuple[int, ...]] = {
            "W_enc": (d_in, self.width),
            "b_enc": (self.width,),
            "threshold": (self.width,),
            "subtract": (d_in,),
            "W_dec": (self.width, d_in),
            "b_dec": (d_in,),
        }
        for field, shape in wanted.items():
            tensor: Tensor | None = getattr(self, field)
            if tensor is None:
                continue
            if tuple(tensor.shape) != shape:
                raise MissingError(
                    f"dictionary '{self.name}': {field} is {list(tensor.shape)}, not {list(shape)}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise MissingError(f"dictionary '{self.name}': {field} holds values that are not finite")
        if self.activation == "jumprelu" and self.threshold is None:
            raise MissingError(f"dictionary '{self.name}' has no threshold for its JumpReLU")
        if self.activation == "topk" and not 1 <= (self.k or 0) <= self.width:
            raise MissingError(f"dictionary '{self.name}': k={self.k} is not between 1 and {self.width}")

    def encode(self, activations: Tensor) -> Tensor:
        """Features `[tokens, d_sae]` of `activations [tokens, d_in]`, both float32."""
        parts = [values for _, values in self.slices(activations, self.width)]
        return torch.cat(parts, dim=1)

    def slices(self, activations: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
        """`(first feature, features [tokens, ≤ size])` for `activations [tokens, d_in]`, in order."""
        x = activations.float()
        if self.subtract is not None:
            x = x - self.subtract
        if self.activation == "topk":
            yield from _spread(*self._top(x, size), width=self.width, size=size)
            return
        for start in range(0, self.width, size):
            yield start, self._activate(x, start, min(start + size, self.width))

    def _activate(self, x: Tensor, start: int, stop: int) -> Tensor:
        if self.activation == "identity":
            return x[:, start:stop]
        pre = self._pre(x, start, stop)
        if self.activation == "relu":
            return pre.relu_()
        assert self.threshold is not None
        # relu(pre) · (pre > θ), as published: a negative θ still gives nothing below zero.
        return torch.where(pre > self.threshold[start:stop], pre, 0).relu_()

    def _pre(self, x: Tensor, start: int, stop: int) -> Tensor:
        assert self.W_enc is not None and self.b_enc is not None
        return torch.addmm(self.b_enc[start:stop], x, self.W_enc[:, start:stop])

    def _top(self, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The k largest pre-activations of each token and their features in rising order, `[tokens, k]` twice.

        A running top-k, merged slice by slice.
        """
        assert self.k is not None
        best = x.new_empty((len(x), 0))
        where = torch.empty((len(x), 0), dtype=torch.long, device=x.device)
        for start in range(0, self.width, size):
            stop = min(start + size, self.width)
            features = torch.arange(start, stop, device=x.device).expand(len(x), -1)
            candidates = torch.cat([best, self._pre(x, start, stop)], 1)
            kept = _largest(candidates, min(self.k, candidates.shape[1]))
            best = candidates.gather(1, kept)
            where = torch.cat([where, features], 1).gather(1, kept)
        return best.relu(), where


def _largest(values: Tensor, k: int) -> Tensor:
    """Columns of the k largest values of each row, rising, `[rows, k]`; ties go to the lowest column.

    torch.topk alone leaves open which of two equal values it takes, and CPU and GPU differ in it.
    """
    smallest = values.topk(k, dim=1).values[:, -1:]
    kept = values >= smallest
    if bool((kept.sum(1) > k).any()):
        above = values > smallest
        tied = values == smallest
        kept = above | (tied & (tied.cumsum(1) <= k - above.sum(1, keepdim=True)))
    return kept.nonzero()[:, 1].view(len(values), k)


def _spread(best: Tensor, where: Tensor, *, width: int, size: int) -> Iterator[tuple[int, Tensor]]:
    """Top-k codes `[tokens, k]` as dense slices of features."""
    for start in range(0, width, size):
        stop = min(start + size, width)
        inside = (where >= start) & (where < stop)
        values = best.new_zeros((len(best), stop - start))
        values.scatter_add_(1, (where - start).clamp(0, stop - start - 1), best * inside)
        yield start, values


def slices_of(encoder: Encoder, activations: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Features of any encoder by slices: a Dictionary's own way, else one slice of everything."""
    if isinstance(encoder, Dictionary):
        yield from encoder.slices(activations, size)
    else:
        yield 0, encoder.encode(activations.float()).float()
