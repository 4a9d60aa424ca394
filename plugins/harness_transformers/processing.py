"""A vision-language model's own processor in; the tokens of an image and its prompt, and what is seen of it, out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import PIL.Image
import torch

from harness import Image, MissingError, UsageError, decode_image
from harness_transformers.opening import first_line, quiet, read_processor
from harness_transformers.references import Files

BLANK = PIL.Image.new("RGB", (48, 32))
"""Not square, so that a model whose tokens are as many as the shape of an image asks for shows it."""


class Processing:
    """A processor with one prompt. `inputs` is what the model is given beside an image, `[1, tokens]` each;
    `size` what one image becomes: channels, height, width.
    """

    def __init__(self, files: Files, *, prompt: str, accepted: Collection[str]) -> None:
        self._name = files.name
        processor = read_processor(files)
        self._images = processor.image_processor
        # Crops beside the whole image would be other tokens for each image.
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
        """What resizes, `torchvision` or `pil`: they round otherwise."""
        return str(self._images.backend)

    def prepare(self, image: Image) -> torch.Tensor:
        """Pixels as the model is given them, `[channels, height, width]` in float32 on the CPU."""
        return self._process(image).float()

    def view(self, image: Image) -> PIL.Image.Image:
        """The image as `prepare` resizes it, with its own colours."""
        shown = self._process(image, do_rescale=False, do_normalize=False).float()
        return PIL.Image.fromarray(shown.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())

    def _process(self, image: Image, **settings: bool) -> torch.Tensor:
        decoded = decode_image(image)
        try:
            processed = self._images(decoded, return_tensors="pt", **self._fixed, **settings)
        except Exception as error:  # some refuse an image that is very small, or very long
            raise MissingError(
                f"model '{self._name}': its image processor refuses an {image}: {first_line(error)}"
            ) from error
        pixels: torch.Tensor = processed["pixel_values"][0]
        if tuple(pixels.shape) != self.size:
            raise UsageError(
                f"model '{self._name}' makes of an {image} pixels of shape {tuple(pixels.shape)}, of others "
                f"{self.size}: its images must all become alike"
            )
        return pixels

    def _encode(self, processor: Any, prompt: str) -> Mapping[str, torch.Tensor]:
        """What the processor makes of a blank image and the prompt, behind the image unless that says where it is."""
        token = str(processor.image_token)
        text = prompt if token in prompt else token + prompt
        try:
            with quiet():
                encoded = processor(images=BLANK, text=text, return_tensors="pt", **self._fixed)
                return {key: encoded[key] for key in ("pixel_values", "input_ids", *encoded)}
        except Exception as error:  # whatever a processor class makes of a text
            raise UsageError(
                f"model '{self._name}': its processor cannot encode an image with the prompt {prompt!r}: "
                f"{first_line(error)}"
            ) from error
