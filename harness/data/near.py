"""Near-duplicates of texts: what is equal but for case, blanks, final punctuation and what the eye does not see.

`near_key` defines them. It is too slow to be computed for every row of a large set, so a sum over the letters of each
text, which near-duplicates share, first selects the rows that can have any.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import combinations, islice
from typing import get_args
from unicodedata import category, combining, normalize

import numpy as np
from numpy.typing import NDArray

from harness.api.data import Conversation, Examples, Split
from harness.storage.hashing import hash_lines

SPLITS: tuple[Split, ...] = get_args(Split)
"""Splits in order: a leak is a row of a later one that is also in an earlier one."""

INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls that are no blanks
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Controls, and Default_Ignorable_Code_Point of Unicode: zero-width characters, variation selectors, fillers."""

LATIN_ALIKE = {
    "Greek": (
        "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαιοργυνσͿϳϜϺ",
        "ABEZHIKMNOPTYXaiopyuvoJjFM",
    ),
    "Cyrillic": (
        "АВЕЅІЈКМНОРСТУХЬаеѕіјорсухгһӀӏҮүԁԌԛԚԜԝѴѵѡҽ",
        "ABESIJKMHOPCTYXbaesijopcyxrhliYydGqQWwVvwe",
    ),
    "Armenian": (
        "ՍՏՕսոհցգքօռզա",
        "USOunhgqfonqw",
    ),
}
"""Script → its letters that look like a Latin one (Unicode TR39, confusables), and these in the same order."""

TO_LATIN = str.maketrans(*map("".join, zip(*LATIN_ALIKE.values(), strict=True)))
FROM_LATIN = [
    str.maketrans(latin[::-1], own[::-1]) for own, latin in LATIN_ALIKE.values()
]  # the first of two wins

_LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_ALIKE = re.compile("[\u0370-\u058f]")
"""Letters of the scripts in LATIN_ALIKE, which are neighbours in Unicode."""
_WORD = re.compile("[\\w\u0300-\u036f]+")


def near_key(text: str) -> str:
    """Return what two texts share exactly when they are near-duplicates.

    Forms of one character (NFKC), case, runs of blanks, invisible characters and final punctuation do not count, nor
    which script a look-alike letter is of, in a word of mixed script. A text of punctuation alone keeps it.
    """
    if not text.isascii():
        text = INVISIBLE.sub("", normalize("NFKC", text))
        if _ALIKE.search(text):
            text = _WORD.sub(lambda found: _unmix(found.group()), text)
        text = normalize("NFKC", text.casefold())
    elif not text.isprintable():
        text = INVISIBLE.sub("", text)
    text = " ".join(text.lower().split() if text.isascii() else text.split())
    end = len(text)
    while end and (text[end - 1] == " " or category(text[end - 1]).startswith("P")):
        end -= 1
    return text[:end] or text


def _unmix(word: str) -> str:
    """Return a word of mixed script in the one script in which all its letters have a shape; Latin is tried first."""
    latin, alike = _LATIN.findall(word), _ALIKE.findall(word)
    if not latin or not alike:
        return word
    if all(ord(letter) in TO_LATIN for letter in alike):
        return word.translate(TO_LATIN)
    for table in FROM_LATIN:
        if all(ord(letter) in table for letter in latin):
            return word.translate(table)
    return word


def find_near_leaks(examples: Examples) -> dict[int, bool]:
    """Return the rows with a near-duplicate in an earlier split, each with whether one of those has another label.

    Rows of which the very text is in an earlier split are exact leaks, and not among them. Languages are ignored: a
    text is the same in whatever language it is filed.
    """
    sums = sum_letters([*map(str, examples.inputs)]).tolist()
    by_split: dict[Split, set[int]] = {split: set() for split in SPLITS}
    for one, split in zip(sums, examples.splits, strict=True):
        by_split[split].add(one)
    shared = set().union(*(one & other for one, other in combinations(by_split.values(), 2)))
    candidates = {row: input_key(examples.inputs[row]) for row, one in enumerate(sums) if one in shared}
    earlier: dict[tuple[str, ...], set[str]] = defaultdict(set)
    inputs: set[str | Conversation] = set()
    found = {}
    for split in SPLITS:
        own = {row: key for row, key in candidates.items() if examples.splits[row] == split}
        for row, key in own.items():
            if key in earlier and examples.inputs[row] not in inputs:
                found[row] = earlier[key] != {examples.labels[row]}
        for row, key in own.items():
            earlier[key].add(examples.labels[row])
            inputs.add(examples.inputs[row])
    return found


def input_key(one: str | Conversation) -> tuple[str, ...]:
    """Return the near key of an input: of its text, or of each message with its role."""
    if isinstance(one, str):
        return (near_key(one),)
    return tuple(part for message in one.messages for part in (message.role, near_key(message.content)))


