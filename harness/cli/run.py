"""`harness run`: a suite in, a run folder and a leaderboard out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    batch_option,
    json_option,
    machine_options,
    open_session,
    read_batch_size,
    read_suite,
    report,
    suite_options,
)

SOME_FAILED = 1


@click.command("run")
@suite_options
@machine_options
@batch_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run folder [runs/<suite>].")
@json_option
@click.pass_context
def command(context: click.Context, output: Path | None, batch_size: str, as_json: bool, **options: Any) -> int:
    """Run SUITE, a registered name or a YAML file. The same command again resumes; nothing finished is redone."""
    examples = read_batch_size(batch_size)
    machine = {name: options[name] for name in ("device", "data_dir", "cache_dir", "include", "offline")}
    session = open_session(context, **machine)
    run = session.run(
        session.plan(read_suite(session, options)),
        output=output,
        batch_size=examples,
        argv=sys.argv[1:],
        report=report,
    )
    summary = run.summary
    if as_json:
        numbers = {"ok": summary.ok, "failed": summary.failed, "tokens": summary.tokens}
        click.echo(json.dumps({"folder": str(run.folder), **numbers, "seconds": round(summary.seconds, 3)}))
    else:
        _show(run)
    return SOME_FAILED if summary.failed else 0


def _show(run: Any) -> None:
    from rich.console import Console

    from harness import leaderboard
    from harness.records import RunFolder

    summary = run.summary
    if summary.ok:
        board = leaderboard.build([RunFolder(run.folder)])
        Console(width=None if sys.stdout.isatty() else 140).print(leaderboard.to_table(board))
    failed = f", {summary.failed} failed" if summary.failed else ""
    click.echo(
        f"{summary.ok} cells{failed}; {summary.tokens:,} tokens through models; {summary.seconds:.1f} s\n"
        f"{run.folder / 'leaderboard.md'}"
    )
    if summary.failed:
        click.echo("the same command again retries what failed", err=True)
