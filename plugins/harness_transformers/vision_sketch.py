"""Structure of a vision-language model as its files alone tell it: PaliGemma around a decoder that can be sketched.

As in `sketch`: whatever is not known here is read, and refused, by transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from harness import Site
from harness_transformers.opening import opening_files, read_settings
from harness_transformers.plain_tokenizer import read_plain_tokenizer
from harness_transformers.references import Files
from harness_transformers.sketch import COMMON, VISION_LANGUAGE, Check, Sketch, is_flag, is_size, sketch
from harness_transformers.structure import Layout
from harness_transformers.towers import LANGUAGE_REMEDY, Parts, is_relevant

_PREPROCESSOR = "preprocessor_config.json"
_PROCESSOR = "processor_config.json"

IMAGE = "<image>"
"""Token that PaliGemma's processor has for a patch, if it has that of the configuration."""


@dataclass(frozen=True, kw_only=True)
class VisionSketch:
    """Structure of a vision-language model, and what it reads of any image: `ids [tokens]`, of which some `is_image`.

    The vision tower has `n_positions`, and the projector gives as many features as there are image tokens.
    """

    architecture: str
    text: Sketch
    parts: Parts
    n_vision_layers: int
    vision_hidden: int
    ids: np.ndarray[Any, np.dtype[np.int64]]
    is_image: np.ndarray[Any, np.dtype[np.bool_]]
    n_positions: int
    backend: str
    """Library that resizes images."""

    def width(self, site: Site) -> int | None:
        """Return the size of activations at a site; None for one that is not there, which transformers tells."""
        if not site.tower:
            return self.text.width(site)
        last = site.kind == "output" and site.layer == self.n_vision_layers - 1
        inside = site.kind == "resid_post" and 0 <= site.layer < self.n_vision_layers
        return self.vision_hidden if site.tower == "vision" and (last or inside) else None


_MODEL: Mapping[str, Check] = {
    **{key: COMMON[key] for key in ("architectures", "dtype", "model_type", "tie_word_embeddings")},
    "hidden_size": is_size,
    "image_token_index": is_size,
    "projection_dim": is_size,
    "text_config": lambda value: isinstance(value, dict),
    "vision_config": lambda value: isinstance(value, dict),
    "vocab_size": is_size,
}

_VISION: Mapping[str, Check] = {
    "attention_dropout": COMMON["attention_dropout"],
    "hidden_act": lambda value: value == "gelu_pytorch_tanh",
    "hidden_size": is_size,
    "image_size": is_size,
    "intermediate_size": is_size,
    "layer_norm_eps": lambda value: type(value) is float and value > 0,
    "model_type": lambda value: value == "siglip_vision_model",
    "num_attention_heads": is_size,
    "num_channels": lambda value: type(value) is int and value == 3,
    "num_hidden_layers": is_size,
    "patch_size": is_size,
    "projection_dim": is_size,
    "vision_use_head": is_flag,
}


def _are_colours(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 3 and all(type(one) is float and one > 0 for one in value)
    )


_IMAGES: Mapping[str, Check] = {
    **dict.fromkeys(
        ("do_convert_rgb", "do_resize", "do_rescale", "do_normalize"), lambda value: value is True
    ),
    **dict.fromkeys(("image_mean", "image_std"), _are_colours),
    "image_processor_type": lambda value: value == "SiglipImageProcessor",
    "image_seq_length": is_size,
    "processor_class": lambda value: value == "PaliGemmaProcessor",
    "resample": lambda value: type(value) is int and value in (2, 3),
    "rescale_factor": lambda value: type(value) is float and 0 < value < 1,
    "size": lambda value: isinstance(value, dict) and value.keys() == {"height", "width"},
}


