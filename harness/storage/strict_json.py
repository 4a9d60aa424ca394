"""Parser of JSON that loses nothing: a key that stands twice in one object is refused, where others keep the last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.storage.parsing import ParseError, reason_of


class RepeatedKeyError(ParseError):
    """An object of JSON has a key twice."""


def parse_json(text: str) -> Any:
    """Return the value that a text of JSON holds; raise ValueError if it is none, if an object has a key twice, or if
    it is nested too deeply.
    """
    with _as_value_error():
        return _DECODER.decode(text)


def parse_json_at(text: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at `start`, no blank, and the place of its end. Raises as `parse_json`."""
    with _as_value_error():
        return _DECODER.raw_decode(text, start)


@contextmanager
def _as_value_error() -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise ParseError(reason_of(error)) from error
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError | ParseError):
            raise
        raise ParseError(reason_of(error)) from error  # a number of thousands of digits


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKeyError(f"the key '{twice}' stands twice in one object: remove one")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys)
