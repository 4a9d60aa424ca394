"""Toy files in GGUF, written with the format's own library: random weights, and a tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from harness_transformers.conversion import _write_description
from harness_transformers.gguf_file import GgufFile, Stored, Value
from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

WIDTH, HEADS, BLOCKS, INNER, CONTEXT = 64, 4, 2, 96, 128
WORDS = ["▁", "▁a", "▁cat", "cat", "s", "▁s", "at", "▁c", "c", "a", "t"]
BYTE_WORDS = ["Ġc", "at", "Ġcat", "dog"]
"""Tokens behind those of single bytes; no merges make the last."""

SHARED: dict[str, Any] = {
    "context_length": CONTEXT,
    "embedding_length": WIDTH,
    "block_count": BLOCKS,
    "feed_forward_length": INNER,
    "attention.head_count": HEADS,
}
RMS = {"attention.layer_norm_rms_epsilon": 1e-6}
LN = {"attention.layer_norm_epsilon": 1e-5}
ROPE = {"rope.freq_base": 10000.0}
HALF = {"attention.head_count_kv": 2}
HEAD = {"attention.key_length": 16, "attention.value_length": 16}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {**RMS, **ROPE, **HALF, "rope.dimension_count": 16},
    "qwen2": {**RMS, **ROPE, **HALF},
    "qwen3": {**RMS, **ROPE, **HALF, "attention.key_length": 128, "attention.value_length": 128},
    "gemma2": {
        **RMS,
        **HALF,
        **HEAD,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "attention.sliding_window": 32,
    },
    "gemma3": {**RMS, **HALF, **HEAD, "rope.freq_base": 1e6, "attention.sliding_window": 32},
    "gpt2": {**LN, "context_length": 1024, "feed_forward_length": 4 * WIDTH},
    "phi3": {**RMS, **ROPE, **HALF, "rope.dimension_count": 16},
    "starcoder2": {**LN, **HALF},
    "nemotron": {**RMS, **HALF, **ROPE, "rope.dimension_count": 8},
    "stablelm": {**LN, **HALF, "rope.dimension_count": 4},
    "bloom": {**LN, "feed_forward_length": 4 * WIDTH},
    "falcon": {**RMS, "attention.head_count_kv": 1},
}
"""Architecture → its settings beside the shared ones."""

TOKENIZERS: dict[str, dict[str, Any]] = {
    "llama": {
        "add_bos_token": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "padding_token_id": 0,
        "unknown_token_id": 3,
    },
    "gpt2": {"pre": "qwen2", "eos_token_id": 262, "padding_token_id": 262},
}
"""Kind of tokenizer → what is said of it; `<|begin|>` of the second is token 261."""


def write_toy(
    path: Path,
    architecture: str,
    *,
    settings: Mapping[str, Any] | None = None,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tied: bool = False,
    more: Mapping[str, np.ndarray[Any, Any]] | None = None,
    without: str = "",
    template: str = "",
    tokenizer: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write a model of a toy size, with matrices of one kind; return its path. A setting of None is left out."""
    said = {**SHARED, **ARCHITECTURES[architecture], **(settings or {})}
    said = {key: value for key, value in said.items() if value is not None}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("a toy")
    _add(writer, {f"{architecture}.{key}": value for key, value in said.items()})
    vocabulary = _write_tokenizer(writer, _describe_tokenizer(architecture, tokenizer or {}))
    if template:
        writer.add_chat_template(template)
    shapes = _shapes(architecture, said, vocabulary, tied=tied)
    random = np.random.default_rng(seed)
    for name, shape in shapes.items():
        if name == without:
            continue
        values = random.normal(scale=0.1, size=shape).astype(np.float32) + ("norm" in name)
        if len(shape) > 1 and kind != gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    for name, values in (more or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, values: Mapping[str, Any]) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key, value in values.items():
        kinds[type(value)](key, value)


def _describe_tokenizer(architecture: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of its tokenizer, as files of an architecture do, with changes."""
    kind = changed.get("model", "llama" if architecture in ("llama", "gemma2", "gemma3") else "gpt2")
    said = {"model": kind, **TOKENIZERS[kind]}
    if kind == "llama":
        said["add_space_prefix"] = not architecture.startswith("gemma")
    elif architecture in ("gpt2", "starcoder2"):
        said["pre"] = "gpt-2"  # the only rule of words of the class for these
    return {**said, **changed}


def _write_tokenizer(writer: gguf.GGUFWriter, said: Mapping[str, Any]) -> int:
    """Write the tokens of one of two kinds of tokenizers, and what is said of it; return how many tokens there are."""
    if said["model"] == "llama":
        pieces = [f"<0x{byte:02X}>" for byte in range(256)] + [*"abcdefghijklmnopqrstuvwxyz"]
        words = ["<pad>", "<eos>", "<bos>", "<unk>", *pieces, *(w for w in WORDS if w not in pieces)]
        words.append("<end_of_turn>")
        kinds = [3, 3, 3, 2, *[6] * 256, *[1] * (len(words) - 261), 3]
        writer.add_token_scores([-float(number) for number in range(len(words))])
    else:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        words = [*bytes_to_unicode().values(), *BYTE_WORDS, "<｜text｜>", "<|begin|>", "<|end|>"]
        kinds = [*[1] * (len(words) - 3), 3, 3, 3]
        writer.add_token_merges(["Ġ c", "a t", "Ġc at"])
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    _add(writer, {f"tokenizer.ggml.{key}": value for key, value in said.items() if value is not None})
    return len(words)


def _shapes(
    architecture: str, said: Mapping[str, Any], vocabulary: int, *, tied: bool
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors as the file has them, from transformers' model of it."""
    kinds = {bool: 7, int: 4, float: 6, str: 8}
    stand_in = {"token_embd.weight": (vocabulary, WIDTH)} | ({} if tied else {"output.weight": (1,)})
    with TemporaryDirectory() as scratch:
        _write_description(
            GgufFile(
                path=Path(scratch),
                metadata={
                    "general.architecture": Value(kind=8, value=architecture),
                    **{f"{architecture}.{k}": Value(kind=kinds[type(v)], value=v) for k, v in said.items()},
                },
                tensors={
                    name: Stored(name=name, shape=shape, kind=0, start=0, bytes=0)
                    for name, shape in stand_in.items()
                },
            ),
            Path(scratch) / "x.gguf",
        )
        config = transformers.AutoConfig.from_pretrained(scratch, gguf_file="x.gguf")
    config.vocab_size, config.pad_token_id = vocabulary, 0
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    names = get_gguf_hf_weights_map(model, TensorProcessor(config=config.to_dict()))
    tied_names = model.all_tied_weights_keys
    state = model.state_dict()
    turned = {
        name
        for name in names
        if architecture == "gpt2"
        and name.startswith("blk.")
        and name.endswith(".weight")
        and "norm" not in name
    }
    return {
        name: tuple(reversed(state[key].shape)) if name in turned else tuple(state[key].shape)
        for name, key in names.items()
        if key in state and key not in tied_names
    }
