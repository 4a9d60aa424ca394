"""Command `harness check-statistics`: test the statistics of leaderboards on simulated data."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from harness.api.errors import GateError
from harness.cli.options import json_option
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.stats.simulation import Truth


@click.command("check-statistics")
@click.option(
    "--replicates",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Simulate each line this many times.",
)
@json_option
def command(replicates: int, as_json: bool) -> None:
    """Check the confidence intervals and tests of leaderboards on simulated arms whose true scores are known.

    Takes about a minute. Prints a Markdown table of how often they were right, with a 99 % interval.
    Exit code 4 if a line that must hold does not.
    """
    from harness.stats.simulation import RESAMPLES, ROWS, measure

    truths = measure(replicates)
    if as_json:
        echo(json.dumps([asdict(truth) for truth in truths], ensure_ascii=False))
    else:
        echo(_table(truths))
        echo(f"\nEvery line without a number of groups or rows: {ROWS} test rows; {RESAMPLES} resamples.")
    if wrong := [truth.name for truth in truths if truth.ok is False]:
        raise GateError(f"{len(wrong)} of {len(truths)} lines do not hold: {'; '.join(wrong)}")


def _table(truths: tuple[Truth, ...]) -> str:
    lines = ["| line | what | wanted | measured | 99 % interval | replicates | holds |", "|" + "---|" * 7]
    for truth in truths:
        low, high = truth.interval
        measured = (f"{truth.measured:.4f}", f"{low:.4f} to {high:.4f}", str(truth.replicates))
        holds = {True: "yes", False: "no", None: "stated"}[truth.ok]
        lines.append(f"| {' | '.join((truth.name, truth.what, _wanted(truth.wanted), *measured, holds))} |")
    return "\n".join(lines)


def _wanted(wanted: tuple[float, float] | None) -> str:
    if wanted is None:
        return ""
    low, high = wanted
    if low == high:
        return f"{low:g}"
    return f"at most {high:g}" if low == 0 else f"{low:g} to {high:g}"