# ── sums over letters ────────────────────────────────────────────────────────────────────────────────────

MOST_LETTERS, WINDOW = 160, 256
"""Number of letters of a text that are summed, and of characters of a longer text that are read for them at first."""

_ROWS = 128
"""Number of texts summed together: larger arrays cost page faults, smaller ones calls."""

_BITS = 42
"""Number of low bits that hold a sum; the bits above count letters."""

_UNKNOWN = np.iinfo(np.uint64).max


def sum_letters(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return `[texts]` sums over the first letters of each, which near-duplicates have in common.

    Letters are taken apart (NFKD), without accents and case, and as one with their look-alikes; a sum does not depend
    on what stands between them. Unlike texts may have the same sum.
    """
    is_long = np.fromiter(map(len, texts), np.int64, len(texts)) > MOST_LETTERS
    sums = np.zeros(len(texts), np.uint64)
    for rows, sum_some in ((np.flatnonzero(~is_long), _sum_short), (np.flatnonzero(is_long), _sum_long)):
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            sums[some] = sum_some([texts[row] for row in some.tolist()])
    return sums


def _sum_short(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return the sums of texts with at most MOST_LETTERS characters."""
    packed = _look_up("\n".join(texts) + "\n")
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    sums: NDArray[np.uint64] = np.add.reduceat(packed, np.concatenate([[0], ends[:-1]]))
    for row in np.flatnonzero(sums >> _BITS > MOST_LETTERS).tolist():  # some characters are several letters
        sums[row] = _sum_exactly(texts[row])
    return sums


def _sum_long(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return the sums of texts of which the first letters alone are summed."""
    heads = [text[:WINDOW] for text in texts]
    packed = _look_up("".join(heads))
    ends = np.cumsum(np.fromiter(map(len, heads), np.int64, len(heads)))
    running = np.zeros(len(packed) + 1, np.uint64)
    np.cumsum(packed, out=running[1:])
    before = running[np.concatenate([[0], ends[:-1]])]
    # `running` rises, as a letter counts in its high bits: this is the place where each text has its last letter.
    last = ((before >> _BITS) + MOST_LETTERS) << _BITS
    sums: NDArray[np.uint64] = running[np.minimum(np.searchsorted(running, last), ends)] - before
    count, is_cut = sums >> _BITS, np.fromiter((len(text) > WINDOW for text in texts), np.bool_, len(texts))
    # Where the window is too small, or one character holds the last letter and the next (ß), letters are counted out.
    for row in np.flatnonzero((count > MOST_LETTERS) | (is_cut & (count < MOST_LETTERS))).tolist():
        sums[row] = _sum_exactly(texts[row])
    return sums


def _sum_exactly(text: str) -> int:
    letters = (letter for one in text for letter in _letters(one))
    return _pack([*islice(letters, MOST_LETTERS)])


def _look_up(text: str) -> NDArray[np.uint64]:
    """Return the packed letters `[characters]` of a text."""
    table = _letter_table()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.intp)
    packed: NDArray[np.uint64] = table.take(codes)
    if packed.max() == _UNKNOWN:
        for code in set(codes[packed == _UNKNOWN].tolist()):
            table[code] = _pack(_letters(chr(code)))
        packed = table.take(codes)
    return packed


@cache
def _letter_table() -> NDArray[np.uint64]:
    """Return code point → its packed letters, filled in as characters are met."""
    return np.full(0x110000, _UNKNOWN, np.uint64)


def _pack(letters: Sequence[str]) -> int:
    """Return the number of letters and the sum of a hash of each (20 bits), in one integer."""
    return (len(letters) << _BITS) + sum(map(_hash_letter, letters))


@cache
def _hash_letter(letter: str) -> int:
    return int(hash_lines([letter])[:5], 16)


@cache
def _letters(character: str) -> tuple[str, ...]:
    """Return the letters that a character stands for, the same ones for all look-alikes: digits and symbols are letters
    too; blanks, punctuation and marks that NFKC may put in another order are none.
    """
    text, folded = "", character
    while folded != text:
        text, folded = folded, normalize("NFKD", INVISIBLE.sub("", normalize("NFKD", folded)).casefold())
    letters = (one for one in text if category(one)[0] not in "CPZ" and not combining(one))
    return tuple(_alike_classes().get(one, one) for one in letters)


@cache
def _alike_classes() -> dict[str, str]:
    """Return lower-case letter → one letter for all that it looks like, in either case, or that look like those."""
    classes: dict[str, str] = {}
    for own, latin in LATIN_ALIKE.values():
        for pair in zip(own.casefold(), latin.casefold(), strict=True):
            old, new = (classes.get(letter, letter) for letter in pair)
            classes = {letter: new if kept == old else kept for letter, kept in classes.items()}
            classes |= dict.fromkeys((*pair, old), new)
    return classes
