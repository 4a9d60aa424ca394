"""Reader of a run folder: its state, records and predictions."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UnavailableError
from harness.runs.predicted import Predicted, RowsPool, read_predicted, read_scores
from harness.runs.record import (
    Record,
    are_scored,
    check_frame,
    give_auroc,
    is_auroc,
    is_scored,
    read_records,
)
from harness.runs.state import RunState
from harness.storage.parsing import parsing
from harness.storage.paths import path_inside
from harness.storage.reading import open_parquet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


_State = tuple[int, int, int]
"""Size, mtime in ns and inode of a file: it is read anew when one of them is another."""


def _state_of(status: os.stat_result) -> _State:
    return status.st_size, status.st_mtime_ns, status.st_ino


class RunReader(RunState):
    """Reader of one run folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pool = RowsPool()
        self._predicted: dict[str, tuple[_State, Predicted]] = {}
        self._records: tuple[_State | None, list[Record]] | None = None

    def records(self) -> list[Record]:
        """Return the last record of every cell of the run, in the order of first appearance.

        Cells of an earlier plan of the same suite (other weights, other data) are left out. Broken lines are as in
        `read_records`.
        """
        path = self.path / "results.jsonl"
        if not path.is_file():
            return []
        records = {record.cell_id: record for record in self._every_record(path)}
        cells = set(self.about().get("cells", records)) if self.exists else set(records)
        return [record for record in records.values() if record.cell_id in cells]

    def _every_record(self, path: Path) -> list[Record]:
        """Return the records of a file, which is read again only where it has changed since."""
        state = _state_of(path.stat())
        if self._records is None or self._records[0] != state:
            self._records = state, read_records(path)
        return self._records[1]

    @property
    def is_whole(self) -> bool:
        """True if nothing was left out and every cell of the run has a record."""
        if not self.exists:
            return True
        about = self.about()
        return not about.get("left_out") and len(self.records()) >= len(about.get("cells", ()))

    @property
    def remedy(self) -> str:
        """Command that makes wrong predictions anew, for messages."""
        return "the same `harness run` again makes them anew"

    def has_predictions(self, record: Record) -> bool:
        """Return whether a cell ended well and all its predictions are readable; their checksum is not read."""
        found = self._remembered(record)
        if found is not None and len(found.rows) == record.n_test:
            return True
        return self._whole_predictions(record) is not None

    def is_done(self, record: Record) -> bool:
        """Return whether a cell ended well and its predictions are those that were scored."""
        read = self.scored(record)
        if read is not None and len(read[0].rows) == record.n_test and is_scored(record, read[0]):
            return is_auroc(record, read[0].y, read[1])
        frame = self._whole_predictions(record)
        return frame is not None and are_scored(record, frame) and give_auroc(record, frame)

    def predicted(self, record: Record) -> Predicted | None:
        """Return the predictions of a good cell as class numbers if they are those that were scored. None where they
        are not, or are missing or of an unusual form.
        """
        found = self._remembered(record)
        return found if found is not None and is_scored(record, found) else None

    def _remembered(self, record: Record) -> Predicted | None:
        """Return the predictions of a good cell, which are read again only where their file has changed since."""
        if known := self._predicted.get(record.cell_id):
            state, found = known
            if state == self._state(record.cell_id):
                return found
        read = self.scored(record)
        return read and read[0]

    def scored(self, record: Record) -> tuple[Predicted, NDArray[np.float64]] | None:
        """Read the predictions of a good cell and its scores `[rows, classes]`, without their checksum; None where they
        are missing, damaged or of an unusual form: `predictions` then says what is wrong.
        """
        state = self._state(record.cell_id)
        if record.status != "ok" or state is None:
            return None
        path = self.path / "predictions" / f"{record.cell_id}.parquet"
        with suppress(UnavailableError), parsing(""), open_parquet(path) as file:
            table = file.read(use_threads=False)  # for a few pages, threads take longer than the pages
            if found := read_predicted(table, self._pool):
                self._predicted[record.cell_id] = state, found
                return found, read_scores(table)
        return None

    def _state(self, cell_id: str) -> _State | None:
        """Return the state of a cell's predictions; None unless they are a plain file in a plain folder, no link."""
        if not cell_id.isalnum():  # it may lead out of the folder
            return None
        with suppress(OSError):
            folder = f"{self.path}{os.sep}predictions"  # a text: a `Path` for each cell takes longer than its state
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                status = os.lstat(f"{folder}{os.sep}{cell_id}.parquet")
                return _state_of(status) if stat.S_ISREG(status.st_mode) else None
        return None

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

    def check_no_link(self) -> None:
        """Raise UnavailableError where the folder of predictions is a link: a stranger's may lead anywhere."""
        if (folder := self.path / "predictions").is_symlink():
            raise UnavailableError(
                f"'{folder}' is a link, and nothing is read or written through it: put the folder itself in its place"
            )

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Return the test predictions of a cell: example_id, group (where rows have one), label, prediction,
        score_<class>…
        """
        self.check_no_link()
        folder, name = self.path / "predictions", f"{cell_id}.parquet"
        path = path_inside(folder, name, by=f"'{self.path / 'results.jsonl'}'")
        with parsing(f"the predictions '{path}' are missing or damaged"), open_parquet(path) as file:
            return check_frame(file.read().to_pandas())
