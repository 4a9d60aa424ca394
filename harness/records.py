"""What a run leaves on disk: results, predictions, environment, events. Written so that a cut leaves no half line.

run.json         schema version, argv, the resolved suite, status
env.json         distributions, OS, CPU, GPU, plugins
results.jsonl    one Record a line, appended and synced; a later line supersedes an earlier one
predictions/     <cell_id>.parquet: example_id, label, prediction, score_<class>…
events.jsonl     what happened when
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import MissingError, UsageError
from harness.files import append_line, whole_file, write_json
from harness.plugins import Plugins

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA_VERSION = 1

_TOLD = ("sae-harness", "torch", "transformers", "scikit-learn", "numpy")

Status = Literal["ok", "failed", "skipped", "oom"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Metric(_Frozen):
    """A number with its 95 % interval and how that was found; no interval where `low` is None."""

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""


class HygieneCounts(_Frozen):
    """Rows removed before anything was fitted, and inputs cut at the model's maximum length."""

    duplicates: int = 0
    leaks: int = 0
    conflicts: int = 0
    cut: int = 0
    empty: int = 0


class Fidelity(_Frozen):
    """How well a dictionary fits the activations it was given."""

    verdict: str = "not measured"
    explained_variance: float | None = None
    l0: float | None = None
    published_l0: float | None = None


class Cost(_Frozen):
    """What the cell's bundle cost: content tokens, tokens per second, seconds, peak bytes on the device; and the
    seconds of the cell's own probe, its whole grid.
    """

    tokens: int = 0
    tokens_per_s: float = 0.0
    seconds: float = 0.0
    peak_memory: int = 0
    probe_seconds: float = 0.0


class Record(_Frozen):
    """One finished cell, whatever its end."""

    schema_version: int = Field(default=SCHEMA_VERSION, le=SCHEMA_VERSION)
    cell_id: str
    data: str | None = None
    status: Status
    error: str | None = None
    suite: str
    task: str
    task_version: int
    modality: str
    train_language: str
    test_language: str
    model: str | None
    model_hash: str | None
    site: str | None
    representation: str
    representation_hash: str | None
    width: int | None
    pooling: str | None
    transform: str
    classifier: str
    classifier_params: dict[str, Any] = Field(default_factory=dict)
    seed: int
    selected_on: str = "validation"
    metrics: dict[str, Metric] = Field(default_factory=dict)
    validation_metrics: dict[str, float] = Field(default_factory=dict)
    n_train: int = 0
    n_validation: int = 0
    n_test: int = 0
    n_features: int = 0
    hygiene: HygieneCounts = HygieneCounts()
    fidelity: Fidelity = Fidelity()
    cost: Cost = Cost()
    flags: tuple[str, ...] = ()
    origins: dict[str, str] = Field(default_factory=dict)

    @field_validator("classifier_params")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key, item in value.items():
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"classifier_params.{key} is not finite")
        return value


