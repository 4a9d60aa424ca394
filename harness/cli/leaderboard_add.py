"""Command `harness leaderboard add`: check a submission, and add it to a board. Runs models with `--rerun` only."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import GateError
from harness.api.text import shorten
from harness.cli import options as shared
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.leaderboard.published.rerun_report import RerunReport
    from harness.leaderboard.submissions.examine import Examined
    from harness.session import Session


@click.command("add")
@click.argument("runs", nargs=-1, required=True, type=shared.PATH)
@click.option(
    "--to", "board", required=True, metavar="BOARD_DIR", type=shared.PATH, help="Add to this board."
)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@click.option("--summary", type=shared.PATH, help="Write the summary to this file [standard output].")
@click.option(
    "--rerun",
    "count",
    type=click.IntRange(min=1),
    metavar="K",
    help="Run K cells of each run again, offline.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Draw these cells by this seed [one that nobody knows]."
)
@shared.data_dir_option
@shared.include_option
@shared.device_option
@click.pass_context
def add(
    context: click.Context,
    /,
    runs: tuple[Path, ...],
    board: Path,
    dry_run: bool,
    summary: Path | None,
    count: int | None,
    seed: int | None,
    **machine: Any,
) -> int:
    """Check RUNS, a submission, against the board in BOARD_DIR, and add them if nothing is wrong.

    RUNS are published runs (`.jsonl` or `.jsonl.gz` with the files beside it), folders of them, or run folders. Checks
    form, versions, coverage, duplicates, scores recomputed from predictions, test rows, and entries that the board has
    too; writes a summary as Markdown for a pull request. Nothing that a submission names is installed, fetched, opened
    or run, and no plugin is loaded. With --rerun, cells are run again whose task, model and dictionary are offers of
    plugins installed here. Exit code 0 if it was added, 4 if there is a fault.
    """
    from harness.leaderboard.submissions.examine import add as add_checked
    from harness.leaderboard.submissions.examine import examine
    from harness.leaderboard.submissions.summary import summarize

    if seed is not None and count is None:
        raise click.UsageError("--seed draws cells for --rerun, which is not given")
    with tempfile.TemporaryDirectory(prefix="submission-") as stage:
        examined = examine(runs, board, Path(stage))
        reports: dict[str, RerunReport] = {}
        if count is not None and not examined.faults:
            session = shared.open_session(context, **machine, offline=True)
            examined, reports = _run_again(session, examined, count, seed)
        text = summarize(examined, reports)
        if summary is None:
            echo(text.rstrip("\n"))
        else:
            _write(summary, text)
        if examined.faults:
            for fault in examined.faults if summary is not None else ():
                echo(f"fault: {shorten(' '.join(fault.split()))}", err=True)
            return GateError.exit_code
        if dry_run:
            echo(f"harness: nothing is wrong; without --dry-run it is added to '{board}'", err=True)
            return 0
        for run in add_checked(examined):
            echo(f"harness: added '{run.path}'", err=True)
    return 0


def _run_again(
    session: Session, examined: Examined, count: int, seed: int | None
) -> tuple[Examined, dict[str, RerunReport]]:
    """Run cells of each run again; return what was found with that, and the report of each run."""
    from harness.leaderboard.published.rerun_report import write_report
    from harness.leaderboard.submissions.examine import RERUN
    from harness.reruns import find_differences, rerun
    from harness.validation.finding import Finding

    drawn = secrets.randbits(53) if seed is None else seed
    known = {(cell.cell_id, cell.record.predictions_hash) for cell in examined.submitted.references}
    reports: dict[str, RerunReport] = {}
    findings: list[Finding] = []
    for entry in examined.submitted.entries:
        report = rerun(
            session,
            entry.run,
            count=count,
            seed=drawn,
            fresh=seed is None,
            known=known,
            tell=lambda line: echo(f"harness: {line}", err=True),
        )
        reports[entry.run.name] = report
        findings += (Finding("fault", sentence) for sentence in find_differences(report))
        if report.cells and len(report.cells) < count:
            findings.append(
                Finding("note", f"only {len(report.cells)} of {count} cells could be run again here")
            )
        if report.is_met:
            write_report(entry.run.path, report)
    return examined.having(RERUN, findings), reports


def _write(path: Path, text: str) -> None:
    from harness.storage.atomic import whole_file

    with whole_file(path) as temporary:
        temporary.write_text(text, "utf-8")
