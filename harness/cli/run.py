"""`harness run`: a suite in, a run folder and a leaderboard out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    batch_option,
    json_option,
    machine_options,
    open_session,
    read_batch_size,
    read_suite,
    suite_options,
)

SOME_FAILED = 1


@click.command("run")
@suite_options
@machine_options
@batch_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run folder [runs/<suite>].")
@click.option(
    "--keep-activations",
    is_flag=True,
    help="Keep activations in the cache, and read those kept there: other dictionaries then need no forward pass.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    output: Path | None,
    batch_size: str,
    keep_activations: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run SUITE, a registered name or a YAML file. The same command again resumes; nothing finished is redone."""
    examples = read_batch_size(batch_size)
    machine = {name: options[name] for name in ("device", "data_dir", "cache_dir", "include", "offline")}
    session = open_session(context, **machine)
    run = session.run(
        session.plan(read_suite(session, options)),
        output=output,
        batch_size=examples,
        keep_activations=keep_activations,
        argv=sys.argv[1:],
    )
    summary = run.summary
    if as_json:
        numbers = {"ok": summary.ok, "failed": summary.failed, "tokens": summary.tokens}
        click.echo(json.dumps({"folder": str(run.folder), **numbers, "seconds": round(summary.seconds, 3)}))
    else:
        _show(run)
    return SOME_FAILED if summary.failed else 0


def _show(run: Any) -> None:
    summary = run.summary
    if summary.ok:
        _print(run.leaderboard())
    failed = f", {summary.failed} failed" if summary.failed else ""
    click.echo(
        f"{summary.ok} cells{failed}; {summary.tokens:,} tokens through models; {summary.seconds:.1f} s\n"
        f"{run.folder / 'leaderboard.md' if summary.ok else 'no cell ended well, so there is no leaderboard'}"
    )
    if summary.failed:
        click.echo("the same command again retries what failed", err=True)


def _print(board: Any) -> None:
    """The leaderboard's main columns, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*_HEADS, box=None)
    for row in board.astype(object).where(board.notna(), None).to_dict("records"):
        choice = " ".join(row[key] for key in ("site", "pooling", "transform", "classifier") if row[key])
        if row["tokens"] not in ("", "content"):
            choice += f" tokens={row['tokens']}"
        outcome = "" if row["won"] is None else f"{row['won']}/{row['tied']}/{row['lost']}"
        rank = row["rank"] or ""
        if row["rank"] and row["last_rank"] != row["rank"]:
            rank = f"{row['rank']}–{row['last_rank']}"
        score, difference = _interval(row, "macro_f1"), _interval(row, "delta_vs_hidden", "delta", sign="+")
        width = "" if row["width"] is None else str(row["width"])
        table.add_row(
            str(rank), row["model"], row["representation"], width, score, difference, outcome, choice
        )
    Console(width=None if sys.stdout.isatty() else 150).print(table)


_HEADS = (
    "rank",
    "model",
    "representation",
    "width",
    "macro-F1",
    "Δ hidden",
    "won/tied/lost",
    "chosen on validation",
)


def _interval(row: dict[str, Any], name: str, bounds: str | None = None, sign: str = "") -> str:
    value, low, high = row[name], row[f"{bounds or name}_low"], row[f"{bounds or name}_high"]
    return "" if value is None else f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
