"""Models of images in memory: a vision-language model that reads image tokens, and an image encoder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Image, Site, Tokens, UsageError
from harness_transformers.forward import keep, select_rows
from harness_transformers.processing import ImageProcessing, Processing
from harness_transformers.structure import Place


class LoadedVisionLanguage:
    """Vision-language model, or its vision tower alone, read at sites.

    `windows` gives, for each site of the vision tower, the side of the square of positions averaged for one
    image token.
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
        """Return the pixels that the model takes, `[channels, height, width]` in float32 on the CPU."""
        return self._processing.prepare(image)

    @torch.inference_mode()
    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        """Return for each site the batch's content tokens, `[content tokens, width]`, in the model's dtype."""
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
            # PyTorch's default lets convolutions, and only those, round their factors to TF32 on the GPU.
            hooks.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            for site, place in self._places.items():
                hooks.enter_context(keep(place, site, self._selector(site, place, content, parameter), kept))
            self._model(**inputs)
        return kept

    def _pixels(self, tokens: Tokens) -> torch.Tensor:
        return self.prepare(_image(self._name, tokens))

    def _selector(
        self, site: Site, place: Place, content: np.ndarray[Any, Any], like: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function that keeps the content `[images, tokens]` of activations at a place."""
        if not site.tower:
            return select_rows(_true_indices(content, like.device), place.width)
        if (content & ~self._is_image).any():
            raise UsageError(
                f"site '{site}' of model '{self._name}' has rows for image tokens alone: use tokens content or last"
            )
        select = select_rows(_true_indices(content[:, self._is_image], like.device), place.width)
        window = self._windows[site]
        return lambda value: select(_average(value, window))


class LoadedImageEncoder:
    """Image encoder, truncated, read at places identified by keys."""

    def __init__(
        self, name: str, model: nn.Module, places: Mapping[Any, Place], *, processing: ImageProcessing
    ) -> None:
        self._name, self._model, self._places = name, model, places
        self._processing = processing

    def prepare(self, image: Image) -> torch.Tensor:
        """Return the pixels that the model takes, `[channels, height, width]` in float32 on the CPU."""
        return self._processing.prepare(image)

    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        """Return for each place the batch's content tokens, `[content tokens, width]`, in the model's dtype."""
        held = [number for number, tokens in enumerate(batch) if tokens.content.any()]
        if not held:
            parameter = next(self._model.parameters())
            return {key: parameter.new_empty(0, place.width) for key, place in self._places.items()}
        images = [self.prepare(_image(self._name, batch[n])) if pixels is None else pixels[n] for n in held]
        return self.read(torch.stack(images), np.stack([batch[number].content for number in held]))

    @torch.inference_mode()
    def read(
        self, pixels: torch.Tensor, content: np.ndarray[Any, Any] | None = None
    ) -> dict[Any, torch.Tensor]:
        """Return for each place the rows of `pixels [images, channels, height, width]`, `[rows, width]`.

        `content` is the mask `[images, positions]` of rows that are returned; None means all.
        """
        parameter = next(self._model.parameters())
        rows = None if content is None else _true_indices(content, parameter.device)
        kept: dict[Any, torch.Tensor] = {}
        with contextlib.ExitStack() as hooks:
            # PyTorch's default lets convolutions, and only those, round their factors to TF32 on the GPU.
            hooks.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            for key, place in self._places.items():
                hooks.enter_context(keep(place, key, _all_or_some(rows, place.width, parameter), kept))
            self._model(pixel_values=pixels.to(parameter.device, parameter.dtype))
        return kept


def _all_or_some(
    rows: torch.Tensor | None, width: int, like: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that flattens `[…, width]` to two dimensions and selects rows, all of them for None."""
    if rows is None:
        return lambda value: value.reshape(-1, width).to(like.device)
    return select_rows(rows, width)


def _image(name: str, tokens: Tokens) -> Image:
    if tokens.image is None:
        raise UsageError(f"model '{name}' reads images, and was given tokens without one")
    return tokens.image


def _true_indices(chosen: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    """Return the indices of true values in the flattened mask."""
    return torch.from_numpy(chosen.ravel().nonzero()[0]).to(device)


def _average(value: torch.Tensor, window: int) -> torch.Tensor:
    """Return means over windows of a square grid, summed in float32.

    `[images, positions, width]` becomes `[images, positions / window², width]`.
    """
    if window == 1:
        return value
    n_images, n_positions, width = value.shape
    side = int(n_positions**0.5)
    squares = value.reshape(n_images, side // window, window, side // window, window, width)
    means: torch.Tensor = squares.mean(dim=(2, 4), dtype=torch.float32)
    return means.reshape(n_images, -1, width).to(value.dtype)
