"""Execution of a plan, bundle by bundle: what fails is recorded and ends nothing else; what is done stays done."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.api.events import Summary
from harness.api.executors import Pool, WorkerSetting, Workplace
from harness.planning.cells import Bundle, Cell, Features, ModelFeatures, Plan
from harness.runs.context import RunContext, Stopped
from harness.runs.make_events import run_started
from harness.runs.make_record import source_labels
from harness.runs.record import Record
from harness.storage.hashing import hash_json


@dataclass(frozen=True, kw_only=True)
class Finished:
    """End of a run's cells: whether all of them were reached, and the summary."""

    status: Literal["finished", "stopped"]
    summary: Summary


def run_plan(plan: Plan, context: RunContext) -> Finished:
    """Run every cell of a plan that `context.rerun` does not count as done.

    The run folder must be held. Raise WriteError when results cannot be written.
    """
    started = time.perf_counter()
    # 1. Declare the run: its suite, its cells, and good results of what the plan lacks now.
    earlier = _unavailable_now(plan, context)
    context.folder.start(
        suite=plan.suite.model_dump(mode="json", exclude={"summary"}),
        cells=[*(cell.cell_id for cell in plan.cells), *(record.cell_id for record in earlier)],
        tasks=Counter([*(name for name, _ in _cells_of(plan)), *(record.task for record in earlier)]),
        left_out=plan.left_out,
        notes=plan.notes,
        argv=context.argv,
        plugins=context.registry.plugins,
        device=context.device,
        executor=context.executor_label,
        cache_dir=context.registry.cache_dir,
    )
    # 2. Leave out the cells that are done. Good records without their predictions are redone.
    records = context.folder.records()
    done = {record.cell_id for record in records if _is_final(record, context)}
    lost = [record.cell_id for record in records if record.status == "ok" and record.cell_id not in done]
    redone = lost if context.rerun != "all" else []
    if redone:
        context.folder.add_event("redone", cells=redone)
    event = run_started(plan, context.folder.path, done)
    context.notify("run_started", event=event, plan=plan, done=event.done)
    # 3. Run the bundles, then the transfers, which read features of two bundles.
    tokens: list[int] = []
    status: Literal["finished", "stopped"] = "finished"
    with context.folder.marked_when_cut():
        _check_cache(plan, context, done)
        try:
            if any(cell.cell_id not in done for cell in plan.cells):
                with context.executor.open(_workplace(context)) as pool:
                    _run_pending(plan, context, pool, done, tokens.append)
        except Stopped:
            status = "stopped"
    # 4. Count how the cells ended.
    summary = _summarize(
        plan, context, skipped=len(done), redone=len(redone), tokens=sum(tokens), started=started
    )
    return Finished(status=status, summary=summary)


def _run_pending(
    plan: Plan, context: RunContext, pool: Pool, done: Set[str], count: Callable[[int], None]
) -> None:
    """Run the cells that are not done; `count` receives the content tokens that went through models."""
    from harness.runs.bundle_run import BundleRun  # imports libraries of statistics, which take seconds
    from harness.runs.desk import Desk
    from harness.runs.packing import Packer
    from harness.runs.submitting import Submitting
    from harness.runs.transfer_run import TransferRun

    desk = Desk(
        store=context.store,
        device=context.device,
        tell=context.folder.add_event,
        progress=lambda event: context.notify("batch_finished", event=event, stats=event),
    )
    submitting = Submitting(context=context, pool=pool, desk=desk, packer=Packer(context.registry.plugins))
    for bundle in plan.bundles:
        pending = _pending(bundle, done)
        BundleRun(context=context, plan=plan, bundle=pending, submitting=submitting, count=count).start()
    pool.finish()  # transfers read features of two bundles
    for transfer in plan.transfers:
        moved = replace(transfer, target=_pending(transfer.target, done))
        TransferRun(context=context, plan=plan, transfer=moved, submitting=submitting, count=count).start()
    pool.finish()


