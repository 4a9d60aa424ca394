"""Command `harness check`: check a plugin, or one of its offers, against the contract of its kind."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from harness.cli.options import FiniteRange, cache_dir_option, json_option
from harness.cli.streams import echo
from harness.registry.local_modules import importable
from harness.testing.check import Outcome
from harness.testing.child import Question, check_apart


@click.command("check")
@click.argument("name")
@click.option("-m", "--model", metavar="REF", help="Try representations on this model, not on a toy.")
@click.option(
    "--timeout",
    type=FiniteRange(min=1),
    default=120,
    show_default=True,
    help="End a check after this many seconds.",
)
@cache_dir_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str,
    model: str | None,
    timeout: float,
    cache_dir: Path | None,
    as_json: bool,
) -> int:
    """Check NAME against the contract of its kind: a plugin, a module or its file, an offer, perhaps with parameters.

    Runs the plugin's code, in a process of its own. Exit code 1 if a check failed.
    """
    echo(f"harness: this runs the code of '{name}', in a process of its own, as you", err=True)
    question = Question(
        name=importable(name),
        plugins=tuple(context.obj or ()),
        model=model,
        cache_dir=str(cache_dir) if cache_dir else None,
    )
    outcomes: list[Outcome] = []
    for outcome in check_apart(question, seconds=timeout):
        outcomes.append(outcome)
        if as_json:
            echo(json.dumps(asdict(outcome), ensure_ascii=False))
            continue
        if outcomes[1:] and _offer(outcome) != _offer(outcomes[-2]):
            echo(_summarize(outcomes, _offer(outcomes[-2])))
        if outcome.status != "passed":
            echo(f"{_label(outcome)}: {outcome.status}: {' '.join(outcome.sentence.split())}")
    if outcomes and not as_json:
        echo(_summarize(outcomes, _offer(outcomes[-1])))
        echo(_count(outcomes))
    return 1 if any(one.status == "failed" for one in outcomes) else 0


def _label(outcome: Outcome) -> str:
    return f"{outcome.kind.removesuffix('s')} '{outcome.offer}', {outcome.check}"


def _offer(outcome: Outcome) -> tuple[str, str]:
    return outcome.kind, outcome.offer


def _summarize(outcomes: list[Outcome], offer: tuple[str, str]) -> str:
    """Return the line of one offer, printed when all its checks have run."""
    own = [one for one in outcomes if _offer(one) == offer]
    return f"{offer[0].removesuffix('s')} '{offer[1]}': {_count(own)}"


def _count(outcomes: list[Outcome]) -> str:
    counts = Counter(one.status for one in outcomes)
    return ", ".join(
        f"{counts[status]} {status}" for status in ("passed", "failed", "skipped") if counts[status]
    )
