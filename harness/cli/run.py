"""Command `harness run`: run a suite into a run folder with a leaderboard."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import GateError
from harness.cli import options as shared
from harness.cli.board_table import print_board
from harness.cli.meta import ARGUMENTS
from harness.cli.streams import echo, stdout_as_message

if TYPE_CHECKING:
    from harness.runs.context import Rerun

SOME_FAILED = 1
MOST_ERRORS = 10


@click.command("run")
@shared.suite_options
@shared.machine_options
@shared.store_option
@shared.batch_option
@click.option(
    "-o",
    "--output",
    type=shared.LOCATION,
    metavar="FOLDER|URL",
    help="Write to this run folder, or to an object store, such as s3://bucket/runs/x [runs/<suite>].",
)
@click.option(
    "--keep-activations",
    is_flag=True,
    help="Keep activations in the cache and read kept ones, so that other dictionaries need no forward pass.",
)
@click.option(
    "--rerun",
    type=click.Choice(["failed", "all", "never"]),
    default="failed",
    show_default=True,
    help="Repeat these ended cells.",
)
@click.option(
    "--fail-fast", is_flag=True, help="Stop at the first failed cell, or if anything is unavailable."
)
@click.option(
    "--strict-gate",
    is_flag=True,
    help="End with exit code 4 if a dictionary reads activations unlike those it was trained on.",
)
@shared.executor_option
@shared.jobs_option
@click.option("--strict-data", is_flag=True, help="Stop at an image that cannot be decoded.")
@shared.wide_option
@shared.json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    output: Path | str | None,
    batch_size: str,
    keep_activations: bool,
    rerun: Rerun,
    fail_fast: bool,
    strict_gate: bool,
    executor: str | None,
    jobs: str | None,
    strict_data: bool,
    wide: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run SUITE, a registered name or a YAML file. The same command again resumes; nothing finished is repeated.

    Unavailable data, models and dictionaries are left out and named, as long as something remains. Exit code 1 if a
    cell failed or anything was left out. Images that cannot be decoded are left out and named in the records. A
    dictionary that does not fit its activations is flagged in its records and on the leaderboard.
    """
    examples = shared.read_batch_size(batch_size)
    processes = shared.read_jobs(jobs)
    machine = {
        name: options[name] for name in ("device", "data_dir", "cache_dir", "include", "offline", "store")
    }
    session = shared.open_session(context, **machine)
    plan = session.plan(shared.read_suite(session, options), strict_data=strict_data)
    if not fail_fast:  # the run itself raises the first of these as its error
        shared.print_left_out(plan.left_out)
        for note in plan.notes:
            echo(f"note: {note}", err=True)
    argv = context.meta[ARGUMENTS]
    try:
        run = session.run(
            plan,
            output=output,
            batch_size=examples,
            keep_activations=keep_activations,
            argv=argv,
            rerun=rerun,
            fail_fast=fail_fast,
            executor=executor,
            jobs=processes,
        )
    except KeyboardInterrupt as error:
        raise type(error)("what is done is saved, and the same command resumes") from None
    # The last one counts if an option is given twice.
    again = shlex.join(["harness", *argv, *(["--rerun", "failed"] if rerun != "failed" else [])])
    if as_json:
        echo(json.dumps(_facts(run, again)))
    else:
        with stdout_as_message():
            _show(run, wide=wide)
        _explain(run, again)
    if strict_gate and run.summary.flagged:
        return GateError.exit_code
    return 0 if run.summary.is_whole else SOME_FAILED


def _facts(run: Any, again: str) -> dict[str, Any]:
    summary = run.summary
    return {
        "folder": run.location,
        "leaderboard": f"{run.location}/leaderboard.md" if summary.ok else None,
        **{
            name: getattr(summary, name)
            for name in ("ok", "failed", "pending", "skipped", "redone", "flagged", "tokens")
        },
        "seconds": round(summary.seconds, 3),
        "errors": dict(summary.errors),
        "left_out": dict(summary.left_out),
        "again": None if summary.is_whole else again,
    }


def _show(run: Any, *, wide: bool) -> None:
    """Print the leaderboard and the counts of cells."""
    summary = run.summary
    if summary.ok:
        print_board(run.leaderboard(), wide=wide)
    counts = {
        "flagged": summary.flagged,
        "failed": summary.failed,
        "not run": summary.pending,
        "left out": len(summary.left_out),
    }
    more = "".join(f", {count} {what}" for what, count in counts.items() if count)
    echo(
        f"{summary.ok} cells{more}; {summary.tokens:,} tokens through models; {summary.seconds:.1f} s\n"
        f"{f'{run.location}/leaderboard.html' if summary.ok else 'no cell ended well, so there is no leaderboard'}"
    )


def _explain(run: Any, again: str) -> None:
    """Print on stderr what was run again, what failed and what is missing."""
    summary = run.summary
    if summary.redone:
        echo(
            f"note: {summary.redone} finished cells were run again, for their predictions were missing, damaged or not "
            f"those that were scored",
            err=True,
        )
    for error, count in list(summary.errors.items())[:MOST_ERRORS]:
        echo(f"failed ({count} {'cell' if count == 1 else 'cells'}): {error}", err=True)
    if (others := len(summary.errors) - MOST_ERRORS) > 0:
        echo(f"failed: {others} other errors, in {run.location}/results.jsonl", err=True)
    for reason in dict.fromkeys(summary.left_out.values()):
        echo(f"left out: {' '.join(reason.split())}", err=True)
    if not summary.is_whole:
        echo(f"what is missing is run by: {again}", err=True)
