"""MOSAIC's split: a tenth of all rows for early stopping, a fifth for testing, without regard to official splits."""

from __future__ import annotations

from collections.abc import Sequence

from harness import Examples, Partition, UnavailableError

TEST_SHARE, VALIDATION_SHARE, SEED = 0.2, 0.1, 42


class MosaicSplit:
    """Two calls of scikit-learn's `train_test_split`, by label and with one fixed seed, over all rows in file order.

    The study stopped training on the validation rows and selected nothing by them. Without `hold_out` they stay in
    training, at their place: MosaicProbe then holds out the same rows itself and is trained on exactly the same rest,
    and selection uses folds.

    The study's own rows came in the order in which files happened to be read, so that every configuration had another
    split; file order is the only difference here.
    """

    def __init__(self, *, hold_out: bool) -> None:
        self.hold_out = hold_out

    def __call__(self, examples: Examples, rows: Partition, seed: int) -> Partition:
        """Return the same rows for every seed; raise UnavailableError if a class has too few rows."""
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
