"""Plots of a board, for papers and pages. A board enters; SVG and PNG pictures leave.

`searched`, `sized`, `differences` and `regimes` make charts (`chart`): numbers, names and marks, of one kind of models
each. `canvas` draws them with matplotlib, and `svg` turns its picture into one that a page can hold.
"""

from harness.leaderboard.plots.plot import Plot, draw_plots, outline_plots, to_png, write_plots

__all__ = ["Plot", "draw_plots", "outline_plots", "to_png", "write_plots"]
