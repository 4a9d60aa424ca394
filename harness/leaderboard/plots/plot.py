"""Plot: a chart of a board as SVG, for papers and pages, and as PNG."""

from __future__ import annotations

import io
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.api.errors import UnavailableError
from harness.leaderboard.analyses.regimes import UnderRegime, under_regimes
from harness.leaderboard.board import Board
from harness.leaderboard.plots import differences, regimes, searched, sized
from harness.leaderboard.plots.arms import Arms, find_arms
from harness.leaderboard.plots.chart import Chart
from harness.leaderboard.plots.drawing import draw
from harness.leaderboard.plots.svg import outline_svg, to_svg
from harness.storage.atomic import whole_file

DPI = 200
"""Pixels of a PNG to the inch, as papers ask for."""

FORMATS = ("svg", "png")
"""Endings of the files of a plot."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Plot of a board.

    `name` is made of letters, digits and `. _ = -`, and no two plots of a board share one. `title` is its heading,
    `alt` says in one sentence what it shows. `svg` is an element that can stand in a page or, as it is, in a file: it
    refers to nothing, its ink is that of the text around it, and its only id is `plot-NAME`.
    """

    name: str
    title: str
    alt: str
    svg: str = field(repr=False)
    chart: Chart = field(repr=False)


def draw_plots(board: Board) -> tuple[Plot, ...]:
    """Draw the plots of a board: differences from hidden states, what was searched, sizes, cost and regimes.

    Models trained here and real ones are in no plot together. A plot of fewer than two points is left out.
    """
    return tuple(map(_draw, _named(find_charts(board))))


def outline_plots(board: Board) -> tuple[Plot, ...]:
    """Return the plots of a board without lines and marks: their texts, and what each mark says."""
    return tuple(map(_outline, _named(find_charts(board))))


def to_png(plot: Plot) -> bytes:
    """Return the plot as PNG, black on white, with the fonts of figures."""
    file = io.BytesIO()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = draw(plot.chart, letters=True)
    canvas.figure.set_dpi(DPI)
    FigureCanvasAgg(canvas.figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def write_plots(plots: Iterable[Plot], folder: Path, *, formats: Container[str] = FORMATS) -> Iterator[Path]:
    """Write NAME.svg and NAME.png of plots to a folder, each whole or not at all, and yield their paths.

    Raise UnavailableError where the folder is a file or the disk refuses.
    """
    if folder.exists() and not folder.is_dir():
        raise UnavailableError(f"'{folder}' is a file, not a folder")
    for plot in plots:
        for ending in FORMATS:
            if ending in formats:
                path = folder / f"{plot.name}.{ending}"
                with whole_file(path) as temporary:
                    temporary.write_bytes(to_png(plot) if ending == "png" else f"{plot.svg}\n".encode())
                yield path


def find_charts(board: Board) -> Iterator[Chart]:
    """Yield the charts of a board, of each kind of models by itself."""
    by_regime = under_regimes(board)
    for arms in find_arms(board):
        yield from (chart for chart in _charts(arms, by_regime) if chart.n_places > 1)


def _charts(arms: Arms, by_regime: Sequence[UnderRegime]) -> Iterator[Chart]:
    yield from differences.charts(arms)
    yield from searched.charts(arms)
    yield from sized.charts(arms)
    yield from regimes.charts(arms, by_regime)


def _named(charts: Iterator[Chart]) -> Iterator[Chart]:
    """Yield charts with names that differ: two kinds of sites may differ by signs that no file's name can hold."""
    taken: set[str] = set()
    for chart in charts:
        name, number = chart.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{chart.name}-{number}"
        taken.add(name.lower())
        yield replace(chart, name=name)


def _outline(chart: Chart) -> Plot:
    svg = outline_svg(draw(chart, letters=False), name=chart.name, alt=chart.alt)
    return Plot(name=chart.name, title=chart.title, alt=chart.alt, svg=svg, chart=chart)


def _draw(chart: Chart) -> Plot:
    svg = to_svg(draw(chart, letters=False), name=chart.name, alt=chart.alt)
    return Plot(name=chart.name, title=chart.title, alt=chart.alt, svg=svg, chart=chart)
