"""Erasers: changes of activations after which a concept should no longer be found.

Each is linear in the activations, or in the features of a dictionary, so that it commutes with the mean over tokens:
the mean of erased tokens is the erased mean.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from harness import Dictionary, UnavailableError

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

INSTALL = "pip install 'sae-harness[erasure]'"
"""Command that installs the package of LEACE."""

SMALLEST_SINGULAR = 1e-6
"""Singular value of the whitened cross-covariance below which LEACE keeps a direction.

The package's own, 0.01, keeps all of a class with less than about 1 % of the rows.
"""


class Eraser(Protocol):
    """Change of activations, of tokens and of means over tokens alike."""

    @property
    def size(self) -> int:
        """Number of directions or features removed."""

    def erase(self, activations: Tensor) -> Tensor:
        """Return `activations [tokens, d]` after erasure, in their own type."""

    def erase_means(self, hidden: Tensor, features: Tensor | None) -> Tensor:
        """Return means of activations `[rows, d]` after erasure; `features [rows, width]` are those of a dictionary."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Affine eraser, x − left · right · (x − centre): `left [d, size]`, `right [size, d]`, `centre [d]`, in float64.

    The projection is oblique unless `left` is the transpose of `right`.
    """

    left: Tensor
    right: Tensor
    centre: Tensor

    @property
    def size(self) -> int:
        """Number of directions removed."""
        return self.left.shape[1]

    def erase(self, activations: Tensor) -> Tensor:
        """Return `activations [tokens, d]` after erasure."""
        left, right, centre = (one.to(activations) for one in (self.left, self.right, self.centre))
        return activations - ((activations - centre) @ right.T) @ left.T

    def erase_means(self, hidden: Tensor, features: Tensor | None) -> Tensor:
        """Return means `[rows, d]` after erasure."""
        return self.erase(hidden)


@dataclass(frozen=True, kw_only=True)
class WithoutFeatures:
    """Eraser that subtracts what chosen features of a dictionary write: a token on which none fires stays as it is."""

    dictionary: Dictionary
    chosen: Tensor

    @property
    def size(self) -> int:
        """Number of features removed."""
        return len(self.chosen)

    @property
    def device(self) -> torch.device:
        """Device of the dictionary."""
        return self._written.device

    @property
    def _written(self) -> Tensor:
        assert self.dictionary.W_dec is not None  # `find_decoder` refuses others
        return self.dictionary.W_dec[self.chosen.to(self.dictionary.W_dec.device)]

    def erase(self, activations: Tensor) -> Tensor:
        """Return `activations [tokens, d]` after erasure."""
        features = self.dictionary.encode(activations.float())[:, self.chosen.to(activations.device)]
        return activations - (features @ self._written).to(activations)

    def erase_means(self, hidden: Tensor, features: Tensor | None) -> Tensor:
        """Return means `[rows, d]` after erasure, from the means of all features `[rows, width]`."""
        assert features is not None  # read wherever there is a dictionary
        return hidden - features[:, self.chosen].to(hidden) @ self._written.to(hidden)


@dataclass(frozen=True, kw_only=True)
class MeanAblation:
    """Eraser that puts `centre [d]` in the place of everything: no eraser can leave less, or should cost more."""

    centre: Tensor

    @property
    def size(self) -> int:
        """Number of directions removed."""
        return len(self.centre)

    def erase(self, activations: Tensor) -> Tensor:
        """Return `centre` for each of `activations [tokens, d]`."""
        return self.centre.to(activations).expand_as(activations)

    def erase_means(self, hidden: Tensor, features: Tensor | None) -> Tensor:
        """Return `centre` for each of the means `[rows, d]`."""
        return self.erase(hidden)


def project_out(directions: Tensor, centre: Tensor) -> Projection:
    """Return the eraser that moves activations to the plane through `centre [d]` at right angles to `directions
    [size, d]`, which are orthonormal.
    """
    return Projection(left=directions.T, right=directions, centre=centre)


def fit_leace(x: Tensor, y: Array, n_classes: int) -> Projection:
    """Fit LEACE (Belrose et al. 2023) on `x [rows, d]`, float64, and class numbers `y [rows]`: of all affine maps after
    which no linear classifier on these rows beats a constant, the one that changes them least.
    """
    eraser = import_leace().fit(x, one_hot(y, n_classes), svd_tol=SMALLEST_SINGULAR)
    kept = eraser.proj_right.norm(dim=1) > 0
    return Projection(left=eraser.proj_left[:, kept], right=eraser.proj_right[kept], centre=eraser.bias)


def import_leace() -> Any:
    """Return the class LeaceEraser of the package concept-erasure; raise UnavailableError without it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses torch.jit, of which newer versions of torch warn
            from concept_erasure import LeaceEraser
    except ImportError as error:
        raise UnavailableError(f"LEACE is in a package that is not installed: {INSTALL}") from error
    return LeaceEraser


def one_hot(y: Array, n_classes: int) -> Tensor:
    """Return class numbers as rows of 0 and 1, `[rows, classes]`: LEACE takes a number itself for a quantity."""
    return torch.nn.functional.one_hot(torch.as_tensor(y).long(), n_classes).double()


def fit_mean_difference(x: Tensor, y: Array, n_classes: int) -> Projection:
    """Return the eraser of the span of the class means of `x [rows, d]`: of two classes, of the line through both."""
    centre = x.mean(0)
    shares = one_hot(y, n_classes)
    means = (shares.T @ x) / shares.sum(0).clamp(min=1)[:, None]
    _, sizes, directions = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    return project_out(directions[sizes > 1e-9 * sizes.max().clamp(min=1e-30)], centre)


def draw_directions(size: int, centre: Tensor, seed: int) -> Projection:
    """Return the eraser of so many random orthonormal directions."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(centre), min(size, len(centre)), generator=generator, dtype=centre.dtype)
    return project_out(torch.linalg.qr(drawn).Q.T, centre)


def find_components(x: Tensor) -> Tensor:
    """Return the principal components of `x [rows, d]`, `[components, d]`."""
    components: Tensor = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh
    return components
