"""Command `harness report-dictionary`: report how well a dictionary fits a model on held-out text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness.cli import options as shared
from harness.cli.streams import echo


@click.command("report-dictionary")
@click.argument("representation", metavar="REF")
@shared.model_option
@click.option("--site", help="Read at this site [the only one that suits the dictionary].")
@shared.dtype_option
@click.option(
    "--data",
    "sources",
    multiple=True,
    type=shared.PATH,
    help="Read the held-out part of these files or folders [test rows of tasks shipped with plugins].",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=256),
    default=65536,
    show_default=True,
    help="Read at most this many content tokens.",
)
@click.option(
    "--loss-tokens",
    type=click.IntRange(min=1),
    default=16384,
    show_default=True,
    help="Measure next-token losses on at most this many of them: each arm needs a pass of the whole model.",
)
@click.option(
    "--max-norm-ratio",
    type=float,
    help="Leave out tokens with a norm above this many times the median: attention sinks [none is left out].",
)
@click.option(
    "-o",
    "--output",
    type=shared.PATH,
    default=Path("report"),
    show_default=True,
    help="Write report.md, report.json, frequencies.csv and frequencies.png to this folder.",
)
@shared.machine_options
@shared.batch_option
@shared.json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    representation: str,
    model: str,
    site: str | None,
    dtype: str | None,
    sources: tuple[Path, ...],
    tokens: int,
    loss_tokens: int,
    max_norm_ratio: float | None,
    output: Path,
    batch_size: str,
    as_json: bool,
    **machine: Any,
) -> None:
    """Report how well the dictionary REF fits MODEL, beside principal components, neurons and a random dictionary.

    Measures explained variance with and without the largest channels, L0, dead and dense features, the increase in
    next-token loss with the reconstruction spliced in, and whether features keep their meaning in unseen text. The
    others are measured at the same L0.
    """
    examples = shared.read_batch_size(batch_size)
    session = shared.open_session(context, **machine)
    found = session.report(
        representation,
        model=shared.model_fields(model, dtype),
        site=site,
        sources=sources,
        tokens=tokens,
        batch_size=examples,
        loss_tokens=loss_tokens,
        max_norm_ratio=max_norm_ratio,
        tell=lambda line: echo(line, err=True),
    )
    from harness.dictionary_report import page as report_page
    from harness.dictionary_report.report import facts

    paths = report_page.write(found, output)
    echo(json.dumps(facts(found)) if as_json else f"{report_page.to_markdown(found)}\n{paths[0]}")
