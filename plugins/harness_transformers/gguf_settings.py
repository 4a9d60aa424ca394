"""Settings in the metadata of a GGUF file beyond those that transformers reads: taken over, compared, or named.

transformers drops what its table does not know, and takes its own default: the positions of Llama 3 and of Gemma 3 from
4B up are then stretched by nothing, and the base of Starcoder 2's rotation is another. What no key says and llama.cpp
concludes from others, the scale of Gemma's attention, is concluded here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import ParseError
from harness_transformers.gguf_file import GgufFile

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ROPE_TENSOR = "rope_freqs.weight"
"""Tensor that says how Llama 3 stretches its positions: a setting, and no weight."""

_LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""Constants of the rule of all models of Llama 3.1 to 3.3, of which the tensor holds the outcome."""

OTHER_RULES = frozenset({"lfm2", "qwen35", "qwen35moe"})
"""Architectures that transformers reads by rules of another kind, GGUF_CONFIG_ARCHS, which ask for the vocabulary."""

_GEMMA_27B = {"gemma2": 46, "gemma3_text": 62}
"""Types of Gemma → the blocks by which llama.cpp knows the model of 27B, in src/models/gemma2.cpp and gemma3.cpp."""

_OTHER_NAMES = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe"}
"""Architectures → their name in transformers' table, where that is another."""

_SCALING = "rope.scaling."


def take_over(config: PreTrainedConfig, file: GgufFile) -> None:
    """Set in a configuration what the file says and transformers does not read.

    Raise ParseError for positions that are stretched in a way that is not known here.
    """
    if (embedding := file.tensors.get("token_embd.weight")) is not None:
        config.vocab_size = embedding.shape[0]
    if (positions := file.tensors.get("position_embd.weight")) is not None:
        config.max_position_embeddings = positions.shape[0]
    said = _settings(file)
    if "rope.freq_base" in said:
        _global_rope(config)["rope_theta"] = said["rope.freq_base"]
    scaling = {key.removeprefix(_SCALING): one for key, one in said.items() if key.startswith(_SCALING)}
    factors = (scaling.get("factor", 1), scaling.get("attn_factor", 1))
    if "type" not in scaling and any(one not in (0, 1) for one in factors):  # for llama.cpp that is linear
        raise ParseError(f"its positions are stretched by {scaling}, of which it does not say the type")
    if scaling.get("type", "none") != "none":
        _global_rope(config).update(_read_scaling(scaling))
    if ROPE_TENSOR in file.tensors:
        rope = _global_rope(config)
        rope.update(_read_llama_3(file.read(file.tensors[ROPE_TENSOR]), rope["rope_theta"]))
    if config.model_type in _GEMMA_27B:
        _conclude_gemma(config, has_window=bool(said.get("attention.sliding_window")))
    # Phi 3's class has a window, but transformers' table does not read it.
    if "attention.sliding_window" in said and getattr(config, "sliding_window", 0) is None:
        config.sliding_window = said["attention.sliding_window"]


def _conclude_gemma(config: PreTrainedConfig, *, has_window: bool) -> None:
    """Set in a configuration of Gemma 2 or 3 what llama.cpp concludes from the file; transformers has constants."""
    # A query is divided by the root of its own width, and in 27B by that of a head's share of the stream.
    is_27b = config.num_hidden_layers == _GEMMA_27B[config.model_type]
    share = config.hidden_size // config.num_attention_heads
    config.query_pre_attn_scalar = share if is_27b else _head(config)
    # Without a window each block sees all tokens, and is rotated by the global base.
    if config.model_type == "gemma3_text" and not has_window:
        config.layer_types = ["full_attention"] * config.num_hidden_layers


