"""Truncated OpenCLIP vision tower in memory that reads the activations of patches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Image, Site, Tokens, UsageError
from harness_open_clip.structure import Layout, first_of


class LoadedOpenClip:
    """Truncated vision tower in memory, read at the sites of `widths`."""

    def __init__(
        self,
        tower: nn.Module,
        layout: Layout,
        *,
        widths: Mapping[Site, int],
        prepare: Callable[[Image], torch.Tensor],
    ) -> None:
        self._tower = tower
        self._blocks = tower.get_submodule(layout.blocks)
        self._widths = widths
        self._prepare = prepare

    def prepare(self, image: Image) -> torch.Tensor:
        """Return the image resized and normalised as in training, `[3, height, width]` in float32 on the CPU."""
        return self._prepare(image)

    @torch.inference_mode()
    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        """Return for each site the batch's content tokens, `[content tokens, width]`, in the model's dtype.

        The embedding of an image is repeated for each of its content tokens.
        """
        if pixels is None:
            pixels = [self._prepare_tokens(tokens) for tokens in batch]
        parameter = next(self._tower.parameters())
        kept = [pair for pair in zip(batch, pixels, strict=True) if pair[0].content.any()]
        if not kept:
            return {site: parameter.new_empty(0, width) for site, width in self._widths.items()}
        content = np.stack([tokens.content for tokens, _ in kept])
        images = torch.stack([one for _, one in kept]).to(parameter.device, parameter.dtype)
        return self._read(images, torch.from_numpy(content).to(parameter.device))

    def _read(self, images: torch.Tensor, content: torch.Tensor) -> dict[Site, torch.Tensor]:
        """Read the sites for `images [n, 3, height, width]` and `content [n, positions]`."""
        found: dict[Site, torch.Tensor] = {}
        with contextlib.ExitStack() as hooks:
            # PyTorch's default lets convolutions, and only those, round their factors to TF32 on the GPU.
            hooks.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            for site in self._widths:
                if site.kind == "resid_post":
                    block = self._blocks.get_submodule(str(site.layer))
                    hooks.enter_context(block.register_forward_hook(_keep(site, content, found)))
            embedding = first_of(self._tower(images))
        for site in self._widths:
            if site.kind == "embed":
                found[site] = embedding.repeat_interleave(content.sum(1), dim=0)
        return found

    def _prepare_tokens(self, tokens: Tokens) -> torch.Tensor:
        if tokens.image is None:
            raise UsageError("an OpenCLIP model reads images, and these tokens are of none")
        return self._prepare(tokens.image)


def _keep(site: Site, content: torch.Tensor, found: dict[Site, torch.Tensor]) -> Callable[..., None]:
    """Return a forward hook that keeps the content rows of a block's output `[n, positions, width]`."""

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        found[site] = output[content]

    return keep
