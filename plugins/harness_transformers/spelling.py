"""Text of single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BLANK = "▁"
"""Letter by which SentencePiece writes the blank before a word."""


def spell(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return the text of each token, with the blank that it begins with."""
    found: dict[int, str] = {}
    for number in ids:
        if number not in found:
            found[number] = _spell(tokenizer, number)
    return [found[number] for number in ids]


def _spell(tokenizer: Any, number: int) -> str:
    text = str(tokenizer.decode([number]))
    written = tokenizer.convert_ids_to_tokens(number) or ""
    # Some decoders take the blank from the first token of a text, and here every token is one.
    return f" {text}" if written.startswith(BLANK) and not text.startswith(" ") else text
