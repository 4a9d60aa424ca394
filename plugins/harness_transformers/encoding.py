"""Tokenization of texts and conversations, with a mask of content tokens.

A token with any character of a message is content even if it also has characters of the template (`▁hello` in
`[INST] hello`), so that no part of a message is lost. A token shared by two messages belongs to the
assistant's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from harness import Conversation, Tokens
from harness_transformers.chat import ChatTemplate, Rendering, Span, join_messages

Array = np.ndarray[Any, Any]

BLOCK = 1000
"""Inputs that are encoded together."""

HEAD_CHARACTERS = 64
"""Characters encoded at first, per token of the maximum length."""


def encode_plain(tokenizer: Any, inputs: Sequence[str | Conversation], *, max_length: int) -> list[Tokens]:
    """Return one Tokens for each input; a conversation is its contents joined with newlines.

    Special tokens spelled out in a text are encoded as ordinary text.
    """
    return [tokens for some in _blocks(inputs) for tokens in _encode_block(tokenizer, some, max_length)]


def _blocks(inputs: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield inputs some at a time: what a tokenizer returns for a text takes ten times the memory of its ids."""
    for start in range(0, len(inputs), BLOCK):
        yield inputs[start : start + BLOCK]


def _encode_block(tokenizer: Any, inputs: Sequence[str | Conversation], max_length: int) -> Iterator[Tokens]:
    encodings = _encode_heads(tokenizer, [str(one) for one in inputs], max_length)
    return (_plain_tokens(encoding, one) for encoding, one in zip(encodings, inputs, strict=True))


def _encode_heads(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Any]:
    """Encode texts, truncated at the maximum length; of a very long text at first only its head."""
    # Ten megabytes of text would take a gigabyte of memory. The head suffices if it alone gives more than twice the
    # tokens that are kept.
    head = HEAD_CHARACTERS * max_length
    encodings = _encode(tokenizer, [text[:head] for text in texts], max_length)
    rest = [n for n, text in enumerate(texts) if len(text) > head and len(encodings[n].overflowing) < 2]
    for n, encoding in zip(rest, _encode(tokenizer, [texts[n] for n in rest], max_length), strict=True):
        encodings[n] = encoding
    return encodings


def _encode(tokenizer: Any, texts: list[str], max_length: int) -> list[Any]:
    if not texts:
        return []
    encoded = tokenizer(
        texts, truncation=True, max_length=max_length, split_special_tokens=True, verbose=False
    )
    return list(encoded.encodings)


def _plain_tokens(encoding: Any, one: str | Conversation) -> Tokens:
    ids = np.array(encoding.ids, dtype=np.int64)
    content = np.array(encoding.special_tokens_mask, dtype=np.int64) == 0
    prompt = None
    if isinstance(one, Conversation):
        inside, prompt = _masks(_arrays(encoding)[1], join_messages(one).spans)
        content, prompt = content & inside, content & prompt
    return Tokens(ids=ids, content=content, prompt=prompt, truncated=bool(encoding.overflowing))


def encode_chat(
    tokenizer: Any, template: ChatTemplate, inputs: Sequence[str | Conversation], *, max_length: int
) -> list[Tokens]:
    """Return one Tokens for each input, with the ids of `apply_chat_template(tokenize=True)`.

    Special tokens spelled out in a message are the exception: they are encoded as ordinary text, so that they
    can neither end a turn nor begin one.
    """
    special = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special]
    renderings = [template.render(one, number) for number, one in enumerate(inputs)]
    return [
        _chat_tokens(tokenizer, encoding, rendering, special, max_length)
        for some in _blocks(renderings)
        for encoding, rendering in zip(_encode_renderings(tokenizer, some), some, strict=True)
    ]


def _encode_renderings(tokenizer: Any, renderings: Sequence[Rendering]) -> list[Any]:
    texts = [rendering.text for rendering in renderings]
    return list(tokenizer(texts, add_special_tokens=False, verbose=False).encodings)


