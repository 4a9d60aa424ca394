"""Progress display on stderr: bars on a terminal, otherwise a line per bundle and cell."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from harness_progress.show import Show

HARNESS_API = 1

_show: list[Show] = []


def _end() -> None:
    """End the display; a run that is cut tells nobody, and would leave the terminal without a cursor."""
    for show in _show:
        show.end()
    _show.clear()


atexit.register(_end)


@harness.hookimpl
def harness_run_started(event: harness.RunStarted) -> None:
    from harness_progress.show import Show

    _end()
    _show[:] = [Show(event)]


@harness.hookimpl
def harness_batch_finished(event: harness.BatchFinished) -> None:
    for show in _show:
        show.batch(event)


@harness.hookimpl
def harness_bundle_finished(event: harness.BundleFinished) -> None:
    for show in _show:
        show.bundle(event)


@harness.hookimpl
def harness_cell_finished(event: harness.CellFinished) -> None:
    for show in _show:
        show.cell(event)


@harness.hookimpl
def harness_run_finished(event: harness.RunFinished) -> None:
    _end()
