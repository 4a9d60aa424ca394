"""An image in, what a model sees of it out: open_clip's transform for inference, in its two halves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

from harness import Image, MissingError, decode_image


class Preprocessing:
    """Resizing and cropping, then normalisation. Keeps nothing between calls, so that threads can share it."""

    def __init__(self, name: str, given: Mapping[str, Any], size: tuple[int, int]) -> None:
        merged = merge_preprocess_dict(dataclasses.asdict(PreprocessCfg()), dict(given)) | {"size": size}
        try:
            *geometry, to_tensor, normalize = image_transform_v2(
                PreprocessCfg(**merged), is_train=False
            ).transforms
        except (AssertionError, TypeError, ValueError) as error:
            raise MissingError(
                f"model '{name}': its preprocess_cfg {dict(given)} is not one that open_clip knows"
            ) from error
        self._geometry, self._numbers = geometry, (to_tensor, normalize)
        self.identity = {
            key: list(value) if isinstance(value, tuple) else value for key, value in merged.items()
        }

    def view(self, image: Image) -> Any:
        """What is left of an image after resizing and cropping: a PIL image, RGB."""
        picture: Any = decode_image(image)
        for step in self._geometry:
            picture = step(picture)
        return picture

    def prepare(self, image: Image) -> torch.Tensor:
        """`[3, height, width]`, float32, normalised."""
        pixels: Any = self.view(image)
        for step in self._numbers:
            pixels = step(pixels)
        return torch.as_tensor(pixels)
