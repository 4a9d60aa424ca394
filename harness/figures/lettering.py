"""Pages of pixels and text, drawn by matplotlib: all that is drawn anywhere, with the only choice of fonts.

Figures are made without pyplot, so that threads share no state. No text is markup.
"""

from __future__ import annotations

import math
import unicodedata
import warnings
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from harness.probing.attribution import snippet

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

    Array = np.ndarray[Any, Any]

WHITE, BLACK, GREY, RED = "#ffffff", "#141414", "#696969", "#aa1e1e"

TITLE, NOTE, SMALL = 15, 12, 10
"""Sizes of letters, in pixels."""

BAR = 16
"""Width of a scale of colours, in pixels."""

EMPTY = 225
"""Level of the grey of cells without a value."""

_LONGEST = 400
"""Letters of a line beyond these are never shown, however small."""

_DPI = 64  # a power of two, so that pixels over it are exact inches

_SCRIPTS = (
    "Bengali Devanagari Ethiopic Gujarati Gurmukhi Kannada Khmer Malayalam Myanmar Oriya Sinhala Symbols Tamil Telugu"
    " Thaana Thai Tibetan"
)
"""Scripts for which a Noto Sans font of the system is looked for."""

PLAIN: Mapping[str, Any] = {
    "va": "baseline",
    "rotation_mode": "anchor",
    "parse_math": False,
    "usetex": False,
    "clip_on": True,
}
"""Properties of a text that is no markup, placed by its baseline."""

Box = tuple[int, int, int, int]
"""Left and upper edge, width and height, in pixels."""

Line = tuple[str, int, str]
"""A line of text, with its size and its colour."""

Names = Sequence[tuple[str, str]]
"""Names with their colours."""


# ── letters ──────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _families() -> tuple[str, ...]:
    """Return the font families that are searched for each letter, in this order.

    DejaVu Sans, which matplotlib brings, has Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian and Georgian letters. A
    package brings one font with all Chinese, Japanese and Korean ones, so that pictures of such names are readable on
    machines without fonts: its 14 MB are little beside torch. Other scripts have the fonts of the system.
    """
    from matplotlib.font_manager import fontManager
    from noto_cjk_sans_jp_regular import FONT_PATH

    fontManager.addfont(str(FONT_PATH))
    installed = set(fontManager.get_font_names())
    others = (f"Noto Sans {script}" for script in _SCRIPTS.split())
    return ("DejaVu Sans", "Noto Sans CJK JP", *(family for family in others if family in installed))


@cache
def font(points: float) -> FontProperties:
    """Return the fonts of all texts that are drawn, at a size in points."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=list(_families()), size=points)


def _font(size: int) -> FontProperties:
    return font(size * 72 / _DPI)


@cache
def _letters() -> frozenset[int]:
    """Return the code points that some font has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*(get_font(findfont(family)).get_charmap() for family in _families()))


@cache
def _warn_of(script: str) -> None:
    """Warn once of each script."""
    warnings.warn(
        f"no font has {script} letters, which are drawn as boxes; a Noto Sans font for them is used once installed"
    )


def readable(text: str) -> str:
    """Return a text on one line, without control characters and with a box for each letter that no font has."""
    line = snippet(text, _LONGEST)
    missing = {letter for letter in line if ord(letter) not in _letters()}
    for script in sorted({unicodedata.name(letter, "unnamed").split()[0].title() for letter in missing}):
        _warn_of(script)
    return line.translate({ord(letter): "□" for letter in missing})


@lru_cache(4096)
def measure(text: str, size: int) -> int:
    """Return the width of a text on one line, in pixels."""
    from matplotlib.backends.backend_agg import RendererAgg

    renderer = RendererAgg(1, 1, _DPI)
    width: float = renderer.get_text_width_height_descent(readable(text), _font(size), ismath=False)[0]
    return math.ceil(width)


def line_height(size: int) -> int:
    """Return the pixels from one line to the next."""
    return math.ceil(1.4 * size)


def fit(text: str, *, size: int, width: int) -> str:
    """Return a text on one line of at most `width` pixels, with an ellipsis where it is cut."""
    line = readable(text)
    if measure(line, size) <= width:
        return line
    cuts = range(1, len(line))
    longest = bisect_right(cuts, width, key=lambda n: measure(f"{line[:n]}…", size))
    return f"{line[:longest].rstrip()}…"


def head(title: str, notes: Sequence[str], *, width: int) -> list[Line]:
    """Return the lines of a title and of notes below it in grey, wrapped at `width` pixels."""
    texts = [(title, TITLE, BLACK), *((note, NOTE, GREY) for note in notes)]
    return [(line, size, ink) for text, size, ink in texts for line in _wrap(text, size=size, width=width)]


def height_of(lines: Sequence[Line]) -> int:
    """Return the pixels that lines take below one another."""
    return sum(line_height(size) for _, size, _ in lines)


