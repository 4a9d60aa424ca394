"""Heat maps of matrices: a PNG picture for each task and row, its maps below one another.

First macro-F1 by the language of training and the one of the test; below it, for dictionaries, the difference from the
model's hidden states and the share of the classifier's effect that lies on features of both languages. Scales are fixed
(0 to 1), but for that of differences, which is written beside it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.figures.lettering import BAR, BLACK, NOTE, RED, SMALL, TITLE, Page, measure, paint
from harness.leaderboard.analyses.quiver import is_dictionary
from harness.leaderboard.analyses.transfer import Grid, Matrices, Matrix, axes, find_grid
from harness.leaderboard.pages import markdown

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

LEFT, RIGHT, TOP, BOTTOM = 110, 120, 140, 30
"""Pixels around a map: names of training languages; the scale; title and names of tested languages; a note."""

FEW = 14
"""Number of languages up to which cells are wide enough for their numbers."""

SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
"""Maps of colours whose lightness rises with the number, and falls away from no difference (white)."""

_NAMES = 90
"""Pixels of a name at most."""

_NOTE = "Learnt in: down; tested in: across. * Never in the model's training text. Grey: none."


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One map of a picture: numbers by (trained, tested), and how they are written and coloured."""

    title: str
    values: Mapping[tuple[str, str], float]
    low: float = 0.0
    high: float = 1.0
    colours: str = SEQUENTIAL
    write: Callable[[float], str] = markdown.point
    chance: float | None = None

    def level(self, value: Array | float) -> Array:
        """Return where values lie from `low` (0) to `high` (1)."""
        return np.clip((np.asarray(value) - self.low) / (self.high - self.low), 0.0, 1.0)


def cell_size(n_languages: int) -> int:
    """Return the pixels of a cell's side."""
    return 44 if n_languages <= FEW else 22


def name_pictures(matrices: Matrices) -> dict[tuple[str, str], str]:
    """File names by task and row; those that would be alike are numbered."""
    names: dict[tuple[str, str], str] = {}
    for matrix in matrices.tasks:
        for row, pairs in matrix.rows.items():
            if find_grid(pairs):
                name = stem = re.sub(r"[^A-Za-z0-9._=-]+", "-", f"{matrix.task} {row}").strip("-.")
                number = 1
                while f"{name}.png".lower() in {known.lower() for known in names.values()}:
                    number += 1
                    name = f"{stem}-{number}"
                names[matrix.task, row] = f"{name}.png"
    return names


def draw(matrices: Matrices) -> Iterator[tuple[str, bytes]]:
    """Draw every picture; yield them by file name."""
    names = name_pictures(matrices)
    for matrix in matrices.tasks:
        for row, pairs in matrix.rows.items():
            if grid := find_grid(pairs):
                yield names[matrix.task, row], _draw(matrix, row, grid)


def _draw(matrix: Matrix, row: str, grid: Grid) -> bytes:
    trained, tested = axes(matrix, grid)
    of = next(iter(grid.values())).row
    down, across = ([_named(matrix.mark(language, of)) for language in each] for each in (trained, tested))
    side = cell_size(max(len(trained), len(tested)))
    maps = list(heat_maps(f"{matrix.task}, {row}", grid))
    texts = max(measure(_NOTE, SMALL), *(measure(one.title, TITLE) for one in maps))
    width, height = max(LEFT + side * len(tested) + RIGHT, 20 + texts), TOP + side * len(trained) + BOTTOM
    page = Page(width, height * len(maps))
    for number, one in enumerate(maps):
        top, bottom = height * number + TOP, height * (number + 1) - BOTTOM
        page.write(one.title, (10, top - TOP + 10, width - 20, 2 * TITLE), size=TITLE)
        page.names(down, across, LEFT, top, side=side, room=_NAMES)
        values = np.array([[one.values.get((train, test), np.nan) for test in tested] for train in trained])
        fills = paint(one.level(values), one.colours)
        page.cells(fills, LEFT, top, side=side, line=255)
        if side == cell_size(FEW):
            for y, x in np.argwhere(~np.isnan(values)).tolist():
                place = LEFT + x * side, top + y * side
                page.number([one.write(values[y, x])], fills[y, x], *place, side=side, size=NOTE)
        _draw_scale(page, one, x=LEFT + side * len(tested) + 20, y=top, height=bottom - top)
        page.write(_NOTE, (10, bottom + 4, width - 20, 2 * SMALL), size=SMALL)
    file = io.BytesIO()
    page.image().save(file, "PNG", optimize=True)
    return file.getvalue()


def _named(name: str) -> tuple[str, str]:
    return name, RED if name.endswith("*") else BLACK


def _draw_scale(page: Page, one: HeatMap, *, x: int, y: int, height: int) -> None:
    marks = {value: one.write(value) for value in (one.low, (one.low + one.high) / 2, one.high)}
    if one.chance is not None:
        marks[one.chance] = f"{one.write(one.chance)} chance"
    strip = paint(np.linspace(1.0, 0.0, height)[:, None].repeat(BAR, axis=1), one.colours)
    page.scale(strip, {float(one.level(value)): text for value, text in marks.items()}, x, y)


def heat_maps(name: str, grid: Grid) -> Iterator[HeatMap]:
    """Yield the maps of a row on a task."""
    first = next(iter(grid.values()))
    yield HeatMap(
        title=f"{name}: macro-F1",
        values={place: pair.result.macro_f1.value for place, pair in grid.items()},
        chance=first.result.chance,
    )
    if not first.row.is_baseline and is_dictionary(first.records[0]):
        deltas = {place: pair.result.delta.value for place, pair in grid.items() if pair.result.delta}
        if deltas:
            limit = max(0.1, math.ceil(10 * max(map(abs, deltas.values()))) / 10)
            yield HeatMap(
                title=f"{name}: minus hidden states",
                values=deltas,
                low=-limit,
                high=limit,
                colours=DIVERGING,
                write=markdown.signed,
            )
    shares = {place: share for place, pair in grid.items() if (share := pair.share("even")) is not None}
    if shares:
        yield HeatMap(
            title=f"{name}: share of effect on features that fire as often in both",
            values=shares,
        )
