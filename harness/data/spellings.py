"""Search for labels and groups of a task that differ only by case or blanks; nothing is merged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

SHOWN = 5
"""Limit on the sets of spellings that one sentence quotes."""


def find_alike(values: Iterable[str | None]) -> tuple[Mapping[str, int], ...]:
    """Return each set of values that differ only by case or blanks, with how often each of them occurs."""
    sets: dict[str, dict[str, int]] = defaultdict(dict)
    for value, count in Counter(values).items():
        if value is not None:
            sets[" ".join(value.casefold().split())][value] = count
    return tuple(dict(sorted(alike.items())) for _, alike in sorted(sets.items()) if len(alike) > 1)


def describe_alike(found: Sequence[Mapping[str, int]]) -> str:
    """Return the spellings of each set with their counts, the first few sets of many."""
    quoted = "; ".join(
        ", ".join(f"'{value}' ({count:,} rows)" for value, count in alike.items()) for alike in found[:SHOWN]
    )
    return f"{quoted}; and {len(found) - SHOWN} more such sets" if len(found) > SHOWN else quoted
