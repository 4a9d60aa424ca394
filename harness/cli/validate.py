"""`harness validate`: is this suite runnable, or this run whole and true to its predictions?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import json_option, open_session

if TYPE_CHECKING:
    from harness.validate import Finding


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
    """Check a suite before it is run, or a run folder before it is published.

    SUITE: its fields, names, parameters and sites; whether data and models can be had; what cleaning removes.
    RUN: every cell has a valid record, every record its predictions, and they give the recorded scores.
    Exit code 0 when nothing is wrong, 4 when something is, 3 when something is only missing here.
    """
    from harness.records import RunFolder
    from harness.validate import check_run, exit_code

    if Path(target).is_dir():
        findings: Sequence[Finding] = check_run(RunFolder(Path(target)))
    else:
        findings = open_session(context, **machine).check(target, strict_data=strict_data)
    code = exit_code(findings)
    if as_json:
        told = [{"severity": each.severity, "sentence": each.sentence} for each in findings]
        click.echo(json.dumps({"target": target, "exit_code": code, "findings": told}, ensure_ascii=False))
        return code
    for finding in findings:
        click.echo(f"{finding.severity}: {' '.join(finding.sentence.split())}")
    if not code:
        click.echo(f"{target}: nothing is wrong")
    return code
