"""Context of a run: its places, settings and observers, shared by all its bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from harness.api.executors import Executor
from harness.registry.catalog import Registry
from harness.registry.loading import Fault, notify
from harness.runs.folder import RunFolder
from harness.runs.make_events import cell_finished
from harness.runs.record import Record
from harness.storage.feature_store import FeatureStore

Rerun = Literal["failed", "all", "never"]
"""Ended cells that are run again."""


class Stopped(Exception):
    """End of a run at its first failed cell, as `fail_fast` asks."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Places and settings of one run; none of them changes a number."""

    registry: Registry
    store: FeatureStore
    folder: RunFolder
    executor: Executor
    executor_label: str = ""
    device: str = "cpu"
    """Device of the workers."""
    own_device: str = "cpu"
    """Device of this process, which draws figures."""
    batch_size: int | None = None
    keep_activations: bool = False
    argv: Sequence[str] = field(default_factory=tuple)
    rerun: Rerun = "failed"
    fail_fast: bool = False
    report: Callable[[Fault], None] = lambda fault: None

    def announce(self, record: Record) -> None:
        """Notify observers of a record once it is kept. Raise Stopped after a failed one under `fail_fast`."""
        self.folder.once_kept(
            partial(self.notify, "cell_finished", event=cell_finished(record), record=record)
        )
        if self.fail_fast and record.status != "ok":
            raise Stopped

    def notify(self, what: str, **arguments: Any) -> None:
        """Call the hook `harness_<what>` of every observer; a fault of one is reported and ends nothing. Beside
        `event`, `arguments` holds what hooks took before there were events.
        """
        notify(self.registry.plugins, f"harness_{what}", self.report, **arguments)
