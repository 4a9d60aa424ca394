"""A vision-language model in memory: batches of images in, the activations of their image tokens out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Image, Site, Tokens, UsageError
from harness_transformers.forward import keep, select_rows
from harness_transformers.processing import Processing
from harness_transformers.structure import Place


class LoadedVisionLanguage:
    """A vision-language model, or its vision tower alone, read at sites. `windows` says, for each site of the vision
    tower, over how many positions along a side are averaged for one image token.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        places: Mapping[Site, Place],
        *,
        processing: Processing,
        is_image: np.ndarray[Any, np.dtype[np.bool_]],
        windows: Mapping[Site, int],
        reads_text: bool,
    ) -> None:
        self._name, self._model, self._places = name, model, places
        self._processing, self._is_image = processing, is_image
        self._windows, self._reads_text = windows, reads_text

    def prepare(self, image: Image) -> torch.Tensor:
        """Pixels as the model is given them, `[channels, height, width]` in float32 on the CPU."""
        return self._processing.prepare(image)

    @torch.inference_mode()
    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        """For each site the content tokens of the batch: `[content tokens, width]`, in the model's dtype."""
        held = [number for number, tokens in enumerate(batch) if tokens.content.any()]
        parameter = next(self._model.parameters())
        if not held:
            return {site: parameter.new_empty(0, place.width) for site, place in self._places.items()}
        images = [self._pixels(batch[n]) if pixels is None else pixels[n] for n in held]
        inputs: dict[str, Any] = {"pixel_values": torch.stack(images).to(parameter.device, parameter.dtype)}
        if self._reads_text:
            inputs["use_cache"] = False
            for key, value in self._processing.inputs.items():
                inputs[key] = value.to(parameter.device).expand(len(held), -1)
        content = np.stack([batch[number].content for number in held])
        kept: dict[Any, torch.Tensor] = {}
        with contextlib.ExitStack() as hooks:
            # Of convolutions alone PyTorch rounds the factors on the GPU unless told not to.
            hooks.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            for site, place in self._places.items():
                hooks.enter_context(keep(place, site, self._choose(site, place, content, parameter), kept))
            self._model(**inputs)
        return kept

    def _pixels(self, tokens: Tokens) -> torch.Tensor:
        if tokens.image is None:
            raise UsageError(f"model '{self._name}' reads images, and was given tokens without one")
        return self.prepare(tokens.image)

    def _choose(
        self, site: Site, place: Place, content: np.ndarray[Any, Any], like: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """What is kept of the activations at a place, for `content [images, tokens]`."""
        if not site.tower:
            return select_rows(_places(content, like.device), place.width)
        if (content & ~self._is_image).any():
            raise UsageError(
                f"site '{site}' of model '{self._name}' has rows for image tokens alone: use tokens content or last"
            )
        select = select_rows(_places(content[:, self._is_image], like.device), place.width)
        window = self._windows[site]
        return lambda value: select(_average(value, window))


def _places(chosen: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    """Where a mask is true, when it is flat."""
    return torch.from_numpy(chosen.ravel().nonzero()[0]).to(device)


def _average(value: torch.Tensor, window: int) -> torch.Tensor:
    """Means over windows of a square grid: `[images, positions, width]` to `[images, positions / window², width]`,
    summed in float32.
    """
    if window == 1:
        return value
    n_images, n_positions, width = value.shape
    side = int(n_positions**0.5)
    squares = value.reshape(n_images, side // window, window, side // window, window, width)
    means: torch.Tensor = squares.mean(dim=(2, 4), dtype=torch.float32)
    return means.reshape(n_images, -1, width).to(value.dtype)
