"""`harness plan`: what a run would do."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from harness.cli.options import json_option, machine_options, open_session, read_suite, suite_options

SHOWN_LEAKS = 20


@click.command("plan")
@suite_options
@machine_options
@json_option
@click.pass_context
def command(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Resolve SUITE and say what running it would take: bundles, cells, cache hits, tokens, disk, memory, minutes;
    and which of its tasks are tested on what others learn from.
    """
    from harness.leaks import leaks_between

    machine = {name: options[name] for name in ("device", "data_dir", "cache_dir", "include", "offline")}
    session = open_session(context, **machine)
    plan = session.plan(read_suite(session, options))
    rows = [_row(session, bundle) for bundle in plan.bundles]
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key not in {"bundle", "memory"}}
    total["memory"] = max(row["memory"] for row in rows)
    leaks = leaks_between(plan.tasks)
    if as_json:
        shared = [dataclasses.asdict(leak) for leak in leaks]
        click.echo(json.dumps({"suite": plan.suite.name, "bundles": rows, "total": total, "leaks": shared}))
        return
    _print(rows, total)
    for leak in leaks[:SHOWN_LEAKS]:
        click.echo(
            f"leak: {leak.inputs} inputs and {leak.groups} groups that '{leak.tested}' is tested on stand in the "
            f"training rows of '{leak.trained}'"
        )
    if len(leaks) > SHOWN_LEAKS:
        click.echo(f"and {len(leaks) - SHOWN_LEAKS} more pairs of tasks; --json has them all")


def _row(session: Any, bundle: Any) -> dict[str, Any]:
    from harness.plan import estimate

    store = session.store()
    guess = estimate(bundle, device=session.device, cached=store.is_complete)
    return {
        "bundle": bundle.name,
        "examples": len(bundle.data.examples),
        "cells": len(bundle.cells),
        "features": sum(features.key is not None for features in bundle.features),
        "cached": sum(bool(features.key and store.is_complete(features.key)) for features in bundle.features),
        "tokens": guess.tokens,
        "disk": guess.disk,
        "memory": guess.memory,
        "seconds": round(guess.seconds, 1),
    }


def _print(rows: list[dict[str, Any]], total: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_footer=True, box=None)
    for name in rows[0]:
        footer = "total" if name == "bundle" else _cell(name, total[name])
        table.add_column(_HEADS.get(name, name), footer, justify="left" if name == "bundle" else "right")
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    Console(width=140).print(table)


_HEADS = {"features": "feature sets", "cached": "cache hits", "seconds": "minutes", "tokens": "tokens to run"}


def _cell(name: str, value: Any) -> str:
    if name == "seconds":
        return f"{value / 60:.1f}"
    if name in {"disk", "memory"}:
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,}" if isinstance(value, int) else str(value)
