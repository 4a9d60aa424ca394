"""Reader of a task's source: files, a folder, the local mirror or the hub. Rows are returned unchanged."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from harness.api.data import SPLITS
from harness.api.errors import DataError, UsageError, describe
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.data.formats import TABLES, format_of, is_table
from harness.data.image_folder import holds_images, read_image_folder
from harness.data.split_files import SplitFiles, find_split_files
from harness.data.tables import name_classes, read_columns
from harness.storage.hashing import unchanged
from harness.storage.hub import HubFiles, is_offline
from harness.storage.parsing import parsing

Rows = Mapping[str, Sequence[Any]]
"""Rows of a source, column by column."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of a source, with the names of its columns and its spelling of classes.

    `classes` maps labels to classes where the two differ, `folder` is the base of relative paths, and `faults` are
    faults of files that have no row. `files` are the first row of each of several files, with the file's name.
    """

    rows: Rows
    columns: Columns
    classes: Mapping[str, str]
    folder: Path | None = None
    faults: tuple[str, ...] = ()
    files: tuple[tuple[int, str], ...] = ()

    def name_row(self, row: int) -> str:
        """Return the name of a row in messages, with its file if there are several."""
        place = bisect_right(self.files, row, key=lambda file: file[0])
        if not place:
            return f"row {row}"
        start, name = self.files[place - 1]
        return f"row {row - start} of '{name}'"


def data_error(spec: TaskSpec, said: str) -> DataError:
    """Return the error whose message is `task 'NAME'` followed by `said`."""
    return DataError(f"task '{spec.name}'{said}")


def read_table(path: Path, *, needed: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of a table file (.parquet, .csv, .tsv, .jsonl, .json; packed ones too), each value as it is.

    `needed` are columns that the caller reads, for what separates a CSV. Raises UsageError for another ending of the
    name, DataError with file and row for what cannot be read, and ChangedError for a file that changes meanwhile.
    """
    if not is_table(path):
        raise UsageError(f"'{path}' is none of {TABLES}")
    with unchanged({path: None}), parsing(f"'{path}' cannot be read as {format_of(path)}", kind=DataError):
        return read_columns(path, needed=needed)


def read_source(spec: TaskSpec, data_dir: Path | None) -> Table:
    """Read a task's rows from its own files or folder, else from the mirror in `data_dir`, else from the hub.

    Raises DataError if they are missing or unreadable.
    """
    if isinstance(spec.source, FileSource):
        return _read_own(spec, spec.source)
    mirrored = data_dir / (spec.mirror or spec.name) / "data.parquet" if data_dir else None
    if mirrored is not None and mirrored.is_file():
        return _read_file(spec, mirrored)
    if spec.modality == "image" and mirrored is not None and holds_images(mirrored.parent):
        return _read_folder(spec, mirrored.parent)
    if mirrored is not None and (files := _find_files(spec, mirrored.parent)):
        return _read_mirror(spec, files)
    if isinstance(spec.source, HubSource):
        hub = spec.source
        return Table(
            rows=_read_hub(spec, hub), columns=hub.columns or spec.columns, classes=_hub_labels(spec)
        )
    hint = f"there is no '{mirrored}'" if mirrored else "give its folder with --data-dir or HARNESS_DATA_DIR"
    raise data_error(spec, f" comes from a local mirror: {hint}")


def _hub_labels(spec: TaskSpec) -> Mapping[str, str]:
    labels = spec.source.labels if isinstance(spec.source, HubSource) else None
    return spec.labels if labels is None else labels


def _read_own(spec: TaskSpec, source: FileSource) -> Table:
    if source.file is None:
        return _read_files(spec, source.files, source.separator)
    if not source.file.is_dir():
        return _read_file(spec, source.file, source.separator)
    if spec.modality == "image" and holds_images(source.file):
        return _read_folder(spec, source.file)
    if files := _find_files(spec, source.file):
        return _read_files(spec, files, source.separator)
    if spec.modality == "image":
        return _read_folder(spec, source.file)  # which says what it lacks
    raise data_error(
        spec,
        f": the folder '{source.file}' has no table that is named like a split (train.csv, "
        "test-00000-of-00002.parquet): name one file as source.file, or the files of each split as source.files",
    )


def _find_files(spec: TaskSpec, folder: Path) -> SplitFiles | None:
    config = spec.source.config if isinstance(spec.source, HubSource) else None
    with parsing(f"task '{spec.name}': '{folder}' cannot be read as a folder of splits", kind=DataError):
        return find_split_files(folder, config=config)


