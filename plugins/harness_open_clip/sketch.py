"""Structure of a vision tower, and tokens of prompts, as the files of a checkpoint alone tell them.

A plan needs sizes and a few ids. To build the tower for these, even without weights, takes seconds of imports and a
gigabyte of memory. So a configuration in which every setting is known is read here; any other, or any that is at fault,
is read and refused by open_clip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import HarnessError, parsing, read_mapping
from harness_open_clip.references import Checkpoint
from harness_open_clip.structure import MOST_PATCHES, Layout

Check = Callable[[Any], bool]


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value < 1 << 31


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _are_colours(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 3 and all(type(one) is float and one > 0 for one in value)
    )


_MODEL: Mapping[str, Check] = {
    "embed_dim": _is_size,
    "init_logit_scale": lambda value: type(value) is float,
    "quick_gelu": _is_flag,
    "text_cfg": lambda value: isinstance(value, dict),
    "vision_cfg": lambda value: isinstance(value, dict),
}

_VISION: Mapping[str, Check] = {
    "image_size": _is_size,
    "patch_size": _is_size,
    "width": _is_size,
    "layers": _is_size,
    "head_width": _is_size,
    "mlp_ratio": lambda value: type(value) is float and 0 < value < 100,
    "no_ln_pre": _is_flag,
}
"""Settings of a plain transformer over patches, with a class token before them. All but the last must be there."""

_PREPROCESSING: Mapping[str, Check] = {
    "mean": _are_colours,
    "std": _are_colours,
    "interpolation": lambda value: value in ("bicubic", "bilinear"),
    "resize_mode": lambda value: value in ("shortest", "longest", "squash"),
}
"""Settings that must all be there: of one that is not, open_clip has the value."""

_OTHER_PREPROCESSING: Mapping[str, Any] = {"mode": "RGB", "fill_color": 0}
"""Settings that open_clip has for every image, if nothing says otherwise."""

_TEXT: Mapping[str, Check] = {
    **dict.fromkeys(("context_length", "vocab_size", "width", "heads", "layers"), _is_size),
    **dict.fromkeys(("eos_id", "pad_id"), lambda value: type(value) is int),
    "hf_tokenizer_name": lambda value: type(value) is str,
    "pool_type": lambda value: type(value) is str,
}


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """Structure of a vision tower, with the parameters of its blocks and the settings of its preprocessing."""

    layout: Layout
    n_parameters: int
    preprocessing: Mapping[str, Any]


def sketch(checkpoint: Checkpoint) -> Sketch | None:
    """Return the structure of a checkpoint's vision tower; None where open_clip has to tell it."""
    model, given = checkpoint.model, checkpoint.preprocessing
    if not _holds(model, _MODEL, needed=("embed_dim", "vision_cfg")):
        return None
    tower: Mapping[str, Any] = model["vision_cfg"]
    if not _holds(tower, _VISION, needed=[*_VISION][:-1]) or not _holds(
        given, _PREPROCESSING, needed=_PREPROCESSING
    ):
        return None
    width, side, size = tower["width"], tower["patch_size"], tower["image_size"]
    grid = size // side
    if width % tower["head_width"] or size % side or grid**2 > MOST_PATCHES:
        return None
    inner = int(width * tower["mlp_ratio"])
    attention, mlp, norms = 4 * width * (width + 1), inner * (2 * width + 1) + width, 4 * width
    layout = Layout(
        blocks="transformer.resblocks",
        n_blocks=tower["layers"],
        image_size=(size, size),
        grid=(grid, grid),
        n_prefix=1,
        has_class=True,
        width=width,
        embedding=model["embed_dim"],
    )
    return Sketch(
        layout=layout,
        n_parameters=tower["layers"] * (attention + mlp + norms),
        preprocessing={**_OTHER_PREPROCESSING, **given, "size": [size, size]},
    )


def _holds(
    given: Mapping[str, Any], known: Mapping[str, Check], *, needed: Sequence[str] | Mapping[str, Any]
) -> bool:
    """Return whether all settings are known, of a kind that is taken as it is, and those that are needed there."""
    named = given.keys() <= known.keys() and all(key in given for key in needed)
    return named and all(known[key](value) for key, value in given.items())


# ── prompts ─────────────────────────────────────────────────────────────────────────────────────────────


def read_prompts(checkpoint: Checkpoint) -> Callable[[Sequence[str]], list[list[int]] | None] | None:
    """Return a function from prompts to ids `[prompts, context]`, None for prompts that open_clip may change before;
    return None for a tokenizer that open_clip has to read.
    """
    text: Mapping[str, Any] = checkpoint.model.get("text_cfg", {})
    if checkpoint.tokenizer is None or not _holds(
        text, _TEXT, needed=("context_length", "hf_tokenizer_name")
    ):
        return None
    folder = checkpoint.tokenizer
    used, others = (
        ("tokenizer.json", "tokenizer_config.json"),
        ("special_tokens_map.json", "added_tokens.json"),
    )
    if not all((folder / name).is_file() for name in used) or any(
        (folder / name).exists() for name in others
    ):
        return None
    if (folder / "config.json").exists():  # which may name another class of tokenizers
        return None
    try:
        settings = read_mapping(folder / used[1], used[1])
        with parsing(used[0]):
            backend = _open(folder / used[0], settings, text["context_length"])
    except HarnessError:
        return None
    if backend is None:
        return None

    def encode(prompts: Sequence[str]) -> list[list[int]] | None:
        if not all(map(_is_unchanged, prompts)):
            return None
        return [list(one.ids) for one in backend.encode_batch([" ".join(one.split()) for one in prompts])]

    return encode


def _is_unchanged(prompt: str) -> bool:
    """Return whether open_clip's cleaning changes nothing of a prompt but its blanks."""
    return prompt.isascii() and prompt.isprintable() and "&" not in prompt


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is str for one in value)


_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_SETTINGS: Mapping[str, Check] = {
    **dict.fromkeys(_NAMED, lambda value: type(value) is str),
    "additional_special_tokens": _are_texts,
    "clean_up_tokenization_spaces": _is_flag,
    "model_input_names": _are_texts,
    "model_max_length": _is_size,
    "padding_side": lambda value: value in ("left", "right"),
    "tokenizer_class": lambda value: value in ("PreTrainedTokenizerFast", "TokenizersBackend"),
}
"""Settings of a tokenizer that transformers' general class reads from tokenizer.json as it is."""


def _open(path: Any, settings: Mapping[str, Any], context: int) -> Any:
    """Return a tokenizer of the library tokenizers that cuts and pads to a length; None if transformers changes it."""
    from tokenizers import Tokenizer

    if not _holds(settings, _SETTINGS, needed=("tokenizer_class", "pad_token", "padding_side")):
        return None
    backend = Tokenizer.from_file(str(path))
    special = {one.content for one in backend.get_added_tokens_decoder().values() if one.special}
    named = {settings[key] for key in _NAMED if key in settings} | {
        *settings.get("additional_special_tokens", ())
    }
    known = (
        json.loads(backend.to_str()).get("post_processor") is not None and backend.get_vocab_size() <= 100_000
    )
    if not named <= special or not known or backend.truncation or backend.padding:
        return None
    pad = settings["pad_token"]
    backend.enable_truncation(context, stride=0, strategy="longest_first", direction="right")
    backend.enable_padding(
        length=context, direction=settings["padding_side"], pad_id=backend.token_to_id(pad), pad_token=pad
    )
    return backend
