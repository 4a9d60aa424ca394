"""Layout of a chart: where its parts are, in points. It depends on numbers and on counts of letters alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from harness.leaderboard.plots.canvas import Spot
from harness.leaderboard.plots.chart import Chart, Point, Tick
from harness.leaderboard.plots.texts import count_columns, wrap

WIDTH = 720
"""Points of a picture's width."""

HEIGHT = 270
"""Points of the height of a chart whose axis runs along the bottom."""

MANY = 40
"""Marks of a chart whose axis runs along the bottom, above which they are small."""

ROW, LANE = 19, 9
"""Points of a place on an axis down the side, and of each series in it."""

COLUMN = 6.4
"""Points of a letter of 10.5 points: those of most fonts are narrower in the mean."""

_LEFT, _RIGHT = 62, 258
"""Points beside a chart whose axis runs along the bottom: for numbers, and for the legend."""

_NAMES, _NUMBERS = (120, 330), 168
"""The same of one whose axis runs down the side: for names, at least and at most, and for numbers or the legend."""

_NOTES = round(WIDTH / 5.6)
"""Columns of a line of notes."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places of a chart's parts. The axis runs along the bottom, or from the top down the left side."""

    chart: Chart

    @cached_property
    def subtitle(self) -> list[str]:
        """Lines below the title."""
        return wrap(self.chart.subtitle, _NOTES)

    @cached_property
    def notes(self) -> list[str]:
        """Lines at the foot."""
        said = (*self.chart.notes, "Bars: 95 % intervals over test rows.")
        return wrap(" ".join(said), _NOTES)

    @property
    def left(self) -> float:
        """Left edge of the marks."""
        if not self.chart.upright:
            return _LEFT
        names = max(count_columns(tick.label) for tick in self.chart.ticks if not tick.is_heading)
        return min(max(_NAMES[0], 26 + COLUMN * names), _NAMES[1])

    @property
    def right(self) -> float:
        """Right edge of the marks."""
        return WIDTH - (_NUMBERS if self.chart.upright else _RIGHT)

    @property
    def top(self) -> float:
        """Upper edge of the marks."""
        return 38 + 15 * len(self.subtitle)

    @cached_property
    def bottom(self) -> float:
        """Lower edge of the marks, so far down that the legend has room beside them."""
        if not self.chart.upright:
            return max(self.top + HEIGHT, self.top + self.legend_height)
        row = max(ROW, LANE * max(map(len, self.at_place.values())) + 8)
        return max(self.top + row * len(self.chart.ticks), self.top + self.legend_height)

    @property
    def below(self) -> float:
        """Points below the axis: ticks, its name, the key and notes."""
        return self.to_notes + 14 * len(self.notes) + 2

    @property
    def to_notes(self) -> float:
        """Points from the axis to the notes."""
        second = 14 if any(tick.below for tick in self.chart.ticks) else 0
        return 58 + second + (22 if self.chart.key else 0)

    @property
    def legend_height(self) -> float:
        """Height of the legend: a line for each series and each heading."""
        heads = len({one.head for one in self.chart.series if one.head})
        return 0 if self.chart.differences else 17 * (len(self.chart.series) + heads) + 8 * max(heads - 1, 0)

    def at(self, place: float) -> float:
        """Return the points of a place on the axis, from the left or, down the side, from the top."""
        low, high = (self.top, self.bottom) if self.chart.upright else (self.left, self.right)
        return low + place * (high - low)

    def of(self, value: float) -> float:
        """Return the points of a value."""
        low, high = self.limits
        share = (value - low) / (high - low)
        if self.chart.upright:
            return self.left + share * (self.right - self.left)
        return self.bottom - share * (self.bottom - self.top)

    def spot(self, place: float, value: float) -> Spot:
        """Return the place of a value; `place` in points along the axis."""
        return (self.of(value), place) if self.chart.upright else (place, self.of(value))

    @cached_property
    def value_ticks(self) -> list[float]:
        """Round values from below the least to above the highest end of a bar."""
        from matplotlib.ticker import MaxNLocator

        ends = [end for one in self.chart.series for point in one.points for end in _ends(point)]
        low, high = min(ends), max(ends)
        if self.chart.differences:
            low, high = min(low, 0.0), max(high, 0.0)
        if high - low < 0.02:
            low, high = low - 0.01, high + 0.01
        steps = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return [round(float(tick), 6) for tick in steps]

    @property
    def limits(self) -> tuple[float, float]:
        """Values at the two edges."""
        return self.value_ticks[0], self.value_ticks[-1]

    @property
    def is_full(self) -> bool:
        """True where marks stand close together."""
        return not self.chart.upright and sum(map(len, self.at_place.values())) > MANY

    @cached_property
    def at_place(self) -> dict[float, list[int]]:
        """Numbers of the series with a point at each place."""
        at_place: dict[float, list[int]] = defaultdict(list)
        for number, one in enumerate(self.chart.series):
            for point in one.points if not one.level else ():
                at_place[point.at].append(number)
        return at_place

    @cached_property
    def shifts(self) -> dict[tuple[int, float], float]:
        """Points by which a series is moved along the axis at a place, so that bars there do not cover one another."""
        at_place = self.at_place
        gaps = [after - before for before, after in pairwise(sorted(at_place))]
        room = 0.7 * min(gaps, default=1.0) * (self.at(1.0) - self.at(0.0))
        most = max(map(len, at_place.values()))
        step = min(14.0 if self.chart.are_names else 5.0, room / most)
        return {
            (number, place): step * (lane - (len(lanes) - 1) / 2)
            for place, lanes in at_place.items()
            for lane, number in enumerate(lanes)
        }

    def room(self, tick: Tick) -> float:
        """Return the points of a label of the axis along the bottom: as far as half-way to the next ones."""
        apart = [abs(tick.at - other.at) for other in self.chart.ticks if other.label and other.at != tick.at]
        return min([*apart, 0.3]) * (self.right - self.left) - 4


def _ends(point: Point) -> tuple[float, ...]:
    return (point.value, *(point.interval or ()))