def _read_mirror(spec: TaskSpec, files: SplitFiles) -> Table:
    """Read the splits of a mirror, which has the columns of the task's own mirror or those of the hub."""
    table = _read_files(spec, files)
    hub = spec.source.columns if isinstance(spec.source, HubSource) else None
    if hub is None or spec.columns.input in table.rows:
        return table
    table = _read_files(replace(spec, columns=hub), files)
    return replace(table, columns=hub, classes=_hub_labels(spec))


def _read_file(spec: TaskSpec, path: Path, separator: str | None = None) -> Table:
    (rows,) = _parse_files(spec, [path], separator)
    if not rows:
        raise data_error(spec, f" has no rows in '{path}'")
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=path.parent.resolve())


def _read_files(spec: TaskSpec, files: SplitFiles, separator: str | None = None) -> Table:
    """Read the files of each split, whose columns of the task must be in all of them or in none."""
    if spec.columns.split is None and isinstance(spec.source, FileSource):
        raise UsageError(
            f"task '{spec.name}' has the files of each split, and no split by its columns: leave out 'split: null'"
        )
    paths = [path for some in files.values() for path in some]
    folders = {path.parent.resolve() for path in paths}
    if spec.modality == "image" and len(folders) > 1:
        raise UsageError(
            f"task '{spec.name}': the files of its splits lie in {len(folders)} folders, so that paths of images have "
            "no one base: put them into one folder"
        )
    tables = dict(zip(paths, _parse_files(spec, paths, separator), strict=True))
    _check_columns(spec, tables)
    parts = {split: _append([tables[path] for path in some]) for split, some in files.items()}
    if any("split" in part for part in parts.values()):
        for split, part in parts.items():
            part.setdefault("split", [split] * len(next(iter(part.values()), ())))
    starts = accumulate((len(next(iter(tables[path].values()))) for path in paths), initial=0)
    return Table(
        rows=_join_splits(spec, parts, spec.columns),
        columns=spec.columns,
        classes=spec.labels,
        folder=min(folders),
        files=tuple(zip(starts, (path.name for path in paths), strict=False)),  # the last start is the end
    )


def _check_columns(spec: TaskSpec, tables: Mapping[Path, Rows]) -> None:
    """Raise DataError for a file without rows, as others would take its place, or without a column of the others."""
    if empty := [path for path, table in tables.items() if not table]:
        raise data_error(spec, f" has no rows in '{empty[0]}'")
    for name in _needed(spec):
        having = [path for path, table in tables.items() if name in table]
        lacking = [path for path, table in tables.items() if name not in table]
        if having and lacking and name != "split":  # the split is said by the files
            said = f"'{lacking[0]}' has no column '{name}', which '{having[0]}' has: name it alike in both"
            raise data_error(spec, f": {said}")


def _append(tables: Sequence[Rows]) -> dict[str, Sequence[Any]]:
    """Return the rows of tables one after another, in the columns that all of them have."""
    shared = [name for name in tables[0] if all(name in table for table in tables)] if tables else []
    return {name: [value for table in tables for value in table[name]] for name in shared}


def _needed(spec: TaskSpec) -> tuple[str, ...]:
    return (*(name for name in astuple(spec.columns) if name is not None), *spec.where)


def _parse_files(spec: TaskSpec, paths: Sequence[Path], separator: str | None) -> tuple[Rows, ...]:
    for path in paths:
        if not is_table(path):
            raise UsageError(f"task '{spec.name}': '{path}' is none of {TABLES}")
        if not path.is_file():
            web = re.match(r"(?:https?|s3|gs|hf):/", str(path))
            hint = ", for addresses are not read: fetch it, and name the file" if web else ""
            raise data_error(spec, f": there is no file '{path}'{hint}")
    states = tuple((status.st_size, status.st_mtime_ns, status.st_ino) for status in map(Path.stat, paths))
    with unchanged(dict.fromkeys(paths)):
        try:
            return _parse(tuple(paths), _needed(spec), spec.columns.label, separator, states)
        except DataError as error:
            raise data_error(spec, f": {error}") from error.__cause__


@lru_cache(maxsize=2)
def _parse(
    paths: tuple[Path, ...],
    needed: tuple[str, ...],
    label: str,
    separator: str | None,
    states: tuple[tuple[int, ...], ...],
) -> tuple[Rows, ...]:
    """Read the columns of files. `states` (size, time, inode) are only a part of the cache's key.

    The cache serves families of tasks, which read one file many times.
    """
    tables = []
    for path in paths:
        with parsing(f"'{path}' cannot be read as {format_of(path)}", kind=DataError):
            tables.append(read_columns(path, needed=needed, label=label, separator=separator))
    return tuple(tables)


