"""Arms of patching: codes of activations and what each of them writes, for dictionaries and for sets of directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import Dictionary


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Features of one kind: `code(activations [tokens, d])` are their values `[tokens, n]`, and `writes [n, d]` is what
    a unit of each adds to activations.
    """

    name: str
    code: Callable[[Tensor], Tensor]
    writes: Tensor

    def change(self, source: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the change `[tokens, d]` of activations `target` that gives some features, or all of them, the values
        that they have in `source`.
        """
        difference = self.code(source) - self.code(target)
        if features is None:
            return difference @ self.writes
        return difference[:, features] @ self.writes[features]

    def attribute(self, source: Tensor, target: Tensor, gradient: Tensor) -> Tensor:
        """Return the effect `[n]`, to first order, of patching each feature on what `gradient [tokens, d]` is of
        (attribution patching).
        """
        difference = self.code(source) - self.code(target)
        return (difference * (gradient @ self.writes.T)).sum(0)


def of_dictionary(dictionary: Dictionary) -> Arm:
    """Return the arm of a dictionary with a decoder."""
    assert dictionary.W_dec is not None  # `harness.load_decoder` refuses others
    return Arm(name="dictionary", code=dictionary.encode, writes=dictionary.W_dec)


def of_directions(name: str, directions: Tensor) -> Arm:
    """Return the arm of orthonormal `directions [n, d]`."""
    return Arm(name=name, code=lambda x: x @ directions.T, writes=directions)


def make_controls(sample: Tensor) -> list[Arm]:
    """Return principal components of a sample `[tokens, d]`, the coordinates, and random orthonormal directions."""
    size = sample.shape[1]
    components = torch.linalg.svd(sample - sample.mean(0), full_matrices=True).Vh
    generator = torch.Generator().manual_seed(0)
    drawn = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q.T.to(sample)
    return [
        of_directions("pca", components),
        of_directions("neurons", torch.eye(size).to(sample)),
        of_directions("random directions", drawn.contiguous()),
    ]
