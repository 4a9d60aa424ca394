"""Command `harness leaderboard plots`: write the plots of a board."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options as shared
from harness.cli.streams import echo

FORMATS = ("svg", "png", "both")


@click.command("plots")
@click.argument("runs", nargs=-1, required=True, type=shared.PATH)
@click.option("-o", "--output", required=True, type=shared.PATH, help="Write to this folder.")
@click.option(
    "--format", "wanted", type=click.Choice(FORMATS), default="both", show_default=True, help="Kind of files."
)
def plots(runs: tuple[Path, ...], output: Path, wanted: str) -> None:
    """Write plots of the leaderboard of RUNS: macro-F1 against layer, width, size, cost and what was learnt from, and
    differences from hidden states, each as NAME.svg and NAME.png.

    RUNS are run folders, published runs, or folders of them. A plot that would have one point is left out.
    """
    from harness import leaderboard
    from harness.leaderboard.plots import draw_plots, write_plots

    drawn = draw_plots(leaderboard.build(leaderboard.find_all_results(runs)))
    for path in write_plots(drawn, output, formats=FORMATS[:2] if wanted == "both" else (wanted,)):
        echo(path)
    if not drawn:
        echo("harness: nothing is plotted, as no plot would have two points", err=True)
