"""Contact sheets: images beside heat maps of a feature's activation on their patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from harness.figures.lettering import BAR, BLACK, GREY, NOTE, Page, head, height_of, line_height, paint

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

BOX, GAP, MARGIN = 160, 14, 16
"""Pixels: maximum of an image's longer side, between images, around the sheet."""

COLUMNS = 3
"""Number of images in a row, each beside its heat map; without maps twice as many."""

OPACITY = 0.9
"""Opacity of the highest value; that of other values falls with their square root, to 0."""

_PAIR, _SCALE = 4, 76
"""Pixels between an image and its heat map, and of the scale with its numbers."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """RGB image, the lines below it (the first is emphasised), and `heat [rows, columns]`, at least 0, on the grid over
    the image; None without a map.
    """

    view: Image.Image
    heat: Array | None
    caption: tuple[str, ...]


def contact_sheet(tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> Image.Image:
    """Draw the images in rows, each beside its grey copy under its heat map. All maps share one scale, from 0 to the
    highest value on the sheet.
    """
    views = [scale_view(tile.view) for tile in tiles]
    highest = max((float(tile.heat.max()) for tile in tiles if tile.heat is not None), default=None)
    wide, high = max(view.width for view in views), max(view.height for view in views)
    columns = 2 * COLUMNS if highest is None else COLUMNS
    cell_width = wide if highest is None else 2 * wide + _PAIR
    cell_height = high + max(len(tile.caption) for tile in tiles) * line_height(NOTE) + GAP
    body = columns * (cell_width + GAP) + (0 if highest is None else _SCALE)
    lines = head(title, notes, width=body)
    top = MARGIN + height_of(lines) + GAP
    page = Page(2 * MARGIN + body, top + math.ceil(len(tiles) / columns) * cell_height + MARGIN - GAP)
    page.write_lines(lines, MARGIN, MARGIN, width=body)
    for place, (tile, view) in enumerate(zip(tiles, views, strict=True)):
        x, y = MARGIN + place % columns * (cell_width + GAP), top + place // columns * cell_height
        page.paste(view, x, y)
        if tile.heat is not None and highest is not None:
            page.paste(overlay(view, tile.heat, highest=highest), x + view.width + _PAIR, y)
        caption = [(text, NOTE, GREY if line else BLACK) for line, text in enumerate(tile.caption)]
        page.write_lines(caption, x, y + view.height, width=cell_width)
    if highest is not None:
        levels = np.repeat(np.linspace(1.0, 0.0, high)[:, None], BAR, axis=1)
        marks = {level: write_number(level * highest) for level in (0.0, 0.5, 1.0)}
        strip = _blend(Image.new("L", (BAR, high), 128), levels)
        page.scale(np.asarray(strip), marks, MARGIN + columns * (cell_width + GAP), top)
    return page.image()


def scale_view(view: Image.Image) -> Image.Image:
    """Return an image scaled to at most `BOX` pixels; a small one by a whole factor, without interpolation."""
    factor = BOX // max(view.size)
    if factor >= 2:
        return view.resize((view.width * factor, view.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(side * BOX / max(view.size))) for side in view.size)
    return view.resize((width, height), Image.Resampling.LANCZOS)


def overlay(view: Image.Image, heat: Array, *, highest: float) -> Image.Image:
    """Return a grey image under `heat [rows, columns]`; a pixel has the colour of the patch around its centre."""
    rows, columns = heat.shape
    y = ((np.arange(view.height) + 0.5) * rows / view.height).astype(int)
    x = ((np.arange(view.width) + 0.5) * columns / view.width).astype(int)
    levels = np.clip(heat / highest, 0.0, 1.0) if highest > 0 else np.zeros(heat.shape)
    return _blend(view.convert("L"), levels[np.ix_(y, x)])


def _blend(grey: Image.Image, levels: Array) -> Image.Image:
    """Return an image under the colours of `levels [height, width]`, from 0 to 1."""
    pixels = np.asarray(grey.convert("RGB"), dtype=np.float64)
    colours = paint(levels, "plasma")
    opacity = OPACITY * np.sqrt(levels)[..., None]
    return Image.fromarray(np.rint(pixels * (1 - opacity) + colours * opacity).astype(np.uint8))


def write_number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:.3g}".replace("-", "−")
