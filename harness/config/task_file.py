"""Reader of task files (`--include`): the YAML description of one task as a TaskSpec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.api.errors import UsageError
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.config.yaml import Strict, Whole, read_yaml


class _Source(Strict):
    hub: str | None = None
    revision: str | None = None
    config: str | None = None
    file: Path | None = None


class _TaskFile(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: Whole = 1
    summary: str = ""
    modality: Literal["text", "image"] = "text"
    source: _Source
    columns: Columns = Columns()
    languages: tuple[str, ...] = Field(default=("en",), min_length=1)
    licence: str
    citation: str
    metric: Literal["macro_f1"] = "macro_f1"
    content_warning: Annotated[bool, Field(strict=True)] = False
    where: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    trained_on: str | None = None
    leaks: Literal["exact", "near"] = "exact"
    class_names: dict[str, str] = Field(default_factory=dict)
    templates: tuple[Annotated[str, Field(pattern=r"\{\}")], ...] = ()


def read_task(path: Path) -> TaskSpec:
    """Read the task in a YAML file; a relative `source.file` is relative to that file."""
    file = read_yaml(path, "task")
    task = file.validate(_TaskFile)
    fields = task.model_dump() | {
        "summary": task.summary or f"task of {path.name}",
        "source": _find_source(task.source, path, file.where),
        "columns": task.columns,
    }
    if task.modality == "image":  # its usual input column has another name, and images have no language
        if "input" not in file.tree.get("columns", {}):
            fields["columns"] = replace(task.columns, input="image")
        if "languages" not in task.model_fields_set:
            fields["languages"] = ("zxx",)
    return TaskSpec(**fields)


def read_tasks(paths: Sequence[Path]) -> list[TaskSpec]:
    """Read several task files. Raise UsageError, with both files and lines, if two give one name."""
    tasks: dict[str, TaskSpec] = {}
    first: dict[str, str] = {}
    for path in paths:
        task = read_task(path)
        place = f"'{path}' line {read_yaml(path, 'task').lines[('name',)]}"
        if task.name in tasks:
            said = f"task '{task.name}' is given twice: in {first[task.name]} and in {place}"
            raise UsageError(f"{said}; rename one, or leave one out")
        tasks[task.name], first[task.name] = task, place
    return [*tasks.values()]


def _find_source(source: _Source, path: Path, where: str) -> HubSource | FileSource:
    if source.hub is None and source.file is not None:
        return FileSource(file=path.parent / source.file)
    if source.hub is None or source.file is not None:
        raise UsageError(f"{where}: source needs either 'hub' or 'file'")
    if source.revision is None:
        raise UsageError(f"{where}: source.hub '{source.hub}' needs source.revision, a commit")
    return HubSource(hub=source.hub, revision=source.revision, config=source.config)
