"""Reader of task files (`--include`): the YAML description of one task as a TaskSpec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from harness.api.data import SPLITS, Split
from harness.api.errors import UsageError
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.config.yaml import TEMPLATE, Name, Strict, Whole, read_yaml


class _Source(Strict):
    """Source of the rows: a `file`, the `files` of each split, or a data set of the hub with its `revision`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["file"]}, {"required": ["files"]}, {"required": ["hub", "revision"]}]
        }
    )

    hub: str | None = None
    """A data set of the hub, `org/name`."""
    revision: str | None = None
    """Its commit."""
    config: str | None = None
    """Its configuration, where it has several."""
    file: Path | None = None
    """A file, a folder of images, or a folder of tables that are named like splits, relative to the task file."""
    files: dict[str, Path | tuple[Path, ...]] = Field(default={})
    """The files of each split (`train`, `validation`, `test`), one path or a list of them."""
    separator: Literal[",", ";", "\t", "|"] | None = None
    """Separator of the fields of a CSV, where its header does not tell."""


class TaskFile(Strict):
    """One task: labelled rows, where they are, and whose they are."""

    name: Name
    """The name in suites, records and on boards."""
    version: Whole = 1
    """A whole number, raised when its rows change."""
    summary: str = ""
    """One line for `harness ls tasks`."""
    modality: Literal["text", "image"] = "text"
    """Kind of the inputs."""
    source: _Source
    """Source of the rows: `{file: PATH}`, `{files: {train: PATH, …}}`, or `{hub: ORG/NAME, revision: COMMIT}`."""
    columns: Columns = Columns()
    """The names of the columns `input`, `label`, `split`, `language` and `group`; null for one that is not there."""
    languages: tuple[str, ...] = Field(default=("en",), min_length=1)
    """The languages of the inputs, as BCP 47 tags; Norwegian is "no", in quotes."""
    licence: str
    """The licence of the data."""
    citation: str
    """Who made it."""
    metric: Literal["macro_f1"] = "macro_f1"
    """The primary metric."""
    content_warning: Annotated[bool, Field(strict=True)] = False
    """Warning that texts may hurt who reads them."""
    where: dict[str, str] = Field(default={})
    """Columns and the value that a row must have there to be read."""
    labels: dict[str, str] = Field(default={})
    """Labels of the source and the class that each stands for; numbers in quotes."""
    trained_on: str | None = None
    """The task whose rows are learnt from; this one is then tested only."""
    leaks: Literal["exact", "near"] = "exact"
    """The leaks to remove."""
    class_names: dict[str, str] = Field(default={})
    """Classes as a sentence would name them."""
    templates: tuple[Annotated[str, Field(pattern=TEMPLATE)], ...] = ()
    """Sentences about an image, with {} for the name of its class."""


def read_task(path: Path) -> TaskSpec:
    """Read the task in a YAML file; a relative `source.file` is relative to that file."""
    file = read_yaml(path, "task")
    task = file.validate(TaskFile)
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
    given = [name for name in ("hub", "file", "files") if getattr(source, name)]
    if len(given) != 1:
        raise UsageError(f"{where}: source needs either 'hub', 'file' or 'files'")
    if source.file is not None:
        return FileSource(file=path.parent / source.file, separator=source.separator)
    if source.files:
        return FileSource(files=_find_files(source.files, path, where), separator=source.separator)
    if source.separator is not None:
        raise UsageError(f"{where}: source.separator is that of a file, and the source is on the hub")
    if source.revision is None:
        raise UsageError(f"{where}: source.hub '{source.hub}' needs source.revision, a commit")
    assert source.hub is not None  # the only one given
    return HubSource(hub=source.hub, revision=source.revision, config=source.config)


def _find_files(
    files: Mapping[str, Path | tuple[Path, ...]], path: Path, where: str
) -> Mapping[Split, tuple[Path, ...]]:
    """Return the files of each split; raise UsageError for an unknown name, or a split of no file or two names."""
    found: dict[Split, tuple[Path, ...]] = {}
    for name, given in files.items():
        if (split := SPLITS.get(name)) is None:
            raise UsageError(f"{where}: source.files has '{name}', which is none of {', '.join(SPLITS)}")
        if split in found or not given:
            said = "two names" if split in found else "no file"
            raise UsageError(f"{where}: source.files has {said} for the split '{split}'")
        found[split] = tuple(path.parent / one for one in (given if isinstance(given, tuple) else (given,)))
    return {split: found[split] for split in dict.fromkeys(SPLITS.values()) if split in found}
