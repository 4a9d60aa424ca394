"""Opening of a model without weights: configuration, tokenizer, processor and a skeleton on the meta device."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import UnavailableError, UsageError, check_numbers, parsing, read_description
from harness_transformers.references import Files
from harness_transformers.silence import quiet
from harness_transformers.structure import Layout, find_layout

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
TEMPLATE_FILE = "chat_template.jinja"
"""Name of the file of a chat template; it takes precedence over tokenizer_config.json."""
LARGEST = 200_000_000
"""Limit in bytes of each file beside the weights; the tokenizers of Gemma have 35 MB."""
MOST_GROWTH = 1_000
"""Times its length that a normalizer may make of a text; that of most models makes it one letter longer."""
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def check_choice(name: str, parameter: str, given: Any, known: Sequence[str]) -> None:
    """Raise UsageError unless the given value of a parameter is known."""
    if given not in known:
        raise UsageError(f"model '{name}' takes {parameter} {', '.join(known)}, not {given!r}")


def check_computing(name: str, *, dtype: Any, attention: Any) -> None:
    """Raise UsageError unless dtype and attention implementation are known."""
    check_choice(name, "dtype", dtype, DTYPES)
    check_choice(name, "attention", attention, ATTENTION)


def check_softcap(name: str, config: Any, attention: str) -> None:
    """Raise UsageError if an attention implementation would ignore the decoder's logit soft-capping."""
    if attention == "sdpa" and getattr(config, "attn_logit_softcapping", None):
        raise UsageError(f"model '{name}' caps its attention logits: attention=sdpa would not, use eager")


def read_config(files: Files, *, decoder: bool = True) -> Any:
    """Read a model's configuration.

    Raise UnavailableError if config.json cannot be read or, where a `decoder` is asked for, is not that of one;
    UsageError for a quantised checkpoint.
    """
    import transformers

    version = transformers.__version__
    said = f"model '{files.name}': its config.json is not one that transformers {version} can read"
    with parsing(said), opening_files(files, "config.json") as path, quiet():
        with _refusing_code(files, "config.json"):
            config = transformers.AutoConfig.from_pretrained(
                path.parent, local_files_only=True, trust_remote_code=False
            )
        if decoder:  # asked for here, where its lack is told as the file's fault; the value is read elsewhere
            config.get_text_config().num_hidden_layers  # noqa: B018
    if getattr(config, "quantization_config", None):
        raise UsageError(f"model '{files.name}' is quantized: use a checkpoint that is not")
    return config


def read_settings(files: Files) -> Mapping[str, Any]:
    """Return what a model's config.json says, as it stands there; raise UnavailableError if it is broken."""
    with opening_files(files, "config.json"):
        return files.read_json("config.json") or {}


def read_tokenizer(files: Files) -> Any:
    """Read a model's fast tokenizer, set to truncate long texts at the end.

    Raise UnavailableError if there is none or it cannot be read.
    """
    import transformers

    present = [file for file in (*TOKENIZER_FILES, TEMPLATE_FILE) if files.find(file)]
    said = f"model '{files.name}': its tokenizer cannot be read"
    with (
        parsing(said),
        opening_files(files, "tokenizer.json", "config.json", *present) as path,
        quiet(),
        _refusing_code(files, "tokenizer_config.json"),
    ):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise UnavailableError(
            f"model '{files.name}' has no fast tokenizer: save it again with save_pretrained"
        )
    check_growth(files.name, tokenizer.backend_tokenizer)
    tokenizer.truncation_side = "right"
    return tokenizer


def read_template(name: str, path: Path) -> str:
    """Return the chat template in a file. Raise UsageError if there is none or it cannot be read."""
    with parsing(f"model '{name}': its template '{path}' cannot be read", kind=UsageError):
        return read_description(path).decode("utf-8")


def read_processor(files: Files) -> Any:
    """Read a vision-language model's processor: tokenizer and image processor.

    Raise UnavailableError if there is none or it cannot be read.
    """
    import transformers

    present = [file for file in (*PROCESSOR_FILES, *TOKENIZER_FILES) if files.find(file)]
    said = (
        f"model '{files.name}': its {' and '.join(PROCESSOR_FILES)} are not those of a processor that "
        f"transformers {transformers.__version__} can read"
    )
    with (
        parsing(said),
        opening_files(files, "config.json", *present) as path,
        quiet(),
        _refusing_code(files, *PROCESSOR_FILES, "tokenizer_config.json"),
    ):
        processor = transformers.AutoProcessor.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False
        )
        # Asked for here, where the lack of one is told as the files' fault.
        processor.tokenizer, processor.image_processor, processor.image_token  # noqa: B018 (their lack raises)
    if processor.tokenizer.is_fast:
        check_growth(files.name, processor.tokenizer.backend_tokenizer)
    return processor