class RunFolder:
    """One run on disk. `open` prepares it for writing; reading needs no preparation."""

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
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingError(f"there is no run in '{self.path}'") from error
        except (OSError, ValueError, RecursionError) as error:
            raise MissingError(f"'{path}' cannot be read: it is damaged") from error
        version = about.get("schema_version", 0) if isinstance(about, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise MissingError(f"the run in '{self.path}' was written by a newer harness")
        if (
            not isinstance(version, int)
            or not isinstance(about.get("suite"), dict)
            or not isinstance(about.get("cells", []), list)
        ):
            raise MissingError(f"'{path}' cannot be read: it is damaged")
        return dict(about)

    def records(self) -> list[Record]:
        """The last record of every cell of the run, in the order of first appearance.

        Cells that an earlier plan of the same suite left behind (other weights, other data) are not the run's.
        A last line that a cut left unfinished is ignored; any other broken line is a MissingError with its
        number.
        """
        path = self.path / "results.jsonl"
        if not path.is_file():
            return []
        lines = path.read_bytes().split(b"\n")  # bytes: a cut may have fallen inside a character
        records: dict[str, Record] = {}
        for number, line in enumerate(lines, start=1):
            if not line or number == len(lines):  # what follows the last newline was never finished
                continue
            try:
                record = Record.model_validate_json(line)
            except ValidationError as error:
                raise MissingError(f"'{path}' line {number} is not a valid record") from error
            records[record.cell_id] = record
        cells = set(self.about().get("cells", records)) if self.exists else set(records)
        return [record for record in records.values() if record.cell_id in cells]

    @property
    def is_whole(self) -> bool:
        """Whether every cell of the run has a record."""
        return not self.exists or len(self.records()) >= len(self.about().get("cells", ()))

    def is_done(self, record: Record) -> bool:
        """Whether a cell ended well and its predictions are there, whole as far as a look at their end tells."""
        import pyarrow.parquet as pq

        if record.status != "ok":
            return False
        try:
            path = self.path / "predictions" / f"{record.cell_id}.parquet"
            return bool(pq.read_metadata(path).num_rows == record.n_test)
        except Exception:  # missing, or any damage
            return False

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Test predictions of a cell: example_id, group (where rows have one), label, prediction,
        score_<class>…
        """
        import pandas as pd

        path = self.path / "predictions" / f"{cell_id}.parquet"
        try:
            return pd.read_parquet(path)
        except Exception as error:  # a missing file, or any damage that parquet readers report in many ways
            raise MissingError(f"the predictions '{path}' are missing or damaged") from error

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    def start(
        self,
        *,
        suite: Mapping[str, Any],
        cells: Sequence[str],
        argv: Sequence[str],
        plugins: Plugins,
        device: str,
    ) -> None:
        """Create or reopen the run of `cells`; UsageError when another suite already lives here."""
        if self.exists:
            field = _first_difference(self.about()["suite"], dict(suite))
            if field:
                raise UsageError(
                    f"'{self.path}' holds a run of another suite (it differs in {field}); choose another -o"
                )
            self.records()  # what cannot be read must be known before anything is written
        try:
            (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MissingError(f"the run folder '{self.path}' cannot be made: {error.strerror}") from error
        self._about = {
            "schema_version": SCHEMA_VERSION,
            "argv": list(argv),
            "suite": dict(suite),
            "cells": list(cells),
            "started": _now(),
        }
        write_json(self.path / "run.json", {**self._about, "status": "running"})
        facts = environment(plugins, device)
        write_json(self.path / "env.json", facts)
        self._cut_unfinished_line()
        # A resumed run may have begun elsewhere: each start says where and with what.
        versions = {name: facts["distributions"].get(name) for name in _TOLD}
        self.add_event(
            "started", argv=list(argv), device=device, gpu=facts["gpu"], os=facts["os"], **versions
        )

    def finish(self, status: str) -> None:
        """Note how the run ended."""
        write_json(self.path / "run.json", {**self._about, "status": status, "finished": _now()})

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
            pd.DataFrame(columns).to_parquet(temporary, index=False)

    def _cut_unfinished_line(self) -> None:
        path = self.path / "results.jsonl"
        if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


def environment(plugins: Plugins, device: str) -> dict[str, Any]:
    """Every distribution, the machine and the plugins; no paths, no environment variables, no secrets."""
    import psutil

    return {
        "python": sys.version.split()[0],
        "os": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "device": device,
        "gpu": _gpu(),
        "plugins": {plugin.name: plugin.distribution for plugin in plugins.loaded},
        "left_out": [_without_paths(str(fault)) for fault in plugins.faults],
        "distributions": dict(
            sorted({item.metadata["Name"]: item.version for item in distributions()}.items())
        ),
    }


def _without_paths(text: str) -> str:
    """Messages of Python's own import errors end in the place of a file."""
    return re.sub(r"(?<![\w.])(?:/|[A-Za-z]:\\)[^\s'\"():]+", "…", text)


def _gpu() -> dict[str, str] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return {"name": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


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


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
