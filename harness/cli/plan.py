"""Command `harness plan`: show what a run would do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import UnavailableError
from harness.api.names import short_names
from harness.cli import options as shared
from harness.cli.plan_schedule import (
    gpu_memory_option,
    gpus_option,
    price_option,
    print_schedule,
    simulate_plan,
)
from harness.cli.streams import echo
from harness.cli.tables import Column, print_table

if TYPE_CHECKING:
    from harness.data.leaks import Leak

SHOWN_LEAKS = 20


@click.command("plan")
@shared.suite_options
@shared.machine_options
@shared.store_option
@shared.executor_option
@shared.jobs_option
@gpus_option
@gpu_memory_option
@price_option
@shared.wide_option
@shared.json_option
@click.pass_context
def command(context: click.Context, /, wide: bool, as_json: bool, **options: Any) -> int:
    """Resolve SUITE and print what running it would take: bundles, cells, cache hits, tokens, disk, memory, minutes.

    Also prints pairs of tasks of which one is tested on training rows of the other. With an executor, jobs or GPUs,
    simulates how they go through the bundles, and prints the makespan, GPU hours, price and bottleneck. Exit code 3 if
    something is unavailable and would be left out.
    """
    from harness.data.leaks import leaks_between
    from harness.planning.cost import describe_large_fits
    from harness.session import memory_of

    machine = {
        name: options[name] for name in ("device", "data_dir", "cache_dir", "include", "offline", "store")
    }
    session = shared.open_session(context, **machine)
    plan = session.plan(shared.read_suite(session, options))
    shared.print_left_out(plan.left_out)
    for note in (*plan.notes, *describe_large_fits(plan, memory_of("cpu"))):
        echo(f"note: {note}", err=True)
    rows = [_row(session, bundle) for bundle in plan.bundles]
    rows += [_transfer_row(session, transfer) for transfer in plan.transfers]
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key not in {"bundle", "memory"}}
    total["memory"] = max(row["memory"] for row in rows)
    dictionaries = _dictionaries(plan)
    leaks = leaks_between(plan.tasks)
    schedule = simulate_plan(session, plan, options)
    if as_json:
        facts = {"suite": plan.suite.name, "bundles": rows, "total": total, "left_out": dict(plan.left_out)}
        pairs = [dataclasses.asdict(leak) for leak in leaks]
        echo(json.dumps({**facts, "dictionaries": dictionaries, "leaks": pairs, "schedule": schedule}))
    else:
        _print(rows, total, wide=wide)
        if schedule:
            print_schedule(schedule)
        _print_dictionaries(dictionaries)
        _print_leaks(leaks)
    return UnavailableError.exit_code if plan.left_out else 0


def _print_leaks(leaks: Sequence[Leak]) -> None:
    for leak in leaks[:SHOWN_LEAKS]:
        echo(f"leak: {leak}")
    if len(leaks) > SHOWN_LEAKS:
        echo(f"and {len(leaks) - SHOWN_LEAKS} more pairs of tasks; --json has them all")


def _row(session: Any, bundle: Any) -> dict[str, Any]:
    from harness.planning.cost import estimate

    store = session.store()
    guess = estimate(bundle, device=session.device, cached=store.is_complete)
    return {
        "bundle": bundle.name,
        "examples": len(bundle.data.examples),
        "cells": len(bundle.cells),
        "features": len(bundle.model_features),
        "cached": sum(store.is_complete(features.key) for features in bundle.model_features),
        **{name: getattr(guess, name) for name in ("tokens", "disk", "memory")},
        "seconds": round(guess.seconds, 1),
    }


def _transfer_row(session: Any, transfer: Any) -> dict[str, Any]:
    """Return the row of a transfer, which reads features that earlier bundles have stored."""
    from harness.planning.cost import estimate

    guess = estimate(transfer.target, device=session.device, cached=lambda key: True)
    nothing = {"features": 0, "cached": 0, "tokens": 0, "disk": 0, "memory": 0}
    return {
        "bundle": transfer.name,
        "examples": len(transfer.target.data.examples),
        "cells": len(transfer.target.cells),
        **nothing,
        "seconds": round(guess.seconds, 1),
    }


def _dictionaries(plan: Any) -> list[dict[str, Any]]:
    """List each exact dictionary once: a short reference such as `l0=~100` may resolve differently at each site."""
    found = {
        (bundle.model.label, str(features.site), features.representation.label): features.placed
        for bundle in plan.bundles
        for features in bundle.model_features
        if features.placed.reference
    }
    return [
        {"model": model, "site": site, "representation": representation}
        | {"dictionary": located.reference, "width": located.width, "flags": list(located.flags)}
        for (model, site, representation), located in found.items()
    ]


def _print_dictionaries(dictionaries: list[dict[str, Any]]) -> None:
    names = short_names(line["model"] for line in dictionaries)
    for line in dictionaries:
        flags = "".join(f"  ({flag})" for flag in line["flags"])
        echo(
            f"{names[line['model']]}  {line['site']}  {line['representation']}  →  {line['dictionary']}{flags}"
        )


def _print(rows: list[dict[str, Any]], total: dict[str, Any], *, wide: bool) -> None:
    columns = [Column(head=_HEADS.get(name, name), is_name=name == "bundle") for name in rows[0]]
    every = [*rows, {name: "total" if name == "bundle" else total[name] for name in rows[0]}]
    cells = ([_cell(name, value) for name, value in row.items()] for row in every)
    print_table(columns, cells, importance=IMPORTANCE, wide=wide)


_HEADS = {"features": "feature sets", "cached": "cache hits", "seconds": "minutes", "tokens": "tokens to run"}


IMPORTANCE = ("cells", "minutes", "tokens to run", "memory", "disk", "cache hits", "feature sets", "examples")
"""Columns that a narrow terminal lacks, the first of them last."""


def _cell(name: str, value: Any) -> str:
    if name == "seconds":
        return f"{value / 60:.1f}"
    if name in {"disk", "memory"}:
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,}" if isinstance(value, int) else str(value)
