"""The files of a model in; its configuration, tokenizer, and a skeleton without weights out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from transformers.utils import logging

from harness import MissingError, UsageError
from harness_transformers.references import Files
from harness_transformers.structure import Layout, find_layout


def read_config(files: Files) -> Any:
    """The configuration of a decoder; MissingError when config.json is not that of one."""
    path = files.get("config.json")
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(path.parent, local_files_only=True)
            config.get_text_config().num_hidden_layers  # noqa: B018
    except Exception as error:  # whatever a config class makes of a broken file
        raise MissingError(
            f"model '{files.name}': its config.json is not one that transformers {transformers.__version__} "
            f"can read: {first_line(error)}"
        ) from error
    if getattr(config, "quantization_config", None):
        raise UsageError(f"model '{files.name}' is quantized: use a checkpoint that is not")
    return config


def read_tokenizer(files: Files) -> Any:
    """The fast tokenizer of a model, which cuts long texts at their end."""
    path = files.get("tokenizer.json")
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, local_files_only=True)
    except Exception as error:  # whatever a tokenizer class makes of a broken file
        raise MissingError(
            f"model '{files.name}': its tokenizer cannot be read: {first_line(error)}"
        ) from error
    if not tokenizer.is_fast:
        raise MissingError(f"model '{files.name}' has no fast tokenizer: save it again with save_pretrained")
    tokenizer.truncation_side = "right"
    return tokenizer


def build_skeleton(name: str, config: Any, attention: str) -> tuple[Any, Layout]:
    """The whole decoder without memory for its weights, and the names of its parts."""
    model = _build(transformers.AutoModel, name, config, attention)
    layout = find_layout(model, config.num_hidden_layers)
    if layout is None or getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"model '{name}' ({config.model_type}) is not a text decoder with a list of blocks")
    return model, layout


def build_whole_skeleton(name: str, config: Any, attention: str, decoder: type) -> Any:
    """The decoder with its language modelling head, without memory for weights; UsageError when there is none."""
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
    try:
        with quiet(), torch.device("meta"):
            return factory.from_config(config, attn_implementation=attention)
    except ImportError as error:
        raise MissingError(f"model '{name}' with attention={attention}: {first_line(error)}") from error
    except (ValueError, KeyError) as error:
        raise UsageError(f"model '{name}' with attention={attention}: {first_line(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the load report and progress bars of transformers; its settings are put back after."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return str(error).strip().split("\n")[0]
