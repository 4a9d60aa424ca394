"""Splits of examples by official split or by hash, and stratified subsets."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api.data import Examples, Split
from harness.api.errors import DataError
from harness.api.tasks import TaskSpec
from harness.storage.hashing import hash_lines

TEST_SHARE = 0.2


VALIDATION_SHARE = 0.15


_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def split_rows(examples: Examples, seed: int) -> dict[Split, list[int]]:
    """Row numbers of each split. Without official validation rows, about 15 % of training becomes
    validation, by a hash of group or id and the seed. With them every seed but 0 leaves out as many, so that each
    seed learns from another draw.
    """
    rows: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
    for row, split in enumerate(examples.splits):
        rows[split].append(row)
    carved = not rows["validation"]
    if carved or seed:
        train = rows["train"]
        fractions = {row: _fraction(f"validation/{seed}", examples, row) for row in train}
        # Of a few rows none may fall below the share: then the lowest is held out.
        share = max(VALIDATION_SHARE, math.nextafter(min(fractions.values(), default=0.0), 1.0))
        held_out = {row for row in train if fractions[row] < share}
        if len(held_out) == len(train):
            raise DataError("training has too few rows, or groups of them, to hold out validation rows")
        rows["train"] = [row for row in train if row not in held_out]
        if carved:
            rows["validation"] = [row for row in train if row in held_out]
    return rows


def parse_split(spec: TaskSpec, value: Any) -> Split:
    try:
        return _SPLITS[str(value)]
    except KeyError:
        raise DataError(
            f"task '{spec.name}' has a split '{value}', which is none of train, validation, test"
        ) from None


def split_examples(examples: Examples) -> Examples:
    """Official splits as they are; without test rows, about 20 % become test by hash of group or id."""
    if "test" in examples.splits or "train" not in examples.splits:
        return examples
    splits: list[Split] = [
        "test" if split == "train" and _fraction("test", examples, row) < TEST_SHARE else split
        for row, split in enumerate(examples.splits)
    ]
    return replace(examples, splits=tuple(splits))


def _fraction(purpose: str, examples: Examples, row: int) -> float:
    """A number in [0, 1) that depends on the purpose and the row's group (else id), and on nothing else."""
    name = examples.groups[row] or examples.ids[row]
    digest = hashlib.sha256(f"{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def take_stratified(examples: Examples, limit: int) -> Examples:
    """At most about `limit` examples: from each split, label and language its share (at least one), lowest ids first;
    of several languages the same source items, where rows have groups.

    The choice depends on contents alone; a smaller limit takes a subset of a larger one's rows.
    """
    if limit >= len(examples):
        return examples
    several = len(set(examples.languages)) > 1
    strata: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in range(len(examples)):
        strata[examples.splits[row], examples.labels[row], examples.languages[row]].append(row)
    share = limit / len(examples)

    def place(row: int) -> tuple[str, str]:
        group = examples.groups[row] if several else None
        return ("" if group is None else hash_lines([group]), examples.ids[row])

    kept = [
        row for rows in strata.values() for row in sorted(rows, key=place)[: max(1, round(len(rows) * share))]
    ]
    return examples.take(sorted(kept))
