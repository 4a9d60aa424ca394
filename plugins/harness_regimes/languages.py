"""Regimes of cross-lingual transfer: one partition for each pair of source and target languages.

A target is tested on all of its own test rows. A source gives its own training and validation rows, except
rows that share a group (a source item, a template) with a test row of the target in any language: those would
leak. A language without test rows is no target, and one without training rows no source. Draws depend on ids,
groups and seed alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import harness
from harness_regimes.rows import allocate, require_count, uniform_hash


class Native:
    """Each language trained and tested on its own rows."""

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(regime="native", examples=examples, rows=rows, seed=seed)
        return _require_some("native", (task.transfer((one,), one) for one in task.targets))


class ZeroShot:
    """Transfer from one language, or from each, to every other one."""

    def __init__(self, source: str | None) -> None:
        self.source = _require_tag(source) if source is not None else None

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(regime="zero_shot", examples=examples, rows=rows, seed=seed)
        sources = task.sources if self.source is None else (task.require_source(self.source),)
        return _require_some(
            "zero_shot",
            (task.transfer((one,), other) for one in sources for other in task.targets_beside(one)),
        )


class LeaveOneOut:
    """Transfer from all other languages to each language.

    With `rows` (0: all), a balanced draw of at most so many training rows: labels in proportion, source items
    spread before any is repeated in a second language, languages in equal numbers while they last. Validation
    rows shrink in the same proportion.
    """

    def __init__(self, rows: int) -> None:
        self.rows = _require_rows(rows)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(regime="leave_one_out", examples=examples, rows=rows, seed=seed)

        def transfer(target: str) -> harness.Partition | None:
            others = tuple(one for one in task.sources if one != target)
            return task.transfer(others, target, most=self.rows)

        return _require_some("leave_one_out", map(transfer, task.targets))


class FewShot:
    """Training on all rows of `source` and `k` training rows of each label in the target language.

    A language with fewer than `k` rows of some label is no target. Hyper-parameters are chosen on the
    source's validation rows.
    """

    def __init__(self, k: int, source: str) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k} must be a whole number, at least 1")
        self.k, self.source = k, _require_tag(source)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(regime="few_shot", examples=examples, rows=rows, seed=seed)
        source = task.require_source(self.source)

        def transfer(target: str) -> harness.Partition | None:
            own = task.without_leaks(task.train.get(target, ()), target)
            few: dict[str, list[int]] = {label: [] for label in task.labels}
            for row in sorted(own, key=lambda row: uniform_hash("few", examples.ids[row], seed)):
                few[examples.labels[row]].append(row)
            if any(len(members) < self.k for members in few.values()):
                return None
            taken = [row for members in few.values() for row in members[: self.k]]
            return task.partition((*task.train[source], *taken), task.validation.get(source, ()), target)

        return _require_some("few_shot", map(transfer, task.targets_beside(source)))


class Translations:
    """Each language trained on those of its rows that translate training rows of `source`.

    Against zero-shot from `source`, it measures the effect of the language alone: the items are the same.
    Raise UnavailableError if the rows of `source` have no groups.
    """

    def __init__(self, source: str) -> None:
        self.source = _require_tag(source)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(regime="translations", examples=examples, rows=rows, seed=seed)
        source = task.require_source(self.source)
        items = task.groups_of(task.train[source])
        held = task.groups_of(task.validation.get(source, ()))
        if not items:
            raise harness.UnavailableError(f"translations: the rows in '{source}' name no source items")

        def transfer(target: str) -> harness.Partition | None:
            train = [row for row in task.train.get(target, ()) if examples.groups[row] in items]
            kept = [row for row in task.validation.get(target, ()) if examples.groups[row] in held]
            return task.partition(train, kept, target)

        return _require_some("translations", map(transfer, task.targets_beside(source)))


class Joint:
    """Training on all languages together, tested on each; `rows` is as for LeaveOneOut."""

    def __init__(self, rows: int) -> None:
        self.rows = _require_rows(rows)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(regime="joint", examples=examples, rows=rows, seed=seed)
        return _require_some(
            "joint", (task.transfer(task.sources, target, most=self.rows) for target in task.targets)
        )


Partitions = Sequence[harness.Partition]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Rows of one task by language; `regime` is the regime's name for error messages."""

    regime: str
    examples: harness.Examples
    rows: harness.Partition
    seed: int

    @cached_property
    def train(self) -> dict[str, tuple[int, ...]]:
        return self._by_language(self.rows.train)

    @cached_property
    def validation(self) -> dict[str, tuple[int, ...]]:
        return self._by_language(self.rows.validation)

    @cached_property
    def test(self) -> dict[str, tuple[int, ...]]:
        return self._by_language(self.rows.test)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.train)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.test)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Labels of the training rows in any language, sorted."""
        return tuple(sorted({self.examples.labels[row] for row in self.rows.train}))

    def require_source(self, source: str) -> str:
        """Return `source`; raise UnavailableError, naming the sources, if it has no training rows."""
        if source not in self.train:
            hint = harness.did_you_mean(source, self.sources, owner_has="there are some in")
            raise harness.UnavailableError(f"{self.regime}: there are no training rows in '{source}'{hint}")
        return source

    def targets_beside(self, source: str) -> tuple[str, ...]:
        return tuple(target for target in self.targets if target != source)

    def groups_of(self, rows: Iterable[int]) -> set[str | None]:
        return {self.examples.groups[row] for row in rows} - {None}

    def without_leaks(self, rows: Iterable[int], target: str) -> tuple[int, ...]:
        """Return the rows that share no group with a test row of the target."""
        tested = self._tested_groups[target]
        return tuple(row for row in rows if self.examples.groups[row] not in tested)

    def partition(
        self, train: Iterable[int], validation: Iterable[int], target: str
    ) -> harness.Partition | None:
        """Return a partition of these rows and the target's test rows; None if fewer than two labels remain.

        Rows that share a group with a test row of the target are left out.
        """
        kept = tuple(sorted(self.without_leaks(train, target)))
        if len({self.rows.labels[row] for row in kept}) < 2:
            return None
        held = tuple(sorted(self.without_leaks(validation, target)))
        return replace(self.rows, train=kept, validation=held, test=self.test[target])

    def transfer(self, sources: Sequence[str], target: str, *, most: int = 0) -> harness.Partition | None:
        """Return the partition that trains on `sources` and tests on `target`.

        With `most` above 0, draw at most `most` training rows; raise UnavailableError if so few cannot hold each
        label in each language. Return None if fewer than two labels remain.
        """
        train = self.without_leaks((row for one in sources for row in self.train.get(one, ())), target)
        held = self.without_leaks((row for one in sources for row in self.validation.get(one, ())), target)
        least = len(sources) * len(self.labels)
        if 0 < most < least:
            raise harness.UnavailableError(
                f"{self.regime}: rows={most} cannot hold each of {len(self.labels)} labels in each of {len(sources)} "
                f"languages; take at least {least}, or 0 for all"
            )
        if 0 < most < len(train):
            few = round(most * len(held) / len(train))
            # Fewer than two rows for each label are no ground for choosing hyper-parameters.
            held = self._draw_balanced(held, few) if few >= 2 * len(self.labels) else ()
            train = self._draw_balanced(train, most)
        return self.partition(train, held, target)

    def _draw_balanced(self, rows: Sequence[int], n: int) -> tuple[int, ...]:
        """Draw `n` rows with labels in proportion; raise UnavailableError if `n` is too small for that."""
        members: dict[str, list[int]] = defaultdict(list)
        for row in self._drawing_order(rows):
            members[self.examples.labels[row]].append(row)
        sizes = allocate(n, {label: len(found) for label, found in sorted(members.items())}, self.regime)
        return tuple(row for label, size in sizes.items() for row in members[label][:size])

    def _drawing_order(self, rows: Iterable[int]) -> list[int]:
        """Return the rows in drawing order.

        The first row of every group comes first, then the second of every group, and so on; within each such
        round, languages and labels take turns.
        """
        groups, languages, labels = self.examples.groups, self.examples.languages, self.examples.labels
        of_group: Counter[str] = Counter()
        of_language: Counter[tuple[int, str, str]] = Counter()
        keys: dict[int, tuple[int, int, float]] = {}
        for row in sorted(rows, key=self._places.__getitem__):
            group = groups[row]
            before = 0 if group is None else of_group[group]
            turn = (before, languages[row], labels[row])
            keys[row] = (before, of_language[turn], self._places[row])
            of_language[turn] += 1
            if group is not None:
                of_group[group] += 1
        return sorted(keys, key=keys.__getitem__)

    @cached_property
    def _places(self) -> dict[int, float]:
        ids = self.examples.ids
        return {
            row: uniform_hash("spread", ids[row], self.seed)
            for row in (*self.rows.train, *self.rows.validation)
        }

    @cached_property
    def _tested_groups(self) -> dict[str, set[str | None]]:
        return {language: self.groups_of(rows) for language, rows in self.test.items()}

    def _by_language(self, rows: Iterable[int]) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            found[self.examples.languages[row]].append(row)
        return {language: tuple(found[language]) for language in sorted(found)}


def _require_some(regime: str, made: Iterable[harness.Partition | None]) -> Partitions:
    """Return the partitions that are not None; raise UnavailableError if there are none."""
    some = [one for one in made if one is not None]
    if not some:
        raise harness.UnavailableError(f"{regime}: no language with test rows has a source to train on")
    return some


def _require_rows(rows: Any) -> int:
    return 0 if type(rows) is int and rows == 0 else require_count("rows", rows)


def _require_tag(source: Any) -> str:
    # YAML reads `no`, the tag of Norwegian, as false.
    if not isinstance(source, str) or not source:
        raise ValueError(f"source={source} must be the tag of a language, in quotation marks if it is 'no'")
    return source
