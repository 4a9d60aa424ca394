"""Encoded inputs in columns: thousands of small arrays take a hundred times longer to pickle than two large ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from harness.api.data import Tokens

_COLUMNS = ("ids", "content")
"""Arrays that every input has; the other fields are mostly as they are by default."""


@dataclass(frozen=True, kw_only=True)
class PackedTokens:
    """Tokens of many inputs: `ids` and `content` `[all tokens]`, `lengths` `[inputs]`, and other fields by row."""

    lengths: np.ndarray[Any, np.dtype[np.int64]]
    ids: np.ndarray[Any, np.dtype[np.int64]]
    content: np.ndarray[Any, np.dtype[np.bool_]]
    others: Mapping[int, Mapping[str, Any]]

    @classmethod
    def of(cls, tokens: Sequence[Tokens]) -> PackedTokens:
        """Return tokens in columns."""
        own = [{name: getattr(one, name) for name in _OTHERS} for one in tokens]
        return cls(
            lengths=np.array([len(one.ids) for one in tokens], dtype=np.int64),
            ids=np.concatenate([one.ids for one in tokens]),
            content=np.concatenate([one.content for one in tokens]),
            others={row: more for row, more in enumerate(own) if any(map(_is_set, more.values()))},
        )

    def unpack(self) -> tuple[Tokens, ...]:
        """Return the tokens, whose arrays are parts of the columns."""
        ends = self.lengths.cumsum()[:-1]
        rows = zip(np.split(self.ids, ends), np.split(self.content, ends), strict=True)
        return tuple(
            Tokens(ids=ids, content=content, **self.others.get(row, {}))
            for row, (ids, content) in enumerate(rows)
        )


_OTHERS = tuple(one.name for one in fields(Tokens) if one.name not in _COLUMNS)


def _is_set(value: Any) -> bool:
    return value is not None and value is not False
