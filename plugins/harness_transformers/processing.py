"""Processor of a vision-language model: prompt tokens and pixels of images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import PIL.Image
import torch

from harness import Image, UsageError, decode_image, parsing
from harness_transformers.opening import quiet, read_processor
from harness_transformers.references import Files

BLANK = PIL.Image.new("RGB", (48, 32))
"""Blank image that is not square, so that token counts which depend on an image's shape show."""


class Processing:
    """Processor with one fixed prompt.

    `inputs` are the model's inputs beside the image, `[1, tokens]` each; `size` is the shape of an image's
    pixels, channels, height, width.
    """

    def __init__(self, files: Files, *, prompt: str, accepted: Collection[str]) -> None:
        self._name = files.name
        processor = read_processor(files)
        self._images, self.tokenizer = processor.image_processor, processor.tokenizer
        # Pan and scan adds crops to the whole image, so that each image would have other tokens.
        self._fixed = {"do_pan_and_scan": False} if hasattr(self._images, "do_pan_and_scan") else {}
        encoded = self._encode(processor, prompt)
        self.inputs: Mapping[str, torch.Tensor] = {
            key: value
            for key, value in encoded.items()
            if key in accepted and key != "labels" and value.shape == encoded["input_ids"].shape
        }
        pixels = encoded["pixel_values"]
        if pixels.ndim != 4 or len(pixels) != 1:
            raise UsageError(
                f"model '{self._name}' makes of an image pixels of shape {tuple(pixels.shape)}, not "
                f"one image with channels, height and width"
            )
        self.size: tuple[int, ...] = tuple(pixels.shape[1:])

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

    def _encode(self, processor: Any, prompt: str) -> Mapping[str, torch.Tensor]:
        """Encode a blank image and the prompt; the image comes first unless the prompt places it."""
        token = str(processor.image_token)
        text = prompt if token in prompt else token + prompt
        said = f"model '{self._name}': its processor cannot encode an image with the prompt {prompt!r}"
        with parsing(said, kind=UsageError), quiet():
            encoded = processor(images=BLANK, text=text, return_tensors="pt", **self._fixed)
            return {key: encoded[key] for key in ("pixel_values", "input_ids", *encoded)}
