"""Matrices in, PNG pictures out: one for each task and row, its maps below one another.

First macro-F1 by the language that was learnt and the one that was tested; below it, for dictionaries, the difference
from the model's hidden states and the share of the classifier's effect that lies on features of both languages. Scales
are fixed (0 to 1), but for that of differences, which is written beside it. Lightness rises with the number: colours
are laid out in OKLab (Ottosson 2020, "A perceptual color space for image processing").
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from harness.leaderboard import markdown
from harness.leaderboard.matrix import Grid, Matrices, Matrix, axes, find_grid
from harness.leaderboard.quiver import is_dictionary

Colour = tuple[int, int, int]

LEFT, RIGHT, TOP, BOTTOM = 130, 110, 120, 30
"""Pixels around a map: names of what was learnt; the scale; title and names of what was tested; a note."""

FEW = 14
"""So many languages have cells wide enough for their numbers."""

_WHITE, _BLACK, _EMPTY, _MARKED = (255, 255, 255), (20, 20, 20), (225, 225, 225), (170, 30, 30)
_NOTE = "Learnt in: down; tested in: across. * Never in the model's training text. Grey: none."


@dataclass(frozen=True, kw_only=True)
class _Map:
    """One map of a picture: numbers by (learnt, tested), and how they are written and coloured."""

    title: str
    values: Mapping[tuple[str, str], float]
    low: float
    high: float
    colour: Callable[[float], Colour]
    write: Callable[[float], str]
    chance: float | None = None


def cell_size(n_languages: int) -> int:
    """Pixels of a cell's side."""
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
    """Every picture, by file name."""
    names = name_pictures(matrices)
    for matrix in matrices.tasks:
        for row, pairs in matrix.rows.items():
            if grid := find_grid(pairs):
                yield names[matrix.task, row], _draw(matrix, row, grid)