def _chat_tokens(
    tokenizer: Any, encoding: Any, rendering: Rendering, special: Sequence[int], max_length: int
) -> Tokens:
    ids, offsets = _arrays(encoding)
    spelt, owned = _split_special(np.isin(ids, special), offsets, rendering)
    if spelt.any():
        ids, offsets = _encode_messages_as_text(
            tokenizer, rendering.text, ids, offsets, spelt=spelt, owned=owned
        )
    content, prompt = (mask & ~np.isin(ids, special) for mask in _masks(offsets, rendering.spans))
    kept = slice(max_length)
    return Tokens(
        ids=ids[kept],
        content=content[kept],
        prompt=prompt[kept] if any(not span.is_prompt for span in rendering.spans) else None,
        truncated=len(ids) > max_length,
    )


def _split_special(is_special: Array, offsets: Array, rendering: Rendering) -> tuple[Array, Array]:
    """Return masks of the special tokens that a message spells out, and of those that the template wrote."""
    inside, _ = _masks(offsets, rendering.spans)
    offsets = offsets.copy()
    # Some special tokens of a template absorb the whitespace around them, which may be a message's.
    for token in (is_special & inside).nonzero()[0]:
        start, end = offsets[token]
        taken = rendering.text[start:end]
        offsets[token] = end - len(taken.lstrip()), start + len(taken.rstrip())
    inside, _ = _masks(offsets, rendering.spans)
    return is_special & inside, is_special & ~inside


def _encode_messages_as_text(
    tokenizer: Any, text: str, ids: Array, offsets: Array, *, spelt: Array, owned: Array
) -> tuple[Array, Array]:
    """Return ids and offsets with the special tokens that a message spells out encoded as text."""
    # A tokenizer splits a text at its special tokens first, so the text between two of the template's can be encoded
    # on its own.
    parts: list[tuple[Array, Array]] = []
    for before, after in pairwise([-1, *owned.nonzero()[0], len(ids)]):
        between = slice(before + 1, after)
        part = ids[between], offsets[between]
        if spelt[between].any():
            start = offsets[before, 1] if before >= 0 else 0
            end = offsets[after, 0] if after < len(ids) else len(text)
            plain_ids, plain_offsets = _encode_as_text(tokenizer, text[start:end])
            part = plain_ids, plain_offsets + start
        parts += [part, (ids[after : after + 1], offsets[after : after + 1])]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _encode_as_text(tokenizer: Any, text: str) -> tuple[Array, Array]:
    """Return ids and offsets of a text without any special token."""
    # Some tokenizers put a space before a text's first word; a leading newline prevents that, but must not merge with
    # the text into one token.
    for lead in ("\n", ""):
        encoded = tokenizer(lead + text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids, offsets = _arrays(encoded.encodings[0])
        own = offsets[:, 1] > len(lead)
        if (offsets[own, 0] >= len(lead)).all():
            break
    return ids[own], offsets[own] - len(lead)


def _arrays(encoding: Any) -> tuple[Array, Array]:
    """Return ids `[tokens]`, and character ranges `[tokens, 2]`."""
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    # Some tokenizers exclude spaces from offsets; a token of spaces alone then has an empty range.
    before = np.maximum.accumulate(np.concatenate([[0], offsets[:, 1]]))[:-1]
    empty = offsets[:, 0] == offsets[:, 1]
    offsets[empty, 0] = before[empty]
    return np.array(encoding.ids, dtype=np.int64), offsets


def _masks(offsets: Array, spans: Sequence[Span]) -> tuple[Array, Array]:
    """Return masks of tokens with a character of any message, and with none of the assistant's.

    The second mask is part of the first.
    """
    prompt = np.zeros(len(offsets), dtype=np.bool_)
    answer = prompt.copy()
    for span in spans:
        # An empty message has no token, not even one of the template that spans its position.
        if span.start == span.end:
            continue
        touched = (offsets[:, 0] < span.end) & (offsets[:, 1] > span.start)
        if span.is_prompt:
            prompt |= touched
        else:
            answer |= touched
    return prompt | answer, prompt & ~answer
