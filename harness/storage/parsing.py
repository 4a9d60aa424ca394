"""The one place where an error of parsing becomes a sentence: every reader of a file from outside goes through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError, describe
from harness.storage.reading import read_description

LONGEST = 400
"""Most characters of a reason: names in it may be as long as a file."""


class ParseError(ValueError):
    """A fault of a file in words for its reader, without the file's name."""


@contextmanager
def parsing(said: str, *, kind: type[Exception] = UnavailableError, hint: str = "") -> Iterator[None]:
    """Raise every error of the block, which reads a file from outside, as one of this kind: a HarnessError, or a
    ParseError where the caller names the file.

    The sentence begins with `said`, goes on with the reason and ends in `hint`, what to do. Errors of the harness pass
    unchanged, and so does a lack of memory, which is no fault of the file.
    """
    try:
        yield
    except (HarnessError, MemoryError):
        raise
    except Exception as error:  # parsers of many libraries raise any type on a broken file
        raise _refuse(said, error, kind, hint) from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise _refuse(said, error, kind, hint) from error


def read_mapping(
    path: Path, said: str, *, kind: type[HarnessError] = UnavailableError, hint: str = ""
) -> dict[str, Any]:
    """Return the mapping in a JSON file; raise an error of this kind, as `parsing` does, if it holds none."""
    with parsing(said, kind=kind, hint=hint):
        found = json.loads(read_description(path))
        if not isinstance(found, dict):
            raise ParseError(f"it holds {name_type(found)} where a mapping of fields should be")
        return found


def name_type(value: Any) -> str:
    """Return what JSON calls the type of a value, with its article."""
    return _TYPES.get(type(value), f"a {type(value).__name__}")


def reason_of(error: BaseException) -> str:
    """Return the reason of an error of parsing in words; those of a library stay as they are."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    for each in (error, cause):
        if isinstance(each, ParseError):
            return str(each)
        for kind, said in _REASONS.items():
            if isinstance(each, kind):
                return said
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return "it is empty"
        place = f"line {error.lineno}" if "\n" in error.doc.strip() else f"character {error.colno}"
        return f"{place}: {error.msg}"
    if isinstance(error, KeyError) and error.args:
        return f"it has no {error.args[0]!r}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Errors of YAML and pydantic are known by their form: both are imported only where they are used.
    if (mark := getattr(error, "problem_mark", None)) is not None:
        return f"line {mark.line + 1}: {getattr(error, 'problem', None) or 'it is not valid YAML'}"
    if (places := getattr(error, "errors", None)) and type(error).__name__ == "ValidationError":
        first = places()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'][0].lower()}{first['msg'][1:]}"
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return "a number in it has thousands of digits"
    return describe(cause)


def is_panic(error: BaseException) -> bool:
    """Return whether a library written in Rust has panicked, which is no Exception, so that nobody overlooks it."""
    return type(error).__name__ == "PanicException"


def _refuse(said: str, error: BaseException, kind: type[Exception], hint: str) -> Exception:
    reason = reason_of(error)
    reason = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}…"
    return kind(f"{said} ({reason}): {hint}" if hint else f"{said}: {reason}")


_TYPES = {
    dict: "a mapping of fields",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "yes or no",
    type(None): "nothing",
}

_REASONS: dict[type[BaseException], str] = {
    UnicodeDecodeError: "it is not UTF-8 text: save it as UTF-8",
    UnicodeEncodeError: "it holds half of a character, a lone surrogate: write the whole character",
    RecursionError: "it is nested too deeply",
    EOFError: "it ends early",
    OverflowError: "a number in it is too large",
    FileNotFoundError: "there is no such file",
    IsADirectoryError: "it is a folder",
}
