"""Representations of a model's activations that need no checkpoint."""

from __future__ import annotations

import torch

import harness


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


class RandomSae:
    """TopK on random unit directions; `width` defaults to eight times the activations' size."""

    def __init__(self, *, width: int | None, k: int, seed: int) -> None:
        if not isinstance(k, int) or not isinstance(width, int | None) or k < 1:
            raise ValueError(f"k={k} and width={width} must be whole numbers, k at least 1")
        self.width, self.k, self.seed = width, k, seed

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
