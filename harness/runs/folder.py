"""What a run leaves on disk: results, predictions, environment, events. Written so that a cut leaves no half line.

run.json         schema version, argv, the resolved suite, its cells, what was left out, status, who is at it
env.json         distributions, OS, CPU, GPU, plugins
results.jsonl    one Record a line, appended and synced; a later line supersedes an earlier one
predictions/     <cell_id>.parquet: example_id, label, prediction, score_<class>…
events.jsonl     what happened when
lock             held by the process that writes here
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import MissingError, UsageError, WriteError
from harness.registry.loading import Plugins
from harness.runs.environment import _is_alive, _machine, _now, _this_process, environment
from harness.runs.record import _ADDED, _TOLD, SCHEMA_VERSION, Record, _check_version, read_records
from harness.storage.atomic import TEMPORARY, append_line, cut_unfinished_line, lock, whole_file, write_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_RUNNING, _FAILED = b'"status": "running"', b'"status": "failed" '


class RunFolder:
    """One run on disk. `hold` and `start` prepare it for writing; reading needs no preparation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "run.json").is_file()

    def about(self) -> dict[str, Any]:
        """The contents of run.json; MissingError when there is none or it is damaged."""
        path = self.path / "run.json"
        try:
            about = json.loads(path.read_text("utf-8"))
            version = int(about.get("schema_version", 0))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingError(f"there is no run in '{self.path}'") from error
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged() from error
        _check_version(version, f"the run in '{self.path}'")
        if not isinstance(about.get("suite"), dict) or not isinstance(about.get("cells", []), list):
            raise self._damaged()
        return dict(about)

    def _damaged(self) -> MissingError:
        return MissingError(
            f"'{self.path / 'run.json'}' cannot be read: it is damaged; remove it, and the same command again "
            f"keeps what is done"
        )

    def records(self) -> list[Record]:
        """The last record of every cell of the run, in the order of first appearance.

        Cells that an earlier plan of the same suite left behind (other weights, other data) are not the run's.
        Broken lines are as in `read_records`.
        """
        path = self.path / "results.jsonl"
        if not path.is_file():
            return []
        records = {record.cell_id: record for record in read_records(path)}
        cells = set(self.about().get("cells", records)) if self.exists else set(records)
        return [record for record in records.values() if record.cell_id in cells]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out and every cell of the run has a record."""
        if not self.exists:
            return True
        about = self.about()
        return not about.get("left_out") and len(self.records()) >= len(about.get("cells", ()))

    @property
    def is_at_work(self) -> bool | None:
        """Whether a process is at this run; None when it was started on another machine, so that nobody knows."""
        about = self.about()
        if about.get("status") != "running":
            return False
        process = about.get("process")
        if not isinstance(process, dict) or process.get("machine") != _machine():
            return None
        return _is_alive(process)

    @property
    def status(self) -> str:
        """How the run stands: `running`, or how it ended; one whose process is gone was `interrupted`."""
        told = str(self.about().get("status", "unknown"))
        return "interrupted" if told == "running" and self.is_at_work is False else told

    def events(self) -> Iterator[dict[str, Any]]:
        """Every whole line of events.jsonl, in order."""
        path = self.path / "events.jsonl"
        for line in path.read_bytes().split(b"\n") if path.is_file() else ():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event

    def is_done(self, record: Record) -> bool:
        """Whether a cell ended well and all its predictions are there, undamaged."""
        if record.status != "ok":
            return False
        try:
            frame = self.predictions(record.cell_id)
        except MissingError:
            return False
        if len(frame) != record.n_test or not {"example_id", "label", "prediction"} <= set(frame.columns):
            return False
        # A parquet file's pages have checksums, and the names of its columns have none.
        return {f"score_{name}" for name in {*frame["label"], *frame["prediction"]}} <= set(frame.columns)

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Test predictions of a cell: example_id, group (where rows have one), label, prediction,
        score_<class>…
        """
        import pandas as pd

        path = self.path / "predictions" / f"{cell_id}.parquet"
        try:
            return pd.read_parquet(path, page_checksum_verification=True)
        except Exception as error:  # a missing file, or any damage that parquet readers report in many ways
            raise MissingError(f"the predictions '{path}' are missing or damaged") from error

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no other process write here meanwhile; MissingError when one already does."""
        self._make()
        with lock(self.path / "lock") as taken:
            if taken is False:
                raise MissingError(
                    f"another process is at work on '{self.path}': wait until it has ended, or choose another -o"
                )
            if taken is None:
                warnings.warn(
                    f"the file system of '{self.path}' knows no locks: let no other process work on it",
                    stacklevel=3,
                )
            yield

    def _make(self) -> None:
        try:
            (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"the run folder '{self.path}' cannot be made: {error.strerror}") from error

    def start(
        self,
        *,
        suite: Mapping[str, Any],
        cells: Sequence[str],
        argv: Sequence[str],
        plugins: Plugins,
        device: str,
        tasks: Mapping[str, int] | None = None,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        """Create or reopen the run of `cells`, so many of each task; UsageError when another suite lives here."""
        if self.exists:
            # A field that the harness did not have when the run began stood, then, at what is its default now.
            field = _first_difference({**_ADDED, **self.about().get("suite", {})}, {**_ADDED, **suite})
            if field:
                raise UsageError(
                    f"'{self.path}' holds a run of another suite (it differs in {field}); choose another -o"
                )
        if (self.path / "results.jsonl").is_file():
            read_records(self.path / "results.jsonl")  # a broken one is refused before anything is touched
        self._make()
        self._tidy()
        self._about: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "argv": list(argv),
            "suite": dict(suite),
            "cells": list(cells),
            "tasks": dict(tasks or {}),
            "left_out": dict(left_out or {}),
            "started": _now(),
        }
        write_json(self.path / "run.json", {**self._about, "status": "running", "process": _this_process()})
        facts = environment(plugins, device)
        write_json(self.path / "env.json", facts)
        # A resumed run may have begun elsewhere: each start says where and with what.
        versions = {name: facts["distributions"].get(name) for name in _TOLD}
        self.add_event(
            "started", argv=list(argv), device=device, gpu=facts["gpu"], os=facts["os"], **versions
        )
        for name, reason in self._about["left_out"].items():
            self.add_event("left_out", name=name, reason=reason)

    def finish(self, status: str) -> None:
        """Note how the run ended."""
        try:
            write_json(self.path / "run.json", {**self._about, "status": status, "finished": _now()})
        except WriteError:
            self._fail_in_place()
            raise
        self.add_event("ended", status=status)

    def add(self, record: Record) -> None:
        """Append one record, on disk when this returns."""
        append_line(self.path / "results.jsonl", record.model_dump_json())

    def add_event(self, event: str, **fields: Any) -> None:
        """Append one line to events.jsonl."""
        append_line(self.path / "events.jsonl", json.dumps({"time": _now(), "event": event, **fields}))

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
        """One row for each test example; `scores [examples, classes]`."""
        import pandas as pd

        columns: dict[str, Any] = {"example_id": example_ids}
        if any(group is not None for group in groups):
            columns["group"] = groups
        columns |= {"label": labels, "prediction": predictions}
        columns |= {f"score_{name}": scores[:, index] for index, name in enumerate(classes)}
        path = self.path / "predictions" / f"{cell_id}.parquet"
        with whole_file(path) as temporary:
            pd.DataFrame(columns).to_parquet(temporary, index=False, write_page_checksum=True)

    def _fail_in_place(self) -> None:
        """A full disk has no room for another run.json, but for a word of the same length in the one that is there."""
        path = self.path / "run.json"
        with suppress(OSError), path.open("r+b") as file:
            place = file.read().rfind(_RUNNING)
            if place >= 0:
                file.seek(place)
                file.write(_FAILED)

    def _tidy(self) -> None:
        """Take away what a killed writer left unfinished."""
        for name in ("results.jsonl", "events.jsonl"):
            cut_unfinished_line(self.path / name)
        for folder in (self.path, self.path / "predictions"):
            for leftover in folder.glob(f"{TEMPORARY}*"):
                leftover.unlink(missing_ok=True)


def _first_difference(old: Any, new: Any, path: str = "") -> str:
    """The first field in which two JSON values differ, as `models.0.ref`; empty when they do not."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs: Iterable[tuple[Any, Any, Any]] = (
            (key, old.get(key), new.get(key)) for key in sorted({*old, *new})
        )
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = ((index, a, b) for index, (a, b) in enumerate(zip(old, new, strict=True)))
    else:
        return "" if old == new else path or "everything"
    for key, a, b in pairs:
        if found := _first_difference(a, b, f"{path}.{key}".lstrip(".")):
            return found
    return ""