def _draw(matrix: Matrix, row: str, grid: Grid) -> bytes:
    trained, tested = axes(matrix, grid)
    of = next(iter(grid.values())).row
    cell = cell_size(max(len(trained), len(tested)))
    maps = list(_maps(f"{matrix.task}, {row}", grid))
    width = max(LEFT + cell * len(tested) + RIGHT, *(20 + _length(one.title) for one in maps), _length(_NOTE))
    image = Image.new("RGB", (width, (TOP + cell * len(trained) + BOTTOM) * len(maps)), _WHITE)
    brush = ImageDraw.Draw(image)
    for number, one in enumerate(maps):
        top = number * (TOP + cell * len(trained) + BOTTOM) + TOP
        brush.text((10, top - TOP + 10), _plain(one.title), fill=_BLACK, font=_font(14))
        _draw_names(image, [matrix.mark(language, of) for language in tested], top=top, cell=cell)
        for place, train in enumerate(trained):
            name = matrix.mark(train, of)
            middle = (LEFT - 8, top + cell * place + cell // 2)
            brush.text(middle, name, fill=_colour_of(name), font=_font(12), anchor="rm")
            for column, test in enumerate(tested):
                _draw_cell(brush, one, (train, test), x=LEFT + cell * column, y=top + cell * place, cell=cell)
        _draw_scale(brush, one, x=LEFT + cell * len(tested) + 20, y=top, height=cell * len(trained))
        brush.text((10, top + cell * len(trained) + 8), _NOTE, fill=_BLACK, font=_font(10))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _maps(name: str, grid: Grid) -> Iterator[_Map]:
    first = next(iter(grid.values()))
    yield _Map(
        title=f"{name}: macro-F1",
        values={place: pair.result.macro_f1.value for place, pair in grid.items()},
        low=0.0,
        high=1.0,
        colour=sequential,
        write=markdown.point,
        chance=first.result.chance,
    )
    if not first.row.is_hidden and is_dictionary(first.records[0]):
        deltas = {place: pair.result.delta.value for place, pair in grid.items() if pair.result.delta}
        if deltas:
            limit = max(0.1, math.ceil(10 * max(map(abs, deltas.values()))) / 10)
            yield _Map(
                title=f"{name}: minus hidden states",
                values=deltas,
                low=-limit,
                high=limit,
                colour=diverging,
                write=markdown.signed,
            )
    shares = {place: share for place, pair in grid.items() if (share := pair.share("even")) is not None}
    if shares:
        yield _Map(
            title=f"{name}: share of effect on features that fire as often in both",
            values=shares,
            low=0.0,
            high=1.0,
            colour=sequential,
            write=markdown.point,
        )


def _draw_names(image: Image.Image, names: Sequence[str], *, top: int, cell: int) -> None:
    """Upwards, above the columns."""
    for column, name in enumerate(names):
        label = Image.new("RGB", (TOP - 40, 16), _WHITE)
        ImageDraw.Draw(label).text((2, 8), name, fill=_colour_of(name), font=_font(12), anchor="lm")
        turned = label.rotate(90, expand=True)
        image.paste(turned, (LEFT + cell * column + (cell - 16) // 2, top - (TOP - 40) - 4))


def _draw_cell(
    brush: ImageDraw.ImageDraw, one: _Map, place: tuple[str, str], *, x: int, y: int, cell: int
) -> None:
    value = one.values.get(place)
    fill = _EMPTY if value is None else one.colour(_level(one, value))
    brush.rectangle((x, y, x + cell - 2, y + cell - 2), fill=fill)
    if value is not None and cell == cell_size(FEW):
        ink = _BLACK if luminance(fill) > 0.25 else _WHITE
        brush.text(
            (x + cell // 2, y + cell // 2), _plain(one.write(value)), fill=ink, font=_font(12), anchor="mm"
        )


def _draw_scale(brush: ImageDraw.ImageDraw, one: _Map, *, x: int, y: int, height: int) -> None:
    for step in range(height):
        brush.line(
            (x, y + height - 1 - step, x + 14, y + height - 1 - step),
            fill=one.colour(step / max(1, height - 1)),
        )
    marks = {value: one.write(value) for value in (one.low, (one.low + one.high) / 2, one.high)}
    if one.chance is not None:
        marks[one.chance] = f"{one.write(one.chance)} chance"
    for value, text in marks.items():
        place = y + height - 1 - round(_level(one, value) * (height - 1))
        brush.line((x + 12, place, x + 18, place), fill=_BLACK)
        brush.text((x + 21, place), _plain(text), fill=_BLACK, font=_font(10), anchor="lm")


def _level(one: _Map, value: float) -> float:
    return min(1.0, max(0.0, (value - one.low) / (one.high - one.low)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _plain(text: str) -> str:
    """Signs that Pillow's own font lacks, as others that it has."""
    return text.replace("−", "-").replace("—", "-").replace("←", "<-")


def _length(title: str) -> int:
    return math.ceil(_font(14).getlength(_plain(title)))


def _colour_of(name: str) -> Colour:
    return _MARKED if name.endswith("*") else _BLACK


# ── colours ──────────────────────────────────────────────────────────────────────────────────────────────


def sequential(level: float) -> Colour:
    """From 0, dark violet, to 1, light yellow."""
    return _from_oklab(lightness=0.25 + 0.69 * level, chroma=0.11, hue=300 - 195 * level)


def diverging(level: float) -> Colour:
    """From 0, blue, over ½, near white, to 1, red."""
    away = 2 * abs(level - 0.5)
    return _from_oklab(lightness=0.97 - 0.5 * away, chroma=0.15 * away, hue=255 if level < 0.5 else 30)


def luminance(colour: Colour) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.1)."""
    red, green, blue = (
        level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4
        for level in (part / 255 for part in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _from_oklab(*, lightness: float, chroma: float, hue: float) -> Colour:
    """The matrices are Ottosson's; hue in degrees. What sRGB cannot show is cut."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _to_byte(4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short),
        _to_byte(-1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short),
        _to_byte(-0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short),
    )


def _to_byte(linear: float) -> int:
    level = min(1.0, max(0.0, linear))
    level = 12.92 * level if level <= 0.0031308 else 1.055 * level ** (1 / 2.4) - 0.055
    return round(255 * level)
