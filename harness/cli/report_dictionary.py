"""`harness report-dictionary`: a dictionary, a model and held-out text in, a folder with a report out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness.cli.options import batch_option, json_option, machine_options, open_session, read_batch_size


@click.command("report-dictionary")
@click.argument("representation", metavar="REF")
@click.option("-m", "--model", required=True, metavar="REF", help="Model.")
@click.option("--site", help="Where to read [the one place where the dictionary serves].")
@click.option("--dtype", help="The model's dtype, as a parameter of the model.")
@click.option(
    "--data",
    "sources",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Texts, of whose files or folders the held-out part is read [test rows of tasks that plugins ship].",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=256),
    default=65536,
    show_default=True,
    help="Content tokens, at most.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Folder for report.md, report.json, frequencies.csv and frequencies.png.",
)
@machine_options
@batch_option
@json_option
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
    output: Path,
    batch_size: str,
    as_json: bool,
    **machine: Any,
) -> None:
    """Say how well the dictionary REF fits MODEL: explained variance, L0, dead and dense features, what splicing it in
    costs in next-token loss, and whether its features mean the same in text that had no part in reading them; beside
    principal components, single neurons and a random dictionary at the same L0.
    """
    examples = read_batch_size(batch_size)
    session = open_session(context, **machine)
    found = session.report(
        representation,
        model={"ref": model, **({"dtype": dtype} if dtype else {})},
        site=site,
        sources=sources,
        tokens=tokens,
        batch_size=examples,
        tell=lambda line: click.echo(line, err=True),
    )
    from harness.dictionary_report import page as report_page
    from harness.dictionary_report.measure import facts

    paths = report_page.write(found, output)
    click.echo(json.dumps(facts(found)) if as_json else f"{report_page.to_markdown(found)}\n{paths[0]}")
