"""A task's examples, a regime and a seed in, out which rows are learnt from, chosen on and tested on.

Official validation rows choose, where there are any; then seed 0 learns from every training row, and each other seed
from its own 85 % of them. Else each seed holds out its own 15 % to choose on. Where validation rows are few they would
choose by luck, and repeated stratified folds of what is learnt from do it (Krstajic et al. 2014, "Cross-validation
pitfalls when selecting and assessing regression and classification models").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from harness.api.data import Examples, Partition
from harness.api.errors import UnavailableError, UsageError
from harness.data.splits import split_rows
from harness.registry.catalog import Choice

FOLDS, REPEATS = 5, 2
"""Where there are no validation rows: so many folds of the training rows, drawn so many times."""

LEAST_VALIDATION = 75
"""Validation rows below which folds choose: a share of right answers among so many has a standard error of .06."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A partition, what it was made by, and the languages that are learnt from and tested on, joined with `+`; of a
    regime that does not go by languages both are all those of the task.
    """

    regime: Choice
    seed: int
    train_language: str
    test_language: str
    partition: Partition = field(repr=False)

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What tells it from the other draws of a task."""
        return self.regime.label, self.seed, self.train_language, self.test_language


def make_draws(examples: Examples, regime: Choice, seed: int) -> tuple[Draw, ...]:
    """The rows of one seed under a regime, for each pair of languages that it makes; UnavailableError where the
    examples are too few for it, UsageError where the regime gives rows that cannot be. Seed 0 decides for all whether
    folds choose. A pair of languages of which the one has a label that the other does not teach is left away; and
    where more rows were held out of a language, by group, than are left, they are given back, and folds choose.
    """
    made = _draw(examples, regime, seed)
    first = made if seed == 0 else _draw(examples, regime, 0)
    chosen_on = {pair: len(partition.validation) >= LEAST_VALIDATION for pair, partition in first.items()}
    draws = tuple(
        Draw(
            regime=regime,
            seed=seed,
            train_language=train,
            test_language=test,
            partition=partition if chosen_on.get((train, test), False) else replace(partition, validation=()),
        )
        for (train, test), partition in made.items()
        if not regime.spec.by_language or _is_taught(partition)
    )
    if not draws:
        raise UnavailableError(f"{regime.owner} finds no two languages with the same labels")
    return draws


def find_untested(examples: Examples) -> tuple[str, ...]:
    """What of several languages cannot be had: those without training or test rows, and labels that not all have."""
    labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for language, split, label in zip(examples.languages, examples.splits, examples.labels, strict=True):
        labels[split][language].add(label)
    every = sorted(set(examples.languages))
    sentences = []
    for split, name, use in (("train", "training", "tested on"), ("test", "test", "learnt from")):
        if lacking := [language for language in every if not labels[split][language]]:
            sentences.append(f"no {name} rows in {', '.join(lacking)}, which can only be {use}")
    for language in every:
        taught = labels["train"][language]
        unknown = ", ".join(f"'{label}'" for label in sorted(set(examples.labels) - taught))
        if taught and unknown:
            sentences.append(
                f"no training rows of {unknown} in {language}, which is not learnt from where these are tested on"
            )
    return tuple(sentences)


def _draw(examples: Examples, regime: Choice, seed: int) -> dict[tuple[str, str], Partition]:
    """What a regime makes of the task's own partition, by the languages it learns from and is tested on."""
    splits = split_rows(examples, seed)
    own = Partition(
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
        labels=examples.labels,
    )
    given = regime.make()(examples, own, seed)
    if not regime.spec.by_language:
        _check(given, own, examples, regime)
        every = _join_languages(examples, range(len(examples)))
        return {(every, every): given}
    made: dict[tuple[str, str], Partition] = {}
    for partition in given:
        _check(partition, own, examples, regime)
        _check_apart(partition, own, examples, regime)
        pair = (
            _join_languages(examples, (*partition.train, *partition.validation)),
            _join_languages(examples, partition.test),
        )
        if pair in made:
            raise UsageError(f"{regime.owner} goes from {pair[0]} to {pair[1]} twice")
        made[pair] = _give_back(partition, examples)
    return made


def _give_back(rows: Partition, examples: Examples) -> Partition:
    """Rows held out for validation back to training where they are more than what is left there."""
    if "validation" in examples.splits or len(rows.validation) <= len(rows.train):
        return rows
    return replace(rows, train=tuple(sorted((*rows.train, *rows.validation))), validation=())


def _join_languages(examples: Examples, rows: Iterable[int]) -> str:
    return "+".join(sorted({examples.languages[row] for row in rows}))


def _is_taught(rows: Partition) -> bool:
    """Whether every label that is tested on is learnt from."""
    return {rows.labels[row] for row in rows.test} <= {rows.labels[row] for row in rows.train}


def count_shared_groups(examples: Examples, rows: Partition) -> int:
    """Test rows whose group is also learnt from: only a regime that tests on other rows can bring that about."""
    learnt = {examples.groups[row] for row in (*rows.train, *rows.validation)} - {None}
    return sum(examples.groups[row] in learnt for row in rows.test)


def _check(made: Partition, own: Partition, examples: Examples, regime: Choice) -> None:
    """UsageError for what no plugin may do: test on what is learnt from, move test rows unsaid, or relabel them."""
    parts = (made.train, made.validation, made.test)
    rows = [row for part in parts for row in part]
    if len(set(rows)) < len(rows) or not all(0 <= row < len(examples) for row in rows):
        raise UsageError(f"{regime.owner} uses a row twice, or one that is not there")
    if not made.train or not made.test:
        raise UsageError(f"{regime.owner} leaves no row to {'test on' if made.train else 'learn from'}")
    if made.test != own.test and not regime.spec.moves_test:
        raise UsageError(f"{regime.owner} changes the test rows without saying `moves_test`")
    if len(made.labels) != len(examples) or any(
        made.labels[row] != examples.labels[row] for row in made.test
    ):
        raise UsageError(f"{regime.owner} changes labels of test rows")
    if strange := {made.labels[row] for row in rows} - set(examples.labels):
        raise UsageError(f"{regime.owner} makes up the label '{min(strange)}'")


def _check_apart(made: Partition, own: Partition, examples: Examples, regime: Choice) -> None:
    """UsageError for a test on what is no test row, on several languages, or on what has a translation or sibling among
    the rows learnt from.
    """
    if len(tested := {examples.languages[row] for row in made.test}) > 1:
        raise UsageError(f"{regime.owner} tests on several languages at once: {', '.join(sorted(tested))}")
    if not set(made.test) <= set(own.test):
        raise UsageError(f"{regime.owner} tests on rows that are no test rows of the task")
    if shared := count_shared_groups(examples, made):
        raise UsageError(
            f"{regime.owner} learns from translations or siblings of {shared} rows that it tests on"
        )
