"""Processors of images: pixels alone, or with the prompt tokens of a vision-language model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import PIL.Image
import torch

from harness import Image, UsageError, decode_image, parsing
from harness_transformers.opening import read_image_processor, read_processor
from harness_transformers.references import Files
from harness_transformers.silence import quiet

BLANK = PIL.Image.new("RGB", (48, 32))
"""Blank image that is not square, so that token counts which depend on an image's shape show."""


class ImageProcessing:
    """Image processor of a model of images.

    `size` is the shape of an image's pixels, channels, height, width, which is the same for all.
    """

    def __init__(self, name: str, images: Any, blank: torch.Tensor) -> None:
        self._name, self._images = name, images
        # Pan and scan adds crops to the whole image, so that each image would have other tokens.
        self._fixed = _fixed(images)
        self.size = self._find_size(blank)

    @classmethod
    def read(cls, files: Files) -> ImageProcessing:
        """Read the image processor of a model's files."""
        images = read_image_processor(files)
        with parsing(f"model '{files.name}': its image processor cannot make pixels of an image"):
            blank = images(BLANK, return_tensors="pt", **_fixed(images))["pixel_values"]
        return cls(files.name, images, blank)

    def _find_size(self, pixels: torch.Tensor) -> tuple[int, ...]:
        if pixels.ndim != 4 or len(pixels) != 1:
            raise UsageError(
                f"model '{self._name}' makes of an image pixels of shape {tuple(pixels.shape)}, not "
                f"one image with channels, height and width"
            )
        return tuple(pixels.shape[1:])

    @property
    def backend(self) -> str:
        """Library that resizes, `torchvision` or `pil`; they round differently."""
        return str(self._images.backend)

    def prepare(self, image: Image) -> torch.Tensor:
        """Return the pixels that the model takes, `[channels, height, width]` in float32 on the CPU."""
        return self._process(image).float()

    def view(self, image: Image) -> PIL.Image.Image:
        """Return the image as `prepare` resizes it, without colour normalisation."""
        shown = self._process(image, do_rescale=False, do_normalize=False).float()
        return PIL.Image.fromarray(shown.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())

    def _process(self, image: Image, **settings: bool) -> torch.Tensor:
        decoded = decode_image(image)
        # Some refuse an image that is very small or very elongated.
        with parsing(f"model '{self._name}': its image processor refuses an {image}"):
            processed = self._images(decoded, return_tensors="pt", **self._fixed, **settings)
            pixels: torch.Tensor = processed["pixel_values"][0]
        if tuple(pixels.shape) != self.size:
            raise UsageError(
                f"model '{self._name}' makes of an {image} pixels of shape {tuple(pixels.shape)}, of others "
                f"{self.size}: its images must all become alike"
            )
        return pixels


class Processing(ImageProcessing):
    """Processor of a vision-language model with one fixed prompt.

    `inputs` are the model's inputs beside the image, `[1, tokens]` each.
    """

    def __init__(self, files: Files, *, prompt: str, accepted: Collection[str]) -> None:
        processor = read_processor(files)
        self.tokenizer = processor.tokenizer
        encoded = self._encode(files.name, processor, prompt)
        self.inputs: Mapping[str, torch.Tensor] = {
            key: value
            for key, value in encoded.items()
            if key in accepted and key != "labels" and value.shape == encoded["input_ids"].shape
        }
        super().__init__(files.name, processor.image_processor, encoded["pixel_values"])

    @staticmethod
    def _encode(name: str, processor: Any, prompt: str) -> Mapping[str, torch.Tensor]:
        """Encode a blank image and the prompt; the image comes first unless the prompt places it."""
        token = str(processor.image_token)
        text = prompt if token in prompt else token + prompt
        said = f"model '{name}': its processor cannot encode an image with the prompt {prompt!r}"
        with parsing(said, kind=UsageError), quiet():
            encoded = processor(
                images=BLANK, text=text, return_tensors="pt", **_fixed(processor.image_processor)
            )
            return {key: encoded[key] for key in ("pixel_values", "input_ids", *encoded)}


def _fixed(images: Any) -> dict[str, bool]:
    """Return the settings of an image processor that are the same for every model."""
    return {"do_pan_and_scan": False} if hasattr(images, "do_pan_and_scan") else {}
