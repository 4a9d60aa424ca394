"""Command `harness validate`: check a suite before it is run, or the records and predictions of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import data_dir_option, include_option, json_option, offline_option, open_session
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.session import Session
    from harness.validation.finding import Finding


@click.command("validate")
@click.argument("target", metavar="SUITE|RUN")
@include_option
@data_dir_option
@offline_option
@click.option("--strict-data", is_flag=True, help="Treat empty, contradicting and leaking rows as faults.")
@json_option
@click.pass_context
def command(context: click.Context, /, target: str, strict_data: bool, as_json: bool, **machine: Any) -> int:
    """Check a suite before it is run, or a run before or after it is published.

    SUITE: checks fields, names, parameters and sites, that data and models are available, and what cleaning removes.
    RUN, a run folder: checks that every cell has a valid record, every record its predictions, and that they give the
    recorded scores. If the data of a task is available without a hub, test rows, labels and groups are compared with
    it, and records with what their suite gives here: ids of cells, weights, widths, numbers of rows, flags. Validation
    scores and costs are not recomputed: only a new run can check them. A folder of published runs: does what
    `harness leaderboard check` does, and compares with data and suite.
    Exit code 0 if nothing is wrong, 4 if something is, 3 if something is only missing here.
    """
    from harness.validation.finding import exit_code

    if Path(target).is_dir():
        session = open_session(context, **{**machine, "offline": True})
        findings: Sequence[Finding] = _check_results(Path(target), session)
    else:
        findings = open_session(context, **machine).check(target, strict_data=strict_data)
    code = exit_code(findings)
    if as_json:
        listed = [{"severity": each.severity, "sentence": each.sentence} for each in findings]
        echo(json.dumps({"target": target, "exit_code": code, "findings": listed}, ensure_ascii=False))
        return code
    for finding in dict.fromkeys(findings):
        echo(f"{finding.severity}: {' '.join(finding.sentence.split())}")
    if not code:
        echo(f"{target}: nothing is wrong")
    return code


def _check_results(folder: Path, session: Session) -> Sequence[Finding]:
    """Return the faults of a run folder, or of the published runs in a folder."""
    from harness.config.suite import Suite
    from harness.leaderboard import check_published, find_published
    from harness.runs.folder import RunFolder
    from harness.storage.parsing import parsing
    from harness.validation.data import check_data
    from harness.validation.finding import Finding
    from harness.validation.parameters import check_parameters
    from harness.validation.records import check_flags, check_whole
    from harness.validation.run import check_run

    place, included = session.data_dir, session.included
    published = find_published(folder)
    if not published:
        return check_run(RunFolder(folder), session.registry, data_dir=place, included=included)
    faults = [Finding("fault", sentence) for sentence in check_published(folder)]
    if faults:
        return faults
    findings: list[Finding] = []
    for run in published:
        with parsing(f"'{run.files[2]}' does not hold the suite of a run"):
            suite = Suite.model_validate(run.about()["suite"])
        findings += (Finding("fault", sentence) for sentence in check_whole(run.records()))
        findings += check_flags(run.records())
        findings += check_parameters(run.records(), session.registry)
        findings += check_data(
            run, suite, session.registry, data_dir=place, included=included, is_published=True
        )
    return findings
