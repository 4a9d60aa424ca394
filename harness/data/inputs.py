"""Inputs of text tasks, of items to label and of files of texts: a text, or a conversation in any of its notations."""

from __future__ import annotations

import re
from typing import Any

from harness.api.data import Conversation
from harness.api.errors import UsageError
from harness.storage.parsing import parsing
from harness.storage.strict_json import parse_json

_JSON = re.compile(r'\s*\[\s*\{\s*"(?:role|content)"\s*:')
_PYTHON = re.compile(r"\s*\[\s*\{\s*'(?:role|content)'\s*:")


def parse_input(value: Any) -> str | Conversation:
    """Return a value of a source as the text or the conversation that it is; None is an empty text.

    A conversation is a list of messages (`harness.Conversation.parse`), or a text that is such a list as JSON, for
    tables whose columns hold text alone. Raises UsageError for a value of another type, and for a text that begins
    like such a list and is none.
    """
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
