"""Chart: what a plot shows, before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.leaderboard.scoring import Estimate

SERIES = 8
"""Most series of a chart: of more, neither colours nor marks are told apart."""


INK = "ink"
"""Colour of the text beside a mark: black on paper."""


Line = str | tuple[int, tuple[float, ...]]
"""Style of a line, as matplotlib names them, or its dashes and gaps."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """Look of a series: its colour, mark (a marker of matplotlib), and line."""

    colour: str
    mark: str = "o"
    filled: bool = True
    line: Line = "solid"


@dataclass(frozen=True, kw_only=True)
class Point:
    """Value with its 95 % interval, `at` a place from 0 to 1 on the axis. `about` has the exact numbers, in words.

    One that is not `joined` has no line to its neighbours. `style` is one of its own, by default that of its series.
    """

    at: float
    value: float
    interval: tuple[float, float] | None
    about: str
    joined: bool = True
    style: Style | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one arm, below the heading `head` of the legend. A `level` has one point, drawn across the chart."""

    head: str
    label: str
    style: Style
    points: tuple[Point, ...]
    level: bool = False


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Named place on the axis, from 0 to 1; `below` is a second line. A heading is no place of a point."""

    at: float
    label: str
    below: str = ""
    is_heading: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Chart of values against an axis, which runs along the bottom or, with `upright`, down the left side.

    `key` names marks that are no series. A chart of `differences` has a line at 0, signs, and its numbers beside it.
    Places `are_names` where there is nothing between them.
    """

    name: str
    title: str
    subtitle: str
    axis: str
    values: str
    ticks: tuple[Tick, ...]
    series: tuple[Series, ...]
    alt: str
    notes: tuple[str, ...] = ()
    key: tuple[tuple[Style, str], ...] = ()
    upright: bool = False
    differences: bool = False
    are_names: bool = False

    @property
    def n_places(self) -> int:
        """Number of places with a point: a chart of fewer than two shows nothing."""
        return len({point.at for series in self.series if not series.level for point in series.points})


def exact(estimate: Estimate, *, sign: bool = False) -> str:
    """Return a value to four digits with its interval, such as `.7071 [.6914, .7195]`."""
    if estimate.interval is None:
        return f"{digits(estimate.value, sign=sign)} (too few groups of test rows for an interval)"
    low, high = (digits(end, sign=sign) for end in estimate.interval)
    return f"{digits(estimate.value, sign=sign)} [{low}, {high}]"


def digits(value: float, *, sign: bool = False, places: int = 4) -> str:
    """Return a number without the zero before its point, with a sign where that is asked for."""
    text = f"{abs(value):.{places}f}"
    mark = "" if not float(text) else "−" if value < 0 else "+" if sign else ""
    return mark + (text[1:] if text.startswith("0.") else text)


def describe(series: Sequence[Series], *, sign: bool = False, most: int = 3) -> str:
    """Return the ends of the first series in words, for readers who see no picture."""
    shown = [one for one in series if one.points]
    parts = []
    for one in shown[:most]:
        name = " ".join(filter(None, (one.head, one.label)))
        values = [point.value for point in one.points]
        least, highest = (digits(end, sign=sign, places=3) for end in (min(values), max(values)))
        parts.append(f"{name} {least}" if least == highest else f"{name} {least} to {highest}")
    more = f"; and {len(shown) - most} more" if len(shown) > most else ""
    return "; ".join(parts) + more
