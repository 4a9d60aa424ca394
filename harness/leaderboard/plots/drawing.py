"""Drawing of a chart: title, axes, series, legend and notes at the places of its layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from harness.leaderboard.plots.canvas import BAR, FAINT, LINE, PALE, SIDE, SMALL, Canvas, Spot
from harness.leaderboard.plots.chart import Chart, Point, Series, Tick, digits
from harness.leaderboard.plots.layout import COLUMN, WIDTH, Layout
from harness.leaderboard.plots.texts import count_columns, shorten


def draw(chart: Chart, *, letters: bool) -> Canvas:
    """Draw a chart; `letters` as in Canvas."""
    layout = Layout(chart=chart)
    canvas = Canvas(WIDTH, layout.bottom + layout.below, letters=letters)
    _head(canvas, layout)
    _values(canvas, layout)
    _axis(canvas, layout)
    for number, series in enumerate(chart.series):
        _series(canvas, layout, series, number)
    if chart.differences:
        _numbers(canvas, layout)
    else:
        _legend(canvas, layout)
    _foot(canvas, layout)
    return canvas


def _head(canvas: Canvas, layout: Layout) -> None:
    canvas.text(layout.chart.title, (12, 24), size=15)
    for number, line in enumerate(layout.subtitle):
        canvas.text(line, (12, 42 + 15 * number), size=10.5, opacity=PALE)


def _values(canvas: Canvas, layout: Layout) -> None:
    """Draw the axis of values, with rules behind the marks."""
    ticks = layout.value_ticks
    places = max(2, *(len(f"{tick:.6f}".rstrip("0").partition(".")[2]) for tick in ticks))
    for tick in ticks:
        is_zero = layout.chart.differences and tick == 0
        ends = [layout.spot(layout.at(end), tick) for end in (0.0, 1.0)]
        canvas.line(ends, opacity=0.8 if is_zero else FAINT, width=1.1 if is_zero else 0.8)
        x, y = ends[1] if layout.chart.upright else ends[0]
        text = digits(tick, sign=layout.chart.differences, places=places)
        if layout.chart.upright:
            canvas.text(text, (x, y + 16), size=10.5, align="center")
        else:
            canvas.text(text, (x - 7, y + 4), size=10.5, align="right")
    middle = (layout.left + layout.right) / 2
    if layout.chart.upright:
        canvas.text(layout.chart.values, (middle, layout.bottom + 36), align="center")
    else:
        canvas.text(layout.chart.values, (18, (layout.top + layout.bottom) / 2), align="center", upwards=True)


def _axis(canvas: Canvas, layout: Layout) -> None:
    canvas.line([(layout.left, layout.bottom), (layout.right, layout.bottom)], opacity=0.8)
    if layout.chart.upright:
        for tick in layout.chart.ticks:
            _name(canvas, layout, tick)
        if len(layout.chart.series) > 1:
            for before, after in pairwise(layout.chart.ticks):
                y = layout.at((before.at + after.at) / 2)
                canvas.line([(12, y), (layout.right, y)], opacity=FAINT)
        return
    for tick in layout.chart.ticks:
        x = layout.at(tick.at)
        columns = int(layout.room(tick) / COLUMN)
        canvas.line([(x, layout.bottom), (x, layout.bottom + 4)], opacity=0.8)
        for number, text in enumerate(filter(None, (tick.label, tick.below))):
            shown = shorten(text, columns)
            about = text if shown != text else ""
            spot = (x, layout.bottom + 17 + 14 * number)
            canvas.text(shown, spot, size=10.5, align="center", opacity=PALE if number else 1.0, about=about)
    second = 14 if any(tick.below for tick in layout.chart.ticks) else 0
    middle = ((layout.left + layout.right) / 2, layout.bottom + 38 + second)
    canvas.text(shorten(layout.chart.axis, 60), middle, align="center")


def _name(canvas: Canvas, layout: Layout, tick: Tick) -> None:
    """Draw a name down the side."""
    y = layout.at(tick.at)
    columns = int((layout.left - 24) / COLUMN)
    shown = shorten(tick.label, columns)
    about = tick.label if shown != tick.label else ""
    if tick.is_heading:
        canvas.text(shown, (12, y + 4), size=10.5, opacity=PALE, about=about)
        return
    canvas.line([(layout.left - 4, y), (layout.left, y)], opacity=0.8)
    canvas.text(shown, (layout.left - 9, y + 4), size=10.5, align="right", about=about)


def _series(canvas: Canvas, layout: Layout, series: Series, number: int) -> None:
    style = series.style
    if series.level:
        _level(canvas, layout, series, number)
        return
    places = [layout.at(point.at) + layout.shifts[number, point.at] for point in series.points]
    spots = [
        (layout.spot(place, point.value), point) for place, point in zip(places, series.points, strict=True)
    ]
    for run in _runs(spots):
        if len(run) > 1:
            canvas.line(run, colour=style.colour, width=LINE, kind=style.line, opacity=0.85)
    side = SMALL if layout.is_full else SIDE
    for place, (spot, point) in zip(places, spots, strict=True):
        own = point.style or style
        if point.interval is not None:
            ends = [layout.spot(place, end) for end in point.interval]
            canvas.line(ends, colour=own.colour, width=1.3, opacity=BAR, about=point.about)
        canvas.mark(spot, own, about=point.about, side=side)


def _level(canvas: Canvas, layout: Layout, series: Series, number: int) -> None:
    """Draw a value across the chart, with its interval at the right end."""
    point, colour = series.points[0], series.style.colour
    before = sum(one.level for one in layout.chart.series[:number])
    y, x = layout.of(point.value), layout.right + min(5 * before, 20)
    ends = [(layout.left, y), (x, y)]
    canvas.line(ends, colour=colour, width=LINE, kind=series.style.line, about=point.about)
    if point.interval is not None:
        bar = [(x, layout.of(end)) for end in point.interval]
        canvas.line(bar, colour=colour, width=1.3, about=point.about)


def _legend(canvas: Canvas, layout: Layout) -> None:
    """Draw names of the series beside the chart, below the names of their models."""
    x, y = layout.right + 26, layout.top + 6
    columns = int((WIDTH - x - 34) / COLUMN)
    head = ""
    for series in layout.chart.series:
        if series.head and series.head != head:
            y += 8 if y > layout.top + 6 else 0
            shown = shorten(series.head, columns + 4)
            about = series.head if shown != series.head else ""
            canvas.text(shown, (x, y + 4), size=10.5, opacity=PALE, about=about)
            y += 17
        head = series.head
        is_line = series.level or any(point.joined for point in series.points if len(series.points) > 1)
        if is_line:
            style = series.style
            canvas.line([(x, y), (x + 24, y)], colour=style.colour, width=LINE, kind=style.line)
        if not series.level:
            canvas.mark((x + 12, y), series.style)
        label = shorten(series.label, columns)
        about = series.label if label != series.label else ""
        canvas.text(label, (x + 31, y + 4), size=10.5, about=about)
        y += 17


def _numbers(canvas: Canvas, layout: Layout) -> None:
    """Draw the numbers of a forest plot beside its marks."""
    for point in layout.chart.series[0].points:
        low_high = [digits(end, sign=True, places=3) for end in point.interval or ()]
        text = f"{digits(point.value, sign=True, places=3)} [{', '.join(low_high) or '—'}]"
        canvas.text(text, (layout.right + 16, layout.at(point.at) + 4), size=10.5)


def _foot(canvas: Canvas, layout: Layout) -> None:
    y = layout.bottom + layout.to_notes
    x = 12.0
    for style, label in layout.chart.key:
        canvas.mark((x + 5, y - 24), style)
        canvas.text(label, (x + 16, y - 20), size=10.5)
        x += 34 + COLUMN * count_columns(label)
    for number, line in enumerate(layout.notes):
        canvas.text(line, (12, y + 14 * number - 2), size=10, opacity=PALE)


def _runs(spots: Sequence[tuple[Spot, Point]]) -> Iterator[list[Spot]]:
    """Yield the places of points that are joined, between those that are not."""
    run: list[Spot] = []
    for spot, point in spots:
        if point.joined:
            run.append(spot)
        else:
            yield run
            run = []
    yield run
