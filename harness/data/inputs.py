"""Inputs of text tasks, of items to label and of files of texts: a text, or a conversation in any of its notations."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import category

from harness.api.data import Conversation
from harness.api.errors import UsageError
from harness.storage.parsing import parsing
from harness.storage.strict_json import parse_json

_JSON = re.compile(r'\s*\[\s*\{\s*"(?:role|content)"\s*:')
_PYTHON = re.compile(r"\s*\[\s*\{\s*'(?:role|content)'\s*:")

MOST_MARKS = 1000
"""Most combining marks (accents and the like) in a row. Unicode's normal forms sort such a row in the square of its
length, and 30 are already more than any language has (UAX #15, stream-safe text).
"""

_RUN = re.compile(
    rf"[\W\u115f\u1160\u3164\uffa0]{{{MOST_MARKS + 1},}}"
)  # no letters, or letters that are invisible


def parse_input(value: Any) -> str | Conversation:
    """Return a value of a source as the text or the conversation that it is; None is an empty text.

    A conversation is a list of messages (`harness.Conversation.parse`), or a text that is such a list as JSON, for
    tables whose columns hold text alone. Raises UsageError for a value of another type, for a text that begins like
    such a list and is none, and for more than MOST_MARKS combining marks in a row.
    """
    found = _parse(value)
    for text in (found,) if isinstance(found, str) else (one.content for one in found.messages):
        _check_marks(text)
    return found


def _check_marks(text: str) -> None:
    for run in () if text.isascii() else _RUN.finditer(text):
        marks = sum(category(letter).startswith("M") for letter in run.group())
        if marks > MOST_MARKS:
            raise UsageError(
                f"the input has {marks:,} accents and other combining marks in a row, from character {run.start()} on, "
                f"and at most {MOST_MARKS:,} are read: remove them"
            )


def _parse(value: Any) -> str | Conversation:
    if isinstance(value, list):
        return Conversation.parse(value)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"the input is {type(value).__name__}, not text")
    if not value or not _JSON.match(value):
        if value and _PYTHON.match(value):
            raise UsageError(
                "its messages are written as Python prints them, not as JSON: write them with json.dumps"
            )
        return value or ""
    with parsing("its text begins like messages in JSON, and is no JSON", kind=UsageError):
        conversation = Conversation.parse(parse_json(value))
        str(conversation).encode()
    return conversation
