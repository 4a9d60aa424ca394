"""A fitted classifier's weights and its training rows in, the few features it goes by out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness.api.data import Matrix

    Array = np.ndarray[Any, Any]

FEATURES = 5
ROWS = 3

EVERY_CLASS = 4
"""With more classes than these, means are of a feature's own class and of the rest."""

_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian, Indic scripts and emoji are written."""


@dataclass(frozen=True, kw_only=True)
class TopFeature:
    """One of the probe's most influential features.

    `label` is the class for which its weight is largest in size; of two classes the one for which it is positive. Of
    more, a negative `weight` speaks against that class. `effect` is the size of the weight times the standard
    deviation of the feature in training, as the classifier is given it: in units of the score. `means` are of the
    pooled feature in training, by class. `snippets` are the beginnings of the training texts in which it is highest,
    and above zero. `link` is the address of its description.
    """

    feature: int
    label: str
    weight: float
    effect: float
    means: Mapping[str, float] = field(default_factory=dict)
    snippets: tuple[str, ...] = ()
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class Effects:
    """How much a linear classifier goes by each feature: `sizes [features]`, the size of its largest weight times its
    standard deviation in training; 0 for a feature that a transform left away. `weights [classes, columns]` are of the
    features `columns`.
    """

    sizes: Array
    weights: Array
    columns: Array


def find_effects(
    weights: Array,
    *,
    pooled: Matrix,
    transformed: Matrix,
    chosen: Array | None = None,
    n_classes: int,
) -> Effects | None:
    """`weights [classes, columns]` belong to `transformed [rows, columns]`, the training rows that the classifier was
    fitted on; `pooled [rows, features]` are the same rows before the transform, and `chosen` the features whose columns
    it kept; None where it kept all. None where these do not fit together: then the columns are no features, or the
    weights something else of that name.
    """
    n_columns = transformed.shape[1]
    columns = np.arange(pooled.shape[1]) if chosen is None else np.asarray(chosen)
    if np.shape(weights) != (n_classes, n_columns) or columns.shape != (n_columns,):
        return None
    sizes = np.zeros(pooled.shape[1])
    sizes[columns] = np.nan_to_num(np.abs(weights).max(axis=0) * deviations(transformed), posinf=0.0)
    return Effects(sizes=sizes, weights=np.asarray(weights), columns=columns)


def find_top_features(
    effects: Effects, *, pooled: Matrix, y: Array, classes: Sequence[str], texts: Sequence[object] = ()
) -> tuple[TopFeature, ...]:
    """Return the features with the largest effect on any class, largest first; of equal ones the first in the
    classifier's order. `pooled [rows, features]` are the training rows, `y [rows]` numbers into `classes`, all of which
    occur, and `texts` the inputs of the rows; none of images.
    """
    sizes = effects.sizes[effects.columns]
    top = np.argsort(-sizes, kind="stable")[:FEATURES]
    top = top[sizes[top] > 0]
    values = _columns(pooled, effects.columns[top])
    return tuple(
        _describe(
            feature=int(effects.columns[column]),
            weights=effects.weights[:, column],
            effect=float(sizes[column]),
            values=values[:, place],
            y=y,
            classes=classes,
            texts=texts,
        )
        for place, column in enumerate(top)
    )


def snippet(text: str, limit: int = 80) -> str:
    """The beginning of a text on one line of at most `limit` characters, cut after a word where that leaves half of
    it, with an ellipsis. Control characters and other invisible ones are left out.
    """
    line = " ".join(filter(None, map(_without_controls, text.split())))
    if len(line) <= limit:
        return line
    whole = line[:limit].rpartition(" ")[0]
    return (whole if 2 * len(whole) >= limit else line[: limit - 1]) + "…"


def deviations(X: Matrix) -> Array:
    """Standard deviation of each column, in float64; 0 where it is only what rounding makes of a constant."""
    mean, square = (total / X.shape[0] for total in _sums(X))
    variance = square - mean * mean
    return np.sqrt(np.where(variance > 1e-10 * square, variance, 0.0))


def _sums(X: Matrix) -> tuple[Array, Array]:
    """Of each column the sum of its values, and of their squares, in float64."""
    if isinstance(X, np.ndarray):
        return X.sum(axis=0, dtype=np.float64), np.einsum("ij,ij->j", X, X, dtype=np.float64)
    wide, ones = X.astype(np.float64), np.ones(X.shape[0])
    plain = np.asarray(ones @ wide)
    np.square(wide.data, out=wide.data)
    return plain, np.asarray(ones @ wide)


def _columns(X: Matrix, columns: Array) -> Array:
    """Some columns, dense, in float64."""
    taken = X[:, columns]
    return np.asarray(taken if isinstance(taken, np.ndarray) else taken.toarray(), dtype=np.float64)


def _describe(
    *,
    feature: int,
    weights: Array,
    effect: float,
    values: Array,
    y: Array,
    classes: Sequence[str],
    texts: Sequence[object],
) -> TopFeature:
    own = max(range(len(classes)), key=lambda number: (abs(weights[number]), weights[number] > 0))
    if len(classes) <= EVERY_CLASS:
        means = {name: float(values[y == number].mean()) for number, name in enumerate(classes)}
    else:
        rest = "rest" if classes[own] != "rest" else "other classes"
        means = {classes[own]: float(values[y == own].mean()), rest: float(values[y != own].mean())}
    highest = np.argsort(-values, kind="stable")[:ROWS] if texts else ()
    return TopFeature(
        feature=feature,
        label=classes[own],
        weight=float(weights[own]),
        effect=effect,
        means=means,
        snippets=tuple(snippet(str(texts[row])) for row in highest if values[row] > 0),
    )


def _without_controls(word: str) -> str:
    if word.isprintable():
        return word
    return "".join(letter for letter in word if letter.isprintable() or letter in _JOINERS)
