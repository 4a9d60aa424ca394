"""Names of a board's tasks and test targets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import inf

from harness.leaderboard.selection import (
    Unit,
)

MANY_LANGUAGES = 3
"""So many are named where a task was learnt in several languages; of more there is their number."""


def name_units(units: Sequence[Unit]) -> dict[Unit, str]:
    """`task`, with `@version` and `[train→test]` only where the board holds several or they differ, with `← other`
    where it was trained on another task, and with its regime where that is not the task as it is. More than
    MANY_LANGUAGES are counted, unless only their names tell two units apart.
    """
    short, long = _name_each(units, many=MANY_LANGUAGES), _name_each(units)
    counts = Counter(short.values())
    return {unit: name if counts[name] == 1 else long[unit] for unit, name in short.items()}


def _name_each(units: Sequence[Unit], *, many: float = inf) -> dict[Unit, str]:
    names = {}
    # The regime that leaves tasks as they are is not named, unless a board has two of them.
    whole = {unit.regime for unit in units if unit.natural == "task"}
    for same in _by_task(units):
        version = _name_versions(same)
        pairs = {(other.train_language, other.test_language) for other in same}
        for unit in same:
            train, test = (
                _count_languages(tag, many=many) for tag in (unit.train_language, unit.test_language)
            )
            language = ""
            if unit.is_across:
                language = f"[{train}→{test}]"
            elif len(pairs) > 1:
                language = f"[{test}]"
            regime = "" if {unit.regime} == whole else f" {unit.regime}"
            names[unit] = f"{unit.task}{version[unit.version]}{language}{_learnt_from(unit)}{regime}"
    return names


def name_targets(units: Sequence[Unit]) -> dict[Unit, str]:
    """What units are tested on: named as units are, but for the languages they learnt from and their regime."""
    names = {}
    for same in _by_task(units):
        version = _name_versions(same)
        tested = {other.test_language for other in same}
        for unit in same:
            language = f"[{_count_languages(unit.test_language, many=MANY_LANGUAGES)}]" * (len(tested) > 1)
            names[unit] = f"{unit.task}{version[unit.version]}{language}{_learnt_from(unit)}"
    return names


def _by_task(units: Iterable[Unit]) -> Iterable[list[Unit]]:
    found: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        found[unit.task].append(unit)
    return found.values()


def _name_versions(units: Iterable[Unit]) -> dict[int, str]:
    """Nothing, where there is one version only."""
    versions = {unit.version for unit in units}
    return {version: f"@{version}" if len(versions) > 1 else "" for version in versions}


def _learnt_from(unit: Unit) -> str:
    return f" ← {unit.trained_on}" if unit.trained_on else ""


def _count_languages(joined: str, *, many: float) -> str:
    count = joined.count("+") + 1
    return f"{count} languages" if count > many else joined
