"""Checks of a suite before it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite, read_suite
from harness.data.leaks import leaks_between
from harness.data.task import TaskData, count_removed
from harness.models.opened import open_model
from harness.planning.arms import try_to_make
from harness.planning.cells import Plan
from harness.planning.cost import describe_large_fits, estimate
from harness.planning.plan import make_plan
from harness.registry.catalog import Registry
from harness.validation.finding import Finding


def check_suite(
    path: Path,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    memory: int | None = None,
    host_memory: int | None = None,
    strict_data: bool = False,
) -> tuple[Finding, ...]:
    """Return all that is wrong with a suite: its fields, with the line; names, parameters and sites; data that is
    unavailable or cannot be used for training.

    Notes say what cleaning removed from each task, which bundles are expected to take more than `memory` bytes of
    the device and which fits more than `host_memory`, and what would be run. With `strict_data`, inputs that are
    empty, have two labels or are also in another split are
    faults, and so are those that are training rows of another task. Raise UnavailableError when the file is missing.
    """
    try:
        suite = read_suite(path)
    except UsageError as error:
        return (Finding("fault", str(error)),)
    findings = _check_names(suite, registry, {spec.name for spec in included})
    if findings:
        return findings
    try:
        plan = make_plan(suite, registry, data_dir=data_dir, included=included)
    except HarnessError as error:
        return (_found(error),)
    return (
        *(Finding("missing", f"left out: {reason}") for reason in plan.left_out.values()),
        *_check_data(plan.tasks, strict_data),
        *(
            Finding("fault" if strict_data and (leak.inputs or leak.groups) else "note", str(leak))
            for leak in leaks_between(plan.tasks)
        ),
        *_check_memory(plan, memory),
        *(Finding("note", said) for said in describe_large_fits(plan, host_memory or sys.maxsize)),
        *(Finding("note", sentence) for sentence in plan.notes),
        Finding("note", f"{len(plan.bundles)} bundles, {len(plan.cells)} cells"),
    )


def _check_names(suite: Suite, registry: Registry, included: set[str]) -> tuple[Finding, ...]:
    """Return a finding for every unknown name and bad parameter, not only for the first."""

    def make(kind: str, reference: Any) -> None:
        try_to_make(registry.choose(kind, reference))

    own = [reference for model in suite.models for reference in model.representations]
    kinds = ("representations", "poolings", "transforms", "classifiers", "regimes", "alignments")
    tries: list[Callable[[], object]] = [
        *(
            partial(make, kind, reference)
            for kind in kinds
            for reference in (*getattr(suite, kind), *(own if kind == "representations" else ()))
        ),
        *(partial(open_model, model, registry) for model in suite.models),
        *(partial(registry.get, "tasks", task.name) for task in suite.tasks if task.name not in included),
    ]
    findings = []
    for attempt in tries:
        try:
            attempt()
        except UnavailableError:  # the plan leaves it out, and says so
            continue
        except HarnessError as error:
            findings.append(_found(error))
    return tuple(findings)


def _found(error: HarnessError) -> Finding:
    return Finding("missing" if isinstance(error, UnavailableError) else "fault", str(error))


def _check_data(tables: Sequence[TaskData], strict: bool) -> Iterator[Finding]:
    """Yield a note on what cleaning removed from each task, and under `strict` a fault where this was no duplicate."""
    for data in tables:
        removed = count_removed(data.spec, data.hygiene)
        counts = ", ".join(f"{count} {name}" for name, count in removed.items()) or "nothing"
        yield Finding(
            "note",
            f"task '{data.spec.name}': {len(data.examples)} examples, {len(data.classes)} classes; "
            f"removed: {counts}",
        )
        yield from (Finding("note", f"task '{data.spec.name}' {fault}") for fault in data.hygiene.faults)
        if data.hygiene.near_leaks and data.spec.leaks != "near":
            opposite = (
                f", {data.hygiene.near_opposite} of them with another label"
                if data.hygiene.near_opposite
                else ""
            )
            yield Finding(
                "note",
                f"task '{data.spec.name}' keeps {data.hygiene.near_leaks} near leaks{opposite}: texts of training but "
                f"for case, blanks, punctuation or look-alikes; 'leaks: near' removes them",
            )
        broken = {name: count for name, count in removed.items() if name != "duplicates"}
        if strict and broken:
            counts = ", ".join(f"{count} {name}" for name, count in broken.items())
            yield Finding("fault", f"task '{data.spec.name}' has broken or leaking rows: {counts}")


def _check_memory(plan: Plan, memory: int | None) -> Iterator[Finding]:
    for bundle in plan.bundles:
        needed = estimate(bundle, device="cpu", cached=lambda key: False).memory
        if memory is not None and needed > memory:
            yield Finding(
                "note",
                f"'{bundle.name}' is expected to take {needed / 2**30:.1f} GiB of memory, and this device "
                f"has {memory / 2**30:.1f}",
            )
