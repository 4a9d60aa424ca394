"""Confusion matrices: pictures of how often each class is predicted as each other one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.figures.lettering import (
    BLACK,
    EMPTY,
    GREY,
    NOTE,
    Page,
    head,
    height_of,
    line_height,
    measure,
    paint,
)
from harness.probing.attribution import snippet

if TYPE_CHECKING:
    from PIL import Image

    Array = np.ndarray[Any, Any]

MARGIN, GAP, NAMES, LEAST = 16, 6, 180, 640
"""Pixels: around the picture, between its parts, maximum of a name, minimum of the width."""

WORST = 5
"""Number of pairs named if cells are too small for numbers."""

_SIDE = 1600
"""Pixels of a matrix with too many classes for names."""


_LAYOUTS = ((12, (46, 12, 12)), (40, (26, 12, 10)), (200, (11, 9, 0)))
"""Layouts by maximum number of classes: pixels of a cell's side, of letters in names and in cells (0: none)."""

_COUNTED = 12
"""Number of classes up to which a cell has room for its count below its share."""


def count_confusions(labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str]) -> Array:
    """Return how many rows of each class are predicted to be of each, `[classes, classes]`. KeyError for a name that is
    no class, which scikit-learn's function leaves out without a word.
    """
    number = {name: place for place, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([number[label] for label in labels], [number[one] for one in predictions]), 1)
    return counts


def confusion_matrix(
    labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str], *, title: str
) -> Image.Image:
    """Draw labels down and predictions across; a cell is coloured by its share of its row. Numbers are left out where
    cells are too small for them, and names of more classes than a page can hold; then the pairs most often confused
    are named.
    """
    counts = count_confusions(labels, predictions, classes)
    names, totals = [snippet(name, NAMES) for name in classes], [f"{total:,}" for total in counts.sum(axis=1)]
    smallest = (max(1, _SIDE // len(classes)), 0, 0)
    cell, size, inside = next((layout for most, layout in _LAYOUTS if len(classes) <= most), smallest)
    side = cell * len(names)
    named = min(NAMES, max(measure(name, size) for name in names)) if size else 0
    wide = max(measure(total, size) for total in totals) if size else 0
    left = MARGIN + named + GAP
    width = max(LEAST, left + side + 2 * GAP + wide + MARGIN)
    lines = head(title, _notes(counts), width=width - 2 * MARGIN)
    top = MARGIN + height_of(lines) + GAP + named + GAP
    below = [] if inside else _name_worst(counts, names)
    page = Page(width, top + side + 2 * GAP + len(below) * line_height(NOTE) + MARGIN)
    page.write_lines(lines, MARGIN, MARGIN, width=width - 2 * MARGIN)
    totalled = counts.sum(axis=1, keepdims=True)
    shares = np.where(totalled > 0, counts / np.maximum(totalled, 1), np.nan)
    fills = paint(shares, "Blues")
    page.cells(fills, left, top, side=cell, line=EMPTY if inside else None)
    if inside:
        for row, column in zip(*counts.nonzero(), strict=True):
            texts = [_share(shares[row, column]), f"{counts[row, column]:,}"][
                : 1 + (len(classes) <= _COUNTED)
            ]
            x, y = left + column * cell, top + row * cell
            page.number(texts, fills[row, column], x, y, side=cell, size=inside)
    if size:
        inked = [(name, BLACK) for name in names]
        page.names(inked, inked, left, top, side=cell, room=named, size=size)
        for place, total in enumerate(totals):
            box = (left + side + 2 * GAP, top + place * cell, wide, cell)
            page.write(total, box, size=size, ink=GREY, align="right")
    for place, words in enumerate(below):
        y = top + side + 2 * GAP + place * line_height(NOTE)
        page.write_words(words, MARGIN, y, longest=NAMES)
    return page.image()


def _notes(counts: Array) -> list[str]:
    total, right = int(counts.sum()), int(counts.trace())
    accuracy = f", {right:,} of them ({_share(right / total)}) predicted as labelled" if total else ""
    return [
        f"{total:,} test rows{accuracy}. Labelled: down; predicted: across. A cell is the darker the larger its share"
        " of its row, from 0 to 1; grey where a class has no test rows."
    ]


def _name_worst(counts: Array, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return words on the pairs that have the most rows."""
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    pairs = [divmod(int(place), len(names)) for place in order if wrong.flat[place]]
    totals = counts.sum(axis=1)
    return [
        (names[label], "predicted as", names[one], f"in {wrong[label, one]:,} of {totals[label]:,} rows")
        for label, one in pairs
    ]


def _share(value: float) -> str:
    """Return a share with two digits, without the zero before the point."""
    return f"{value:.2f}".removeprefix("0")
