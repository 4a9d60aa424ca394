"""Tasks in, out what one is trained on and another is tested on: a score across the two would be too good.

Each task by itself is clean (`harness.data` sees to that); nobody else compares different tasks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from harness.api import Split
from harness.data import TaskData


@dataclass(frozen=True, kw_only=True)
class Leak:
    """How much of what `tested` is tested on stands in what `trained` learns from: distinct inputs, in whatever
    language they are filed, and distinct groups.
    """

    trained: str
    tested: str
    inputs: int
    groups: int


def leaks_between(tasks: Sequence[TaskData]) -> tuple[Leak, ...]:
    """Every ordered pair of different tasks that share something, the largest first.

    Training and validation rows of the one count against test rows of the other. A group is the same thing in
    two tasks where the same column of their sources names it (`templ_id`).
    """
    learnt_by: dict[Hashable, list[int]] = defaultdict(list)
    for number, data in enumerate(tasks):
        for key in _keys(data, ("train", "validation")):
            learnt_by[key].append(number)
    found: Counter[tuple[int, int, str]] = Counter()
    for number, data in enumerate(tasks):
        for key in _keys(data, ("test",)):
            for other in learnt_by.get(key, ()):
                if other != number:
                    found[other, number, key[0]] += 1
    pairs = sorted({(trained, tested) for trained, tested, _ in found})
    leaks = [
        Leak(
            trained=tasks[trained].spec.name,
            tested=tasks[tested].spec.name,
            inputs=found[trained, tested, "input"],
            groups=found[trained, tested, "group"],
        )
        for trained, tested in pairs
    ]
    return tuple(sorted(leaks, key=lambda leak: (-leak.inputs, -leak.groups)))


def _keys(data: TaskData, splits: Sequence[Split]) -> set[tuple[str, Hashable]]:
    """What would be recognised: each input, and each group by the column that names it."""
    return set(_every_key(data, splits))


def _every_key(data: TaskData, splits: Sequence[Split]) -> Iterator[tuple[str, Hashable]]:
    examples = data.examples
    for split, value, group in zip(examples.splits, examples.inputs, examples.groups, strict=True):
        if split in splits:
            yield "input", value
            if group is not None:
                yield "group", (data.spec.columns.group, group)
