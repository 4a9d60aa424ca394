"""Representations of a model's activations that need no checkpoint."""

from __future__ import annotations

import torch

import harness

DEFAULT_COUNT = 256


class Hidden:
    """The activations as they are."""

    def at(self, model: harness.Model, site: harness.Site) -> harness.Located:
        width = model.width(site)
        return harness.Located(
            identity={"kind": "hidden"},
            d_in=width,
            width=width,
            load=lambda device: harness.Dictionary(name="hidden", width=width, activation="identity"),
            sparse=False,
        )


class Pca:
    """Principal components of the training tokens' activations, centred; `n` defaults to 256, or to all."""

    def __init__(self, *, n: int | None) -> None:
        self.n = _check_count(n)

    def at(self, model: harness.Model, site: harness.Site) -> harness.Located:
        d_in = model.width(site)
        n = _count_within("pca", self.n, d_in)
        return harness.Located(
            identity={"kind": "pca", "n": n},
            d_in=d_in,
            width=n,
            fit=lambda x: _components(x, n),
            sparse=False,
        )


class TopNeurons:
    """The `k` coordinates of the activations that vary most over the training tokens, as they are."""

    def __init__(self, *, k: int | None) -> None:
        self.k = _check_count(k)

    def at(self, model: harness.Model, site: harness.Site) -> harness.Located:
        d_in = model.width(site)
        k = _count_within("top_neurons", self.k, d_in)
        return harness.Located(
            identity={"kind": "top_neurons", "k": k},
            d_in=d_in,
            width=k,
            fit=lambda x: _most_varying(x, k),
            sparse=False,
        )


class RandomProjection:
    """Gaussian random directions (Johnson and Lindenstrauss 1984), scaled so that norms are kept on average;
    `n` defaults to 256, or to the activations' size where that is less.
    """

    def __init__(self, *, n: int | None, seed: int) -> None:
        self.n, self.seed = _check_count(n), _check_seed(seed)

    def at(self, model: harness.Model, site: harness.Site) -> harness.Located:
        d_in = model.width(site)
        n = self.n or min(DEFAULT_COUNT, d_in)
        return harness.Located(
            identity={"kind": "random_projection", "d_in": d_in, "n": n, "seed": self.seed},
            d_in=d_in,
            width=n,
            load=lambda device: self._draw(d_in, n, device),
            sparse=False,
        )

    def _draw(self, d_in: int, n: int, device: str) -> harness.Dictionary:
        # Drawn on the CPU, so that every device gets the same directions.
        directions = torch.randn(d_in, n, generator=torch.Generator().manual_seed(self.seed)) / n**0.5
        return _linear_map("random_projection", directions.to(device))


class RandomSae:
    """TopK on random unit directions; `width` defaults to eight times the activations' size."""

    def __init__(self, *, width: int | None, k: int, seed: int) -> None:
        if not _is_whole(k, 1) or not (width is None or _is_whole(width, 1)):
            raise ValueError(f"k={k} and width={width} must be positive whole numbers")
        self.width, self.k, self.seed = width, k, _check_seed(seed)

    def at(self, model: harness.Model, site: harness.Site) -> harness.Located:
        d_in = model.width(site)
        width = self.width or 8 * d_in
        if self.k > width:
            raise harness.UsageError(f"random_sae: k={self.k} is more than its width, {width}")
        return harness.Located(
            identity={"kind": "random_sae", "d_in": d_in, "width": width, "k": self.k, "seed": self.seed},
            d_in=d_in,
            width=width,
            load=lambda device: self._draw(d_in, width, device),
            sparse=True,
            published_l0=self.k,
        )

    def _draw(self, d_in: int, width: int, device: str) -> harness.Dictionary:
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
    if count is not None and not _is_whole(count, 1):
        raise ValueError(f"{count} is not a positive whole number")
    return count


def _check_seed(seed: int) -> int:
    if not _is_whole(seed, 0):
        raise ValueError(f"seed={seed} is not a whole number")
    return seed


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _count_within(name: str, count: int | None, d_in: int) -> int:
    if count is not None and count > d_in:
        raise harness.UsageError(f"{name}: {count} is more than the activations' size, {d_in}")
    return count or min(DEFAULT_COUNT, d_in)


def _components(x: torch.Tensor, n: int) -> harness.Dictionary:
    """The first `n` eigenvectors of the covariance of `x [tokens, d]`; the largest entry of each is positive."""
    if len(x) <= n:
        raise harness.UsageError(f"pca: {len(x)} training tokens are too few for {n} components")
    centre = x.double().mean(0)
    centred = x.double() - centre
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :n]
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return _linear_map("pca", (directions * signs).float(), subtract=centre.float())


def _most_varying(x: torch.Tensor, k: int) -> harness.Dictionary:
    # Stable, so that of coordinates that vary alike the first are taken on every device.
    kept = x.double().var(0).sort(descending=True, stable=True).indices[:k].sort().values
    return _linear_map("top_neurons", torch.eye(x.shape[1], device=x.device)[:, kept])


def _linear_map(
    name: str, directions: torch.Tensor, subtract: torch.Tensor | None = None
) -> harness.Dictionary:
    """`x → (x − subtract) directions`, for `directions [d, n]`."""
    return harness.Dictionary(
        name=name,
        width=directions.shape[1],
        activation="identity",
        W_enc=directions.contiguous(),
        b_enc=directions.new_zeros(directions.shape[1]),
        subtract=subtract,
    )
