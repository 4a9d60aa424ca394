"""Splits of examples by official split or by hash, and stratified subsets."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.api.data import SPLITS, Examples, Split
from harness.api.errors import DataError
from harness.api.tasks import TaskSpec
from harness.data.sources import data_error
from harness.storage.hashing import hash_lines

TEST_SHARE = 0.2
"""Share of rows that become test rows if no official test rows exist."""

VALIDATION_SHARE = 0.15
"""Share of training rows that a seed holds out for validation."""


def split_rows(examples: Examples, seed: int) -> dict[Split, list[int]]:
    """Return the row numbers of each split.

    Without official validation rows, about 15 % of training becomes validation, by a hash of group or id and the
    seed. With them, every seed except 0 leaves out as many, so that each seed is trained on another draw.
    """
    rows: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
    for row, split in enumerate(examples.splits):
        rows[split].append(row)
    if (carved := not rows["validation"]) or seed:
        train = rows["train"]
        fractions = {row: _fraction(f"validation/{seed}", examples, row) for row in train}
        # Of a few rows none may be below the share: then the lowest is held out.
        share = max(VALIDATION_SHARE, math.nextafter(min(fractions.values(), default=0.0), 1.0))
        rows["train"] = [row for row in train if fractions[row] >= share]
        if not rows["train"]:
            raise DataError("training has too few rows, or groups of them, to hold out validation rows")
        if carved:
            rows["validation"] = [row for row in train if fractions[row] < share]
    return rows


def parse_split(spec: TaskSpec, value: Any) -> Split:
    """Return the split that a value of a source names; raise DataError for an unknown name."""
    if str(value) not in SPLITS:
        raise data_error(spec, f" has a split '{value}', which is none of train, validation, test")
    return SPLITS[str(value)]


def split_examples(examples: Examples) -> Examples:
    """Return the examples with test rows: official ones, else about 20 % of training by a hash of group or id."""
    if "test" in examples.splits or "train" not in examples.splits:
        return examples
    splits: list[Split] = [
        "test" if split == "train" and _fraction("test", examples, row) < TEST_SHARE else split
        for row, split in enumerate(examples.splits)
    ]
    return replace(examples, splits=tuple(splits))


def _fraction(purpose: str, examples: Examples, row: int) -> float:
    """Return a number in [0, 1) that depends only on the purpose and the row's group (its id if it has none)."""
    name = examples.groups[row] or examples.ids[row]
    digest = hashlib.sha256(f"{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True, kw_only=True)
class SplitLimits:
    """Limits of a task's test rows and of its other rows, apart, and then of all that is left; None for no limit."""

    test: int | None = None
    others: int | None = None
    every: int | None = None


def take_stratified(examples: Examples, limit: int | SplitLimits | None) -> Examples:
    """Return at most about `limit` examples, or all for None; a smaller limit takes a subset of a larger one's rows.

    Each split, label and language gives its share (at least one row), lowest ids first. In several languages the rows
    of the same groups are taken, where rows have groups. The choice depends on contents alone.
    """
    if isinstance(limit, SplitLimits):
        return take_stratified(_take_by_split(examples, limit), limit.every)
    if limit is None or limit >= len(examples):
        return examples
    return examples.take(_choose_stratified(examples, limit))


def _choose_stratified(examples: Examples, limit: int | None) -> Sequence[int]:
    """Return the numbers of the rows that `take_stratified` takes, in order."""
    if limit is None or limit >= len(examples):
        return range(len(examples))
    several = len(set(examples.languages)) > 1
    strata: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in range(len(examples)):
        strata[examples.splits[row], examples.labels[row], examples.languages[row]].append(row)

    def order(row: int) -> tuple[str, str]:
        group = examples.groups[row] if several else None
        return ("" if group is None else hash_lines([group]), examples.ids[row])

    share = limit / len(examples)
    kept = [
        row for rows in strata.values() for row in sorted(rows, key=order)[: max(1, round(len(rows) * share))]
    ]
    return sorted(kept)


def _take_by_split(examples: Examples, limits: SplitLimits) -> Examples:
    """Return the examples with a limit each for test rows and others, in their order."""
    kept: list[int] = []
    for limit, is_test in ((limits.test, True), (limits.others, False)):
        rows = [row for row, split in enumerate(examples.splits) if (split == "test") is is_test]
        kept += (rows[place] for place in _choose_stratified(examples.take(rows), limit))
    return examples.take(sorted(kept))
