"""Checks of regimes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.api.data import Examples, Partition
from harness.api.errors import UnavailableError
from harness.testing import samples
from harness.testing.check import Subject, check, fail_unless
from harness.testing.exercises import exercise

LANGUAGES = ("de", "en", "fr")


def _sample(subject: Subject) -> tuple[Examples, Partition]:
    """Return examples in three languages for regimes that look at languages, else in one."""
    spec = subject.choice.spec
    by_language = spec.by_language or spec.natural == "language"
    examples = samples.examples(languages=LANGUAGES if by_language else ("en",))
    return examples, samples.partition(examples)


def _draw(subject: Subject, seed: int = 0) -> list[Partition]:
    drawn = subject.make()(*_sample(subject), seed)
    return [drawn] if isinstance(drawn, Partition) else [*drawn]


@exercise("regimes")
def partitions(subject: Subject) -> list[Any]:
    """Return the rows and labels of two seeds."""
    return [
        [[*one.train], [*one.validation], [*one.test], [*one.labels]]
        for seed in (0, 1)
        for one in _draw(subject, seed)
    ]


@check("regimes", requires=())
def contract(subject: Subject) -> None:
    """It returns a Partition, or a sequence of them where it is by_language, of rows and labels that exist."""
    examples, rows = _sample(subject)
    drawn = subject.make()(examples, rows, 0)
    several = isinstance(drawn, Sequence) and not isinstance(drawn, str)
    fail_unless(
        isinstance(drawn, Partition) or several,
        f"it returns {type(drawn).__name__}, and neither a Partition nor a sequence of them",
    )
    if not subject.choice.spec.by_language:
        fail_unless(not several, "it returns several partitions, and its spec does not say by_language")
    for one in drawn if several else [drawn]:
        fail_unless(isinstance(one, Partition), f"it returns a sequence of {type(one).__name__}")
        for name in ("train", "validation", "test"):
            numbers = getattr(one, name)
            fail_unless(
                all(isinstance(row, int) and 0 <= row < len(examples) for row in numbers),
                f"its {name} rows are not all numbers from 0 to {len(examples) - 1}",
            )
            fail_unless(len(set(numbers)) == len(numbers), f"its {name} rows hold a row twice")
        fail_unless(
            len(one.labels) == len(examples),
            f"it returns {len(one.labels)} labels for {len(examples)} examples",
        )


@check("regimes")
def apart(subject: Subject) -> None:
    """No row, and no group in any language, is both among training or validation rows and among test rows."""
    examples, _ = _sample(subject)
    for one in _draw(subject):
        learnt = {*one.train, *one.validation}
        fail_unless(not learnt & {*one.test}, "a test row is among its training or validation rows")
        groups = {examples.groups[row] for row in learnt} - {None}
        shared = sorted(str(group) for group in groups & {examples.groups[row] for row in one.test})
        fail_unless(not shared, f"rows of '{shared[0] if shared else ''}' are both learnt from and tested")


@check("regimes")
def test_rows(subject: Subject) -> None:
    """Test rows keep their labels, and are the task's own in their order unless its spec says moves_test; then they
    do not depend on the seed.
    """
    _, rows = _sample(subject)
    spec = subject.choice.spec
    for one in _draw(subject):
        changed = [row for row in one.test if one.labels[row] != rows.labels[row]]
        fail_unless(not changed, f"it changes the labels of {len(changed)} test rows")
        if spec.by_language:
            fail_unless({*one.test} <= {*rows.test}, "it tests rows that are no test rows of the task")
        elif not spec.moves_test:
            fail_unless(
                [*one.test] == [*rows.test],
                "its test rows are not the task's, and its spec does not say moves_test",
            )
    if spec.moves_test:
        seeds = [[[*one.test] for one in _draw(subject, seed)] for seed in (0, 1)]
        fail_unless(seeds[0] == seeds[1], "its test rows depend on the seed")


@check("regimes", applies=lambda subject: bool(subject.choice.spec.by_language))
def languages(subject: Subject) -> None:
    """No two of its partitions have the same training and test languages, and each tests one language."""
    examples, _ = _sample(subject)
    seen: set[Any] = set()
    for one in _draw(subject):
        tested = {examples.languages[row] for row in one.test}
        fail_unless(
            len(tested) == 1, f"a partition tests the languages {', '.join(sorted(tested)) or 'none'}"
        )
        pair = (frozenset(examples.languages[row] for row in one.train), frozenset(tested))
        fail_unless(pair not in seen, "two of its partitions have the same training and test languages")
        seen.add(pair)


@check("regimes", applies=lambda subject: subject.choice.spec.natural is not None)
def natural(subject: Subject) -> None:
    """One that is natural leaves training rows and labels as they are."""
    examples, rows = _sample(subject)
    spec = subject.choice.spec
    for one in _draw(subject):
        fail_unless(one.labels == rows.labels, "it is called natural, and changes labels")
        if spec.natural == "task":
            fail_unless({*one.train} == {*rows.train}, "it is called natural, and changes the training rows")
        else:
            tested = {examples.languages[row] for row in one.test}
            own = {row for row in rows.train if examples.languages[row] in tested}
            fail_unless(
                {*one.train} == own, "it is called natural, and does not train on all rows of its language"
            )


@check("regimes")
def few(subject: Subject) -> None:
    """Where examples are too few it raises UnavailableError in one sentence, or returns rows that exist."""
    for size in (3, 8):
        examples = samples.examples(size, languages=_languages(subject))
        try:
            drawn = subject.make()(examples, samples.partition(examples), 0)
        except UnavailableError as error:
            fail_unless(len(str(error).splitlines()) == 1, "its error has several lines")
            continue
        except Exception as error:
            fail_unless(False, f"{size} examples raise {type(error).__name__}, not UnavailableError: {error}")
        for one in _flat(drawn):
            numbers = (*one.train, *one.validation, *one.test)
            fail_unless(
                all(0 <= row < len(examples) for row in numbers),
                f"of {size} examples it returns rows beyond them",
            )


def _languages(subject: Subject) -> tuple[str, ...]:
    spec = subject.choice.spec
    return LANGUAGES if spec.by_language or spec.natural == "language" else ("en",)


def _flat(drawn: Any) -> Iterator[Partition]:
    yield from [drawn] if isinstance(drawn, Partition) else drawn