def _read_folder(spec: TaskSpec, folder: Path) -> Table:
    """Read a folder of images: [SPLIT/]CLASS/FILE, or files beside a metadata.csv."""
    folder = folder.resolve()
    said = f"task '{spec.name}': '{folder}' cannot be read as a folder of images"
    with parsing(said, kind=DataError):
        rows, faults = read_image_folder(folder, label=spec.columns.label, split=spec.columns.split)
    if not rows:
        raise data_error(spec, f" has no image that can be read in '{folder}': {faults[0]}")
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=folder, faults=faults)


def quote_path(path: str | Path, folder: Path | None) -> str:
    """Return a path in quotes, relative to `folder` if it is below it."""
    if folder and Path(path).is_relative_to(folder):
        path = Path(path).relative_to(folder)
    return repr(str(path))


def _read_hub(spec: TaskSpec, source: HubSource) -> Rows:
    here = Path(source.hub)
    if here.is_dir() and not here.is_absolute():  # the library would read it, whatever the revision
        hint = "work in another folder, or name its files as source.file"
        raise data_error(
            spec, f": the folder '{here}' would be read in place of the dataset on the hub: {hint}"
        )
    with silent_datasets() as datasets:
        try:
            splits = datasets.load_dataset(source.hub, source.config, revision=source.revision)
        except Exception as error:  # network, cache and parser errors of many kinds
            raise _not_loaded(spec, source, error) from error
        columns = source.columns or spec.columns
        parts = {name: _read_columns(part, columns.label, datasets) for name, part in splits.items()}
        return _join_splits(spec, parts, columns)


def _not_loaded(spec: TaskSpec, source: HubSource, error: Exception) -> DataError:
    """Return the error for a dataset: it is not cached, not there, not to be asked for, or cannot be read."""
    from datasets.exceptions import DatasetNotFoundError

    said = f"the dataset '{source.hub}' cannot be loaded"
    if is_offline():
        hint = "run the same once online, or use --data-dir for a local mirror"
        return data_error(spec, f": {said} from its local cache (offline): {hint}")
    files = HubFiles(f"task '{spec.name}': {said}: it", source.hub, source.revision, is_dataset=True)
    if files.is_answer(error):
        return DataError(str(files.refusal(error)))
    if isinstance(error, DatasetNotFoundError):  # the library keeps to itself which of the three it is
        hint = f"check the name, accept the terms at {files.address} if there are any, and log in with `hf auth login`"
        return data_error(spec, f": {said}: it is not on the hub, or it is private or gated: {hint}")
    return data_error(spec, f": {said} ({describe(error)}): use --data-dir for a local mirror of it")


def _join_splits(spec: TaskSpec, parts: Mapping[Any, Rows], columns: Columns) -> Rows:
    """Return the rows of all splits in the columns they share, with the names of the splits under `file_split`.

    They are also under `split`, unless the rows have such a column, which has to agree if there are several splits.
    """
    parts = {name: part for name, part in parts.items() if any(part.values())}
    names = [name for name, part in parts.items() for _ in next(iter(part.values()))]
    shared = set.intersection(*map(set, parts.values())) if parts else set[str]()
    joined: dict[str, Sequence[Any]] = {
        key: [value for part in parts.values() for value in part[key]] for key in shared
    }
    joined.setdefault("file_split", names)
    if "split" not in joined:
        return {**joined, "split": names}
    if len(parts) > 1 and columns.split == "split":
        for row, (own, name) in enumerate(zip(joined["split"], names, strict=True)):
            if SPLITS.get(str(own)) != SPLITS.get(name):
                said = f"is in the split '{name}', and its column 'split' says '{own}'"
                raise data_error(
                    spec, f" row {row} {said}: name the right one as columns.split, for example file_split"
                )
    return joined


def _read_columns(rows: Any, label: str, datasets: Any) -> dict[str, list[Any]]:
    """Read a dataset of the library, with class names in place of class numbers where it declares them.

    Images stay encoded: the harness decodes them itself and counts broken ones.
    """
    features = rows.features or {}
    for name, feature in features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    columns: dict[str, list[Any]] = defaultdict(list)
    for batch in rows.iter(10_000):  # row by row takes ten times as long
        for key, values in batch.items():
            columns[key].extend(values)
    if names := getattr(features.get(label), "names", None):
        columns[label] = [*name_classes(columns[label], names)]
    return columns


@contextmanager
def silent_datasets() -> Iterator[Any]:
    """Yield the `datasets` library without its progress bars and its own messages about unreadable data."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield datasets
    finally:
        datasets.logging.set_verbosity(level)
