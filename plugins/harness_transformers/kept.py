"""Encoded texts that are kept in memory, as several models of one tokenizer read the same texts one after another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from harness import Tokens

MOST_TEXTS = 4
"""Lists of texts that are kept; a plan goes through the models of one task, then through those of the next."""

MOST_TOKENS = 2_000_000
"""Tokens of a list that is kept: about a hundred megabytes with all that belongs to them."""

_kept: OrderedDict[Hashable, tuple[Tokens, ...]] = OrderedDict()


def encode_once(
    key: Hashable, inputs: Sequence[Any], encode: Callable[[Sequence[Any]], list[Tokens]]
) -> list[Tokens]:
    """Return what `encode` makes of the inputs, from memory if it was made there lately; `key` names all else that it
    depends on.
    """
    whole = (key, tuple(inputs))
    if whole in _kept:
        _kept.move_to_end(whole)
        return list(_kept[whole])
    encoded = encode(inputs)
    if sum(len(tokens.ids) for tokens in encoded) <= MOST_TOKENS:
        _kept[whole] = tuple(encoded)
        while len(_kept) > MOST_TEXTS:
            _kept.popitem(last=False)
    return encoded
