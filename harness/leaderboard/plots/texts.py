"""Names from outside, as plots show them: one line of letters, cut by columns and not by the widths of a font."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from harness.probing.attribution import snippet

LONGEST = 200
"""Most letters of a name where it is said in full."""


def clean(text: str) -> str:
    """Return a name on one line, without control and format characters, of at most LONGEST letters."""
    return snippet(text, LONGEST) or "—"


def count_columns(text: str) -> int:
    """Return the columns that a text takes: two for a wide letter, none for a mark on another letter."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def shorten(text: str, columns: int) -> str:
    """Return a name of at most `columns` columns, with an ellipsis for its middle where it is too long: names that are
    alike often differ at their ends.
    """
    line = clean(text)
    if count_columns(line) <= columns:
        return line
    end = max(0, (columns - 1) * 2 // 5)
    start = _take(line, columns - 1 - end)
    return f"{start.rstrip()}…{_take(line[::-1], end)[::-1].lstrip()}"


def _take(letters: str, columns: int) -> str:
    """Return the first letters that fit."""
    taken = ""
    for letter in letters:
        columns -= _columns(letter)
        if columns < 0:
            break
        taken += letter
    return taken


def wrap(text: str, columns: int) -> list[str]:
    """Return lines of at most `columns` columns; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and count_columns(lines[-1]) + 1 + count_columns(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, columns))
    return lines


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1,204 test rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def span(numbers: Iterable[int], noun: str) -> str:
    """Return the least and the highest of some numbers with their noun, one number where they are the same."""
    least, highest = min(found := set(numbers)), max(found)
    return count(highest, noun) if least == highest else f"{least:,} to {count(highest, noun)}"


@lru_cache(maxsize=4096)
def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
