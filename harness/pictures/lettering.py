"""Text from anywhere in, letters that stay in their place out. Nothing in a text is markup."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from harness.evidence import snippet

Colour = tuple[int, int, int]

WHITE, BLACK, GREY = (255, 255, 255), (20, 20, 20), (105, 105, 105)

TITLE, NOTE = 15, 12
"""Sizes of letters, in pixels."""

_LONGEST = 400
"""Letters of a line beyond these are never shown, however small."""


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: letters of most alphabets."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def measure(text: str, size: int) -> int:
    """Pixels from left to right of a text on one line."""
    return math.ceil(font(size).getlength(text))


def line_height(size: int) -> int:
    """Pixels from one line to the next."""
    return math.ceil(1.4 * size)


def fit(text: str, *, size: int, width: int) -> str:
    """A text on one line of at most `width` pixels, with an ellipsis where it is cut; without control characters."""
    line = snippet(text, _LONGEST)
    if measure(line, size) <= width:
        return line
    cuts = range(1, len(line))
    longest = bisect_right(cuts, width, key=lambda n: measure(f"{line[:n]}…", size))
    return f"{line[:longest].rstrip()}…"


def letter(
    text: str,
    *,
    size: int,
    width: int,
    height: int | None = None,
    align: Literal["left", "right"] = "left",
    ink: Colour = BLACK,
) -> Image.Image:
    """One line of a text on white, `width` pixels wide, `line_height` high where not said otherwise: what would stand
    out is cut off.
    """
    label = Image.new("RGB", (max(1, width), height or line_height(size)), WHITE)
    x, anchor = (0, "lm") if align == "left" else (width, "rm")
    line = fit(text, size=size, width=width)
    ImageDraw.Draw(label).text((x, label.height // 2), line, fill=ink, font=font(size), anchor=anchor)
    return label


def letter_head(title: str, notes: Sequence[str], *, width: int) -> Image.Image:
    """A title, and notes below it in grey, on as many lines as they need."""
    lines = [letter(line, size=TITLE, width=width) for line in _wrap(title, size=TITLE, width=width)]
    for note in notes:
        lines += [
            letter(line, size=NOTE, width=width, ink=GREY) for line in _wrap(note, size=NOTE, width=width)
        ]
    return stack_images(lines)


def letter_words(words: Sequence[str], *, size: int, longest: int) -> Image.Image:
    """A line of words that stand side by side in their order, whatever direction each is written in; each at most
    `longest` pixels wide.
    """
    fitted = [fit(word, size=size, width=longest) for word in words]
    widths = [measure(word, size) for word in fitted]
    gap = measure(" ", size)
    line = Image.new("RGB", (sum(widths) + gap * len(words), line_height(size)), WHITE)
    x = 0
    for word, width in zip(fitted, widths, strict=True):
        line.paste(letter(word, size=size, width=width, ink=GREY), (x, 0))
        x += width + gap
    return line


def stack_images(images: Sequence[Image.Image]) -> Image.Image:
    """Images below one another, on white."""
    width = max((image.width for image in images), default=1)
    stacked = Image.new("RGB", (width, max(1, sum(image.height for image in images))), WHITE)
    y = 0
    for image in images:
        stacked.paste(image, (0, y))
        y += image.height
    return stacked


def _wrap(text: str, *, size: int, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and measure(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