def sketch_vision_language(files: Files, language: Files, *, prompt: str) -> VisionSketch | None:
    """Return the structure of a model; None where transformers has to tell it, or what is wrong with it.

    `language` are the files with the weights of the language tower. Of prompts only the empty one is known.
    """
    config = read_settings(files)
    if (
        config.get("model_type") != VISION_LANGUAGE
        or prompt
        or not _holds(config, _MODEL, also="transformers_version")
    ):
        return None
    text = {key: value for key, value in config["text_config"].items() if key != "num_image_tokens"}
    vision: Mapping[str, Any] = config["vision_config"]
    decoder = sketch(text)
    if decoder is None or text.get("use_bidirectional_attention") is not True or not _holds(vision, _VISION):
        return None
    side, rest = divmod(vision["image_size"], vision["patch_size"])
    fits = (
        rest == 0
        and vision["hidden_size"] % vision["num_attention_heads"] == 0
        and decoder.hidden == config["hidden_size"] == config["projection_dim"] == vision["projection_dim"]
        and decoder.vocab_size == config["vocab_size"] > config["image_token_index"]
        and config["text_config"].get("num_image_tokens", side**2) == side**2
    )
    if not fits or not (language is files or _is_same_decoder(text, read_settings(language))):
        return None
    if not _has_plain_images(files, size=vision["image_size"], n_tokens=side**2):
        return None
    ids = _ids(files, image=config["image_token_index"], n_images=side**2)
    if ids is None or len(ids) > decoder.max_position_embeddings or max(ids) >= decoder.vocab_size:
        return None
    return VisionSketch(
        architecture=f"paligemma+{decoder.model_type}",
        text=decoder,
        parts=_name_parts(decoder.layout),
        n_vision_layers=vision["num_hidden_layers"],
        vision_hidden=vision["hidden_size"],
        ids=np.array(ids, dtype=np.int64),
        is_image=np.array(ids) == config["image_token_index"],
        n_positions=side**2,
        backend="torchvision",
    )


def _holds(given: Mapping[str, Any], known: Mapping[str, Check], also: str = "") -> bool:
    """Return whether settings are all those that are known, each of a kind that is taken as it is."""
    return given.keys() - {also} == known.keys() and all(check(given[key]) for key, check in known.items())


def _is_same_decoder(text: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two configurations of decoders say the same, in as many settings that change activations."""
    own, theirs = ({k: v for k, v in one.items() if is_relevant(k)} for one in (text, other))
    return sketch(other) is not None and own == theirs


def _has_plain_images(files: Files, *, size: int, n_tokens: int) -> bool:
    """Return whether the image processor is known, and torchvision installed, which transformers then takes."""
    if files.find(_PREPROCESSOR) is None or files.find(_PROCESSOR) or find_spec("torchvision") is None:
        return False
    with opening_files(files, _PREPROCESSOR):
        settings = files.read_json(_PREPROCESSOR) or {}
    return (
        _holds(settings, _IMAGES)
        and settings["size"] == {"height": size, "width": size}
        and type(settings["size"]["height"]) is type(settings["size"]["width"]) is int
        and settings["image_seq_length"] == n_tokens
    )


def _ids(files: Files, *, image: int, n_images: int) -> Sequence[int] | None:
    """Return the ids of an image without a prompt: its patches, BOS and a line end."""
    tokenizer = read_plain_tokenizer(files)
    if tokenizer is None or tokenizer.bos_token_id is None:
        return None
    backend = tokenizer.backend_tokenizer
    named = backend.get_added_tokens_decoder().get(image)
    if named is None or named.content != IMAGE or not named.special:
        return None
    bos = backend.id_to_token(tokenizer.bos_token_id)
    (encoded,) = tokenizer(f"{IMAGE * n_images}{bos}\n", add_special_tokens=False).encodings
    ids: list[int] = encoded.ids
    return ids if ids[: n_images + 1] == [image] * n_images + [tokenizer.bos_token_id] else None


def _name_parts(language: Layout) -> Parts:
    vision = Layout(
        embedding="embeddings.position_embedding.weight",
        blocks="encoder.layers",
        parts=frozenset({"encoder", "embeddings"}),
    )
    return Parts(
        vision="vision_tower",
        language="language_model",
        between=("multi_modal_projector",),
        vision_layout=vision,
        language_layout=replace(language, remedy=f"{language.remedy}, {LANGUAGE_REMEDY}"),
        norms=frozenset({"post_layernorm"}),
    )
