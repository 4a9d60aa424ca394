"""Examples in several languages and a partition in, one partition out for each pair of languages: those learnt from,
and the one tested on.

Which rows and languages are used: of a target its own test rows, all of them; of what is learnt from its own training
and validation rows, less those that belong to a group (a source item, a template) of which a test row of the target is
one, in whatever language. A language without test rows is no target, and one without training rows no source. What is
drawn depends on ids, groups and the seed alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import harness
from harness_regimes.rows import place, require_count, share_out


class Native:
    """Each language by itself."""

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(who="native", examples=examples, rows=rows, seed=seed)
        return _require_some("native", (task.learn((one,), one) for one in task.targets))


class ZeroShot:
    """From one language, or from each, to every other one."""

    def __init__(self, source: str | None) -> None:
        self.source = _require_tag(source) if source is not None else None

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(who="zero_shot", examples=examples, rows=rows, seed=seed)
        sources = task.sources if self.source is None else (task.require_source(self.source),)
        return _require_some(
            "zero_shot", (task.learn((one,), other) for one in sources for other in task.targets_beside(one))
        )


class LeaveOneOut:
    """From all languages but one to that one. Of at most `rows` training rows (0: all) each label has its share; no
    source item is taken in a second language before every other one is taken in a first, and of rows that have this in
    common every language gives as many while it has any. Validation rows shrink alike.
    """

    def __init__(self, rows: int) -> None:
        self.rows = _require_rows(rows)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(who="leave_one_out", examples=examples, rows=rows, seed=seed)

        def learn(target: str) -> harness.Partition | None:
            others = tuple(one for one in task.sources if one != target)
            return task.learn(others, target, most=self.rows)

        return _require_some("leave_one_out", map(learn, task.targets))


class FewShot:
    """All rows of `source`, and of the language that is tested on `k` training rows of each label; one that has not so
    many is no target. The choice is made on the source's validation rows.
    """

    def __init__(self, k: int, source: str) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k} must be a whole number, at least 1")
        self.k, self.source = k, _require_tag(source)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(who="few_shot", examples=examples, rows=rows, seed=seed)
        source = task.require_source(self.source)

        def learn(target: str) -> harness.Partition | None:
            own = task.apart(task.train.get(target, ()), target)
            few: dict[str, list[int]] = {label: [] for label in task.labels}
            for row in sorted(own, key=lambda row: place("few", examples.ids[row], seed)):
                few[examples.labels[row]].append(row)
            if any(len(members) < self.k for members in few.values()):
                return None
            taken = [row for members in few.values() for row in members[: self.k]]
            return task.make((*task.train[source], *taken), task.validation.get(source, ()), target)

        return _require_some("few_shot", map(learn, task.targets_beside(source)))


class Translations:
    """Each language by itself, but only from those of its rows that translate a row `source` is learnt from: what its
    own words add to what zero-shot learns from the same items.
    """

    def __init__(self, source: str) -> None:
        self.source = _require_tag(source)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(who="translations", examples=examples, rows=rows, seed=seed)
        source = task.require_source(self.source)
        items = task.groups_of(task.train[source])
        held = task.groups_of(task.validation.get(source, ()))
        if not items:
            raise harness.MissingError(f"translations: the rows in '{source}' name no source items")

        def learn(target: str) -> harness.Partition | None:
            train = [row for row in task.train.get(target, ()) if examples.groups[row] in items]
            kept = [row for row in task.validation.get(target, ()) if examples.groups[row] in held]
            return task.make(train, kept, target)

        return _require_some("translations", map(learn, task.targets_beside(source)))


class Joint:
    """From all languages, its own among them, to each. `rows` is as for LeaveOneOut."""

    def __init__(self, rows: int) -> None:
        self.rows = _require_rows(rows)

    def __call__(self, examples: harness.Examples, rows: harness.Partition, seed: int) -> Partitions:
        task = _Task(who="joint", examples=examples, rows=rows, seed=seed)
        return _require_some(
            "joint", (task.learn(task.sources, target, most=self.rows) for target in task.targets)
        )


Partitions = Sequence[harness.Partition]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The rows of a task by language; `who` asks for them."""

    who: str
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
        """Those of the training rows, in any language."""
        return tuple(sorted({self.examples.labels[row] for row in self.rows.train}))

    def require_source(self, source: str) -> str:
        """The language, if it has training rows; MissingError that names those that have."""
        if source not in self.train:
            there = ", ".join(self.sources)
            raise harness.MissingError(
                f"{self.who}: there are no training rows in '{source}', only in {there}"
            )
        return source

    def targets_beside(self, source: str) -> tuple[str, ...]:
        return tuple(target for target in self.targets if target != source)

    def groups_of(self, rows: Iterable[int]) -> set[str | None]:
        return {self.examples.groups[row] for row in rows} - {None}

    def apart(self, rows: Iterable[int], target: str) -> tuple[int, ...]:
        """Those of `rows` that share no group with a test row of the target."""
        tested = self._tested_groups[target]
        return tuple(row for row in rows if self.examples.groups[row] not in tested)

    def make(self, train: Iterable[int], validation: Iterable[int], target: str) -> harness.Partition | None:
        """These rows and the target's test rows; None where there are not two labels to learn."""
        kept = tuple(sorted(self.apart(train, target)))
        if len({self.rows.labels[row] for row in kept}) < 2:
            return None
        held = tuple(sorted(self.apart(validation, target)))
        return replace(self.rows, train=kept, validation=held, test=self.test[target])

    def learn(self, sources: Sequence[str], target: str, *, most: int = 0) -> harness.Partition | None:
        """From the rows of `sources`, of which at most `most` are training rows (0: all)."""
        train = self.apart((row for one in sources for row in self.train.get(one, ())), target)
        held = self.apart((row for one in sources for row in self.validation.get(one, ())), target)
        least = len(sources) * len(self.labels)
        if 0 < most < least:
            raise harness.MissingError(
                f"{self.who}: rows={most} cannot hold each of {len(self.labels)} labels in each of {len(sources)} "
                f"languages; take at least {least}, or 0 for all"
            )
        if 0 < most < len(train):
            few = round(most * len(held) / len(train))
            held = self._spread(held, few) if few >= 2 * len(self.labels) else ()
            train = self._spread(train, most)
        return self.make(train, held, target)

    def _spread(self, rows: Sequence[int], n: int) -> tuple[int, ...]:
        """`n` of the rows, each label with its share; MissingError where `n` is too few for that."""
        members: dict[str, list[int]] = defaultdict(list)
        for row in self._in_turn(rows):
            members[self.examples.labels[row]].append(row)
        sizes = share_out(n, {label: len(found) for label, found in sorted(members.items())}, self.who)
        return tuple(row for label, size in sizes.items() for row in members[label][:size])

    def _in_turn(self, rows: Iterable[int]) -> list[int]:
        """The rows in the order in which they are taken: the first of every group, then the second, …; among these
        languages and labels take turns.
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
            row: place("spread", ids[row], self.seed) for row in (*self.rows.train, *self.rows.validation)
        }

    @cached_property
    def _tested_groups(self) -> dict[str, set[str | None]]:
        return {language: self.groups_of(rows) for language, rows in self.test.items()}

    def _by_language(self, rows: Iterable[int]) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            found[self.examples.languages[row]].append(row)
        return {language: tuple(found[language]) for language in sorted(found)}


def _require_some(who: str, made: Iterable[harness.Partition | None]) -> Partitions:
    """The partitions that could be made; MissingError where none could."""
    some = [one for one in made if one is not None]
    if not some:
        raise harness.MissingError(
            f"{who}: no language has test rows that another, or itself, can be learnt for"
        )
    return some


def _require_rows(rows: Any) -> int:
    return 0 if type(rows) is int and rows == 0 else require_count("rows", rows)


def _require_tag(source: Any) -> str:
    # YAML reads `no`, Norwegian, as false.
    if not isinstance(source, str) or not source:
        raise ValueError(f"source={source} must be the tag of a language, in quotation marks if it is 'no'")
    return source
