"""Checks of a suite before it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite, read_suite
from harness.data.leaks import leaks_between
from harness.data.task import TaskData
from harness.models.opened import open_model
from harness.planning.arms import try_to_make
from harness.planning.cells import Plan
from harness.planning.cost import estimate
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
    strict_data: bool = False,
) -> tuple[Finding, ...]:
    """All that is wrong with a suite: its fields, with the line; names, parameters and sites; data that cannot be had
    or learnt from. Notes say what cleaning removed from each task, which bundles are expected to take more than
    `memory` bytes, and what would be run. With `strict_data`, inputs that are empty, stand under two labels or in
    another split are faults, and so are those that another task of the suite learns from. UnavailableError when there
    is no such file.
    """
    try:
        suite = read_suite(path)
    except UsageError as error:
        return (Finding(severity="fault", sentence=str(error)),)
    findings = _check_names(suite, registry, {spec.name for spec in included})
    if findings:
        return findings
    try:
        plan = make_plan(suite, registry, data_dir=data_dir, included=included)
    except HarnessError as error:
        return (_found(error),)
    return (
        *(Finding(severity="missing", sentence=f"left out: {reason}") for reason in plan.left_out.values()),
        *_check_data(plan.tasks, strict_data),
        *(
            Finding(severity="fault" if strict_data else "note", sentence=str(leak))
            for leak in leaks_between(plan.tasks)
        ),
        *_check_memory(plan, memory),
        *(Finding(severity="note", sentence=sentence) for sentence in plan.notes),
        Finding(severity="note", sentence=f"{len(plan.bundles)} bundles, {len(plan.cells)} cells"),
    )


def _check_names(suite: Suite, registry: Registry, included: set[str]) -> tuple[Finding, ...]:
    """Every name and parameter that cannot be, not only the first."""

    def make(kind: str, reference: Any) -> None:
        try_to_make(registry.choose(kind, reference))

    tries: list[Callable[[], object]] = [
        *(
            lambda reference=each: make("representations", reference)
            for each in (*suite.representations, *(one for m in suite.models for one in m.representations))
        ),
        *(lambda reference=each: make("poolings", reference) for each in suite.poolings),
        *(lambda reference=each: make("transforms", reference) for each in suite.transforms),
        *(lambda reference=each: make("classifiers", reference) for each in suite.classifiers),
        *(lambda reference=each: make("regimes", reference) for each in suite.regimes),
        *(lambda reference=each: make("alignments", reference) for each in suite.alignments),
        *(lambda model=each: open_model(model, registry) for each in suite.models),
        *(
            lambda name=task.name: registry.get("tasks", name)
            for task in suite.tasks
            if task.name not in included
        ),
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
    return Finding(
        severity="missing" if isinstance(error, UnavailableError) else "fault", sentence=str(error)
    )


def _check_data(tables: Sequence[TaskData], strict: bool) -> Iterator[Finding]:
    """What cleaning removed from each task."""
    for data in tables:
        removed = data.hygiene.removed
        told = ", ".join(f"{count} {name}" for name, count in removed.items()) or "nothing"
        yield Finding(
            severity="note",
            sentence=f"task '{data.spec.name}': {len(data.examples)} examples, {len(data.classes)} classes; "
            f"removed: {told}",
        )
        yield from (
            Finding(severity="note", sentence=f"task '{data.spec.name}' {fault}")
            for fault in data.hygiene.faults
        )
        broken = {name: count for name, count in removed.items() if name != "duplicates"}
        if strict and broken:
            counts = ", ".join(f"{count} {name}" for name, count in broken.items())
            yield Finding(
                severity="fault", sentence=f"task '{data.spec.name}' has broken or leaking rows: {counts}"
            )


def _check_memory(plan: Plan, memory: int | None) -> Iterator[Finding]:
    for bundle in plan.bundles:
        needed = estimate(bundle, device="cpu", cached=lambda key: False).memory
        if memory is not None and needed > memory:
            yield Finding(
                severity="note",
                sentence=f"'{bundle.name}' is expected to take {needed / 2**30:.1f} GiB of memory, and this device "
                f"has {memory / 2**30:.1f}",
            )