def _workplace(context: RunContext) -> Workplace:
    """Return what the executor needs to know of the run."""
    registry = context.registry
    setting = WorkerSetting(
        store=context.store.location,
        device=context.device,
        plugins=tuple((plugin.name, plugin.distribution) for plugin in registry.plugins.loaded),
        cache_dir=str(registry.cache_dir.absolute()) if registry.cache_dir else None,
        path=tuple(entry or str(Path.cwd()) for entry in sys.path),
        folder=str(Path.cwd()),
        offline=os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true"},
    )
    return Workplace(setting=setting, tell=context.folder.add_event)


def _is_final(record: Record, context: RunContext) -> bool:
    """Return whether a cell with this record is not run again."""
    if context.rerun == "all":
        return False
    return context.folder.is_done(record) or (context.rerun == "never" and record.status != "ok")


def _check_cache(plan: Plan, context: RunContext, done: Set[str]) -> None:
    """Raise WriteError, before the first cell, if features are missing and the cache cannot keep them."""
    pending = (_pending(bundle, done) for bundle in plan.cell_bundles if bundle.model)
    if any(not context.store.is_complete(one.key) for bundle in pending for one in bundle.model_features):
        context.store.check_writable()


def _pending(bundle: Bundle, done: Set[str]) -> Bundle:
    return replace(bundle, cells=tuple(cell for cell in bundle.cells if cell.cell_id not in done))


def _cells_of(plan: Plan) -> Iterator[tuple[str, Cell]]:
    """Yield every cell of a plan with the name of its task."""
    for bundle in plan.cell_bundles:
        yield from ((bundle.data.spec.name, cell) for cell in bundle.cells)


def _unavailable_now(plan: Plan, context: RunContext) -> list[Record]:
    """Return good records of earlier passes whose arm the plan lacks because something is unavailable now.

    They stay the run's, unless their task has other rows now, their model other weights, or their predictions are not
    those that were scored.
    """
    if not plan.left_out:
        return []
    planned = {cell.cell_id for cell in plan.cells}
    arms = {
        (
            bundle.data.spec.name,
            bundle.model and bundle.model.label,
            *_place(cell.features),
            *source_labels(cell),
        )
        for bundle in plan.cell_bundles
        for cell in bundle.cells
    }
    rows = {bundle.data.spec.name: bundle.data.fingerprint for bundle in plan.bundles}
    weights = {
        (bundle.model.label, str(site)): hash_json(bundle.model.model.identity(site))
        for bundle in plan.bundles
        if bundle.model
        for site in {features.site for features in bundle.model_features}
    }
    return [
        record
        for record in context.folder.records()
        if record.status == "ok"
        and record.cell_id not in planned
        and (
            *(record.task, record.model, record.site, record.representation),
            *(record.learnt_on, record.alignment),
        )
        not in arms
        and rows.get(record.task, record.data) == record.data
        and weights.get((str(record.model), str(record.site)), record.model_hash) == record.model_hash
        and context.folder.is_done(record)
    ]


def _place(features: Features) -> tuple[str | None, str]:
    site = str(features.site) if isinstance(features, ModelFeatures) else None
    return site, features.representation.label


def _summarize(
    plan: Plan, context: RunContext, *, skipped: int, redone: int, tokens: int, started: float
) -> Summary:
    records = context.folder.records()
    failed = [record for record in records if record.status != "ok"]
    known = {record.cell_id for record in records}
    return Summary(
        folder=context.folder.path,
        ok=len(records) - len(failed),
        failed=len(failed),
        pending=sum(cell.cell_id not in known for cell in plan.cells),
        flagged=sum(record.fidelity.verdict == "flagged" for record in records),
        errors=dict(Counter(str(record.error) for record in failed).most_common()),
        left_out=plan.left_out,
        skipped=skipped,
        redone=redone,
        seconds=time.perf_counter() - started,
        tokens=tokens,
    )
