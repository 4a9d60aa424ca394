"""The token at the beginning of a text (BOS): declared by a tokenizer, added by it, or asked for.

A checkpoint that was saved anew or converted may keep the declaration and lose the rule that adds the token. Its
features then differ from those of the model as trained, so that every result says so, until `bos` is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from harness import Conversation, Tokens, UnavailableError, UsageError, parsing
from harness_transformers.chat import ChatTemplate
from harness_transformers.encoding import encode_chat, encode_plain
from harness_transformers.opening import check_choice
from harness_transformers.references import Files

CHOICES = ("add", "none")
"""Choices of the parameter `bos`; without it, the tokenizer's own behaviour stays."""

FLAG = "bos-not-added"
"""Flag of results without a BOS that the tokenizer declares."""

REMEDY = "bos=add adds it, and bos=none says that it is left out on purpose"
"""Way out for a BOS that is declared and not added."""

ADDING = frozenset({"CodeLlama", "Cohere", "Gemma", "Llama"})
"""Tokenizer classes of transformers, without `Tokenizer` and `Fast`, that are documented to add BOS by default."""

_GENERIC = frozenset({None, "PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"})
"""Classes that say nothing about BOS: there the class of the model's type counts."""


class TextEncoder:
    """Encoder of texts and conversations under one rule for BOS, for a model with `n_embedded` tokens.

    Raises UsageError for an unknown rule, and for `add` where the tokenizer has no BOS.
    """

    def __init__(
        self, name: str, tokenizer: Any, template: ChatTemplate | None, bos: str | None, *, n_embedded: int
    ) -> None:
        self._name, self._n_embedded = name, n_embedded
        if bos is not None:
            check_choice(name, "bos", bos, CHOICES)
        self._tokenizer, self._template, self._bos = tokenizer, template, bos
        self._token = tokenizer.bos_token_id
        if bos == "add" and self._token is None:
            raise UsageError(f"model '{name}' takes no bos=add: its tokenizer has no bos_token")
        with self._encoding():
            first = tokenizer("a", verbose=False).encodings[0]
        self.adds_bos = first.ids[:1] == [self._token] and first.special_tokens_mask[0] == 1
        """True if the tokenizer adds BOS without an option."""

    @property
    def n_special(self) -> int:
        """Number of tokens that a text without a template gets beside its own."""
        return int(self._tokenizer.num_special_tokens_to_add()) + self._added

    @property
    def _added(self) -> int:
        """Difference of the rule to the tokenizer's own behaviour: 1, -1 or 0 tokens at the beginning."""
        if self._bos == "add":
            return int(not self.adds_bos)
        return -int(self.adds_bos) if self._bos == "none" else 0

    def encode(self, inputs: Sequence[str | Conversation], *, max_length: int) -> list[Tokens]:
        """Return one Tokens of at most `max_length` for each input, with the template if there is one."""
        if self._template is not None:
            return self.encode_chat(self._template, inputs, max_length=max_length)
        return self.encode_plain(inputs, max_length=max_length)

    def encode_plain(self, inputs: Sequence[str | Conversation], *, max_length: int) -> list[Tokens]:
        """Return the Tokens of `encoding.encode_plain`, with BOS or without it as the rule says."""
        with self._encoding():
            encoded = encode_plain(self._tokenizer, inputs, max_length=max_length - self._added)
        if self._added > 0:
            encoded = [_with_first(tokens, self._token) for tokens in encoded]
        elif self._added < 0:
            encoded = [_without_first(tokens) for tokens in encoded]
        return self._check_ids(encoded)

    def encode_chat(
        self, template: ChatTemplate, inputs: Sequence[str | Conversation], *, max_length: int
    ) -> list[Tokens]:
        """Return the Tokens of `encoding.encode_chat`, with BOS or without it as the rule says.

        Without a rule the template alone decides.
        """
        longest = max_length + (self._bos == "none")  # a BOS of the template is taken away below
        with self._encoding():
            encoded = encode_chat(self._tokenizer, template, inputs, max_length=longest)
        if self._bos:
            encoded = [_cut(self._apply(tokens), max_length) for tokens in encoded]
        return self._check_ids(encoded)

    def _encoding(self) -> AbstractContextManager[None]:
        return parsing(f"model '{self._name}': its tokenizer cannot encode a text")

    def _check_ids(self, encoded: list[Tokens]) -> list[Tokens]:
        """Return the tokens; raise UnavailableError for one that the model has no embedding for."""
        for tokens in encoded:
            if len(beyond := tokens.ids[tokens.ids >= self._n_embedded]):
                token = self._tokenizer.convert_ids_to_tokens(int(beyond[0]))
                raise UnavailableError(
                    f"model '{self._name}': its tokenizer has the token {token!r} with the id {beyond[0]}, and its "
                    f"weights only {self._n_embedded} tokens: fetch both from one checkpoint"
                )
        return encoded

    def _apply(self, tokens: Tokens) -> Tokens:
        """Return the tokens of a template with exactly one BOS before them, or with none."""
        begins = len(tokens.ids) > 0 and tokens.ids[0] == self._token
        if begins == (self._bos == "add"):
            return tokens
        return _without_first(tokens) if begins else _with_first(tokens, self._token)


def find_declaration(
    files: Files, tokenizer: Any, *, named: str | None, of_type: Callable[[], str | None]
) -> str | None:
    """Return what declares that the tokenizer adds BOS, for a sentence; None if nothing does, or it has no BOS.

    `named` is the class that config.json names, `of_type` gives that of the model's type.
    """
    settings = files.read_json("tokenizer_config.json") or {}
    if tokenizer.bos_token_id is None:
        return None
    if isinstance(settings.get("add_bos_token"), bool):
        return "add_bos_token in tokenizer_config.json" if settings["add_bos_token"] else None
    named = settings.get("tokenizer_class") or named
    kind = named if named not in _GENERIC else of_type()
    if kind is None or re.sub(r"Tokenizer(Fast)?$", "", kind) not in ADDING:
        return None
    return f"its class, {kind},"


def describe_missing(name: str, declaration: str, remedy: str = REMEDY) -> str:
    """Return the sentence about a BOS that is declared and not added."""
    return (
        f"model '{name}': {declaration} declares that a BOS token is added, and its tokenizer adds none, so that "
        f"features may differ from those of the model as trained: {remedy}"
    )


def class_of_type(config: Any) -> str | None:
    """Return the class of tokenizers that transformers has for the type of a model."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    types = (config.model_type, config.get_text_config().model_type)
    return next((found for found in map(TOKENIZER_MAPPING_NAMES.get, types) if found), None)


def _with_first(tokens: Tokens, token: int) -> Tokens:
    """Return the tokens with one before them that is no content."""
    return replace(
        tokens,
        ids=np.concatenate([[token], tokens.ids]).astype(np.int64),
        content=np.concatenate([[False], tokens.content]),
        prompt=None if tokens.prompt is None else np.concatenate([[False], tokens.prompt]),
    )


def _without_first(tokens: Tokens) -> Tokens:
    return _slice(tokens, slice(1, None))


def _cut(tokens: Tokens, max_length: int) -> Tokens:
    """Return at most the first `max_length` tokens."""
    longer = len(tokens.ids) > max_length
    return replace(_slice(tokens, slice(max_length)), truncated=tokens.truncated or longer)


def _slice(tokens: Tokens, kept: slice) -> Tokens:
    prompt = None if tokens.prompt is None else tokens.prompt[kept]
    return replace(tokens, ids=tokens.ids[kept], content=tokens.content[kept], prompt=prompt)
