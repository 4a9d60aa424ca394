"""Attribution: the most influential features of a linear classifier, from its weights and training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness.api.data import Matrix

    Array = np.ndarray[Any, Any]

FEATURES = 5
"""Number of features described."""

ROWS = 3
"""Number of training rows shown for each."""

EVERY_CLASS = 4
"""Maximum number of classes with a mean each; of more, means are of a feature's own class and of the rest."""

_JOINERS = "\u200c\u200d"
"""Invisible letters that belong to the spelling of Persian, Indic scripts and emoji."""


@dataclass(frozen=True, kw_only=True)
class TopFeature:
    """One of the probe's most influential features."""

    feature: int
    """Number of the feature."""
    label: str
    """Class for which its weight is largest in size; of two classes the one for which it is positive."""
    weight: float
    """Weight for that class; of more than two classes, a negative one speaks against it."""
    effect: float
    """Size of the weight times the standard deviation of the feature in training, as the classifier is given it: in
    units of the score.
    """
    means: Mapping[str, float] = field(default_factory=dict)
    """Mean of the pooled feature in training, by class."""
    snippets: tuple[str, ...] = ()
    """Beginnings of the training texts in which the feature is highest, and above zero."""
    link: str | None = None
    """Address of its description."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Effect of each feature on a linear classifier: `sizes [features]` are the largest absolute weight times the
    standard deviation in training, 0 for a feature that a transform dropped. `weights [classes, columns]` belong to the
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
    """Return the effects of a classifier with `weights [classes, columns]`, fitted on `transformed [rows, columns]`.

    `pooled [rows, features]` are the same training rows before the transform, and `chosen` the features whose columns
    it kept (None: all). None if shapes disagree: then the columns are no features, or `weights` has another meaning.
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
    classifier's order. `pooled [rows, features]` are the training rows, `y [rows]` numbers into `classes`, which all
    occur, and `texts` the inputs of the rows; empty for images.
    """
    sizes = effects.sizes[effects.columns]
    top = np.argsort(-sizes, kind="stable")[:FEATURES]
    top = top[sizes[top] > 0]
    values = _columns(pooled, effects.columns[top])
    return tuple(
        _describe(effects, int(column), values[:, place], y, classes, texts)
        for place, column in enumerate(top)
    )


def snippet(text: str, limit: int = 80) -> str:
    """Return the beginning of a text on one line of at most `limit` characters, cut after a word if that keeps half of
    it, with an ellipsis. Invisible characters, such as control characters, are left out.
    """
    line = ""
    for word in text.split():
        shown = word if word.isprintable() else _show(word)
        line += f" {shown}" if line and shown else shown
        if len(line) > limit:
            break
    else:
        return line
    whole = line[:limit].rpartition(" ")[0]
    return (whole if 2 * len(whole) >= limit else line[: limit - 1]) + "…"


def _show(word: str) -> str:
    return "".join(one for one in word if one.isprintable() or one in _JOINERS)


def deviations(X: Matrix) -> Array:
    """Return the standard deviation of each column, in float64; 0 for a constant column with rounding errors."""
    mean, square = (total / X.shape[0] for total in _sums(X))
    variance = square - mean * mean
    return np.sqrt(np.where(variance > 1e-10 * square, variance, 0.0))


def _sums(X: Matrix) -> tuple[Array, Array]:
    """Return each column's sum of values and sum of squares, in float64."""
    if isinstance(X, np.ndarray):
        return X.sum(axis=0, dtype=np.float64), np.einsum("ij,ij->j", X, X, dtype=np.float64)
    wide, ones = X.astype(np.float64), np.ones(X.shape[0])
    plain = np.asarray(ones @ wide)
    np.square(wide.data, out=wide.data)
    return plain, np.asarray(ones @ wide)


def _columns(X: Matrix, columns: Array) -> Array:
    """Return some columns, dense, in float64."""
    taken = X[:, columns]
    return np.asarray(taken if isinstance(taken, np.ndarray) else taken.toarray(), dtype=np.float64)


def _describe(
    effects: Effects, column: int, values: Array, y: Array, classes: Sequence[str], texts: Sequence[object]
) -> TopFeature:
    """Return the description of the feature of a column, with its pooled `values [rows]` in training."""
    weights, feature = effects.weights[:, column], int(effects.columns[column])
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
        effect=float(effects.sizes[feature]),
        means=means,
        snippets=tuple(snippet(str(texts[row])) for row in highest if values[row] > 0),
    )
