"""State of a run folder: what was asked for, how far it is, and whether a process is at work. Nothing heavy is imported
here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.api.errors import UnavailableError
from harness.runs.ends import CellEnd, read_ends
from harness.runs.environment import is_alive, machine_id
from harness.runs.lines import check_version
from harness.storage.parsing import parsing, read_mapping
from harness.storage.reading import read_file


class RunFile(BaseModel):
    """Fields of run.json, of which some are only kept."""

    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)

    schema_version: int = 0
    """Version of the schema of records and of this file."""
    argv: list[str] = Field(default_factory=list)
    """Arguments of the command that made or resumed the run."""
    suite: dict[str, Any]
    """The suite as it was resolved, with what the command line set."""
    cells: list[str] = Field(default_factory=list)
    """Ids of all cells of the plan."""
    tasks: dict[str, int] = Field(default_factory=dict)
    """Cells of each task."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Unavailable tasks, models and dictionaries by name, with the reason."""
    notes: list[str] = Field(default_factory=list)
    """Notes of the plan on models and dictionaries."""
    status: str = "unknown"
    """`running`, `finished`, `stopped` (at the first failure, with --fail-fast), `interrupted` or `failed`."""
    process: Any = None
    """The process that is at work: its id, when it began and a hash of its machine's name; only while it runs."""
    started: str | None = None
    """When the run began or was resumed last, in UTC."""
    finished: str | None = None
    """When it ended, in UTC."""


class RunState:
    """State of one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name  # `.` has none

    @property
    def exists(self) -> bool:
        """True if a run was started here."""
        return (self.path / "run.json").is_file()

    def environment(self) -> Mapping[str, Any]:
        """Return the contents of env.json; {} without one. Raise UnavailableError when it is damaged."""
        path = self.path / "env.json"
        return read_mapping(path, f"'{path}' is damaged") if path.is_file() else {}

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
            RunFile.model_validate(about)
        return about

    def ends(self) -> list[CellEnd]:
        """Return how every cell of the run ended that has ended, in the order of first appearance.

        Cells of an earlier plan of the same suite are left out. Broken lines are as in `read_ends`.
        """
        path = self.path / "results.jsonl"
        ends = read_ends(path) if path.is_file() else {}
        cells = set(self.about().get("cells", ends)) if self.exists else set(ends)
        return [end for cell_id, end in ends.items() if cell_id in cells]

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
