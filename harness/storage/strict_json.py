"""Parser of JSON that loses nothing: a key that stands twice in one object is refused, where others keep the last."""

from __future__ import annotations

import json
from typing import Any


class RepeatedKeyError(ValueError):
    """An object of JSON has a key twice."""


def parse_json(text: str) -> Any:
    """Return the value that a text of JSON holds; raise ValueError if it is none, or if an object has a key twice."""
    return _DECODER.decode(text)


def parse_json_at(text: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at `start`, no blank, and the place of its end. Raises as `parse_json`."""
    return _DECODER.raw_decode(text, start)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKeyError(f"the key '{twice}' stands twice in one object: remove one")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys)
