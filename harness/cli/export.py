"""Command `harness export`: write the results of a run in the file formats of other projects."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options as shared
from harness.cli.streams import echo

FORMATS = ("saebench", "eval-results")


@click.command("export")
@click.argument("run", type=shared.PATH)
@click.option("--format", "to", type=click.Choice(FORMATS), required=True, help="Write this format.")
@click.option(
    "-o",
    "--output",
    type=shared.PATH,
    help="Write below this folder [that of the format, in the run folder].",
)
@click.pass_context
def command(context: click.Context, /, run: Path, to: str, output: Path | None) -> None:
    """Write the results of RUN, a run folder, a published run or a folder of those, in another project's format.

    saebench: JSON of SAEBench's sparse probing, one file for each dictionary, of runs with k-sparse classifiers.

    eval-results: YAML files for the folder .eval_results of a model's repository on the Hugging Face hub.

    What the format cannot hold is named on standard error. No model is run.
    """
    from harness.leaderboard import find_results
    from harness.leaderboard.exports.eval_results import to_eval_results
    from harness.leaderboard.exports.exported import write_all
    from harness.leaderboard.exports.saebench import to_saebench
    from harness.runs.folder import RunFolder

    results = find_results(run)
    if output is None and not RunFolder(run).exists:
        raise click.UsageError("published runs need -o, the folder to write to")
    export = {"saebench": to_saebench, "eval-results": to_eval_results}[to]
    exported = export(results, shared.open_registry(context))
    for path in write_all(exported, output or run / to):
        echo(path)
    for sentence in exported.left_out:
        echo(f"harness: left out: {sentence}", err=True)
