"""Partitions of a task's rows for one regime and seed: training, validation and test.

Official validation rows are used for model selection where they exist; then seed 0 trains on every training row, and
each other seed on its own 85 % of them. Without them each seed holds out its own 15 % of training for selection. Few
validation rows would select by chance, and repeated stratified folds of the training rows take their place (Krstajic
et al. 2014, "Cross-validation pitfalls when selecting and assessing regression and classification models").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from harness.api.data import Examples, Partition
from harness.api.errors import UnavailableError, UsageError, name_some
from harness.data.splits import split_rows
from harness.registry.catalog import Choice

FOLDS, REPEATS = 5, 2
"""Number of folds of the training rows, and how often they are drawn, where no validation rows are left."""

LEAST_VALIDATION = 75
"""Number of validation rows below which folds are used: an accuracy over so many has a standard error up to .06."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Partition of a task's rows, with the regime, seed and languages that it was made for.

    Languages of training and of test are joined with `+`; a regime that is not `by_language` has all of the task's in
    both.
    """

    regime: Choice
    seed: int
    train_language: str
    test_language: str
    partition: Partition = field(repr=False)
    shared_groups: int = 0
    """Number of test rows whose group is also in training or validation."""

    @property
    def key(self) -> tuple[str, int, str, str]:
        """Key that is unique among the draws of a task."""
        return self.regime.label, self.seed, self.train_language, self.test_language


def make_draws(examples: Examples, regime: Choice, seed: int) -> tuple[Draw, ...]:
    """Return the draws of one seed under a regime, one for each pair of languages that the regime makes.

    A pair is left out if the training language lacks a label of the test language. Raises UnavailableError if the
    examples are too few for the regime, and UsageError if the regime returns impossible rows.
    """
    made = _draw(examples, regime, seed)
    # Seed 0 decides for all seeds whether folds are used, so that they differ in nothing but their rows.
    first = made if seed == 0 else _draw(examples, regime, 0)
    selecting = {pair for pair, rows in first.items() if len(rows.validation) >= LEAST_VALIDATION}
    kept = {
        pair: partition if pair in selecting else replace(partition, validation=())
        for pair, partition in made.items()
        if not regime.spec.by_language or _covers_test_labels(partition)
    }
    draws = tuple(
        Draw(
            regime=regime,
            seed=seed,
            train_language=train,
            test_language=test,
            partition=partition,
            shared_groups=count_shared_groups(examples, partition),
        )
        for (train, test), partition in kept.items()
    )
    if not draws:
        raise UnavailableError(f"{regime.owner} finds no two languages with the same labels")
    return draws


def find_untested(examples: Examples) -> tuple[str, ...]:
    """Return sentences about languages without training or test rows, and about labels that not every language has."""
    labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for language, split, label in zip(examples.languages, examples.splits, examples.labels, strict=True):
        labels[split][language].add(label)
    every = sorted(set(examples.languages))
    sentences = []
    for split, name, use in (("train", "training", "tested on"), ("test", "test", "learnt from")):
        if lacking := [language for language in every if not labels[split][language]]:
            sentences.append(f"no {name} rows in {name_some(lacking)}, which can only be {use}")
    for language in every:
        taught = labels["train"][language]
        if taught and (unknown := sorted(set(examples.labels) - taught)):
            use = "which is not learnt from where these are tested on"
            labels_there = name_some([f"'{label}'" for label in unknown])
            sentences.append(f"no training rows of {labels_there} in {language}, {use}")
    return tuple(sentences)


def _draw(examples: Examples, regime: Choice, seed: int) -> dict[tuple[str, str], Partition]:
    """Return the regime's partitions by their languages (training, test), after checks of each."""
    splits = split_rows(examples, seed)
    own = Partition(labels=examples.labels, **{split: tuple(rows) for split, rows in splits.items()})
    given = regime.make()(examples, own, seed)
    by_language = regime.spec.by_language
    made: dict[tuple[str, str], Partition] = {}
    for partition in given if by_language else (given,):
        for fault in _find_faults(partition, own, examples, regime):
            raise UsageError(f"{regime.owner} {fault}")
        every = range(len(examples))
        rows = ((*partition.train, *partition.validation), partition.test) if by_language else (every, every)
        pair = (_join_languages(examples, rows[0]), _join_languages(examples, rows[1]))
        if pair in made:
            raise UsageError(f"{regime.owner} goes from {pair[0]} to {pair[1]} twice")
        made[pair] = _return_validation(partition, examples) if by_language else partition
    return made


def _return_validation(rows: Partition, examples: Examples) -> Partition:
    """Return validation rows to training if more rows of a language were held out, by group, than are left."""
    if "validation" in examples.splits or len(rows.validation) <= len(rows.train):
        return rows
    return replace(rows, train=tuple(sorted((*rows.train, *rows.validation))), validation=())


def _join_languages(examples: Examples, rows: Iterable[int]) -> str:
    return "+".join(sorted({examples.languages[row] for row in rows}))


def _covers_test_labels(rows: Partition) -> bool:
    return {rows.labels[row] for row in rows.test} <= {rows.labels[row] for row in rows.train}


def count_shared_groups(examples: Examples, rows: Partition) -> int:
    """Return the number of test rows whose group is also in training or validation.

    It is 0 unless a regime moves test rows.
    """
    trained = {examples.groups[row] for row in (*rows.train, *rows.validation)} - {None}
    return sum(examples.groups[row] in trained for row in rows.test)


def _find_faults(made: Partition, own: Partition, examples: Examples, regime: Choice) -> Iterator[str]:
    """Yield what a regime did that no plugin may do; each check relies on the ones before it."""
    rows = [row for part in (made.train, made.validation, made.test) for row in part]
    if len(set(rows)) < len(rows) or not all(0 <= row < len(examples) for row in rows):
        yield "uses a row twice, or one that is not there"
    if not made.train or not made.test:
        yield f"leaves no row to {'test on' if made.train else 'learn from'}"
    if made.test != own.test and not regime.spec.moves_test:
        yield "changes the test rows without saying `moves_test`"
    labels = made.labels
    if len(labels) != len(examples) or any(labels[row] != examples.labels[row] for row in made.test):
        yield "changes labels of test rows"
    if strange := {labels[row] for row in rows} - set(examples.labels):
        yield f"makes up the label '{min(strange)}'"
    if regime.spec.by_language:
        if len(tested := {examples.languages[row] for row in made.test}) > 1:
            yield f"tests on several languages at once: {name_some(sorted(tested))}"
        if not set(made.test) <= set(own.test):
            yield "tests on rows that are no test rows of the task"
        if shared := count_shared_groups(examples, made):
            yield f"learns from translations or siblings of {shared} rows that it tests on"