def _wrap(text: str, *, size: int, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and measure(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────


def paint(levels: Array, colours: str) -> Array:
    """Return the colours `[..., 3]` of levels from 0 to 1 by the name of a map of matplotlib's; grey for NaN."""
    from matplotlib import colormaps

    steps = np.rint(255 * np.nan_to_num(levels)).astype(int)
    bad = colormaps[colours].with_extremes(bad=(EMPTY / 255,) * 3)
    painted: Array = bad(np.ma.masked_array(steps, np.isnan(levels)), bytes=True)[..., :3]
    return painted


class Page:
    """A white picture, measured in pixels from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=WHITE)
        self._canvas = FigureCanvasAgg(self._figure)

    def image(self) -> Image.Image:
        """Return what is drawn, in RGB."""
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")

    def paste(self, pixels: Array | Image.Image, x: int, y: int) -> None:
        """Draw an image as it is, `[height, width, 3]`."""
        array = np.asarray(pixels)
        self._figure.figimage(array, x, self.height - y - len(array), origin="upper")

    def write(self, text: str, box: Box, *, size: int = NOTE, ink: str = BLACK, align: str = "left") -> None:
        """Draw one line of a text in the middle of a box; what would leave it is cut off. `align` is "left", "center",
        "right", or "up" for a line that runs upwards from the bottom.
        """
        from matplotlib.transforms import Bbox

        x, y, width, height = box
        below = 0.36 * size  # from the middle to the baseline: half the height of capitals
        left, top = x + {"left": 0, "center": width / 2, "right": width}.get(align, 0), y + height / 2 + below
        style: dict[str, Any] = {"font": _font(size), "color": ink, "ha": align}
        if align == "up":
            left, top, style = x + width / 2 + below, y + height, style | {"ha": "left", "rotation": 90}
        line = fit(text, size=size, width=height if align == "up" else width)
        drawn = self._figure.text(left / self.width, 1 - top / self.height, line, **style, **PLAIN)
        drawn.set_clip_box(Bbox.from_bounds(x, self.height - y - height, width, height))

    def write_lines(self, lines: Sequence[Line], x: int, y: int, *, width: int) -> None:
        """Draw lines below one another."""
        for text, size, ink in lines:
            self.write(text, (x, y, width, line_height(size)), size=size, ink=ink)
            y += line_height(size)

    def write_words(self, words: Sequence[str], x: int, y: int, *, longest: int) -> None:
        """Draw words side by side in their order, whatever direction each is written in; each at most `longest` pixels
        wide.
        """
        for word in words:
            width = min(longest, measure(word, NOTE))
            self.write(word, (x, y, width, line_height(NOTE)), ink=GREY)
            x += width + measure(" ", NOTE)

    def cells(self, fills: Array, x: int, y: int, *, side: int, line: int | None = None) -> None:
        """Draw the cells of a matrix by their colours `[rows, columns, 3]`, with a rim, and with lines of a grey."""
        pixels = fills.repeat(side, axis=0).repeat(side, axis=1)
        if line is not None:
            pixels[::side] = pixels[:, ::side] = line
        self.paste(np.pad(pixels, ((1, 1), (1, 1), (0, 0)), constant_values=105), x - 1, y - 1)

    def names(
        self, rows: Names, columns: Names, x: int, y: int, *, side: int, room: int, size: int = NOTE
    ) -> None:
        """Draw the names of a matrix's rows at its left, and of its columns upwards above it, in `room` pixels; each
        name has its colour.
        """
        for place, (name, ink) in enumerate(rows):
            box = (x - room - 6, y + place * side, room, side)
            self.write(name, box, size=size, ink=ink, align="right")
        for place, (name, ink) in enumerate(columns):
            self.write(name, (x + place * side, y - room - 6, side, room), size=size, ink=ink, align="up")

    def number(self, texts: Sequence[str], fill: Array, x: int, y: int, *, side: int, size: int) -> None:
        """Draw up to two numbers below one another into a cell, in a colour that `fill` lets read."""
        ink = WHITE if fill @ (0.299, 0.587, 0.114) < 110 else BLACK
        for place, text in enumerate(texts):
            box = (x, y + place * side // 2, side, side // len(texts))
            self.write(text, box, size=size - 2 * place, ink=ink, align="center")

    def scale(self, strip: Array, marks: Mapping[float, str], x: int, y: int) -> None:
        """Draw a strip of colours `[height, width, 3]` and what its levels, from 0 at the bottom to 1, stand for."""
        self.paste(strip, x, y)
        for level, text in marks.items():
            place = y + round((1 - level) * (len(strip) - 1))
            self.paste(np.full((1, 6, 3), 20, np.uint8), x + BAR - 2, place)
            self.write(text, (x + BAR + 7, place - SMALL, 90, 2 * SMALL), size=SMALL)
