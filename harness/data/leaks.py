"""Tasks in, out what one is trained on and another is tested on: a score across the two would be too good.

Each task by itself is clean (`harness.data` sees to that); nobody else compares different tasks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from harness.api.data import Split
from harness.data.task import TaskData


@dataclass(frozen=True, kw_only=True)
class Leak:
    """How much of what `tested` is tested on stands in the training or validation rows of `trained`: distinct
    inputs, in whatever language they are filed, and distinct groups.
    """

    trained: str
    tested: str
    inputs: int
    groups: int

    def __str__(self) -> str:
        return (
            f"{self.inputs} inputs and {self.groups} groups that '{self.tested}' is tested on stand in the training "
            f"rows of '{self.trained}'"
        )


def leaks_between(tasks: Sequence[TaskData]) -> tuple[Leak, ...]:
    """Every ordered pair of different tasks that share something, the largest first.

    Rows that a task learns from are those of the task it is trained on, and go by that name. A group is the same
    thing in two tasks where the same column of their sources names it (`templ_id`).
    """
    learnt_from: dict[_Key, set[str]] = defaultdict(set)
    for data in tasks:
        for key in _keys(data, "train", "validation"):
            learnt_from[key].add(data.spec.trained_on or data.spec.name)
    found: Counter[tuple[str, str, str]] = Counter()
    for data in tasks:
        for key in _keys(data, "test"):
            for trained in learnt_from.get(key, set()) - {data.spec.name}:
                found[trained, data.spec.name, key[0]] += 1
    leaks = [
        Leak(
            trained=trained,
            tested=tested,
            inputs=found[trained, tested, "input"],
            groups=found[trained, tested, "group"],
        )
        for trained, tested in sorted({(trained, tested) for trained, tested, _ in found})
    ]
    return tuple(sorted(leaks, key=lambda leak: (-leak.inputs, -leak.groups)))


_Key = tuple[str, Hashable]


def _keys(data: TaskData, *splits: Split) -> set[_Key]:
    """What would be recognised: each input, and each group by the column that names it."""
    examples = data.examples
    rows = [row for row, split in enumerate(examples.splits) if split in splits]
    inputs = {("input", examples.inputs[row]) for row in rows}
    column = data.spec.columns.group
    return inputs | {("group", (column, examples.groups[row])) for row in rows if examples.groups[row]}
