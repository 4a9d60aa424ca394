"""Reader of a task's source: a file, a folder of images, the local mirror or the hub. Rows are returned unchanged."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.api.data import SPLITS
from harness.api.errors import DataError, UnavailableError, UsageError, describe
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.data.formats import TABLES, TableError, format_of, is_table
from harness.data.image_folder import holds_images, read_image_folder
from harness.data.tables import name_classes, read_columns
from harness.storage.hashing import unchanged

Rows = Mapping[str, Sequence[Any]]
"""Rows of a source, column by column."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of a source, with the names of its columns and its spelling of classes.

    `classes` maps labels to classes where the two differ, `folder` is the base of relative paths, and `faults` are
    faults of files that have no row.
    """

    rows: Rows
    columns: Columns
    classes: Mapping[str, str]
    folder: Path | None = None
    faults: tuple[str, ...] = ()


def data_error(spec: TaskSpec, said: str) -> DataError:
    """Return the error whose message is `task 'NAME'` followed by `said`."""
    return DataError(f"task '{spec.name}'{said}")


@contextmanager
def naming_errors(said: str) -> Iterator[None]:
    """Raise every exception of the block as a DataError whose message begins with `said`; pass errors of data on."""
    try:
        yield
    except UnavailableError:
        raise
    except TableError as error:
        raise DataError(f"{said}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{said}: it is not UTF-8 text: save it as UTF-8") from error
    except Exception as error:  # readers of five formats raise any type
        raise DataError(f"{said}: {describe(error.__cause__ or error)}") from error


def read_table(path: Path, *, needed: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of a table file (.parquet, .csv, .tsv, .jsonl, .json; packed ones too), each value as it is.

    `needed` are columns that the caller reads, for what separates a CSV. Raises UsageError for another ending of the
    name, DataError with file and row for what cannot be read, and ChangedError for a file that changes meanwhile.
    """
    if not is_table(path):
        raise UsageError(f"'{path}' is none of {TABLES}")
    with unchanged({path: None}), naming_errors(f"'{path}' cannot be read as {format_of(path)}"):
        return read_columns(path, needed=needed)


def read_source(spec: TaskSpec, data_dir: Path | None) -> Table:
    """Read a task's rows from its own file or folder, else from the mirror in `data_dir`, else from the hub.

    Raises DataError if they are missing or unreadable.
    """
    if isinstance(spec.source, FileSource):
        return _read_file(spec, spec.source.file, spec.source.separator)
    mirrored = data_dir / (spec.mirror or spec.name) / "data.parquet" if data_dir else None
    if mirrored is not None and mirrored.is_file():
        return _read_file(spec, mirrored)
    if spec.modality == "image" and mirrored is not None and holds_images(mirrored.parent):
        return _read_folder(spec, mirrored.parent)
    if isinstance(spec.source, HubSource):
        hub = spec.source
        labels = spec.labels if hub.labels is None else hub.labels
        return Table(rows=_read_hub(spec, hub), columns=hub.columns or spec.columns, classes=labels)
    hint = f"there is no '{mirrored}'" if mirrored else "give its folder with --data-dir or HARNESS_DATA_DIR"
    raise data_error(spec, f" comes from a local mirror: {hint}")


def _read_file(spec: TaskSpec, path: Path, separator: str | None = None) -> Table:
    if spec.modality == "image" and path.is_dir():
        return _read_folder(spec, path)
    if not is_table(path):
        raise UsageError(f"task '{spec.name}': '{path}' is none of {TABLES}")
    if not path.is_file():
        raise data_error(spec, f": there is no file '{path}'")
    needed = (*(name for name in astuple(spec.columns) if name is not None), *spec.where)
    status = path.stat()
    state = (status.st_size, status.st_mtime_ns, status.st_ino)
    said = f"task '{spec.name}': '{path}' cannot be read as {format_of(path)}"
    with unchanged({path: None}), naming_errors(said):
        rows = _parse(path, needed, spec.columns.label, separator, state)
    if not rows:
        raise data_error(spec, f" has no rows in '{path}'")
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=path.parent.resolve())


@lru_cache(maxsize=2)
def _parse(
    path: Path, needed: tuple[str, ...], label: str, separator: str | None, state: tuple[int, ...]
) -> Rows:
    """Read the columns of a file. `state` (size, time, inode) is only a part of the cache's key.

    The cache serves families of tasks, which read one file many times.
    """
    return read_columns(path, needed=needed, label=label, separator=separator)


def _read_folder(spec: TaskSpec, folder: Path) -> Table:
    """Read a folder of images: [SPLIT/]CLASS/FILE, or files beside a metadata.csv."""
    folder = folder.resolve()
    with naming_errors(f"task '{spec.name}': '{folder}' cannot be read as a folder of images"):
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
            hint = "the hub or its local cache; use --data-dir for a local mirror"
            raise data_error(spec, f": the dataset '{source.hub}' cannot be loaded from {hint}") from error
        return _join_splits(spec, splits, source.columns or spec.columns, datasets)


def _join_splits(spec: TaskSpec, splits: Any, columns: Columns, datasets: Any) -> Rows:
    """Return the rows of all splits in the columns they share, with the names of the splits under `file_split`.

    They are also under `split`, unless the rows have such a column, which has to agree if there are several splits.
    """
    parts = {name: _read_columns(part, columns.label, datasets) for name, part in splits.items()}
    parts = {name: part for name, part in parts.items() if any(part.values())}
    names = [name for name, part in parts.items() for _ in next(iter(part.values()))]
    shared = set.intersection(*map(set, parts.values())) if parts else set[str]()
    joined = {key: [value for part in parts.values() for value in part[key]] for key in shared}
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