def read_image_processor(files: Files) -> Any:
    """Read the image processor of a model of images, which resizes with torchvision where that is installed.

    Raise UnavailableError if there is none or it cannot be read.
    """
    import transformers

    present = [file for file in PROCESSOR_FILES if files.find(file)] or [PROCESSOR_FILES[0]]
    said = (
        f"model '{files.name}': its {' and '.join(present)} {'is' if len(present) == 1 else 'are'} not of an image "
        f"processor that transformers {transformers.__version__} can read"
    )
    with (
        parsing(said),
        opening_files(files, "config.json", *present) as path,
        quiet(),
        _refusing_code(files, *present),
    ):
        # Pillow rounds otherwise, by one of 255 levels in up to 1 % of the values.
        return transformers.AutoImageProcessor.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False, backend="torchvision"
        )


def check_growth(name: str, tokenizer: Any) -> None:
    """Raise UnavailableError if the normalizer of a tokenizer of the library tokenizers may make a text many times
    longer, as it could fill the memory.
    """
    normalizer = tokenizer.normalizer
    if not normalizer:
        return
    growth, left = 1.0, [json.loads(normalizer.__getstate__())]
    while left:
        step = left.pop()
        left += step.get("normalizers", ())
        # An expression may match nothing, between any two letters.
        replaced = len(step.get("pattern", {}).get("String", "")) or 0.5
        added = len(step.get("content", "") or step.get("prepend", ""))
        growth *= max(1, added / replaced)
    if growth > MOST_GROWTH:
        raise UnavailableError(
            f"model '{name}': the normalizer in its tokenizer.json may make {growth:,.0f} letters of one, and at most "
            f"{MOST_GROWTH:,} are taken: fetch it again from a source that you trust"
        )


@contextlib.contextmanager
def _refusing_code(files: Files, *names: str) -> Iterator[None]:
    """Raise UnavailableError where the block fails and one of the files that it reads names code of the model's own."""
    try:
        yield
    except Exception as error:  # a class of transformers may raise any type
        for name in names:
            if (files.read_json(name) or {}).get("auto_map"):
                raise _own_code(files.name, name) from error
        raise


def _own_code(name: str, file: str) -> UnavailableError:
    import transformers

    return UnavailableError(
        f"model '{name}' needs code of its own, which its {file} names under auto_map and which is never run: use a "
        f"model that transformers {transformers.__version__} knows without"
    )


@contextlib.contextmanager
def opening_files(files: Files, *names: str) -> Iterator[Path]:
    """Hash files, and yield the path of the first, for a block that reads all of them in its folder.

    Raise UnavailableError for a file that is too large, and for numbers of which nothing should be made.
    """
    files.hashes(names)
    for name in names:
        if name.endswith(".json") and name not in ("tokenizer.json", "added_tokens.json"):
            check_numbers(files.read_json(name), f"model '{files.name}': its {name}")
    with files.reading(*names) as paths:
        for path in paths:
            if (size := path.stat().st_size) > LARGEST:
                raise UnavailableError(
                    f"model '{files.name}': its {path.name} has {size:,} bytes, and at most {LARGEST:,} are read"
                )
        yield paths[0]


def build_bare(name: str, config: Any, attention: str) -> Any:
    """Build a whole model without a head, on the meta device."""
    import transformers

    return _build(transformers.AutoModel, name, config, attention)


def build_skeleton(name: str, config: Any, attention: str) -> tuple[Any, Layout]:
    """Build the whole decoder on the meta device; return it with its layout."""
    model = build_bare(name, config, attention)
    layout = find_layout(model, config.num_hidden_layers)
    if layout is None or getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"model '{name}' ({config.model_type}) is not a text decoder with a list of blocks")
    return model, layout


def build_whole_skeleton(name: str, config: Any, attention: str, decoder: type) -> Any:
    """Build the decoder with its language-modelling head on the meta device.

    Raise UsageError if transformers has no such head for it.
    """
    import transformers

    refusal = f"model '{name}' ({config.model_type}) gives no next-token losses"
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UsageError(
            f"{refusal}: transformers {transformers.__version__} has no causal language model of it"
        )
    model = _build(transformers.AutoModelForCausalLM, name, config, attention)
    if type(model.base_model) is not decoder:
        raise UsageError(
            f"{refusal}: its {type(model).__name__} is not made around a {decoder.__name__}, whose sites these are"
        )
    return model


def _build(factory: Any, name: str, config: Any, attention: str) -> Any:
    import torch

    said = f"model '{name}' with attention={attention}"
    # A class may raise any type for values of another type than it expects.
    with parsing(f"{said}: its config.json fits no {config.model_type}"):
        try:
            with quiet(), torch.device("meta"):
                return factory.from_config(config, attn_implementation=attention, trust_remote_code=False)
        except ImportError as error:
            raise UnavailableError(f"{said}: {first_line(error)}") from error
        except (ValueError, KeyError) as error:
            if getattr(config, "auto_map", None):
                raise _own_code(name, "config.json") from error
            raise UsageError(f"{said}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, with the second where the first only announces it."""
    first, *more = str(error).strip().split("\n")
    return f"{first} {more[0].strip()}" if first.endswith(":") and more else first
