"""Token representations that need a model's activations but no checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import harness

if TYPE_CHECKING:
    import torch

DEFAULT_COUNT = 256
"""Default width of linear maps, unless the activations have fewer dimensions."""

Fit: TypeAlias = "Callable[[torch.Tensor, int], harness.Dictionary]"
"""Function from activations `[tokens, d]` and a width to a fitted dictionary."""


class Hidden:
    """Hidden states: the activations unchanged."""

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        width = model.width(site)
        return harness.PlacedRepresentation(
            identity={"kind": "hidden"},
            d_in=width,
            width=width,
            load=lambda device: harness.Dictionary(name="hidden", width=width, activation="identity"),
            sparse=False,
        )


class Fitted:
    """Linear map fitted on the activations of the training tokens, `fit(activations, count)`.

    The one keyword argument is the width; its name is the parameter's name in references. It defaults to 256,
    or to the size of the activations if that is less.
    """

    def __init__(self, kind: str, fit: Fit, **count: int | None) -> None:
        ((self.parameter, given),) = count.items()
        self.kind, self.fit, self.count = kind, fit, _check_count(given)

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        d_in = model.width(site)
        if self.count is not None and self.count > d_in:
            raise harness.UsageError(f"{self.kind}: {self.count} is more than the activations' size, {d_in}")
        count = self.count or min(DEFAULT_COUNT, d_in)
        return harness.PlacedRepresentation(
            identity={"kind": self.kind, self.parameter: count},
            d_in=d_in,
            width=count,
            fit=lambda x: self.fit(x, count),
            sparse=False,
        )


class RandomProjection:
    """Gaussian random projection (Johnson and Lindenstrauss 1984) that keeps norms on average.

    `n` defaults to 256, or to the size of the activations if that is less.
    """

    def __init__(self, *, n: int | None, seed: int) -> None:
        self.n, self.seed = _check_count(n), _check_seed(seed)

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        d_in = model.width(site)
        n = self.n or min(DEFAULT_COUNT, d_in)
        return harness.PlacedRepresentation(
            identity={"kind": "random_projection", "d_in": d_in, "n": n, "seed": self.seed},
            d_in=d_in,
            width=n,
            load=lambda device: self._draw(d_in, n, device),
            sparse=False,
        )

    def _draw(self, d_in: int, n: int, device: str) -> harness.Dictionary:
        import torch

        # Drawn on the CPU, so that every device gets the same directions.
        directions = torch.randn(d_in, n, generator=torch.Generator().manual_seed(self.seed)) / n**0.5
        return _linear_map("random_projection", directions.to(device))


class RandomRotation:
    """Orthogonal matrix drawn uniformly (Haar): a rotation or reflection of the activations.

    It is the Q of a Gaussian matrix's QR decomposition, with the signs that make R's diagonal positive
    (Mezzadri 2007, section 5). A classifier that depends only on angles and distances performs as on hidden
    states; one that depends on the model's own coordinates does not.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = _check_seed(seed)

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        d_in = model.width(site)
        return harness.PlacedRepresentation(
            identity={"kind": "random_rotation", "d_in": d_in, "seed": self.seed},
            d_in=d_in,
            width=d_in,
            load=lambda device: _linear_map("random_rotation", self._draw(d_in).to(device)),
            sparse=False,
        )

    def _draw(self, d_in: int) -> torch.Tensor:
        """Return an orthogonal matrix `[d_in, d_in]`."""
        import torch

        # Drawn on the CPU, so that every device gets the same rotation.
        generator = torch.Generator().manual_seed(self.seed)
        q, r = torch.linalg.qr(torch.randn(d_in, d_in, generator=generator, dtype=torch.float64))
        rotation: torch.Tensor = (q * r.diagonal().sign()).float()
        return rotation


class RandomSae:
    """TopK dictionary with random unit directions; `width` defaults to eight times the activations' size."""

    def __init__(self, *, width: int | None, k: int, seed: int) -> None:
        if not _is_integer(k, 1) or not (width is None or _is_integer(width, 1)):
            raise ValueError(f"k={k} and width={width} must be positive whole numbers")
        self.width, self.k, self.seed = width, k, _check_seed(seed)

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        d_in = model.width(site)
        width = self.width or 8 * d_in
        if self.k > width:
            raise harness.UsageError(f"random_sae: k={self.k} is more than its width, {width}")
        return harness.PlacedRepresentation(
            identity={"kind": "random_sae", "d_in": d_in, "width": width, "k": self.k, "seed": self.seed},
            d_in=d_in,
            width=width,
            load=lambda device: self._draw(d_in, width, device),
            sparse=True,
            published_l0=self.k,
        )

    def _draw(self, d_in: int, width: int, device: str) -> harness.Dictionary:
        import torch

        # Drawn on the CPU, so that every device gets the same directions.
        directions = torch.randn(d_in, width, generator=torch.Generator().manual_seed(self.seed))
        directions /= directions.norm(dim=0)
        return harness.Dictionary(
            name="random_sae",
            width=width,
            activation="topk",
            W_enc=directions.to(device),
            b_enc=torch.zeros(width, device=device),
            k=self.k,
        )


def _check_count(count: int | None) -> int | None:
    if count is not None and not _is_integer(count, 1):
        raise ValueError(f"{count} is not a positive whole number")
    return count


def _check_seed(seed: int) -> int:
    if not _is_integer(seed, 0):
        raise ValueError(f"seed={seed} is not a whole number")
    return seed


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def principal_components(x: torch.Tensor, n: int) -> harness.Dictionary:
    """Return the first `n` principal components of `x [tokens, d]` as a centring linear map.

    The largest entry of each component is positive. Raise UsageError unless there are more than `n` tokens.
    """
    import torch

    if len(x) <= n:
        raise harness.UsageError(f"pca: {len(x)} training tokens are too few for {n} components")
    centre = x.double().mean(0)
    centred = x.double() - centre
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :n]
    # An eigenvector's sign is arbitrary: fixing it makes every device and library version agree.
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return _linear_map("pca", (directions * signs).float(), subtract=centre.float())


def most_varying(x: torch.Tensor, k: int) -> harness.Dictionary:
    """Return the `k` coordinates of `x [tokens, d]` with the highest variance, in their own order."""
    import torch

    # A stable sort takes the first of coordinates with equal variance on every device.
    kept = x.double().var(0).sort(descending=True, stable=True).indices[:k].sort().values
    return _linear_map("top_neurons", torch.eye(x.shape[1], device=x.device)[:, kept])


def _linear_map(
    name: str, directions: torch.Tensor, subtract: torch.Tensor | None = None
) -> harness.Dictionary:
    """Return the dictionary `x → (x − subtract) directions`, for `directions [d, n]`."""
    return harness.Dictionary(
        name=name,
        width=directions.shape[1],
        activation="identity",
        W_enc=directions.contiguous(),
        b_enc=directions.new_zeros(directions.shape[1]),
        subtract=subtract,
    )
