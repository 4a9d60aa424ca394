"""Regimes that draw or change training rows.

Draws depend on ids and seed alone, so that a smaller draw is part of a larger one and other rows change
nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import harness


class Full:
    """All rows, unchanged."""

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> harness.Partition:
        return rows


class Size:
    """`n` training rows in the same class proportions, at least two of each class where it has them.

    Validation rows shrink in the same proportion.
    """

    def __init__(self, n: int) -> None:
        self.n = require_count("n", n)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> harness.Partition:
        train = _by_class(examples, rows.train, seed)
        sizes = allocate(self.n, {label: len(members) for label, members in train.items()}, "size")
        return _take(examples, rows, train, sizes, seed)


class Imbalance:
    """`n` training rows with a given `share` of the rarest class.

    The rarest class is counted over all rows but test rows; ties go to the last by name. The other classes
    keep their proportions. Raise UnavailableError if the rarest class has too few rows.
    """

    def __init__(self, share: float, n: int) -> None:
        self.share, self.n = _require_share("share", share), require_count("n", n)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> harness.Partition:
        train = _by_class(examples, rows.train, seed)
        # Counted over all rows but test rows, so that it is the same class for every seed.
        known = Counter(_learnable(examples))
        rare = max(train, key=lambda label: (-known[label], label))
        few = max(1, round(self.share * self.n))
        if few > len(train[rare]):
            raise harness.UnavailableError(
                f"imbalance: {few} rows of '{rare}' are wanted, and training has {len(train[rare])}"
            )
        others = {label: len(members) for label, members in train.items() if label != rare}
        sizes = {rare: few, **allocate(self.n - few, others, "imbalance")}
        return _take(examples, rows, train, sizes, seed)


class LabelNoise:
    """Uniform label noise on training and validation rows.

    With probability `rate` a row's label is replaced by another class, each equally likely.
    """

    def __init__(self, rate: float) -> None:
        self.rate = _require_share("rate", rate)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> harness.Partition:
        classes = sorted(set(_learnable(examples)))
        labels = list(rows.labels)
        for row in (*rows.train, *rows.validation):
            drawn = uniform_hash("noise", examples.ids[row], seed)
            if drawn < self.rate:
                others = [name for name in classes if name != labels[row]]
                labels[row] = others[math.floor(drawn / self.rate * len(others))]
        return replace(rows, labels=tuple(labels))


class Longer:
    """Shift in text length: trained on short texts, tested on long ones.

    Training and validation rows have at most as many characters as the median of all rows but test rows, test
    rows have more. Raise UnavailableError for images, and if fewer than two classes remain.
    """

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> harness.Partition:
        if any(isinstance(one, harness.Image) for one in examples.inputs):
            raise harness.UnavailableError("regime 'longer' needs texts, and these rows are images")
        # Over all rows but test rows, so that the test rows are the same for every seed.
        pool = sorted(
            len(str(text))
            for text, split in zip(examples.inputs, examples.splits, strict=True)
            if split != "test"
        )
        middle = pool[len(pool) // 2]

        def is_short(row: int) -> bool:
            return len(str(examples.inputs[row])) <= middle

        short = replace(
            rows,
            train=tuple(row for row in rows.train if is_short(row)),
            validation=tuple(row for row in rows.validation if is_short(row)),
            test=tuple(row for row in rows.test if not is_short(row)),
        )
        for part, name in ((short.train, "training"), (short.test, "test")):
            if len({examples.labels[row] for row in part}) < 2:
                raise harness.UnavailableError(f"longer: its {name} rows have fewer than two classes")
        return short


# ── draws ────────────────────────────────────────────────────────────────────────────────────────────────


def _learnable(examples: harness.Examples) -> list[str]:
    """Return the labels of all rows that are not official test rows."""
    return [label for label, split in zip(examples.labels, examples.splits, strict=True) if split != "test"]


def _by_class(examples: harness.Examples, rows: Iterable[int], seed: int) -> dict[str, list[int]]:
    """Return the rows of each class, sorted by class, in an order drawn from each row's id."""
    members: dict[str, list[int]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: uniform_hash("draw", examples.ids[row], seed)):
        members[examples.labels[row]].append(row)
    return dict(sorted(members.items()))


def allocate(n: int, available: dict[str, int], regime: str) -> dict[str, int]:
    """Divide `n` rows over classes in proportion to their sizes, by largest remainders.

    Each class gets at least two rows where it has them. Raise UnavailableError if that is not possible.
    """
    total = sum(available.values())
    if n > total or n < min(2 * len(available), total):
        raise harness.UnavailableError(
            f"{regime}: {n} rows of {len(available)} classes cannot be taken from {total} training rows"
        )
    least = {label: min(2, count) for label, count in available.items()}
    exact = {label: n * count / total for label, count in available.items()}
    sizes = {label: max(least[label], math.floor(exact[label])) for label in available}
    order = sorted(available, key=lambda label: (sizes[label] - exact[label], label))
    step = 1 if sum(sizes.values()) < n else -1
    while sum(sizes.values()) != n:
        for label in order[::step]:
            grown = sizes[label] + step
            if least[label] <= grown <= available[label] and sum(sizes.values()) != n:
                sizes[label] = grown
    return sizes


def _take(
    examples: harness.Examples,
    rows: harness.Partition,
    train: dict[str, list[int]],
    sizes: dict[str, int],
    seed: int,
) -> harness.Partition:
    """Return a partition of the first training rows of each class; validation rows shrink in proportion."""
    taken = sorted(row for label, size in sizes.items() for row in train[label][:size])
    held = _by_class(examples, rows.validation, seed)
    ratio = len(rows.validation) / len(rows.train)
    kept = sorted(
        row for label, members in held.items() for row in members[: round(ratio * sizes.get(label, 0))]
    )
    return replace(rows, train=tuple(taken), validation=tuple(kept))


def uniform_hash(purpose: str, name: str, seed: int) -> float:
    """Return a pseudo-random number in [0, 1) determined by purpose, id and seed."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def require_count(name: str, value: Any) -> int:
    """Return `value`; raise ValueError unless it is a whole number of at least 2."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise ValueError(f"{name}={value} must be a whole number, at least 2")
    return value


def _require_share(name: str, value: Any) -> float:
    """Return `value` as a float; raise ValueError unless it is between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"{name}={value} must lie between 0 and 1")
    return float(value)
