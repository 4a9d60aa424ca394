"""Word tokenizer for every script; single characters where a script puts no spaces between words."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable

SPACELESS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf"  # Tai Le, New Tai Lue, Tai Tham
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3100-\u312f\u31a0-\u31bf"  # Bopomofo
)
"""Ranges of scripts that are written without spaces between words."""

JOINERS = "\u200c\u200d"
"""Zero-width joiners, which occur inside words of Persian and of Indic scripts."""

MARKS_UP_TO = 0x20000
"""End of the code points searched for marks; beyond are only variation selectors, which follow Han."""


def split_words(text: str) -> list[str]:
    """Return words of two or more letters, digits or marks, and single characters of spaceless scripts.

    Characters keep their marks. In text without marks or spaceless scripts, the words are the tokens of
    scikit-learn's vectorizers.
    """
    found: list[str] = _pattern().findall(text)
    return found


@functools.cache
def _pattern() -> re.Pattern[str]:
    marks = _ranges(code for code in range(MARKS_UP_TO) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    letter = rf"(?![{SPACELESS}])\w"
    within = rf"(?![{SPACELESS}])[\w{JOINERS}{marks}]"
    return re.compile(rf"{letter}(?:{within})+|(?=\w)[{SPACELESS}][{marks}]*")


def _ranges(codes: Iterable[int]) -> str:
    """Return ascending code points as the inside of a regular expression's character class."""
    runs = itertools.groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0])
    found = [[code for _, code in run] for _, run in runs]
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in found)
