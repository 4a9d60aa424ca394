"""Search for leaks between tasks: inputs and groups of which one task is trained and another is tested on.

Exact and near ones, as inside a task.

A score across two such tasks would be too good. `harness.data.task` removes the leaks inside each task.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from harness.api.data import Image, Split
from harness.data.near import input_key, sum_letters
from harness.data.task import TaskData


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Counts of distinct test inputs and groups of `tested` that are also in training or validation of `trained`.

    Inputs that are only `near` one there are counted apart. Languages are ignored: a text is the same in whatever
    language it is filed.
    """

    trained: str
    tested: str
    inputs: int
    groups: int
    near: int = 0

    def __str__(self) -> str:
        near = f", and {self.near} inputs but for case, blanks, final punctuation or look-alikes"
        return (
            f"{self.inputs} inputs and {self.groups} groups that '{self.tested}' is tested on stand in the training "
            f"rows of '{self.trained}'{near if self.near else ''}"
        )


def leaks_between(tasks: Sequence[TaskData]) -> tuple[Leak, ...]:
    """Return the leak of every ordered pair of different tasks that share something, the largest first.

    Training rows count for the task that they come from (`trained_on`). A group means the same in two tasks only if
    the same column of their sources names it (`templ_id`).
    """
    near_keys = _near_keys(tasks)
    trained_on: dict[tuple[str, Hashable], set[str]] = defaultdict(set)
    for data in tasks:
        for key in _keys(data, "train", "validation"):
            for one in (key, near_keys[key]) if key in near_keys else (key,):
                trained_on[one].add(data.spec.trained_on or data.spec.name)
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for data in tasks:
        for key in _keys(data, "test"):
            same = trained_on.get(key, set())
            near = trained_on.get(near_keys.get(key, key), set()) - same
            for kind, names in ((key[0], same), ("near", near)):
                for trained in names - {data.spec.name}:
                    found[trained, data.spec.name][kind] += 1
    leaks = [
        Leak(
            trained=trained,
            tested=tested,
            inputs=counts["input"],
            groups=counts["group"],
            near=counts["near"],
        )
        for (trained, tested), counts in sorted(found.items(), key=lambda each: each[0])
    ]
    return tuple(sorted(leaks, key=lambda leak: (-leak.inputs, -leak.groups, -leak.near)))


def _near_keys(tasks: Sequence[TaskData]) -> dict[tuple[str, Hashable], tuple[str, Hashable]]:
    """Return the key of each text that may be near another one of the tasks → the key that it shares with those."""
    inputs = {one: None for data in tasks for one in data.examples.inputs if not isinstance(one, Image)}
    sums = sum_letters([*map(str, inputs)]).tolist()
    counts = Counter(sums)
    return {
        ("input", one): ("near", input_key(one))
        for one, own in zip(inputs, sums, strict=True)
        if counts[own] > 1
    }


def _keys(data: TaskData, *splits: Split) -> set[tuple[str, Hashable]]:
    """Return a key for each input of these splits, and for each group together with the column that names it."""
    examples = data.examples
    rows = [row for row, split in enumerate(examples.splits) if split in splits]
    inputs = {("input", examples.inputs[row]) for row in rows}
    column = data.spec.columns.group
    return inputs | {("group", (column, examples.groups[row])) for row in rows if examples.groups[row]}
