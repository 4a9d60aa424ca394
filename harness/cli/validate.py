"""`harness validate`: is this suite runnable, or this run whole and true to its predictions?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import json_option, open_session

if TYPE_CHECKING:
    from harness.session import Session
    from harness.validation.finding import Finding


@click.command("validate")
@click.argument("target", metavar="SUITE|RUN")
@click.option("--include", multiple=True, type=click.Path(path_type=Path), help="A task file (YAML).")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Mirror of the datasets [HARNESS_DATA_DIR]."
)
@click.option("--offline", is_flag=True, help="Ask no hub for anything.")
@click.option("--strict-data", is_flag=True, help="Empty, contradicting or leaking rows are faults.")
@json_option
@click.pass_context
def command(context: click.Context, /, target: str, strict_data: bool, as_json: bool, **machine: Any) -> int:
    """Check a suite before it is run, or a run before it is published, or after.

    SUITE: its fields, names, parameters and sites; whether data and models can be had; what cleaning removes.
    RUN, a run folder: every cell has a valid record, every record its predictions, and they give the recorded scores;
    where the data of a task is at hand (no hub is asked), test rows and labels are those of the data. Validation scores
    and costs are taken as recorded, and rows said to be unreadable by a model are noted: running it again tells.
    A folder of published runs: what `harness leaderboard check` checks, and the same of rows and labels.
    Exit code 0 when nothing is wrong, 4 when something is, 3 when something is only missing here.
    """
    from harness.validation.finding import exit_code

    if Path(target).is_dir():
        session = open_session(context, **{**machine, "offline": True})
        findings: Sequence[Finding] = _check_results(Path(target), session)
    else:
        findings = open_session(context, **machine).check(target, strict_data=strict_data)
    code = exit_code(findings)
    if as_json:
        told = [{"severity": each.severity, "sentence": each.sentence} for each in findings]
        click.echo(json.dumps({"target": target, "exit_code": code, "findings": told}, ensure_ascii=False))
        return code
    for finding in dict.fromkeys(findings):
        click.echo(f"{finding.severity}: {' '.join(finding.sentence.split())}")
    if not code:
        click.echo(f"{target}: nothing is wrong")
    return code


def _check_results(folder: Path, session: Session) -> Sequence[Finding]:
    """What is wrong with a run folder, or with the runs published in one."""
    from harness.config.suite import Suite
    from harness.leaderboard import check_published, find_published
    from harness.runs.folder import RunFolder
    from harness.validation.finding import Finding
    from harness.validation.run import check_data, check_flags, check_run

    place, included = session.data_dir, session.included
    published = find_published(folder)
    if not published:
        return check_run(RunFolder(folder), session.registry, data_dir=place, included=included)
    faults = [Finding(severity="fault", sentence=sentence) for sentence in check_published(folder)]
    if faults:
        return faults
    findings: list[Finding] = []
    for run in published:
        suite = Suite.model_validate(run.about()["suite"])
        findings += check_flags(run.records())
        findings += check_data(run, suite, session.registry, data_dir=place, included=included)
    return findings
