"""`harness compare`: what changed from one run to another, beyond noise or not."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import json_option

if TYPE_CHECKING:
    from harness.leaderboard import Comparison, Difference


@click.command("compare")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--baseline", metavar="NAME", help="Compare leads over this representation, such as hidden.")
@json_option
def command(first: Path, second: Path, baseline: str | None, as_json: bool) -> None:
    """Compare the runs A and B, run folders or published ones, arm by arm: the paired difference B − A of macro-F1
    with its 95 % interval.

    Each arm goes by the cell that its own run chose on validation. Runs on other data are refused.
    """
    from harness.errors import UsageError
    from harness.leaderboard import compare, find_results

    runs = [find_results(path) for path in (first, second)]
    for path, found in zip((first, second), runs, strict=True):
        if len(found) > 1:
            raise UsageError(f"'{path}' holds {len(found)} published runs; name one of them")
    comparison = compare(runs[0][0], runs[1][0], baseline=baseline)
    if as_json:
        click.echo(json.dumps(_facts(comparison, first, second, baseline), ensure_ascii=False))
        return
    _print(comparison.differences, baseline)
    for path, arms in ((first, comparison.only_first), (second, comparison.only_second)):
        for arm in arms:
            click.echo(f"only in {path}: {' '.join(str(part) for part in asdict(arm).values() if part)}")


def _facts(comparison: Comparison, first: Path, second: Path, baseline: str | None) -> dict[str, Any]:
    return {
        "a": str(first),
        "b": str(second),
        "baseline": baseline,
        "differences": [_fact(each) for each in comparison.differences],
        "only_in_a": [asdict(arm) for arm in comparison.only_first],
        "only_in_b": [asdict(arm) for arm in comparison.only_second],
    }


def _fact(each: Difference) -> dict[str, Any]:
    low, high = each.change.interval
    numbers = {"a": each.first.value, "b": each.second.value, "difference": each.change.value}
    return {**asdict(each.arm), "seeds": each.seeds, **numbers, "low": low, "high": high}


def _print(differences: tuple[Difference, ...], baseline: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    measured = f"lead over {baseline}" if baseline else "macro-F1"
    names = ("task", "model", "representation", "width", "seeds", f"A: {measured}", "B", "B − A [95 %]")
    table = Table(*names, box=None)
    for each in differences:
        fact = _fact(each)
        words = [str(fact[name] or "") for name in ("task", "model", "representation", "width", "seeds")]
        change = f"{fact['difference']:+.3f} [{fact['low']:+.3f}, {fact['high']:+.3f}]"
        table.add_row(*words, f"{fact['a']:.3f}", f"{fact['b']:.3f}", change)
    # Names such as random_sae[k=16] are no markup.
    Console(width=None if sys.stdout.isatty() else 150, markup=False, emoji=False).print(table)
