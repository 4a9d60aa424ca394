"""Features shared between languages, and their part in a classifier's effect.

A dictionary that reads two languages alike has features that fire in both, and a classifier trained in one language can
use them in the other. Its effect on features of the training language alone is lost there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.probing.attribution import deviations
from harness.probing.threads import one_thread

if TYPE_CHECKING:
    from harness.api.data import Examples, Matrix, Partition

    Array = np.ndarray[Any, Any]

FIRES_IN = 0.01
"""Share of a language's rows above which a feature that is not zero in them counts as firing there."""

TOP = 20
"""Number of features that separate the labels best in a language."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Features of a dictionary that the language of training and the language of the test have in common."""

    weight: float
    """Share of a classifier's effect (`harness.probing.attribution`) on features that fire in both languages."""
    even: float
    """That share when each feature counts by how evenly it fires: by its lower over its higher share of rows."""
    both: int
    """Features that fire in both languages."""
    only_train: int
    """Features that fire in the language of training alone."""
    only_test: int
    """Features that fire in the language of the test alone."""
    overlap: float | None = None
    """Jaccard index of the features that separate the labels best in each language; None where the tested language has
    no training rows.
    """


class Languages:
    """Features `[examples, features]` of a task in several languages, with cached statistics of each language. These
    are of its training rows, or without any of its test rows, without labels.
    """

    def __init__(self, pooled: Matrix, examples: Examples) -> None:
        self._examples = examples
        self._own: dict[str, list[int]] = defaultdict(list)
        for row, split in enumerate(examples.splits):
            if split == "train":
                self._own[examples.languages[row]].append(row)
        # Each set of rows is asked for by many classifiers.
        self._firing = cache(lambda rows: rates(pooled[list(rows)]))
        self._telling = cache(lambda rows: tells(pooled[list(rows)], [examples.labels[row] for row in rows]))

    @one_thread()
    def compare(self, effects: Array, rows: Partition) -> Sharing | None:
        """Return what a classifier with these effects `[features]` shares between the languages of its training and
        test rows; None if they are the same.
        """
        trained_in = {self._examples.languages[row] for row in rows.train}
        (tested_in,) = {self._examples.languages[row] for row in rows.test}
        if trained_in == {tested_in}:
            return None
        own = tuple(self._own.get(tested_in, ()))
        overlap = None
        if own:
            overlap = _jaccard(set(self._telling(rows.train)), set(self._telling(own)))
        return measure_sharing(
            effects, train=self._firing(rows.train), test=self._firing(own or rows.test), overlap=overlap
        )


def measure_sharing(effects: Array, *, train: Array, test: Array, overlap: float | None) -> Sharing:
    """Return the sharing of a classifier with `effects [features]` (`harness.probing.attribution.Effects.sizes`) for
    `rates` `train` and `test [features]` of two languages. Without any effect, nothing is shared.
    """
    fires_train, fires_test = train > FIRES_IN, test > FIRES_IN
    both = fires_train & fires_test
    higher = np.maximum(train, test)
    even = np.minimum(train, test) / np.where(higher > 0, higher, 1.0)
    total = float(effects.sum()) or 1.0
    return Sharing(
        weight=float(effects[both].sum()) / total,
        even=float(effects @ even) / total,
        both=int(both.sum()),
        only_train=int((fires_train & ~fires_test).sum()),
        only_test=int((fires_test & ~fires_train).sum()),
        overlap=overlap,
    )


def rates(pooled: Matrix) -> Array:
    """Return the share of rows `[rows, features]` in which each feature fires, that is, is not zero."""
    return np.asarray(np.asarray((pooled != 0).sum(axis=0)).ravel() / pooled.shape[0])


def tells(pooled: Matrix, labels: Sequence[str]) -> Array:
    """Return the `TOP` features whose mean differs most between any class and all other rows, in standard deviations
    of the feature; fewer if fewer differ. Of equal ones the lowest comes first.
    """
    y = np.unique(np.asarray(labels, dtype=object), return_inverse=True)[1]
    if y.max(initial=0) == 0:
        return np.empty(0, np.int64)
    members = np.eye(int(y.max()) + 1)[y]
    inside = members.sum(axis=0)[:, None]
    sums = np.asarray(members.T @ pooled)
    differences = sums / inside - (sums.sum(axis=0) - sums) / (len(y) - inside)
    spread = deviations(pooled)
    sizes = np.abs(differences).max(axis=0) / np.where(spread > 0, spread, np.inf)
    order = np.argsort(-sizes, kind="stable")[:TOP]
    return np.asarray(order[sizes[order] > 0])


def _jaccard(one: set[int], other: set[int]) -> float:
    """Return the size of the intersection over that of the union; 0 for two empty sets."""
    return len(one & other) / max(1, len(one | other))
