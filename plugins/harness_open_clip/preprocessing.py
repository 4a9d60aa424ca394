"""Image preprocessing of open_clip's inference transform, split into geometry and normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

from harness import Image, decode_image, parsing


class Preprocessing:
    """Resizing and cropping, then normalisation.

    It keeps no state between calls, so threads can share it. Raises UnavailableError for an unknown
    configuration.
    """

    def __init__(self, name: str, given: Mapping[str, Any], size: tuple[int, int]) -> None:
        with parsing(f"model '{name}': its preprocess_cfg {dict(given)} is not one that open_clip knows"):
            merged = merge_preprocess_dict(dataclasses.asdict(PreprocessCfg()), dict(given)) | {"size": size}
            *geometry, to_tensor, normalize = image_transform_v2(
                PreprocessCfg(**merged), is_train=False
            ).transforms
        self._geometry, self._numbers = geometry, (to_tensor, normalize)
        self.identity = {
            key: list(value) if isinstance(value, tuple) else value for key, value in merged.items()
        }

    def view(self, image: Image) -> Any:
        """Return the resized and cropped image as a PIL image in RGB."""
        picture: Any = decode_image(image)
        for step in self._geometry:
            picture = step(picture)
        return picture

    def prepare(self, image: Image) -> torch.Tensor:
        """Return normalised pixels `[3, height, width]` in float32."""
        pixels: Any = self.view(image)
        for step in self._numbers:
            pixels = step(pixels)
        return torch.as_tensor(pixels)
