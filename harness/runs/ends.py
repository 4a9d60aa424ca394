"""Ends of cells: the lines of `results.jsonl` without their numbers. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.runs.lines import SCHEMA_VERSION, Status, is_plain
from harness.storage.parsing import parsing
from harness.storage.reading import open_file


class CellEnd(BaseModel):
    """End of a cell: what is counted of its record, whose other fields are passed over."""

    model_config = ConfigDict(frozen=True)

    schema_version: int
    cell_id: str
    task: str
    status: Status


def read_ends(path: Path) -> dict[str, CellEnd]:
    """Return how every cell of a results file ended, by its id; a later line supersedes an earlier one.

    An unfinished last line is ignored. Raise UnavailableError, with the line number, on a line that is no JSON or lacks
    these fields: other fields are not checked. Lines are read one by one, as there may be very many.
    """
    ends: dict[str, CellEnd] = {}
    with parsing(f"'{path}' cannot be read"), open_file(path) as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n") and line != b"\n":
                end = _read_end(line[:-1], path, number)
                ends[end.cell_id] = end
    return ends


def _read_end(line: bytes, path: Path, number: int) -> CellEnd:
    if is_plain(line):
        try:
            end = CellEnd.model_validate_json(line)
        except ValidationError:
            pass  # the reader of whole records knows the reason
        else:
            if end.schema_version == SCHEMA_VERSION:  # it may be given twice
                return end
    from harness.runs.record import read_line

    record = read_line(line, path, number)
    return CellEnd(
        schema_version=record.schema_version,
        cell_id=record.cell_id,
        task=record.task,
        status=record.status,
    )
