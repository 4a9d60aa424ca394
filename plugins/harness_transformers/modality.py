"""Modality of a model as its configuration tells it."""

from __future__ import annotations

from typing import Any

import transformers

from harness import UsageError


def is_image_encoder(config: Any) -> bool:
    """Return whether a configuration is that of a model of images alone, or of a pair of encoders such as SigLIP.

    A vision-language model reads texts too, so that its configuration does not tell.
    """
    return is_pair(config) or _takes_pixels(config)


def is_pair(config: Any) -> bool:
    """Return whether a model is an image encoder beside a text encoder, neither of which reads the other."""
    return type(config) in transformers.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING and not any(
        getattr(config, key, None) is not None for key in ("image_token_id", "image_token_index")
    )


def _takes_pixels(config: Any) -> bool:
    kind = transformers.MODEL_MAPPING.get(type(config), None)
    return getattr(kind, "main_input_name", None) == "pixel_values"


def check_reads_texts(name: str, config: Any) -> None:
    """Raise UsageError if a model reads images alone, or has a text encoder that transformers does not open alone."""
    if _takes_pixels(config):
        raise UsageError(f"model '{name}' ({config.model_type}) reads images alone: leave modality=text out")
    if is_pair(config) and type(config.get_text_config()) not in transformers.MODEL_MAPPING:
        raise UsageError(
            f"model '{name}' ({config.model_type}) has a text encoder that cannot be opened alone: leave modality=text "
            f"out, and its images are read"
        )
