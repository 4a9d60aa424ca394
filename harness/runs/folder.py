"""Files of a run: results, predictions, environment, events. A killed writer leaves no half line behind.

run.json         schema version, argv, the resolved suite, its cells, what was left out, notes, status, process
env.json         distributions, OS, CPU, GPU, plugins with their interfaces and checks, the executor
results.jsonl    one Record a line, appended and synced; a later line supersedes an earlier one
predictions/     <cell_id>.parquet: example_id, label, prediction, score_<class>…
events.jsonl     events with their time
lock             held by the process that writes here; lease-<n> where the file system has no locks
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import UnavailableError, UsageError, WriteError
from harness.registry.loading import Plugins
from harness.runs.environment import environment, now, this_process
from harness.runs.holder import this_holder
from harness.runs.layout import place_pictures
from harness.runs.lines import SCHEMA_VERSION
from harness.runs.reader import RunReader
from harness.runs.record import ADDED_FIELDS, REPORTED_DISTRIBUTIONS, Record
from harness.storage.atomic import TEMPORARY, append_line, cut_unfinished_line, lock, whole_file, write_json
from harness.storage.lease import Lease, holding
from harness.storage.places import LocalFolder

if TYPE_CHECKING:
    import numpy as np


_RUNNING, _FAILED = b'"status": "running"', b'"status": "failed" '


class RunFolder(RunReader):
    """Writer of a run folder, which `hold` and `start` prepare."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._check_held: Callable[[], None] = lambda: None

    @property
    def location(self) -> str:
        """Path of the folder, or the URL that it is put at."""
        return str(self.path)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the folder for the block. Raise UnavailableError when another process holds it.

        A file system without locks is held by a lease, which `add` and `write_predictions` check: they raise WriteError
        when another process has taken it over.
        """
        self._make()
        with ExitStack() as held:
            taken = held.enter_context(lock(self.path / "lock"))
            if taken is False:
                raise UnavailableError(
                    f"another process is at work on '{self.path}': wait until it has ended, or choose another -o"
                )
            if taken is None:
                lease = held.enter_context(holding(Lease(LocalFolder(self.path), this_holder())))
                self._check_held = lease.check
                held.callback(setattr, self, "_check_held", lambda: None)
            yield

    def _make(self) -> None:
        try:
            (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"the run folder '{self.path}' cannot be made: {error.strerror}") from error
        self.check_no_link()

    def start(
        self,
        *,
        suite: Mapping[str, Any],
        cells: Sequence[str],
        argv: Sequence[str],
        plugins: Plugins,
        device: str,
        cache_dir: Path | None = None,
        tasks: Mapping[str, int] | None = None,
        left_out: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        executor: str = "",
    ) -> None:
        """Create or reopen the run of `cells`, with their number by task. Raise UsageError if its suite is another.

        `cache_dir` is the cache folder that knows of checks of plugins, None the default one.
        """
        if self.exists:
            # Fields that are newer than the run had their defaults when it began.
            old = {**ADDED_FIELDS, **self.about().get("suite", {})}
            if field := _first_difference(old, {**ADDED_FIELDS, **suite}):
                raise UsageError(
                    f"'{self.path}' holds a run of another suite (it differs in {field}); choose another -o"
                )
        if (self.path / "results.jsonl").is_file():
            # A broken record is refused before anything is touched.
            self._every_record(self.path / "results.jsonl")
        self._make()
        self._tidy()
        self._about: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "argv": list(argv),
            "suite": dict(suite),
            "cells": list(cells),
            "tasks": dict(tasks or {}),
            "left_out": dict(left_out or {}),
            "notes": list(notes),
            "started": now(),
        }
        write_json(self.path / "run.json", {**self._about, "status": "running", "process": this_process()})
        facts = environment(plugins, device, cache_dir=cache_dir)
        write_json(self.path / "env.json", {**facts, "executor": executor})
        # A resumed run may have begun on another machine: each start records its own.
        versions = {name: facts["distributions"].get(name) for name in REPORTED_DISTRIBUTIONS}
        self.add_event(
            "started",
            argv=list(argv),
            executor=executor,
            device=device,
            gpu=facts["gpu"],
            os=facts["os"],
            **versions,
        )
        for name, reason in self._about["left_out"].items():
            self.add_event("left_out", name=name, reason=reason)

    def finish(self, status: str) -> None:
        """Write the final status of the run."""
        try:
            write_json(self.path / "run.json", {**self._about, "status": status, "finished": now()})
        except WriteError:
            self._fail_in_place()
            raise
        self.add_event("ended", status=status)

    @contextmanager
    def marked_when_cut(self) -> Iterator[None]:
        """Mark the run as interrupted or failed when an error leaves the block."""
        try:
            yield
        except BaseException as error:
            with suppress(WriteError):  # the first error is the one to report
                self.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    def add(self, record: Record) -> None:
        """Append one record, synced to disk."""
        self._check_held()
        self._append("results.jsonl", record.model_dump_json())

    def once_kept(self, report: Callable[[], None]) -> None:
        """Call `report` once all records are kept, which they are where `add` has returned."""
        report()

    def add_event(self, event: str, **fields: Any) -> None:
        """Append one line to events.jsonl. An event that cannot be written is lost with a warning, and ends nothing."""
        try:
            line = json.dumps({"time": now(), "event": event, **fields})
            self._append("events.jsonl", line, synced=False)  # a run of many bundles begins with many
        except WriteError as error:
            with suppress(UserWarning):  # also where warnings are errors
                warnings.warn(f"events of the run are lost: {error}", stacklevel=2)

    def write_predictions(
        self,
        cell_id: str,
        *,
        example_ids: Sequence[str],
        labels: Sequence[str],
        predictions: Sequence[str],
        scores: np.ndarray[Any, Any],
        classes: Sequence[str],
        groups: Sequence[str | None] = (),
    ) -> None:
        """Write the predictions of a cell, one row for each test example; `scores [examples, classes]`. Pictures of
        earlier predictions are removed.
        """
        import pandas as pd

        self._check_held()
        columns: dict[str, Any] = {"example_id": example_ids}
        if any(group is not None for group in groups):
            columns["group"] = groups
        columns |= {"label": labels, "prediction": predictions}
        columns |= {f"score_{name}": scores[:, index] for index, name in enumerate(classes)}
        shutil.rmtree(place_pictures(self.path, cell_id), ignore_errors=True)
        path = self.path / "predictions" / f"{cell_id}.parquet"
        with whole_file(path) as temporary:
            pd.DataFrame(columns).to_parquet(temporary, index=False, write_page_checksum=True)

    def _append(self, name: str, line: str, *, synced: bool = True) -> None:
        append_line(self.path / name, line, synced=synced)

    def _fail_in_place(self) -> None:
        """Overwrite the status in run.json by a word of the same length: a full disk has no room for another file."""
        path = self.path / "run.json"
        with suppress(OSError), path.open("r+b") as file:
            place = file.read().rfind(_RUNNING)
            if place >= 0:
                file.seek(place)
                file.write(_FAILED)

    def _tidy(self) -> None:
        """Remove unfinished lines and files of a killed writer."""
        cut_unfinished_line(self.path / "results.jsonl")
        with suppress(WriteError):
            cut_unfinished_line(self.path / "events.jsonl")
        for folder in (self.path, self.path / "predictions"):
            for leftover in folder.glob(f"{TEMPORARY}*"):
                leftover.unlink(missing_ok=True)


def _first_difference(old: Any, new: Any, path: str = "") -> str:
    """Return the first field in which two JSON values differ, as `models.0.ref`; empty when they are equal."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if not isinstance(old, dict) or not isinstance(new, dict):
        return "" if old == new else path or "everything"
    fields = sorted({*old, *new})
    found = (_first_difference(old.get(key), new.get(key), f"{path}.{key}".lstrip(".")) for key in fields)
    return next(filter(None, found), "")
