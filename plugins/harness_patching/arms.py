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


def make_controls(sample: Tensor, dictionary: Dictionary) -> list[Arm]:
    """Return principal components of a sample `[tokens, d]`, the coordinates, random orthonormal directions, and a
    random dictionary.
    """
    size = sample.shape[1]
    components = torch.linalg.svd(sample - sample.mean(0), full_matrices=True).Vh
    generator = torch.Generator().manual_seed(0)
    drawn = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q.T.to(sample)
    return [
        of_directions("pca", components),
        of_directions("neurons", torch.eye(size).to(sample)),
        of_directions("random directions", drawn.contiguous()),
        of_random(dictionary, sample),
    ]


def of_random(dictionary: Dictionary, sample: Tensor) -> Arm:
    """Return the arm of random unit directions, as many as a dictionary has features, of which each token has as many
    as the dictionary gives a token of the sample `[tokens, d]` on average.

    There is as much to choose from, and as little fires: what is left of a lead over it was learnt.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(dictionary.width, sample.shape[1], generator=generator)
    directions = (drawn / drawn.norm(dim=1, keepdim=True)).to(sample)
    active = int((dictionary.encode(sample) != 0).sum(1).double().mean().round())
    random = Dictionary(
        name="random",
        width=dictionary.width,
        activation="topk",
        k=max(active, 1),
        # Without the mean, which is much of an activation, a token's largest values would be the same of every token.
        subtract=sample.mean(0),
        W_enc=directions.T.contiguous(),
        b_enc=torch.zeros(dictionary.width).to(sample),
        W_dec=directions,
    )
    return Arm(name="random dictionary", code=random.encode, writes=directions)
