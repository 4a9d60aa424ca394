"""A task's examples, a regime and a seed in, out which rows are learnt from, chosen on and tested on.

Official validation rows choose, where there are any; then seed 0 learns from every training row, and each other seed
from its own 85 % of them. Else each seed holds out its own 15 % to choose on. Where validation rows are few they would
choose by luck, and repeated stratified folds of what is learnt from do it (Krstajic et al. 2014, "Cross-validation
pitfalls when selecting and assessing regression and classification models").
"""

from __future__ import annotations

from dataclasses import replace

from harness.api import Examples, Partition
from harness.data import split_rows
from harness.errors import UsageError
from harness.registry import Choice

FOLDS, REPEATS = 5, 2
"""Where there are no validation rows: so many folds of the training rows, drawn so many times."""

LEAST_VALIDATION = 75
"""Validation rows below which folds choose: a share of right answers among so many has a standard error of .06."""


def make_partition(examples: Examples, regime: Choice, seed: int) -> Partition:
    """The rows of one seed under a regime; MissingError where the examples are too few for it, UsageError where the
    regime gives rows that cannot be. Seed 0 decides for all whether folds choose.
    """
    made = _draw(examples, regime, seed)
    first = made if seed == 0 else _draw(examples, regime, 0)
    return made if len(first.validation) >= LEAST_VALIDATION else replace(made, validation=())


def _draw(examples: Examples, regime: Choice, seed: int) -> Partition:
    splits = split_rows(examples, seed)
    own = Partition(
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
        labels=examples.labels,
    )
    made: Partition = regime.make()(examples, own, seed)
    _check(made, own, examples, regime)
    return made


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
