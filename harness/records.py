"""What a run leaves on disk: results, predictions, environment, events. Written so that a cut leaves no half line.

run.json         schema version, argv, the resolved suite, its cells, what was left out, status, who is at it
env.json         distributions, OS, CPU, GPU, plugins
results.jsonl    one Record a line, appended and synced; a later line supersedes an earlier one
predictions/     <cell_id>.parquet: example_id, label, prediction, score_<class>…
events.jsonl     what happened when
lock             held by the process that writes here
"""

from __future__ import annotations

import gzip
import json
import math
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.errors import MissingError, UsageError, WriteError
from harness.files import TEMPORARY, append_line, cut_unfinished_line, lock, whole_file, write_json
from harness.gate import Verdict
from harness.identity import hash_lines
from harness.plugins import Plugins

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA_VERSION = 2
"""Of records and of run.json. 2: records say which tokens were pooled and what was trained on."""

STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version → what makes a record of the next version from one of this; none where the defaults of the fields that are
new say what was so before."""

_RUNNING, _FAILED = b'"status": "running"', b'"status": "failed" '

_TOLD = (
    *("sae-harness", "torch", "transformers", "scikit-learn", "numpy"),
    *("pillow", "torchvision", "open_clip_torch"),
)

_ADDED: Mapping[str, Any] = {"tokens": "content", "regimes": ["full"], "alignments": [], "transfers": []}
"""Fields of suites that came after schema version 1, with their defaults."""

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
    """Rows removed before anything was fitted; inputs cut at the model's maximum length, and inputs that were not in
    Unicode's normal form C, in which all are read. `faults` says which the first of the `broken` images are, and what
    is wrong with them.
    """

    duplicates: int = 0
    leaks: int = 0
    conflicts: int = 0
    cut: int = 0
    empty: int = 0
    broken: int = 0
    normalised: int = 0
    faults: tuple[str, ...] = ()


class Fidelity(_Frozen):
    """How well a dictionary fits the activations it was given (`harness.gate`): explained variance on the site's own,
    its median over dimensions, those one layer down and up, on halved and doubled activations, and outside content;
    why it is flagged, or cannot be measured, by rule. `not measured` is what has no dictionary.
    """

    verdict: Verdict = "not measured"
    reasons: dict[str, str] = Field(default_factory=dict)
    explained_variance: float | None = None
    median_explained_variance: float | None = None
    l0: float | None = None
    published_l0: float | None = None
    below: float | None = None
    above: float | None = None
    halved: float | None = None
    doubled: float | None = None
    outside: float | None = None
    tokens: int = 0


class Cost(_Frozen):
    """What the cell's bundle cost: tokens pooled, tokens per second, seconds, peak bytes on the device; and the
    seconds of the cell's own probe, its whole grid. 0 is unknown: tokens and seconds of a pass that was resumed,
    the speed of one that read kept activations. Of images, how many a second went through the model, and the share of
    that time in which it waited for one to be decoded.
    """

    tokens: int = Field(default=0, ge=0)
    tokens_per_s: float = Field(default=0.0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    peak_memory: int = Field(default=0, ge=0)
    probe_seconds: float = Field(default=0.0, ge=0)
    images_per_s: float = Field(default=0.0, ge=0)
    waiting_share: float = Field(default=0.0, ge=0)


class Used(_Frozen):
    """A feature that a cell's classifier goes by: its number in the representation, the class it speaks for and its
    weight there, what it is ranked by (`effect`: the size of the weight times the feature's deviation in training), its
    mean pooled value by class, the beginnings of the training texts in which it is highest, and where it is described.
    """

    feature: int
    label: str
    weight: float
    effect: float
    means: dict[str, float] = Field(default_factory=dict)
    snippets: tuple[str, ...] = ()
    link: str | None = None


class Sharing(_Frozen):
    """What the features of a dictionary have in common between the language that a classifier was learnt in and the one
    it was tested on (`harness.sharing`): the share of its effect that lies on features which fire in both, and that
    share with features counted by how evenly they fire; how many fire in both, and in one only; and how far the
    features that tell the label are the same ones, as the Jaccard index of the best in each. None where the tested
    language has no training rows.
    """

    weight: float
    even: float
    both: int
    only_train: int
    only_test: int
    overlap: float | None = None


class Record(_Frozen):
    """One finished cell, whatever its end.

    `selected_on` is `validation`, `folds` or `nothing`; `tried` counts the points of the grid compared there.
    `predictions_hash` is of the test rows' ids, labels and predictions (`hash_predictions`). `control` says whether
    the representation is there to be compared with; None in records from before that was known. `only` are the kinds
    (`poolings`, `transforms`, `classifiers`) of which the representation goes with one alone, whatever the suite has.
    `seen` are the megabytes of the model's training text in the languages of the record, None where the model does
    not say. `learnt_on` names the model whose features the classifier was learnt on, where that is another one, and
    `alignment` what mapped those of `model` to it.
    """

    schema_version: int = SCHEMA_VERSION
    cell_id: str
    data: str | None = None
    status: Status
    error: str | None = None
    suite: str
    task: str
    task_version: int
    trained_on: str | None = None
    modality: str
    train_language: str
    test_language: str
    seen: dict[str, float] | None = None
    model: str | None
    model_hash: str | None
    site: str | None
    tokens: str | None = "content"
    representation: str
    representation_hash: str | None
    control: bool | None = None
    only: tuple[str, ...] = ()
    dictionary: str | None = None
    width: int | None
    pooling: str | None
    transform: str
    classifier: str
    regime: str = "full"
    learnt_on: str | None = None
    alignment: str | None = None
    protocol_hash: str | None = None
    classifier_params: dict[str, Any] = Field(default_factory=dict)
    seed: int
    selected_on: str = "validation"
    tried: int = 0
    metrics: dict[str, Metric] = Field(default_factory=dict)
    validation_metrics: dict[str, float] = Field(default_factory=dict)
    n_train: int = 0
    n_validation: int = 0
    n_test: int = 0
    n_features: int = 0
    predictions_hash: str | None = None
    used: tuple[Used, ...] = ()
    sharing: Sharing | None = None
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


class Results(Protocol):
    """What a board is built from: records with the predictions of their cells. A run folder, or what was
    published of one.
    """

    @property
    def path(self) -> Path:
        """Where they lie, for messages."""

    @property
    def is_whole(self) -> bool:
        """Whether every cell of the run has a record."""

    def records(self) -> list[Record]:
        """The last record of every cell; MissingError when they cannot be read."""

    def is_done(self, record: Record) -> bool:
        """Whether a cell ended well and its predictions are there."""

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Test predictions of a cell, one row for each example: example_id, group (where rows have one), label,
        prediction. The classes are those of the columns score_<class>, else the categories of `label`.
        MissingError when they are not there.
        """


def hash_predictions(ids: Iterable[str], labels: Iterable[str], predictions: Iterable[str]) -> str:
    """Hex SHA-256 over each test row's id, label and prediction, in the order of ids."""
    return hash_lines("\x1f".join(row) for row in sorted(zip(ids, labels, predictions, strict=True)))


def read_records(path: Path) -> list[Record]:
    """Every line of a results file (`.gz`: compressed), of this or an older schema version, in order.

    A last line that a cut left unfinished is ignored; any other broken line is a MissingError with its number.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError) as error:
        raise MissingError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from error
    lines = data.split(b"\n")[:-1]  # bytes: a cut may have fallen inside a character
    records = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(_read_record(line, f"'{path}' line {number}"))
        except ValueError as error:  # not UTF-8, not JSON, or not a record
            raise MissingError(f"'{path}' line {number} is not a valid record") from error
    return records


def _read_record(line: bytes, where: str) -> Record:
    fields = json.loads(line)
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("no schema version")
    _check_version(version, where)
    for older in range(version, SCHEMA_VERSION):
        fields = STEPS[older](fields) if older in STEPS else fields
    return Record.model_validate({**fields, "schema_version": SCHEMA_VERSION})


def _check_version(version: int, what: str) -> None:
    if version > SCHEMA_VERSION:
        raise MissingError(
            f"{what} was written by a newer harness: it is of schema version {version}, and this one reads up to "
            f"{SCHEMA_VERSION}"
        )


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


def _machine() -> str:
    """Tells machines apart without their names, which are nobody's business."""
    return hash_lines([platform.node()])[:16]


def _this_process() -> dict[str, Any]:
    import psutil

    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "machine": _machine()}


def _is_alive(process: Mapping[str, Any]) -> bool:
    """Whether the process is there: one of its number that began when it did (to a second, as clocks are set)."""
    import psutil

    try:
        found = psutil.Process(process["pid"])
        alive = found.status() != psutil.STATUS_ZOMBIE
        return bool(alive and abs(found.create_time() - process["started"]) < 1)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
