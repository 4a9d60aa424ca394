"""Tokenizer of a GGUF file: what llama.cpp does with it and transformers does not is taken over, or refused.

transformers makes the tokenizer of the file's tokens and merges, and drops the rest: when BOS is added, that no space
comes first, which tokens end a turn. A rule of words that it does not know becomes GPT-2's. The names below, and what
follows from each, are those of `llama_vocab::impl::load` in src/llama-vocab.cpp of llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness import ParseError
from harness_transformers.gguf_file import GgufFile

_PREFIX = "tokenizer.ggml."

_WHOLE_WORDS = frozenset(
    {
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
    }
)
"""Pre-tokenizers with which a word that is a token stays whole, whatever the merges make of it."""

_WITH_BOS = _WHOLE_WORDS | {"chameleon"}
"""Pre-tokenizers whose tokenizers add BOS unless the file says no."""

_LIKE_GPT_2 = frozenset(
    {
        "gpt-2",
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "trillion",
        "granite-docling",
        "exaone4",
        "gigachat",
        "a.x-4.0",
        "mellum",
        "modern-bert",
        "roberta-bpe",
        "jina-es",
        "jina-de",
        "jina-v1-en",
        "jina-v2-es",
        "jina-v2-de",
        "jina-v2-code",
    }
)
"""Pre-tokenizers whose rule of words is GPT-2's."""

_DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
"""Pre-tokenizers whose rule of words is GPT-2's once each digit stands alone."""

_ENDS_OF_TURNS = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "<end_of_utterance>",
    }
)
"""Names of tokens that end a turn, also where the file does not say so."""


def check_words(file: GgufFile) -> None:
    """Raise ParseError where transformers would split texts into other words than the file means.

    Of a tokenizer of bytes that names no rule, or `default`, nobody knows the words: llama.cpp then takes a rule that
    is no model's, nor GPT-2's, and warns of worse answers.
    """
    said = _settings(file)
    if said.get("model") != "gpt2":
        return  # the words of SentencePiece follow from its tokens
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    rule = said.get("pre")
    if rule in (None, "", "default"):
        raise ParseError(f"it does not say by which rule texts are split into words, {_PREFIX}pre")
    if rule not in GGUF_PRE_TOKENIZER_SPLITS.keys() | _LIKE_GPT_2 | _DIGITS_APART:
        raise ParseError(f"its pre-tokenizer, {rule!r}, has a rule of words that transformers does not know")


def complete(tokenizer: Any, file: GgufFile) -> None:
    """Make a tokenizer of transformers do with texts what llama.cpp does.

    Raise ParseError for a BOS or EOS that the file adds and does not name, or that is another token here, and for words
    that would not be kept.
    """
    said = _settings(file)
    _check_named(tokenizer, said)
    rule = said.get("pre") if said.get("model") == "gpt2" else None
    if rule in _WHOLE_WORDS:
        tokenizer.backend_tokenizer.model.ignore_merges = True
    if rule in _DIGITS_APART:
        _part_digits(tokenizer.backend_tokenizer)
    if rule in _WITH_BOS and "add_bos_token" not in said and "bos_token_id" in said:
        tokenizer.add_bos_token = True  # makes the post-processor anew, which is what a folder keeps
    # Those of Gemma have no prefix as they are.
    has_prefix = said.get("model") == "llama" and not file.architecture.startswith("gemma")
    if has_prefix and said.get("add_space_prefix") is False:
        _drop_prefix(tokenizer.backend_tokenizer)
    _check_kept(tokenizer)


def find_ends(tokenizer: Any, file: GgufFile) -> list[int]:
    """Return the tokens that end an answer, sorted: those that the file names, and with its template those by name."""
    said = _settings(file)
    named = (said.get(f"{name}_token_id") for name in ("eos", "eot", "eom"))
    ends = {number for number in named if isinstance(number, int)}
    if tokenizer.chat_template:
        added = tokenizer.added_tokens_decoder.items()
        ends |= {number for number, token in added if token.special and str(token) in _ENDS_OF_TURNS}
    return sorted(ends)


def _settings(file: GgufFile) -> dict[str, Any]:
    """Return what the file says of its tokenizer, without the prefix; of long arrays nothing."""
    found = {
        key.removeprefix(_PREFIX): one.value for key, one in file.metadata.items() if key.startswith(_PREFIX)
    }
    return {key: value for key, value in found.items() if value is not None}


def _check_named(tokenizer: Any, said: Mapping[str, Any]) -> None:
    """Raise ParseError where BOS or EOS is added and not named, or has another number than in the file."""
    adds = {"add_bos_token": said.get("model") == "llama", **said}
    for name in ("bos", "eos"):
        number = said.get(f"{name}_token_id")
        if number is None and adds.get(f"add_{name}_token"):
            raise ParseError(f"it adds {name.upper()} to texts and does not say which token that is")
        # A token of bytes that is not written in their alphabet is added once more, under a new number.
        if number is not None and (found := getattr(tokenizer, f"{name}_token_id")) != number:
            raise ParseError(f"its {name.upper()} is token {number}, and would be token {found}")


def _part_digits(backend: Any) -> None:
    """Make a tokenizer of bytes take each digit for a word of its own before it splits by GPT-2's rule."""
    from tokenizers import pre_tokenizers

    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _drop_prefix(backend: Any) -> None:
    """Make a tokenizer of SentencePiece put no space before a text, nor take one away from what it decodes."""
    from tokenizers import decoders, normalizers

    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = None
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )


def _check_kept(tokenizer: Any) -> None:
    """Raise ParseError where the tokenizer's class would split texts otherwise once it is opened from a folder.

    A class with a constructor of its own makes its own rule of words, and reads tokens and merges alone.
    """
    import transformers

    kind = type(tokenizer)
    if kind is transformers.PreTrainedTokenizerFast or "__init__" not in vars(kind):
        return
    if _rule_of(kind()) != _rule_of(tokenizer):
        raise ParseError(f"{kind.__name__}, the class for its type of model, splits texts by another rule")


def _rule_of(tokenizer: Any) -> tuple[Any, bool]:
    """Return how a tokenizer finds words, and whether a word that is a token stays whole."""
    backend = tokenizer.backend_tokenizer
    words = backend.pre_tokenizer
    rule = None if words is None else json.loads(words.__getstate__())
    return rule, bool(getattr(backend.model, "ignore_merges", False))
