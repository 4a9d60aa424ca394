"""Report of a rerun, `<name>.rerun.json` beside a published run: which cells were run again, and how far they differ.

It is written by whoever keeps a board, never by a submitter, and holds the hashes of the files that it speaks of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from harness.runs.record import Results
from harness.storage.atomic import write_json
from harness.storage.hashing import hash_file
from harness.storage.parsing import ParseError, parsing, read_mapping

Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tolerance(_Frozen):
    """Difference of a cell that was run again: the share of test rows predicted otherwise, and that of macro-F1."""

    differing: Share
    macro_f1: Share

    def holds(self, other: Tolerance) -> bool:
        """Return whether another difference is no larger."""
        return other.differing <= self.differing and other.macro_f1 <= self.macro_f1


class RerunCell(_Frozen):
    """Cell that was run again, and how far it differs from what was published."""

    cell_id: str
    difference: Tolerance


class Machine(_Frozen):
    """Hardware and versions of one side, each None where it is unknown."""

    hardware: Mapping[str, str | None]
    versions: Mapping[str, str | None]


class RerunReport(_Frozen):
    """Rerun of cells that `seed` drew among `candidates` cells with published predictions.

    The seed is `fresh` unless somebody chose it, who may have known the cells that it draws. `skipped` holds the cells
    that could not be run again, each with the reason.
    """

    version: int = Field(default=1, ge=1, le=1)
    date: str
    seed: int
    fresh: bool
    candidates: int
    cells: tuple[RerunCell, ...]
    skipped: Mapping[str, str] = Field(default_factory=dict)
    tolerance: Tolerance
    submitted: Machine
    here: Machine
    records_sha256: str
    predictions_sha256: str

    @property
    def largest(self) -> Tolerance:
        """Largest differences of its cells."""
        return Tolerance(
            differing=max((cell.difference.differing for cell in self.cells), default=0.0),
            macro_f1=max((cell.difference.macro_f1 for cell in self.cells), default=0.0),
        )

    @property
    def draw(self) -> str:
        """Words for the seed that drew the cells."""
        return "a seed that the submitter could not know" if self.fresh else "a seed that was given"

    @property
    def is_met(self) -> bool:
        """True if cells were run again, and all are within the tolerance."""
        return bool(self.cells) and self.tolerance.holds(self.largest)


def place_report(records: Path) -> Path:
    """Return the path of the report of the published run with these records."""
    return _beside(records, ".rerun.json")


def hash_published(records: Path) -> tuple[str, str]:
    """Return the SHA-256 of a published run's records and of its predictions. Raise OSError when one is missing."""
    return hash_file(records), hash_file(_beside(records, ".predictions.parquet"))


def write_report(records: Path, report: RerunReport) -> None:
    """Write the report of a rerun beside the published run. Raise WriteError when the disk refuses."""
    write_json(place_report(records), report.model_dump(mode="json"))


def read_report(run: Results) -> RerunReport | None:
    """Return the report of a rerun of a published run; None where there is none, as of a run folder.

    Raise UnavailableError for one that is damaged, that speaks of other files or cells, or that does not end well.
    """
    path = place_report(run.path)
    if run.path.is_dir() or not (path.is_symlink() or path.exists()):
        return None
    fields = read_mapping(path, f"'{path}' is damaged")
    with parsing(f"'{path}' does not vouch for the run beside it"):
        if path.is_symlink():
            raise ParseError("it is a link")
        report = RerunReport.model_validate(fields)
        if (report.records_sha256, report.predictions_sha256) != hash_published(run.path):
            raise ParseError("it is of other records or predictions")
        known = {record.cell_id for record in run.records() if run.has_predictions(record)}
        if not {cell.cell_id for cell in report.cells} <= known:
            raise ParseError("it names a cell whose predictions are not published")
        if not report.is_met:
            raise ParseError("no cell was run again, or one differs by more than the tolerance")
    return report


def _beside(records: Path, ending: str) -> Path:
    return records.with_name(records.name.removesuffix(".gz").removesuffix(".jsonl") + ending)
