"""Progress display on stderr: bars on a terminal, otherwise a line per bundle and cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from harness_progress.show import Show

_show: list[Show] = []


@harness.hookimpl
def harness_run_started(plan: Any, done: int) -> None:
    from harness_progress.show import Show

    _show[:] = [Show(total=len(plan.cells), done=done)]


@harness.hookimpl
def harness_batch_finished(stats: harness.BatchStats) -> None:
    for show in _show:
        show.batch(stats)


@harness.hookimpl
def harness_bundle_finished(stats: harness.BundleStats) -> None:
    for show in _show:
        show.bundle(stats)


@harness.hookimpl
def harness_cell_finished(record: Any) -> None:
    for show in _show:
        show.cell(record)


@harness.hookimpl
def harness_run_finished(summary: harness.Summary) -> None:
    for show in _show:
        show.end(summary)
    _show.clear()
