"""Structure of a decoder as its configuration alone tells it, for families whose module tree is known here.

A plan needs sizes, names and a number of parameters. To build the model for these, even without weights, takes seconds
of imports and a gigabyte of memory. So a configuration in which every setting is known, and of a kind that
transformers accepts as it is, is read here; any other, or any that is at fault, is read and refused by transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness import Site
from harness_transformers.structure import KINDS, Layout

_LAYOUT = Layout(
    embedding="embed_tokens.weight", blocks="layers", parts=frozenset({"embed_tokens", "layers"})
)
"""Layout of all families below; the rotary embedding has no weights, and a final norm is no part that blocks need."""

VISION_LANGUAGE = "paligemma"
"""Type of the vision-language models that `vision_sketch` knows; none of them is an image encoder."""

SKETCHED_ATTENTION = ("eager", "sdpa")
"""Implementations of attention that need no other package; whether one of the others is there transformers tells."""


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """Structure of a decoder: the sizes of its embedding, its blocks, and attention's output before the projection."""

    model_type: str
    tokenizer_class: str | None
    """Class of tokenizers that transformers has for the family, if any."""
    layout: Layout
    hidden: int
    width_z: int
    n_layers: int
    n_parameters: int
    """Parameters of all blocks."""
    vocab_size: int
    max_position_embeddings: int
    attn_logit_softcapping: float | None

    def width(self, site: Site) -> int | None:
        """Return the size of activations at a site; None for one that is not there, which transformers tells."""
        if site.tower or site.kind not in KINDS or not 0 <= site.layer < self.n_layers:
            return None
        return self.width_z if site.kind == "attn_z" else self.hidden


Check = Callable[[Any], bool]


def is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value < 1 << 31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_float(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_token(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(*values: Any) -> Check:
    return lambda value: any(value is one or (type(value) is str and value == one) for one in values)


def _is_rope(value: Any) -> bool:
    """Return whether settings of a rotary embedding are the plain ones."""
    return (
        isinstance(value, dict)
        and value.keys() == {"rope_theta", "rope_type"}
        and value["rope_type"] == "default"
        and _is_float(value["rope_theta"])
        and value["rope_theta"] > 0
    )


def _are_ropes(value: Any) -> bool:
    """Return whether each of the two kinds of blocks has plain settings of a rotary embedding."""
    kinds = {"full_attention", "sliding_attention"}
    return isinstance(value, dict) and value.keys() == kinds and all(map(_is_rope, value.values()))


COMMON: Mapping[str, Check] = {
    "architectures": lambda value: isinstance(value, list) and all(type(one) is str for one in value),
    "attention_dropout": _is_share,
    "bos_token_id": _is_token,
    "dtype": _one_of("float32", "bfloat16", "float16"),
    "eos_token_id": _is_token,
    "initializer_range": lambda value: _is_float(value) and 0 <= value < 1,
    "model_type": lambda value: type(value) is str,
    "pad_token_id": _is_token,
    "tie_word_embeddings": is_flag,
    "transformers_version": lambda value: type(value) is str,
    "use_cache": is_flag,
}
"""Settings that do not shape a block, with the values that are taken as they are."""

_NEEDED: Mapping[str, Check] = {
    "attention_bias": is_flag,
    "head_dim": lambda value: is_size(value) and value % 2 == 0,
    "hidden_size": is_size,
    "intermediate_size": is_size,
    "max_position_embeddings": is_size,
    "num_attention_heads": is_size,
    "num_hidden_layers": is_size,
    "num_key_value_heads": is_size,
    "rms_norm_eps": lambda value: _is_float(value) and 0 < value < 1,
    "rope_parameters": _is_rope,
    "vocab_size": is_size,
}
"""Settings that must be there: where one is not, transformers has a default."""

_GEMMA: Mapping[str, Check] = {
    "attn_logit_softcapping": _or_none(lambda value: _is_float(value) and value > 0),
    "hidden_activation": _one_of("gelu_pytorch_tanh"),
    "layer_types": lambda value: (
        isinstance(value, list)
        and all(type(one) is str and one in ("sliding_attention", "full_attention") for one in value)
    ),
    "query_pre_attn_scalar": is_size,
    "sliding_window": is_size,
}


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Decoders of one type of model. `norms` are vectors of the hidden size in a block; with `norms_heads`, queries and
    keys have one of the size of a head each.
    """

    tokenizer_class: str | None
    needed: Mapping[str, Check]
    others: Mapping[str, Check]
    norms: int
    norms_heads: bool = False


_FAMILIES: Mapping[str, _Family] = {
    "gemma2": _Family(
        tokenizer_class="GemmaTokenizer",
        needed=_GEMMA,
        others={
            "final_logit_softcapping": _or_none(_is_float),
            "use_bidirectional_attention": _or_none(is_flag),
        },
        norms=4,
    ),
    "gemma3_text": _Family(
        tokenizer_class="GemmaTokenizer",
        needed={**_GEMMA, "rope_parameters": _are_ropes},
        others={
            "final_logit_softcapping": _or_none(_is_float),
            "use_bidirectional_attention": _one_of(False),
        },
        norms=4,
        norms_heads=True,
    ),
    "llama": _Family(
        tokenizer_class=None,
        needed={"hidden_act": _one_of("silu"), "mlp_bias": _one_of(False)},
        others={"pretraining_tp": _one_of(1, None)},
        norms=2,
    ),
}
"""Families by `model_type`."""


def sketch(config: Mapping[str, Any] | None) -> Sketch | None:
    """Return the structure of a decoder; None where transformers has to tell it, or what is wrong with it."""
    family = _FAMILIES.get(str((config or {}).get("model_type")))
    if config is None or family is None:
        return None
    needed = {**_NEEDED, **family.needed}
    known = {**COMMON, **needed, **family.others}
    # Of a setting that is not known here nobody can say what it changes.
    if not needed.keys() <= config.keys() <= known.keys():
        return None
    if not all(known[key](value) for key, value in config.items()) or not _agrees(config):
        return None
    heads, head = config["num_attention_heads"], config["head_dim"]
    return Sketch(
        model_type=config["model_type"],
        tokenizer_class=family.tokenizer_class,
        layout=_LAYOUT,
        hidden=config["hidden_size"],
        width_z=heads * head,
        n_layers=config["num_hidden_layers"],
        n_parameters=config["num_hidden_layers"] * _count(config, family),
        vocab_size=config["vocab_size"],
        max_position_embeddings=config["max_position_embeddings"],
        attn_logit_softcapping=config.get("attn_logit_softcapping"),
    )


def _agrees(config: Mapping[str, Any]) -> bool:
    """Return whether settings agree with one another, as transformers checks them."""
    heads, n_layers = config["num_attention_heads"], config["num_hidden_layers"]
    tokens = [config.get(f"{name}_token_id") for name in ("bos", "eos", "pad")]
    return (
        config["hidden_size"] % heads == 0
        and heads % config["num_key_value_heads"] == 0
        and ("layer_types" not in config or len(config["layer_types"]) == n_layers)
        and all(token is None or token < config["vocab_size"] for token in tokens)
    )


def _count(config: Mapping[str, Any], family: _Family) -> int:
    """Return the parameters of one block."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    attention = hidden * (2 * queries + 2 * keys)
    if config["attention_bias"]:
        attention += queries + 2 * keys + hidden
    norms = family.norms * hidden + 2 * head * family.norms_heads
    return int(attention + 3 * hidden * config["intermediate_size"] + norms)
