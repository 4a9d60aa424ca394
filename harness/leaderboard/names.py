"""Names of a board's tasks and test targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

from harness.leaderboard.selection import Unit, group_by

MANY_LANGUAGES = 3
"""Most training languages of a task that are named; more are counted."""


def name_units(units: Sequence[Unit]) -> dict[Unit, str]:
    """Return unit names: the task, with `@version` and `[train→test]` if the board holds several or they differ, with
    `← other` if it was trained on another task, and with its regime if that is not the task as it is. More than
    MANY_LANGUAGES are counted, unless two units differ by their names only.
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
            train, test = (_count_languages(tag, many) for tag in (unit.train_language, unit.test_language))
            language = f"[{train}→{test}]" if unit.is_across else f"[{test}]" * (len(pairs) > 1)
            regime = "" if {unit.regime} == whole else f" {unit.regime}"
            names[unit] = f"{unit.task}{version[unit.version]}{language}{_trained_on(unit)}{regime}"
    return names


def name_targets(units: Sequence[Unit]) -> dict[Unit, str]:
    """Return names of the test rows of units: those of units, without training languages and regime."""
    names = {}
    for same in _by_task(units):
        version = _name_versions(same)
        tested = {other.test_language for other in same}
        for unit in same:
            language = f"[{_count_languages(unit.test_language, MANY_LANGUAGES)}]" * (len(tested) > 1)
            names[unit] = f"{unit.task}{version[unit.version]}{language}{_trained_on(unit)}"
    return names


def _by_task(units: Iterable[Unit]) -> Iterable[list[Unit]]:
    return group_by(units, lambda unit: unit.task).values()


def _name_versions(units: Iterable[Unit]) -> dict[int, str]:
    """Return the suffix of each version; none if there is only one version."""
    versions = {unit.version for unit in units}
    return {version: f"@{version}" if len(versions) > 1 else "" for version in versions}


def _trained_on(unit: Unit) -> str:
    return f" ← {unit.trained_on}" if unit.trained_on else ""


def _count_languages(joined: str, many: float) -> str:
    count = joined.count("+") + 1
    return f"{count} languages" if count > many else joined
