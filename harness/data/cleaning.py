"""Cleaning of examples: duplicates, conflicting labels, invisible texts, leaks from training to test."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.api.data import Conversation, Examples, Image, Split
from harness.api.tasks import Leaks
from harness.data.near import find_near_leaks
from harness.storage.hashing import hash_lines


@dataclass(frozen=True, kw_only=True)
class Hygiene:
    """Counts of rows that were removed, by reason, or changed; part of each record."""

    duplicates: int = 0
    """Rows removed because the same input, with the same label, stood earlier in their split."""
    leaks: int = 0
    """Rows of validation or test removed because they are also in an earlier split, by text or group, in any language.
    """
    conflicts: int = 0
    """Rows removed because their input has two labels."""
    cut: int = 0
    """Inputs longer than the model reads, of which it read the beginning."""
    empty: int = 0
    """Rows removed because nothing can be seen in their input."""
    broken: int = 0
    """Rows removed because their image cannot be decoded."""
    normalised: int = 0
    """Inputs that were not in Unicode's normal form C in the source."""
    faults: tuple[str, ...] = ()
    """First broken images, by row of the source (from 0, through all splits in their order) and path from its folder
    on.
    """
    near_leaks: int | None = None
    """Texts with a near-duplicate in an earlier split, removed only where the task's `leaks` is `near`; None: not
    counted, as in images and in older records.
    """
    near_opposite: int | None = None
    """Those of them whose near-duplicate has another label."""
    fuzzy_leaks: int | None = None
    """Further texts that resemble one of an earlier split (`harness.data.fuzzy`), never removed; None: not counted."""
    fuzzy_opposite: int | None = None
    """Those of them that resemble a text with another label."""
    drawn: int | None = None
    """Rows that were taken where a limit left some out; None without one."""
    drawn_from: int | None = None
    """Rows from which they were taken. Counts of leaks and of what was removed are of all rows."""

    @property
    def removed(self) -> dict[str, int]:
        """Counts of rows that are always removed by reason, without zeros."""
        reasons = ("empty", "conflicts", "duplicates", "leaks", "broken")
        return {reason: getattr(self, reason) for reason in reasons if getattr(self, reason)}


def by_text(examples: Examples) -> Examples:
    """Return the examples with ids that ignore the language: a text is the same in whatever language it is filed."""
    return replace(examples, ids=tuple(hash_lines(contents_of(one)) for one in examples.inputs))


def normalise_text(one: str | Conversation) -> str | Conversation:
    """Return the input in Unicode's normal form C: a letter and its marks are one character if that exists."""
    if isinstance(one, str):
        return unicodedata.normalize("NFC", one)
    normalised = (replace(each, content=unicodedata.normalize("NFC", each.content)) for each in one.messages)
    return Conversation(messages=tuple(normalised))


def contents_of(one: str | Conversation | Image) -> Sequence[str]:
    """Return the parts that identify an input: its text, the roles and texts of its messages, or its pixels' hash."""
    if isinstance(one, Image):
        return [one.id]
    if isinstance(one, str):
        return [one]
    return [part for message in one.messages for part in (message.role, message.content)]


def clean(examples: Examples, *, leaks: Leaks = "exact") -> tuple[Examples, Hygiene]:
    """Return the examples without empty inputs, conflicting labels, duplicates and leaks, and the counts of each.

    `leaks` are those to remove: none are for `kept`, near ones too for `near`. All are counted.
    """
    counts: dict[str, Any] = {}
    labels_of: dict[str, set[str]] = defaultdict(set)
    for example_id, label in zip(examples.ids, examples.labels, strict=True):
        labels_of[example_id].add(label)

    def keep(rows: Sequence[int], reason: str, bad: Callable[[int], bool]) -> Sequence[int]:
        kept = [row for row in rows if not bad(row)]
        counts[reason] = len(rows) - len(kept)
        return kept

    rows: Sequence[int] = range(len(examples))
    rows = keep(rows, "empty", lambda row: not _is_visible(str(examples.inputs[row])))
    rows = keep(rows, "conflicts", lambda row: len(labels_of[examples.ids[row]]) > 1)
    # The languages of one set hold the same names, numbers and quotations.
    several = len(set(examples.languages)) > 1
    is_leak = leak_finder(by_text(examples) if several else examples, rows)
    first: dict[tuple[str, Split], int] = {}
    for row in rows:
        first.setdefault((examples.ids[row], examples.splits[row]), row)
    rows = keep(rows, "duplicates", lambda row: first[examples.ids[row], examples.splits[row]] < row)
    without_leaks = keep(rows, "leaks", is_leak)
    kept = examples.take(rows if leaks == "kept" else without_leaks)
    kept, near = handle_near_leaks(kept, remove=leaks == "near")
    return kept, Hygiene(**counts, **near)


def handle_near_leaks(examples: Examples, *, first: int = 0, remove: bool) -> tuple[Examples, dict[str, Any]]:
    """Count the near leaks among the rows from `first` on, and remove them if asked; of images None are counted."""
    if any(isinstance(one, Image) for one in examples.inputs[:1]):
        return examples, {}
    found = {row: opposite for row, opposite in find_near_leaks(examples).items() if row >= first}
    if remove and found:
        examples = examples.take([row for row in range(len(examples)) if row not in found])
    return examples, {"near_leaks": len(found), "near_opposite": sum(found.values())}


def _is_visible(text: str) -> bool:
    """Return True if a text has any character but blanks, controls and zero-width characters."""
    return any(not one.isspace() and unicodedata.category(one) not in ("Cc", "Cf") for one in text)


def leak_finder(examples: Examples, rows: Sequence[int]) -> Callable[[int], bool]:
    """Return a test of whether a row is also in an earlier split (train, then validation), by text or by group."""
    order: Mapping[Split, int] = {"train": 0, "validation": 1, "test": 2}
    splits = [order[split] for split in examples.splits]
    first_split: dict[tuple[str, str], int] = {}
    for row in rows:
        for key in _leak_keys(examples, row):
            first_split[key] = min(first_split.get(key, 2), splits[row])
    return lambda row: any(first_split[key] < splits[row] for key in _leak_keys(examples, row))


def _leak_keys(examples: Examples, row: int) -> Iterator[tuple[str, str]]:
    yield "id", examples.ids[row]
    if examples.groups[row] is not None:
        yield "group", str(examples.groups[row])
