"""Images and what a feature does on their patches in, one picture of them all out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from harness.pictures.lettering import BLACK, GREY, NOTE, WHITE, font, letter, letter_head, line_height

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

BOX, GAP, MARGIN = 160, 14, 16
"""Pixels of an image's longer side at most; between images; around the sheet."""

COLUMNS = 3
"""Images in a row, each beside its heat map; twice as many without."""

OPACITY = 0.9
"""Of the highest value; that of others falls with their root, to none where nothing fires."""

_PAIR, _BAR, _SCALE = 4, 16, 76
"""Pixels between an image and its heat map; of the colours of the scale; of the scale with its numbers."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An image, RGB; the lines below it, the first of which stands out; and `heat [rows, columns]`, at least 0, of the
    grid that lies over it row by row; None where there is none.
    """

    view: Image.Image
    heat: Array | None
    caption: tuple[str, ...]


def contact_sheet(tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> Image.Image:
    """The images in rows, beside each the same in grey under its heat map. These have one scale, from 0 to the highest
    value on the sheet.
    """
    views = [scale_view(tile.view) for tile in tiles]
    highest = max((float(tile.heat.max()) for tile in tiles if tile.heat is not None), default=None)
    wide, high = max(view.width for view in views), max(view.height for view in views)
    columns = 2 * COLUMNS if highest is None else COLUMNS
    cell_width = wide if highest is None else 2 * wide + _PAIR
    cell_height = high + max(len(tile.caption) for tile in tiles) * line_height(NOTE) + GAP
    body = columns * (cell_width + GAP) + (0 if highest is None else _SCALE)
    head = letter_head(title, notes, width=body)
    top = MARGIN + head.height + GAP
    size = (2 * MARGIN + body, top + math.ceil(len(tiles) / columns) * cell_height + MARGIN - GAP)
    sheet = Image.new("RGB", size, WHITE)
    sheet.paste(head, (MARGIN, MARGIN))
    for place, (tile, view) in enumerate(zip(tiles, views, strict=True)):
        x, y = MARGIN + place % columns * (cell_width + GAP), top + place // columns * cell_height
        sheet.paste(view, (x, y))
        if tile.heat is not None and highest is not None:
            sheet.paste(overlay(view, tile.heat, highest=highest), (x + view.width + _PAIR, y))
        for line, text in enumerate(tile.caption):
            label = letter(text, size=NOTE, width=cell_width, ink=GREY if line else BLACK)
            sheet.paste(label, (x, y + view.height + line * label.height))
    if highest is not None:
        _draw_scale(sheet, x=MARGIN + columns * (cell_width + GAP), y=top, height=high, highest=highest)
    return sheet


def scale_view(view: Image.Image) -> Image.Image:
    """An image with its longer side at most `BOX` pixels: a small one by a whole factor, each pixel as it is."""
    factor = BOX // max(view.size)
    if factor >= 2:
        return view.resize((view.width * factor, view.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(side * BOX / max(view.size))) for side in view.size)
    return view.resize((width, height), Image.Resampling.LANCZOS)


def overlay(view: Image.Image, heat: Array, *, highest: float) -> Image.Image:
    """An image in grey under `heat [rows, columns]`: a pixel has the colour of the patch that its centre lies in."""
    rows, columns = heat.shape
    y = ((np.arange(view.height) + 0.5) * rows / view.height).astype(int)
    x = ((np.arange(view.width) + 0.5) * columns / view.width).astype(int)
    levels = np.clip(heat / highest, 0.0, 1.0) if highest > 0 else np.zeros(heat.shape)
    return _blend(view.convert("L"), levels[np.ix_(y, x)])


def _blend(grey: Image.Image, levels: Array) -> Image.Image:
    """An image under the colours of `levels [height, width]`, from 0 to 1."""
    pixels = np.asarray(grey.convert("RGB"), dtype=np.float64)
    colours = _colours()[np.rint(255 * levels).astype(int)]
    opacity = OPACITY * np.sqrt(levels)[..., None]
    return Image.fromarray(np.rint(pixels * (1 - opacity) + colours * opacity).astype(np.uint8))


@lru_cache
def _colours() -> Array:
    """256 colours `[256, 3]`, evenly spaced to the eye."""
    from matplotlib import colormaps

    return np.asarray(colormaps["plasma"](np.arange(256), bytes=True)[:, :3], dtype=np.float64)


def _draw_scale(sheet: Image.Image, *, x: int, y: int, height: int, highest: float) -> None:
    """What a level looks like on middle grey, from 0 at the bottom to the highest value."""
    levels = np.repeat(np.linspace(1.0, 0.0, height)[:, None], _BAR, axis=1)
    sheet.paste(_blend(Image.new("L", (_BAR, height), 128), levels), (x, y))
    brush = ImageDraw.Draw(sheet)
    for level, anchor in ((0.0, "ls"), (0.5, "lm"), (1.0, "lt")):
        place = y + round((1 - level) * (height - 1))
        brush.line((x + _BAR, place, x + _BAR + 4, place), fill=BLACK)
        text = write_number(level * highest)
        brush.text((x + _BAR + 8, place), text, fill=BLACK, font=font(NOTE), anchor=anchor)


def write_number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.3g}".replace("-", "−")
