"""Texts in, their tokens out, with a mask of those that are content.

A token that holds any character of a message is content, though it may hold one of the template too (`▁hello`
in `[INST] hello`): nothing of a message is lost. Of two messages in one token, the assistant's counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from harness import Conversation, Tokens
from harness_transformers.chat import ChatTemplate, Rendering, Span, join_messages

Array = np.ndarray[Any, Any]

HEAD = 64
"""Characters of a text, for each token kept, that are encoded at first."""


def encode_plain(tokenizer: Any, inputs: Sequence[str | Conversation], *, max_length: int) -> list[Tokens]:
    """One Tokens for each input, a conversation as its contents joined with newlines; special tokens written
    out in a text are ordinary text.
    """
    encodings = _encode_heads(tokenizer, [str(one) for one in inputs], max_length)
    return [_plain_tokens(encoding, one) for encoding, one in zip(encodings, inputs, strict=True)]


def _encode_heads(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Any]:
    """The encodings of texts, cut at the maximum length. Of a very long text only its head is encoded, where that
    alone holds several times what is kept: ten megabytes would otherwise take a gigabyte of memory.
    """
    head = HEAD * max_length
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
    return Tokens(ids=ids, content=content, prompt=prompt, cut=bool(encoding.overflowing))


def encode_chat(
    tokenizer: Any, template: ChatTemplate, inputs: Sequence[str | Conversation], *, max_length: int
) -> list[Tokens]:
    """One Tokens for each input, with ids as `apply_chat_template(tokenize=True)` gives them, except where a
    message spells out a special token: that stays ordinary text, and can neither end a turn nor begin one.
    """
    special = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special]
    renderings = [template.render(one, number) for number, one in enumerate(inputs)]
    encoded = tokenizer([rendering.text for rendering in renderings], add_special_tokens=False, verbose=False)
    return [
        _chat_tokens(tokenizer, encoding, rendering, special, max_length)
        for encoding, rendering in zip(encoded.encodings, renderings, strict=True)
    ]


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
        cut=len(ids) > max_length,
    )


def _split_special(is_special: Array, offsets: Array, rendering: Rendering) -> tuple[Array, Array]:
    """Which special tokens a message spells out, and which the template wrote."""
    inside, _ = _masks(offsets, rendering.spans)
    offsets = offsets.copy()
    # Some of a template's special tokens take in the whitespace around them, though it be a message's.
    for token in (is_special & inside).nonzero()[0]:
        start, end = offsets[token]
        taken = rendering.text[start:end]
        offsets[token] = end - len(taken.lstrip()), start + len(taken.rstrip())
    inside, _ = _masks(offsets, rendering.spans)
    return is_special & inside, is_special & ~inside


def _encode_messages_as_text(
    tokenizer: Any, text: str, ids: Array, offsets: Array, *, spelt: Array, owned: Array
) -> tuple[Array, Array]:
    """Ids and offsets again, with the special tokens that a message spells out as text.

    A tokenizer splits a text at its special tokens before all else, so what stands between two of the
    template's can be encoded by itself.
    """
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
    """Ids and offsets of a text without any special token. It goes behind a newline, for some tokenizers put a
    space before whatever comes first; but not where the newline would become one token with the text.
    """
    for lead in ("\n", ""):
        encoded = tokenizer(lead + text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids, offsets = _arrays(encoded.encodings[0])
        own = offsets[:, 1] > len(lead)
        if (offsets[own, 0] >= len(lead)).all():
            break
    return ids[own], offsets[own] - len(lead)


def _arrays(encoding: Any) -> tuple[Array, Array]:
    """Ids `[tokens]`, and for each token the characters it stands for `[tokens, 2]`."""
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    # Some tokenizers trim spaces off their offsets; a token of nothing else then seems to stand for nothing.
    before = np.maximum.accumulate(np.concatenate([[0], offsets[:, 1]]))[:-1]
    empty = offsets[:, 0] == offsets[:, 1]
    offsets[empty, 0] = before[empty]
    return np.array(encoding.ids, dtype=np.int64), offsets


def _masks(offsets: Array, spans: Sequence[Span]) -> tuple[Array, Array]:
    """Which tokens hold a character of any message, and which of these none of the assistant's."""
    prompt = np.zeros(len(offsets), dtype=np.bool_)
    answer = prompt.copy()
    for span in spans:
        if (
            span.start == span.end
        ):  # an empty message has no token, not even one that the template lays over it
            continue
        touched = (offsets[:, 0] < span.end) & (offsets[:, 1] > span.start)
        if span.is_prompt:
            prompt |= touched
        else:
            answer |= touched
    return prompt | answer, prompt & ~answer
