"""Reader of a run folder: its state, records, predictions and events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.api.errors import UnavailableError
from harness.runs.environment import is_alive, machine_id
from harness.runs.record import Record, are_scored, check_frame, check_version, give_auroc, read_records
from harness.storage.parsing import parsing, read_mapping
from harness.storage.paths import path_inside
from harness.storage.reading import open_parquet, read_file

if TYPE_CHECKING:
    import pandas as pd


class _About(BaseModel):
    """Fields of run.json that are read; others are only kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    schema_version: int = 0
    suite: dict[str, Any]
    cells: list[str] = Field(default_factory=list)
    tasks: dict[str, int] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    status: str = "unknown"
    started: str | None = None
    finished: str | None = None


class RunReader:
    """Reader of one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """True if a run was started here."""
        return (self.path / "run.json").is_file()

    def about(self) -> dict[str, Any]:
        """Return the contents of run.json. Raise UnavailableError when it is missing or damaged."""
        path = self.path / "run.json"
        if not self.exists:
            raise UnavailableError(f"there is no run in '{self.path}'")
        hint = "remove it, and the same `harness run` again keeps what is done"
        about = read_mapping(path, f"'{path}' is damaged", hint=hint)
        with parsing(f"'{path}' is damaged", hint=hint):
            version = about.get("schema_version")
            check_version(version if isinstance(version, int) else 0, f"the run in '{self.path}'")
            _About.model_validate(about)
        return about

    def records(self) -> list[Record]:
        """Return the last record of every cell of the run, in the order of first appearance.

        Cells of an earlier plan of the same suite (other weights, other data) are left out. Broken lines are as in
        `read_records`.
        """
        path = self.path / "results.jsonl"
        if not path.is_file():
            return []
        records = {record.cell_id: record for record in read_records(path)}
        cells = set(self.about().get("cells", records)) if self.exists else set(records)
        return [record for record in records.values() if record.cell_id in cells]

    @property
    def is_whole(self) -> bool:
        """True if nothing was left out and every cell of the run has a record."""
        if not self.exists:
            return True
        about = self.about()
        return not about.get("left_out") and len(self.records()) >= len(about.get("cells", ()))

    @property
    def is_at_work(self) -> bool | None:
        """True if a process works on this run; None, for unknown, when it was started on another machine."""
        about = self.about()
        if about.get("status") != "running":
            return False
        process = about.get("process")
        if not isinstance(process, dict) or process.get("machine") != machine_id():
            return None
        return is_alive(process)

    @property
    def status(self) -> str:
        """`running`, or the end of the run; `interrupted` when its process is gone."""
        status = str(self.about().get("status", "unknown"))
        return "interrupted" if status == "running" and self.is_at_work is False else status

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield every whole line of events.jsonl, in order."""
        path = self.path / "events.jsonl"
        for line in read_file(path).split(b"\n") if path.is_file() else ():
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event

    @property
    def remedy(self) -> str:
        """Command that makes wrong predictions anew, for messages."""
        return "the same `harness run` again makes them anew"

    def has_predictions(self, record: Record) -> bool:
        """Return whether a cell ended well and all its predictions are readable; their checksum is not read."""
        return self._whole_predictions(record) is not None

    def is_done(self, record: Record) -> bool:
        """Return whether a cell ended well and its predictions are those that were scored."""
        frame = self._whole_predictions(record)
        return frame is not None and are_scored(record, frame) and give_auroc(record, frame)

    def _whole_predictions(self, record: Record) -> pd.DataFrame | None:
        """Return the predictions of a cell that ended well; None where rows or columns are missing."""
        if record.status != "ok":
            return None
        try:
            frame = self.predictions(record.cell_id)
        except UnavailableError:
            return None
        if len(frame) != record.n_test or not {"example_id", "label", "prediction"} <= set(frame.columns):
            return None
        # A parquet file's pages have checksums, and the names of its columns have none.
        wanted = {f"score_{name}" for name in {*frame["label"], *frame["prediction"]}}
        return frame if wanted <= set(frame.columns) else None

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Return the test predictions of a cell: example_id, group (where rows have one), label, prediction,
        score_<class>…
        """
        folder, name = self.path / "predictions", f"{cell_id}.parquet"
        path = path_inside(folder, name, by=f"'{self.path / 'results.jsonl'}'")
        with parsing(f"the predictions '{path}' are missing or damaged"), open_parquet(path) as file:
            return check_frame(file.read().to_pandas())
