"""Simple contexts of features, chosen on one half of a text and validated on the other.

A feature is read as "fires on this token", "fires after this token" or "fires at this place in the text", whichever is
true of most of its strongest activations in the first half. The reading is validated if it is about as true of
activations of that strength in the second half, which has no part in the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from harness.api.data import Tokens

LEAST_ACTIVATIONS = 20
"""Minimum number of activations of a feature in each half."""

STRONGEST, FEWEST_STRONG = 0.25, 5
"""Share of a feature's activations that count as strongest, and the minimum of that strength in the second half."""

LEAST_PRECISION, TOLERANCE = 0.5, 0.1
"""Minimum precision of a reading in the first half, and its maximum loss in the second."""

Contexts = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Consistency of the `features` with enough activations: the share with a reading, the share of these whose reading
    holds in the other half, both together (`validated`), and the mean precision of readings in either half.
    """

    features: int
    with_reading: float
    holding: float
    validated: float
    precision: float
    unseen_precision: float
    kinds: Mapping[str, int]


def contexts_of(tokens: Sequence[Tokens]) -> Contexts:
    """Return each content token's id, the id before it (−1 for none) and its place, `[content tokens]` each."""
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
    """Validate features `[tokens, width]` of two halves, given the contexts of their tokens."""
    enough, readings = 0, []
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
    kinds, seen, unseen_in = zip(*readings, strict=True) if readings else ((), (), ())
    held = sum(other >= own - TOLERANCE for own, other in zip(seen, unseen_in, strict=True))
    return Validation(
        features=enough,
        with_reading=_share(len(readings), enough),
        holding=_share(held, len(readings)),
        validated=_share(held, enough),
        precision=_share(sum(seen), len(readings)),
        unseen_precision=_share(sum(unseen_in), len(readings)),
        kinds={kind: kinds.count(kind) for kind in contexts},
    )


def _column(features: sparse.csc_array, feature: int) -> tuple[NDArray[Any], NDArray[Any]]:
    start, stop = features.indptr[feature], features.indptr[feature + 1]
    return features.indices[start:stop], features.data[start:stop]


def _read(contexts: Contexts, rows: NDArray[Any]) -> tuple[str, int, float]:
    """Return the kind and value of context that most of the rows share, and their share."""
    modes = {kind: stats.mode(column[rows]) for kind, column in contexts.items()}  # of ties the lowest value
    kind = max(modes, key=lambda kind: modes[kind].count)
    return kind, int(modes[kind].mode), float(modes[kind].count / len(rows))


def _share(part: float, whole: int) -> float:
    return float(part) / whole if whole else 0.0
