"""Command `harness compare`: compare two runs arm by arm, with paired intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.names import short_names
from harness.cli.options import PATH, FiniteRange, json_option, wide_option
from harness.cli.streams import echo
from harness.cli.tables import Column, print_table, without_width

if TYPE_CHECKING:
    from harness.leaderboard import Comparison, Difference
    from harness.leaderboard.analyses.comparison import Arm

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
@wide_option
@json_option
def command(
    first: Path,
    second: Path,
    baseline: str | None,
    metric: Any,
    allowed: float | None,
    wide: bool,
    as_json: bool,
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
        shown = _short_arms(comparison)
        _print(comparison, shown, baseline, wide=wide)
        for path, arms in ((first, comparison.only_first), (second, comparison.only_second)):
            for arm in arms:
                echo(f"only in {path}: {shown[arm]}")
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


COLUMNS = (
    *(Column(head=name, is_name=True) for name in ("task", "model", "representation")),
    *(Column(head=name) for name in ("width", "seeds", "A", "B", "B − A")),
    Column(head="[95 %]", called="[95 %] of B − A"),
    *(Column(head=name) for name in ("p (Holm)", "McNemar (Holm)")),
)

IMPORTANCE = ("[95 %] of B − A", "p (Holm)", "A", "B", "width", "McNemar (Holm)", "seeds")
"""Columns that a narrow terminal lacks, the first of them last. The others name an arm and its difference."""


def _short_arms(comparison: Comparison) -> dict[Arm, Arm]:
    """Return each arm as it is shown, with names of models and dictionaries in place of their paths."""
    compared = (each.arm for each in (*comparison.differences, *comparison.means))
    arms = [*compared, *comparison.only_first, *comparison.only_second]
    models = short_names(arm.model for arm in arms if arm.model)
    representations = short_names(arm.representation for arm in arms)
    return {
        arm: replace(
            arm, model=arm.model and models[arm.model], representation=representations[arm.representation]
        )
        for arm in arms
    }


def _print(comparison: Comparison, shown: Mapping[Arm, Arm], baseline: str | None, *, wide: bool) -> None:
    """Print single tasks, then means over tasks, to which Holm's adjustment does not apply."""
    lead = f", lead over {baseline}" if baseline else ""
    echo(f"A, B: {comparison.metric}{lead}")
    rows = [_row(each, shown[each.arm]) for each in (*comparison.differences, *comparison.means)]
    importance = without_width(IMPORTANCE, [row[:3] for row in rows])
    print_table(COLUMNS, rows, importance=importance, wide=wide)


def _row(each: Difference, arm: Arm) -> list[str]:
    interval = ", ".join(f"{end:+.3f}" for end in each.change.interval or ()) or "—"
    return [
        arm.task if each.tasks == 1 else f"{arm.task} ({each.tasks})",
        arm.model or "—",
        arm.representation,
        str(arm.width or ""),
        str(each.seeds),
        f"{each.first.value:.3f}",
        f"{each.second.value:.3f}",
        f"{each.change.value:+.3f}",
        f"[{interval}]",
        _number(each.adjusted),
        _number(each.mcnemar_adjusted),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
