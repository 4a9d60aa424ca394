"""Task specs: labelled data as declarative records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from harness.api.data import Modality, Split
from harness.api.errors import UsageError

Leaks = Literal["kept", "exact", "near"]
"""Leaks of later splits that are removed: none, texts and groups that are the same, or nearly the same texts too."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns of a source; a column that is None does not exist there."""

    input: str = "text"
    label: str = "label"
    split: str | None = "split"
    language: str | None = None
    group: str | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """Dataset on the hub, pinned to a revision; `columns` and `labels` only where the hub spells them differently."""

    hub: str
    revision: str
    config: str | None = None
    columns: Columns | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """Table file, folder of images, or folder of tables that are named like splits; or the `files` of each split.

    `separator` is that of a csv whose header does not tell it.
    """

    file: Path | None = None
    files: Mapping[Split, tuple[Path, ...]] = field(default_factory=dict)
    separator: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError unless there is either `file` or `files`."""
        if (self.file is None) != bool(self.files):
            raise UsageError("a FileSource needs either 'file' or 'files'")


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Labelled data as one declarative record; a corrected dataset is a new version.

    `columns` are those of the local mirror (`<data-dir>/<name>/data.parquet`) and of a file; `mirror` is the name of
    the folder there when it is not the task's own. A task without a source is in the mirror only.

    `where` keeps only the rows whose columns hold these values; `labels` maps labels of the source to classes. A task
    that is `trained_on` another has test rows only; its probes are trained on the training and validation rows of that
    other task. With `keep_leaks`, test rows that are also in training stay, so that published results on them can be
    checked: they are counted, and every result is flagged. With `leaks` `near`, near-duplicates of a text in an earlier
    split are removed like those that are the same.

    `class_names` are the classes as a sentence would name them, where the labels do not, and `templates` are sentences
    with `{}` in place of such a name, for classification by names alone. A change of either is a new version.
    """

    name: str
    version: int
    summary: str
    source: HubSource | FileSource | None = None
    languages: tuple[str, ...]
    licence: str
    citation: str
    modality: Modality = "text"
    columns: Columns = field(default_factory=Columns)
    metric: str = "macro_f1"
    content_warning: bool = False
    mirror: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    trained_on: str | None = None
    keep_leaks: bool = False
    leaks: Leaks = "exact"
    class_names: Mapping[str, str] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
