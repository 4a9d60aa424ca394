"""Command `harness compare`: compare two runs arm by arm, with paired intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import PATH, FiniteRange, json_option
from harness.cli.streams import echo
from harness.cli.tables import print_table

if TYPE_CHECKING:
    from harness.leaderboard import Comparison, Difference

METRICS = ("macro_f1", "accuracy", "balanced_accuracy", "auroc")


@click.command("compare")
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.option(
    "--baseline", metavar="NAME", help="Compare the differences from this representation, such as hidden."
)
@click.option(
    "--metric", type=click.Choice(METRICS), default="macro_f1", show_default=True, help="Compare this metric."
)
@click.option(
    "--fail-on-regression",
    "allowed",
    type=FiniteRange(min=0),
    metavar="DELTA",
    help="End with exit code 4 if an arm is credibly worse in B by more than DELTA.",
)
@json_option
def command(
    first: Path, second: Path, baseline: str | None, metric: Any, allowed: float | None, as_json: bool
) -> None:
    """Compare the runs A and B, run folders or published runs, arm by arm.

    Prints the paired difference B − A with its 95 % interval, on each task and in the mean over tasks. An arm is
    represented by the cell that its own run chose on validation, by macro-F1. Runs on different data are refused.
    p-values are adjusted by Holm over the single-task differences; accuracy also gets McNemar's exact p-values.

    An arm is credibly worse by more than DELTA if the whole interval of its mean over tasks (or of its only task)
    lies below −DELTA. The table is printed first.
    """
    from harness.api.errors import UsageError
    from harness.leaderboard import compare, find_results

    runs = [find_results(path) for path in (first, second)]
    for path, found in zip((first, second), runs, strict=True):
        if len(found) > 1:
            raise UsageError(f"'{path}' holds {len(found)} published runs; name one of them")
    comparison = compare(runs[0][0], runs[1][0], baseline=baseline, metric=metric)
    if as_json:
        echo(json.dumps(_facts(comparison, first, second, baseline), ensure_ascii=False))
    else:
        _print(comparison, baseline)
        for path, arms in ((first, comparison.only_first), (second, comparison.only_second)):
            for arm in arms:
                echo(f"only in {path}: {arm}")
    if allowed is not None:
        _refuse_regressions(comparison, allowed)


def _refuse_regressions(comparison: Comparison, allowed: float) -> None:
    from harness.api.errors import GateError

    worse = comparison.worse(allowed)
    if worse:
        interval = ", ".join(f"{end:+.4f}" for end in worse[0].change.interval or ())
        others = f", and {len(worse) - 1} more arms" if len(worse) > 1 else ""
        raise GateError(
            f"'{worse[0].arm}' is worse by more than {allowed:g} {comparison.metric}: "
            f"{worse[0].change.value:+.4f} [{interval}]{others}"
        )


def _facts(comparison: Comparison, first: Path, second: Path, baseline: str | None) -> dict[str, Any]:
    return {
        "a": str(first),
        "b": str(second),
        "baseline": baseline,
        "metric": comparison.metric,
        "differences": [_fact(each) for each in comparison.differences],
        "means": [_fact(each) for each in comparison.means],
        "only_in_a": [asdict(arm) for arm in comparison.only_first],
        "only_in_b": [asdict(arm) for arm in comparison.only_second],
    }


def _fact(each: Difference) -> dict[str, Any]:
    low, high = each.change.interval or (None, None)
    counts = {"tasks": each.tasks, "seeds": each.seeds}
    numbers = {"a": each.first.value, "b": each.second.value, "difference": each.change.value}
    tests = {"p_value": each.p_value, "p_holm": each.adjusted}
    exact = {"mcnemar": each.mcnemar, "mcnemar_holm": each.mcnemar_adjusted}
    return {**asdict(each.arm), **counts, **numbers, "low": low, "high": high, **tests, **exact}


def _print(comparison: Comparison, baseline: str | None) -> None:
    """Print single tasks, then means over tasks, to which Holm's adjustment does not apply."""
    exact = any(each.mcnemar is not None for each in comparison.differences)
    measured = f"{comparison.metric}, lead over {baseline}" if baseline else comparison.metric
    left = ("task", "model", "representation", "width", "seeds")
    right = (f"A: {measured}", "B", "B − A [95 %]", "p (Holm)", *(["McNemar (Holm)"] if exact else []))
    rows = [*_rows(comparison.differences, exact), *_rows(comparison.means, exact)]
    print_table(left, right, rows, width=170, fits_terminal=True)


def _rows(differences: Iterable[Difference], exact: bool) -> Iterable[list[str]]:
    for each in differences:
        interval = ", ".join(f"{end:+.3f}" for end in each.change.interval or ()) or "—"
        arm, seeds = each.arm, str(each.seeds)
        task = arm.task if each.tasks == 1 else f"{arm.task} ({each.tasks})"
        yield [
            *(task, arm.model or "", arm.representation, str(arm.width or ""), seeds),
            *(f"{each.first.value:.3f}", f"{each.second.value:.3f}"),
            f"{each.change.value:+.3f} [{interval}]",
            _number(each.adjusted),
            *([_number(each.mcnemar_adjusted)] if exact else []),
        ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