def find_lost(config: PreTrainedConfig, file: GgufFile) -> list[str]:
    """Return the settings of the file that the configuration does not have, each as `key = value`."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    name = _OTHER_NAMES.get(file.architecture, file.architecture.replace("-", "_"))
    read = GGUF_CONFIG_MAPPING.get(name, {})
    read = {key for key, attribute in read.items() if attribute is not None}
    lost = {}
    for key, value in _settings(file).items():
        if key in _COMPARED:
            if not _is_like(_COMPARED[key](config), value):
                lost[key] = value
        elif key not in read | _HARMLESS and not key.startswith(_SCALING) and value not in _NEUTRAL:
            lost[key] = value
    return [f"{file.architecture}.{key} = {value}" for key, value in lost.items()]


def _settings(file: GgufFile) -> dict[str, Any]:
    """Return the file's own settings of its architecture, without its prefix."""
    prefix = f"{file.architecture}."
    found = {
        key.removeprefix(prefix): one.value for key, one in file.metadata.items() if key.startswith(prefix)
    }
    return {key: value for key, value in found.items() if value is not None}


def _global_rope(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the settings of the positions of those blocks that see all tokens; raise ParseError without any."""
    rope: Any = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict):
        raise ParseError(f"transformers has no rotation of positions for {config.model_type}")
    found: dict[str, Any] = rope.get("full_attention", rope)
    return found


def _read_scaling(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' settings for positions that are stretched evenly, or as YaRN does it."""
    known = {"type", "factor", "finetuned", "original_context_length"}
    more = {key for key, value in scaling.items() if key not in known and value not in _NEUTRAL}
    if scaling["type"] == "linear" and not more:
        return {"rope_type": "linear", "factor": scaling["factor"]}
    if scaling["type"] == "yarn" and not more:
        context = scaling["original_context_length"]
        return {
            "rope_type": "yarn",
            "factor": scaling["factor"],
            "original_max_position_embeddings": context,
        }
    raise ParseError(f"its positions are stretched by {dict(scaling)}, which is not known here")


def _read_llama_3(tensor: np.ndarray[Any, Any], theta: float) -> dict[str, Any]:
    """Return transformers' settings of Llama 3 whose outcome a tensor is, the divisor of each frequency.

    Raise ParseError where it is that of another rule. The rule is `llama3` in transformers' modeling_rope_utils.
    """
    found = tensor.reshape(-1).astype(np.float64)
    factor = float(found.max())
    low, high, context = _LLAMA_3.values()
    waves = 2 * math.pi * theta ** (np.arange(len(found)) / len(found))
    smooth = ((context / waves - low) / (high - low)).clip(0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if not np.allclose(found, expected, rtol=1e-4):
        raise ParseError(f"its {ROPE_TENSOR} is not that of Llama 3's rule")
    return {"rope_type": "llama3", "factor": factor, **_LLAMA_3}


def _is_like(found: Any, wanted: Any) -> bool:
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return math.isclose(found, wanted, rel_tol=1e-6)  # the file holds 32 bits
    return bool(found == wanted)


def _rotated(config: Any) -> float:
    """Return the number of dimensions of a head that are rotated."""
    rope = getattr(config, "rope_parameters", None) or {}
    share = rope.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", 1.0))
    return float(_head(config) * (share or 1.0))


def _head(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


_COMPARED: Mapping[str, Callable[[Any], Any]] = {
    "attention.key_length": _head,
    "attention.value_length": _head,
    "attention.sliding_window": lambda config: getattr(config, "sliding_window", None),
    "attn_logit_softcapping": lambda config: getattr(config, "attn_logit_softcapping", None),
    "final_logit_softcapping": lambda config: getattr(config, "final_logit_softcapping", None),
    "attention.causal": lambda config: True,
    "rope.dimension_count": _rotated,
    "rope.freq_base": lambda config: _global_rope(config)["rope_theta"],
    "rope.freq_base_swa": lambda config: config.rope_parameters["sliding_attention"]["rope_theta"],
    "vocab_size": lambda config: config.vocab_size,
}
"""Settings → what the configuration has for each, whichever way it came there."""

_HARMLESS = {"context_length", "feed_forward_length"}
"""Settings that change no number, or that the shapes of tensors, which are compared, say too."""

_NEUTRAL: tuple[Any, ...] = (0, False, "none", "", [])
"""Values that say that something is not there."""
