"""Labels and predictions in, a picture of which classes are taken for which out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from harness.evidence import snippet
from harness.pictures.lettering import (
    BLACK,
    GREY,
    NOTE,
    WHITE,
    Colour,
    font,
    letter,
    letter_head,
    letter_words,
    measure,
    stack_images,
)

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

MARGIN, GAP, NAMES, LEAST = 16, 6, 180, 640
"""Pixels around the picture, between its parts, for a name at most, and of its width at least."""

WORST = 5
"""So many pairs are named where cells are too small for numbers."""

_SIDE = 1600
"""Pixels of a matrix with more classes than can be named."""

_NOBODY: Colour = (225, 225, 225)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Pixels of a cell's side, of letters in names and in cells: 0 where there are none; and whether a cell has room
    for its count below its share.
    """

    cell: int
    names: int
    inside: int
    counts: bool = False


def count_confusions(labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str]) -> Array:
    """How many rows of each class were predicted to be of each, `[classes, classes]`; KeyError for what is no class."""
    number = {name: place for place, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([number[label] for label in labels], [number[one] for one in predictions]), 1)
    return counts


def confusion_matrix(
    labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str], *, title: str
) -> Image.Image:
    """Labels down, predictions across; a cell is coloured by its share of its row. Numbers are left out where cells are
    too small for them, and names of more classes than a page can hold; then the pairs most often confused are named.
    """
    counts = count_confusions(labels, predictions, classes)
    names = [snippet(name, NAMES) for name in classes]
    layout = _lay_out(len(classes))
    named = min(NAMES, max(measure(name, layout.names) for name in names)) if layout.names else 0
    totals = max(measure(f"{total:,}", layout.names) for total in counts.sum(axis=1)) if layout.names else 0
    side, left = layout.cell * len(names), MARGIN + named + GAP
    width = max(LEAST, left + side + 2 * GAP + totals + MARGIN)
    head = letter_head(title, _notes(counts), width=width - 2 * MARGIN)
    top = MARGIN + head.height + GAP + named + GAP
    foot = stack_images([] if layout.inside else _name_worst(counts, names))
    picture = Image.new("RGB", (width, top + side + 2 * GAP + foot.height + MARGIN), WHITE)
    picture.paste(head, (MARGIN, MARGIN))
    picture.paste(foot, (MARGIN, top + side + 2 * GAP))
    cells = Image.fromarray(_fills(counts)).resize((side, side), Image.Resampling.NEAREST)
    picture.paste(cells, (left, top))
    brush = ImageDraw.Draw(picture)
    if layout.inside:
        _draw_numbers(brush, counts, layout, x=left, y=top)
    brush.rectangle((left - 1, top - 1, left + side, top + side), outline=GREY)
    if layout.names:
        _draw_names(picture, names, layout, x=left, y=top, width=named)
        _draw_totals(picture, counts, layout, x=left + side + 2 * GAP, y=top, width=totals)
    return picture


def _lay_out(n_classes: int) -> _Layout:
    if n_classes <= 12:
        return _Layout(cell=46, names=12, inside=12, counts=True)
    if n_classes <= 40:
        return _Layout(cell=26, names=12, inside=10)
    if n_classes <= 200:
        return _Layout(cell=11, names=9, inside=0)
    return _Layout(cell=max(1, _SIDE // n_classes), names=0, inside=0)


def _notes(counts: Array) -> list[str]:
    total, right = int(counts.sum()), int(counts.trace())
    accuracy = f", {right:,} of them ({_share(right / total)}) predicted as labelled" if total else ""
    return [
        f"{total:,} test rows{accuracy}. Labelled: down; predicted: across. A cell is the darker the larger its share"
        " of its row, from 0 to 1; grey where a class has no test rows."
    ]


def _name_worst(counts: Array, names: Sequence[str]) -> list[Image.Image]:
    """Lines with the pairs that have the most rows."""
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    pairs = [divmod(int(place), len(names)) for place in order if wrong.flat[place]]
    return [
        letter_words(
            (
                names[label],
                "predicted as",
                names[one],
                f"in {wrong[label, one]:,} of {counts[label].sum():,} rows",
            ),
            size=NOTE,
            longest=NAMES,
        )
        for label, one in pairs
    ]


def _shares(counts: Array) -> Array:
    """Of each row; NaN where a row is empty."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _fills(counts: Array) -> Array:
    """The colour of every cell, `[classes, classes, 3]`."""
    shares = _shares(counts)
    fills: Array = _colours()[np.rint(255 * np.nan_to_num(shares)).astype(int)]
    fills[np.isnan(shares)] = _NOBODY
    return fills


def _draw_numbers(brush: ImageDraw.ImageDraw, counts: Array, layout: _Layout, *, x: int, y: int) -> None:
    """A grid, and in it the share of every cell that has rows, and their number where there is room."""
    shares, fills, size, side = _shares(counts), _fills(counts), layout.cell, layout.cell * len(counts)
    for place in range(0, side, size):
        brush.line((x, y + place, x + side - 1, y + place), fill=_NOBODY)
        brush.line((x + place, y, x + place, y + side - 1), fill=_NOBODY)
    for row, column in zip(*counts.nonzero(), strict=True):
        ink = WHITE if fills[row, column].mean() < 150 else BLACK
        middle, centre = x + column * size + size // 2, y + row * size + size // 2
        share = _share(shares[row, column])
        above = 7 if layout.counts else 0
        brush.text((middle, centre - above), share, fill=ink, font=font(layout.inside), anchor="mm")
        if layout.counts:
            count = f"{counts[row, column]:,}"
            brush.text((middle, centre + 10), count, fill=ink, font=font(9), anchor="mm")


def _draw_names(
    picture: Image.Image, names: Sequence[str], layout: _Layout, *, x: int, y: int, width: int
) -> None:
    """Of rows at the left; of columns, upwards, above."""
    for place, name in enumerate(names):
        row = letter(name, size=layout.names, width=width, height=layout.cell, align="right")
        picture.paste(row, (x - GAP - width, y + place * layout.cell))
        column = letter(name, size=layout.names, width=width, height=layout.cell)
        picture.paste(column.rotate(90, expand=True), (x + place * layout.cell, y - GAP - width))


def _draw_totals(picture: Image.Image, counts: Array, layout: _Layout, *, x: int, y: int, width: int) -> None:
    """How many rows each class has."""
    for place, total in enumerate(counts.sum(axis=1)):
        label = letter(
            f"{total:,}", size=layout.names, width=width, height=layout.cell, align="right", ink=GREY
        )
        picture.paste(label, (x, y + place * layout.cell))


def _share(value: float) -> str:
    """Two digits, no zero before the point."""
    return f"{value:.2f}".removeprefix("0")


@lru_cache
def _colours() -> Array:
    """256 colours `[256, 3]`, from nearly white to dark blue."""
    from matplotlib import colormaps

    return np.asarray(colormaps["Blues"](np.arange(256), bytes=True)[:, :3])
