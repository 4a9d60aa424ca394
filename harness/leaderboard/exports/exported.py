"""Files of an export, and what several formats need to make them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.api.errors import HarnessError, UnavailableError
from harness.api.tasks import HubSource, TaskSpec
from harness.leaderboard.selection import Cell, Unit
from harness.registry.catalog import Registry
from harness.runs.record import Results
from harness.storage.atomic import whole_file
from harness.storage.parsing import parsing

LONGEST = 120
"""Most characters of a name of a file: systems take 255 bytes, and formats add endings."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Texts of files by their path below the folder of the export. `left_out` are sentences on what is in no file."""

    files: Mapping[str, str]
    left_out: Sequence[str]


def write_all(exported: Exported, folder: Path) -> Iterator[Path]:
    """Write the files below a folder, each whole or not at all, and yield their paths.

    Raise UnavailableError where the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UnavailableError(f"'{folder}' is a file, not a folder")
    for name, text in exported.files.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
        yield folder / name


def file_name(*parts: str) -> str:
    """Return a name for a file, made of letters, digits and `. _ = -` only; long ones end in a hash of the parts."""
    whole = "_".join(part for part in parts if part)
    name = re.sub(r"[^A-Za-z0-9._=-]+", "_", whole).strip("._") or "_"
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def place(files: Mapping[str, str], folder: str, *parts: str, ending: str) -> str:
    """Return a path that none of the files has: two names may differ by signs that a file's name cannot hold."""
    name, number = file_name(*parts), 1
    while (path := f"{folder}{name}{f'-{number}' if number > 1 else ''}{ending}") in files:
        number += 1
    return path


def end_of(runs: Iterable[Results]) -> datetime:
    """Return when the last of the runs ended, or began where its end is unknown.

    Raise UnavailableError where a run does not say.
    """
    return max(_end_of(run) for run in runs)


def _end_of(run: Results) -> datetime:
    about = run.about()
    with parsing(f"'{run.path}' does not say when it ended"):
        found = datetime.fromisoformat(str(about.get("finished") or about.get("started")))
        return found if found.tzinfo else found.replace(tzinfo=UTC)


def find_task(unit: Unit, registry: Registry) -> TaskSpec | None:
    """Return the task of a unit, None where no plugin offers this version of it: another version has other rows."""
    try:
        spec = registry.get("tasks", unit.task).spec
    except HarnessError:
        return None
    return spec if isinstance(spec, TaskSpec) and spec.version == unit.version else None


def find_hub_source(spec: TaskSpec | None) -> HubSource | None:
    """Return where on the hub the rows of a task are, None if they are not."""
    return spec.source if spec is not None and isinstance(spec.source, HubSource) else None


def runs_of(cells: Iterable[Cell]) -> list[Results]:
    """Return the runs that hold the cells, each once."""
    return list({id(cell.run): cell.run for cell in cells}.values())
