"""Rows in, rows cut as MOSAIC cut them: a tenth to stop on, a fifth to test on, official splits disregarded."""

from __future__ import annotations

from collections.abc import Sequence

from harness import Examples, Partition, UnavailableError

TEST_SHARE, VALIDATION_SHARE, SEED = 0.2, 0.1, 42


class MosaicSplit:
    """`train_test_split` of scikit-learn twice, by label and with one seed for ever, over all rows in file order.

    The validation rows are those that the study stopped training on; it chose nothing by them. Without `hold_out` they
    stay in training, in their place: MosaicProbe then cuts the same rows off by itself and learns from exactly the same
    rest, and what is chosen is chosen on folds.

    The study's own rows came in the order in which files happened to be read, so that every configuration had another
    split; file order is the one thing here that is not its own.
    """

    def __init__(self, *, hold_out: bool) -> None:
        self.hold_out = hold_out

    def __call__(self, examples: Examples, rows: Partition, seed: int) -> Partition:
        """The same rows for every seed; UnavailableError where a class has too few rows."""
        learnt, test = _cut(range(len(examples)), examples, TEST_SHARE)
        train, validation = learnt, list[int]()
        if self.hold_out:
            train, validation = _cut(learnt, examples, VALIDATION_SHARE / (1 - TEST_SHARE))
        return Partition(
            train=tuple(train), validation=tuple(validation), test=tuple(test), labels=examples.labels
        )


def _cut(rows: Sequence[int], examples: Examples, share: float) -> tuple[list[int], list[int]]:
    from sklearn.model_selection import train_test_split

    labels = [examples.labels[row] for row in rows]
    try:
        kept, cut = train_test_split(rows, test_size=share, random_state=SEED, stratify=labels)
    except ValueError as error:
        raise UnavailableError(f"mosaic_split cannot cut {len(rows)} rows by label: {error}") from error
    return list(kept), list(cut)
