"""Schedule of a plan on a cluster, as options ask for it and as it is printed."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import UsageError
from harness.cli import options as shared
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.planning.cells import Plan
    from harness.planning.schedule import Cluster, Schedule
    from harness.registry.catalog import Choice
    from harness.session import Session

UNITS = {"GB": 10**9, "GIB": 1 << 30}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?(GB|GiB)", re.IGNORECASE)


def _read_memory(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return an amount of memory with its unit as a number of bytes. Raise click.BadParameter for another text."""
    if value is None:
        return None
    found = _MEMORY.fullmatch(value.strip())
    size = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if not size:
        raise click.BadParameter(f"'{value}' is no amount of memory such as 80GB or 80GiB", context, option)
    return size


gpus_option = click.option(
    "--gpus", type=click.IntRange(min=1), metavar="N", help="Plan the run on this many GPUs."
)
gpu_memory_option = click.option(
    "--gpu-memory",
    metavar="SIZE",
    callback=_read_memory,
    help="Plan with GPUs of this memory, such as 80GiB [80GB].",
)
price_option = click.option(
    "--price",
    type=shared.FiniteRange(min=0),
    metavar="PRICE",
    help="Print what the GPUs cost, at this price of an hour of one.",
)

OPTIONS = ("executor", "jobs", "gpus", "gpu_memory", "price")
"""Options by which a schedule is asked for."""


def simulate_plan(session: Session, plan: Plan, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the expected schedule of a plan as JSON; None where no option asks for one.

    Raise UsageError for options that do not go together, and for a unit that the GPUs are too small for.
    """
    if all(options[name] is None for name in OPTIONS):
        return None
    from harness.planning.planned_units import plan_units
    from harness.planning.simulation import simulate

    executor, cluster = find_setting(session, options)
    store = session.store()
    device = "cuda" if cluster.gpus else session.device
    schedule = simulate(plan_units(plan, device=device, cached=store.is_complete), cluster)
    return _describe(schedule, cluster, executor, options["price"])


def find_setting(session: Session, options: dict[str, Any]) -> tuple[Choice, Cluster]:
    """Return the executor and the cluster that the options mean. Raise UsageError where they mean none."""
    from harness.planning.clusters import find_cluster
    from harness.registry.executors import choose_executor

    jobs = shared.read_jobs(options["jobs"])
    executor = choose_executor(session.registry, options["executor"], jobs=jobs)
    if options["gpus"] is None:
        for name in ("gpu_memory", "price"):
            if options[name] is not None:
                raise UsageError(f"--{name.replace('_', '-')} is that of the GPUs: add --gpus")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return executor, find_cluster(
        executor, cores=cores, gpus=options["gpus"], gpu_memory=options["gpu_memory"]
    )


def print_schedule(facts: dict[str, Any]) -> None:
    """Print the facts of a schedule in a few lines."""
    cluster, busy = facts["cluster"], facts["busy_seconds"]
    if cluster["gpus"]:
        where = f"{cluster['gpus']:,} GPUs of {cluster['gpu_memory'] / 1e9:,.0f} GB and {cluster['cores']:,} cores"
    else:
        where = f"{cluster['cores']} cores"
    price = f", price {facts['price']:,.2f}" if facts["price"] is not None else ""
    echo(
        f"schedule: {facts['units']:,} units, {facts['workers']:,} workers of '{facts['executor']}' on {where}\n"
        f"  makespan {_duration(facts['makespan_seconds'])}, {facts['gpu_hours']:,.2f} GPU hours{price}; the longest "
        f"chain of units takes {_duration(facts['longest_seconds'])}"
    )
    whole = sum(busy.values()) + facts["idle_seconds"]
    shares = {**busy, "idle": facts["idle_seconds"]}
    told = ", ".join(f"{name} {100 * share / whole if whole else 0:.0f} %" for name, share in shares.items())
    echo(f"  time of the workers: {told}")
    echo(
        f"  {facts['bytes_read'] / 1e9:,.2f} GB read, {facts['bytes_written'] / 1e9:,.2f} GB written; peak memory "
        f"{facts['peak_memory'] / 1e9:,.1f} GB{' of one GPU' if cluster['gpus'] else ''}"
    )
    echo(f"  bottleneck: {facts['bottleneck'] or 'none'}")


def _describe(schedule: Schedule, cluster: Cluster, executor: Choice, price: float | None) -> dict[str, Any]:
    return {
        "executor": executor.label,
        "units": schedule.units,
        "workers": schedule.workers,
        "makespan_seconds": round(schedule.makespan, 1),
        "longest_seconds": round(schedule.longest, 1),
        "gpu_hours": round(schedule.gpu_hours, 3),
        "price": None if price is None else round(schedule.price(price), 2),
        "bytes_read": schedule.bytes_read,
        "bytes_written": schedule.bytes_written,
        "peak_memory": schedule.peak_memory,
        "busy_seconds": {name: round(seconds, 1) for name, seconds in schedule.busy.items()},
        "idle_seconds": round(schedule.idle, 1),
        "bottleneck": schedule.bottleneck,
        "cluster": asdict(cluster),
    }


def _duration(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:,.1f} minutes"
    return f"{seconds / 3600:,.1f} hours"
