"""Canonical sparse autoencoder: parameters and an activation rule. Every checkpoint format is converted to it, and so
are encoders fitted on activations (principal components, chosen neurons): a linear map is the rule `identity`.

Encoding is implemented once, here, in float32, by slices of features, so that a dictionary with a million features
never makes a `[tokens, d_sae]` tensor of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from harness.api.errors import UnavailableError
from harness.api.protocols import Encoder
from harness.dictionaries.decoding import Decoder, slice_size

Activation = Literal["identity", "relu", "jumprelu", "topk", "abstopk", "groupmax", "batchtopk", "gated"]
"""Rule that turns pre-activations into features, by its usual name."""

InputNorm = Literal["none", "centre", "layer_norm", "constant_norm_rescale"]
"""Change of each activation before it is encoded."""

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "jumprelu": ("threshold",),
    "batchtopk": ("threshold",),
    "gated": ("r_mag", "b_mag"),
}
"""Parameters that a rule requires."""

_SELECTIONS = ("topk", "abstopk", "groupmax")
"""Rules that keep some of a token's features by comparing them with one another."""


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """Encoder parameters in float32 on one device.

    Each token is first normalised by itself according to `input_norm`, as in SAELens and ViT-Prisma:

    - `centre`: x − mean, as TransformerLens' `center_writing_weights` leaves activations
    - `layer_norm`: (x − mean) / (std + 1e-5), std with d_in − 1 degrees of freedom, no affine part
    - `constant_norm_rescale`: x √d_in / ‖x‖

    With `x` the result minus `subtract [d_in]` (some formats subtract `b_dec`, Gemma Scope does not) and
    `pre = x W_enc + b_enc`, for `W_enc [d_in, d_sae]` and `b_enc [d_sae]`, the rules are

    - `relu`, `jumprelu`: relu(pre), the latter only where pre > `threshold [d_sae]` (Rajamanoharan et al. 2024b)
    - `topk`: relu of each token's `k` largest, ties to the lowest feature (Gao et al. 2024); with `signed` values
      below zero are kept
    - `abstopk`: each token's `k` values that are farthest from zero, with their signs, ties as before
    - `groupmax`: relu of the largest value in each of `k` equal groups of consecutive features, ties as before
    - `batchtopk`: relu(pre) above `threshold`, which replaces the batch at inference, a number or `[d_sae]`
      (Bussmann et al. 2024)
    - `gated`: relu(exp(`r_mag`) · x W_enc + `b_mag`) where pre > 0, both `[d_sae]` (Rajamanoharan et al. 2024a)
    - `identity`: pre as it is; without `W_enc` the hidden state itself, which has no parameter but `width`

    `W_dec [d_sae, d_in]` and `b_dec [d_in]` may be left out. UnavailableError, with `name`, if shapes disagree or a
    value is not finite.
    """

    name: str
    width: int
    activation: Activation
    W_enc: Tensor | None = None
    b_enc: Tensor | None = None
    threshold: Tensor | None = None
    r_mag: Tensor | None = None
    b_mag: Tensor | None = None
    k: int | None = None
    subtract: Tensor | None = None
    W_dec: Tensor | None = None
    b_dec: Tensor | None = None
    input_norm: InputNorm = "none"
    signed: bool = False

    def __post_init__(self) -> None:
        if self.activation == "identity" and self.W_enc is None:
            return
        if self.W_enc is None or self.b_enc is None or self.W_enc.ndim != 2:
            raise UnavailableError(f"dictionary '{self.name}' needs a two-dimensional W_enc, and b_enc")
        if self.activation == "batchtopk" and self.threshold is not None and self.threshold.ndim == 0:
            object.__setattr__(self, "threshold", self.threshold.expand(self.width))
        d_in = self.W_enc.shape[0]
        wanted: dict[str, tuple[int, ...]] = {
            **{
                "W_enc": (d_in, self.width),
                "W_dec": (self.width, d_in),
                "subtract": (d_in,),
                "b_dec": (d_in,),
            },
            **dict.fromkeys(("b_enc", "threshold", "r_mag", "b_mag"), (self.width,)),
        }
        for field, tensor in self.tensors.items():
            shape = wanted[field]
            said = "b_dec" if field == "subtract" else field  # as files name it
            if tuple(tensor.shape) != shape:
                raise UnavailableError(
                    f"dictionary '{self.name}': {said} is {list(tensor.shape)}, not {list(shape)}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise UnavailableError(f"dictionary '{self.name}': {said} holds values that are not finite")
        for field in _NEEDED.get(self.activation, ()):
            if getattr(self, field) is None:
                raise UnavailableError(
                    f"dictionary '{self.name}' has no {field} for its rule, {self.activation}"
                )
        if self.activation in _SELECTIONS and not 1 <= (self.k or 0) <= self.width:
            raise UnavailableError(f"dictionary '{self.name}': k={self.k} is not between 1 and {self.width}")
        if self.activation == "groupmax" and self.width % (self.k or 1):
            raise UnavailableError(
                f"dictionary '{self.name}': {self.width} features do not fall into k={self.k} equal groups"
            )

    def encode(self, activations: Tensor) -> Tensor:
        """Return features `[tokens, d_sae]` of `activations [tokens, d_in]`, both float32."""
        return torch.cat([values for _, values in self.slices(activations, self.width)], dim=1)

    def slices(
        self, activations: Tensor, size: int, buffer: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield `(first feature, features [tokens, ≤ size])` for `activations [tokens, d_in]`, in order.

        With a `buffer` of at least 2 · tokens · size values in float32, every slice may lie in it and overwrite the
        one before. A value that is no finite number stays one.
        """
        x, _ = normalise(activations.float(), self.input_norm)
        if self.subtract is not None:
            x = x - self.subtract
        if self.activation in _SELECTIONS:
            yield from self._select(x, size, buffer).slices(self.width, size)
            return
        for start in range(0, self.width, size):
            yield start, self._activate(x, start, min(start + size, self.width), buffer)

    @torch.no_grad()  # slices lie in memory that is overwritten
    def rebuild(self, activations: Tensor, size: int) -> tuple[Tensor, int]:
        """Return `features W_dec + b_dec` in the units of `activations`, `[tokens, d_in]` in float32, by slices of at
        most `size` features, and the number of active features of all tokens. UnavailableError without a decoder.
        """
        x = activations.float()
        decoder = self.decode(x, size)
        return normalise(x, self.input_norm)[1](decoder.total), decoder.active

    def decode(self, x: Tensor, size: int) -> Decoder:
        """Return the decoded features of `x [tokens, d_in]`, float32, in normalised units; as `rebuild`."""
        decoder = Decoder(self.name, self.W_dec, self.b_dec, len(x))
        size = slice_size(x, size)
        for start, features in self.slices(x, size, x.new_empty(2 * len(x) * min(size, self.width))):
            decoder.add(start, features)
        return decoder

    def _activate(self, x: Tensor, start: int, stop: int, buffer: Tensor | None) -> Tensor:
        if self.W_enc is None:
            return x[:, start:stop]
        return self.apply_rule(
            self._pre(x, start, stop, buffer), start, _take(buffer, 1, len(x), stop - start)
        )

    def apply_rule(self, pre: Tensor, start: int, scratch: Tensor | None) -> Tensor:
        """Apply a rule by feature, in place, to `pre [tokens, features]` of the features from `start` on; return it.

        `pre` is x W_enc + `bias`. `scratch`, of the same shape, is overwritten. A value that is not finite stays so,
        and a feature that is not active may be −0.
        """
        part = slice(start, start + pre.shape[1])
        if self.activation == "identity":
            return pre
        if self.activation == "relu":
            return pre.relu_()
        if self.activation == "gated":
            assert self.b_enc is not None and self.r_mag is not None and self.b_mag is not None
            is_open = _above(pre, -self.b_enc[part], scratch)
            return pre.mul_(self.r_mag[part].exp()).add_(self.b_mag[part]).relu_().mul_(is_open)
        assert self.threshold is not None
        # relu(pre) · (pre > θ), as published: a negative θ gives nothing below zero either.
        return pre.mul_(_above(pre, self.threshold[part].clamp(min=0), scratch))

    @property
    def bias(self) -> Tensor | None:
        """The bias of `pre`; None where the rule adds its own."""
        return None if self.activation == "gated" else self.b_enc

    @property
    def is_by_feature(self) -> bool:
        """True where the rule looks at each feature by itself, of an input that is not normalised."""
        return self.activation not in _SELECTIONS and self.input_norm == "none" and self.W_enc is not None

    def _pre(self, x: Tensor, start: int, stop: int, buffer: Tensor | None = None) -> Tensor:
        assert self.W_enc is not None
        out = _take(buffer, 0, len(x), stop - start)
        if self.bias is None:
            return torch.mm(x, self.W_enc[:, start:stop], out=out)
        return torch.addmm(self.bias[start:stop], x, self.W_enc[:, start:stop], out=out)

    def _select(self, x: Tensor, size: int, buffer: Tensor | None) -> RunningTop | RunningGroups:
        assert self.k is not None
        kept: RunningTop | RunningGroups
        if self.activation == "groupmax":
            kept = RunningGroups(self.k, self.width // self.k)
        else:
            kept = RunningTop(self.k, by=torch.abs if self.activation == "abstopk" else None)
        for start in range(0, self.width, size):
            kept.add(start, self._pre(x, start, min(start + size, self.width), buffer))
        assert kept.values is not None
        if self.activation == "groupmax" or (self.activation == "topk" and not self.signed):
            kept.values.relu_()
        return kept

    def to(self, device: str) -> Dictionary:
        """Return the dictionary with its tensors on `device`."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return replace(self, **moved)

    def with_other_reading(self) -> Dictionary | None:
        """Return the dictionary in the other convention of `b_dec`: subtracted from the input where it was not, and not
        where it was. None without a `b_dec` that would make a difference.
        """
        if self.subtract is not None:
            return replace(self, subtract=None)
        return (
            replace(self, subtract=self.b_dec) if self.b_dec is not None and bool(self.b_dec.any()) else None
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters by name, without absent ones."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def normalise(x: Tensor, how: InputNorm) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return normalised tokens `[tokens, d_in]`, and the inverse for rebuilt ones. An all-zero token stays zero."""
    if how == "centre":
        mean = x.mean(1, keepdim=True)
        return x - mean, lambda rebuilt: rebuilt + mean
    if how == "layer_norm":
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        std = centred.std(1, keepdim=True)
        return centred / (std + 1e-5), lambda rebuilt: rebuilt * std + mean
    if how == "constant_norm_rescale":
        unit = (x.norm(dim=1, keepdim=True) / math.sqrt(x.shape[1])).clamp(min=torch.finfo(x.dtype).tiny)
        return x / unit, lambda rebuilt: rebuilt * unit
    return x, lambda rebuilt: rebuilt


def _take(buffer: Tensor | None, place: int, tokens: int, features: int) -> Tensor | None:
    """Return the first or second part of a buffer as `[tokens, features]`; None without one."""
    size = tokens * features
    return None if buffer is None else buffer[place * size : (place + 1) * size].view(tokens, features)


def _above(values: Tensor, bounds: Tensor, out: Tensor | None) -> Tensor:
    """Return 1 where `values [tokens, features]` exceed `bounds [features]`, else 0, in float32.

    On a CPU this and a product take a sixth of the time of a mask of truth values and `torch.where`, which PyTorch
    does not vectorise.
    """
    return torch.gt(values, bounds, out=torch.empty_like(values) if out is None else out)


class _Selected:
    """Selected features of each token: `values` and their `features`, `[tokens, ≤ k]`."""

    values: Tensor | None = None
    features: Tensor | None = None

    def slices(self, width: int, size: int) -> Iterator[tuple[int, Tensor]]:
        """Yield `(first feature, features [tokens, ≤ size])`, zero for features outside the selection."""
        assert self.values is not None and self.features is not None
        for start in range(0, width, size):
            stop = min(start + size, width)
            inside = (self.features >= start) & (self.features < stop)
            spread = self.values.new_zeros((len(self.values), stop - start))
            spread.scatter_add_(1, (self.features - start).clamp(0, stop - start - 1), self.values * inside)
            yield start, spread


class RunningTop(_Selected):
    """Running selection of the k largest features of each token, slice by slice: `values` and ascending `features`,
    `[tokens, ≤ k]`. Of equal values the lowest feature wins. What is largest, `by` tells, such as `torch.abs`.
    """

    def __init__(self, k: int, *, by: Callable[[Tensor], Tensor] | None = None) -> None:
        self.k, self.by = k, by

    def add(self, start: int, values: Tensor) -> None:
        """Merge a slice `[tokens, features]` whose first feature is `start`."""
        features = torch.arange(start, start + values.shape[1], device=values.device).expand(len(values), -1)
        if self.values is not None and self.features is not None:
            values = torch.cat([self.values, values], 1)
            features = torch.cat([self.features, features], 1)
        kept = _largest(self.by(values) if self.by else values, min(self.k, values.shape[1]))
        self.values, self.features = values.gather(1, kept), features.gather(1, kept)


class RunningGroups(_Selected):
    """Running selection of the largest feature of each group of `size` consecutive ones, slice by slice: `values` and
    `features`, `[tokens, groups]`. Of equal values the lowest feature wins.
    """

    def __init__(self, groups: int, size: int) -> None:
        self.groups, self.size = groups, size

    def add(self, start: int, values: Tensor) -> None:
        """Merge a slice `[tokens, features]` whose first feature is `start`."""
        tokens, stop = len(values), start + values.shape[1]
        if self.values is None or self.features is None:
            self.values = values.new_full((tokens, self.groups), -math.inf)
            self.features = torch.zeros((tokens, self.groups), dtype=torch.long, device=values.device)
        features = torch.arange(start, stop, device=values.device).expand(tokens, -1)
        group = features // self.size
        largest = torch.full_like(self.values, -math.inf).scatter_reduce(1, group, values, "amax")
        ties = torch.where(values == largest.gather(1, group), features, stop)
        lowest = torch.full_like(self.features, stop).scatter_reduce(1, group, ties, "amin")
        # A group may begin in an earlier slice, whose features are lower: only what is larger replaces it.
        larger = largest > self.values
        self.values = torch.where(larger, largest, self.values)
        self.features = torch.where(larger, lowest, self.features)


def _largest(values: Tensor, k: int) -> Tensor:
    """Return the columns of the k largest values of each row, ascending, `[rows, k]`; ties go to the lowest column."""
    # torch.topk does not define which of equal values it takes, and CPU and GPU differ.
    smallest = values.topk(k, dim=1).values[:, -1:]
    kept = values >= smallest
    if bool((kept.sum(1) > k).any()):
        above = values > smallest
        tied = values == smallest
        kept = above | (tied & (tied.cumsum(1) <= k - above.sum(1, keepdim=True)))
    return kept.nonzero()[:, 1].view(len(values), k)


def slices_of(
    encoder: Encoder, activations: Tensor, size: int, buffer: Tensor | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield features of any encoder by slices: those of a Dictionary, in its `buffer`, else one slice of all."""
    if isinstance(encoder, Dictionary):
        yield from encoder.slices(activations, size, buffer)
    else:
        yield 0, encoder.encode(activations.float()).float()
