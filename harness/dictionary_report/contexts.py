"""Features of tokens in two halves of a text in; what simple context each answers to, and whether that holds, out.

A feature is read as "fires on this token", "fires after this token" or "fires at this place in the text", whichever is
true of most of its strongest activations in the first half. It is validated where the same reading is about as true
of its activations of that strength in the second half, which had no part in choosing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from harness.api.data import Tokens

LEAST_ACTIVATIONS = 20
"""A feature has enough activations where it fires so often in each half."""

STRONGEST, FEWEST_STRONG = 0.25, 5
"""The strongest share of a feature's activations, and how many of that strength the second half must show."""

LEAST_PRECISION, TOLERANCE = 0.5, 0.1
"""A reading is one where it is true of half of the strongest activations, and holds where at most so much is lost."""

Contexts = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Of `features` with enough activations: the share that has a reading, that of those whose reading holds in other
    text, both together (`validated`), and the mean precision in either half of those that have one.
    """

    features: int
    with_reading: float
    holding: float
    validated: float
    precision: float
    unseen_precision: float
    kinds: Mapping[str, int]


def contexts_of(tokens: Sequence[Tokens]) -> Contexts:
    """Of every content token its id, the id before it (−1 for none) and its place, `[content tokens]` each."""
    parts: dict[str, list[NDArray[Any]]] = {"token": [], "after": [], "place": []}
    for one in tokens:
        before = np.concatenate([[-1], one.ids[:-1]])
        parts["token"].append(one.ids[one.content])
        parts["after"].append(before[one.content])
        parts["place"].append(np.arange(int(one.content.sum())))
    return {kind: np.concatenate(columns).astype(np.int64) for kind, columns in parts.items()}


def validate(
    first: sparse.csc_array, second: sparse.csc_array, contexts: Contexts, other_contexts: Contexts
) -> Validation:
    """`first` and `second` are features `[tokens, width]` of the two halves, with their tokens' contexts."""
    readings = []
    enough = 0
    for feature in range(first.shape[1]):
        rows, values = _column(first, feature)
        other_rows, other_values = _column(second, feature)
        if min(len(rows), len(other_rows)) < LEAST_ACTIVATIONS:
            continue
        strength = np.quantile(values, 1 - STRONGEST)
        unseen = other_rows[other_values >= strength]
        if len(unseen) < FEWEST_STRONG:
            continue
        enough += 1
        kind, value, precision = _read(contexts, rows[values >= strength])
        if precision >= LEAST_PRECISION:
            readings.append((kind, precision, float((other_contexts[kind][unseen] == value).mean())))
    held = [unseen >= precision - TOLERANCE for _, precision, unseen in readings]
    return Validation(
        features=enough,
        with_reading=_share(len(readings), enough),
        holding=_share(sum(held), len(readings)),
        validated=_share(sum(held), enough),
        precision=_share(sum(precision for _, precision, _ in readings), len(readings)),
        unseen_precision=_share(sum(unseen for *_, unseen in readings), len(readings)),
        kinds={kind: sum(found == kind for found, *_ in readings) for kind in contexts},
    )


def _column(features: sparse.csc_array, feature: int) -> tuple[NDArray[Any], NDArray[Any]]:
    start, stop = features.indptr[feature], features.indptr[feature + 1]
    return features.indices[start:stop], features.data[start:stop]


def _read(contexts: Contexts, rows: NDArray[Any]) -> tuple[str, int, float]:
    """The kind of context and its value that most of the rows share, and how many do."""
    found = []
    for kind, column in contexts.items():
        values, counts = np.unique(column[rows], return_counts=True)
        most = int(counts.argmax())
        found.append((kind, int(values[most]), float(counts[most] / len(rows))))
    return max(found, key=lambda reading: reading[2])


def _share(part: float, whole: int) -> float:
    return float(part) / whole if whole else 0.0
