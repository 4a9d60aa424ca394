"""Reader of a task's source: a file, a folder of images, the local mirror or the hub. Rows are returned unchanged."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.api.errors import DataError, UnavailableError, UsageError, describe
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec

_READERS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}
"""Suffix of a file → builder of `datasets` that reads it."""

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
    except Exception as error:  # readers of five formats raise any type
        raise DataError(f"{said}: {describe(error.__cause__ or error)}") from error


def read_source(spec: TaskSpec, data_dir: Path | None) -> Table:
    """Read a task's rows from its own file or folder, else from the mirror in `data_dir`, else from the hub.

    Raises DataError if they are missing or unreadable.
    """
    if isinstance(spec.source, FileSource):
        return _read_file(spec, spec.source.file)
    mirrored = data_dir / (spec.mirror or spec.name) / "data.parquet" if data_dir else None
    if mirrored is not None and mirrored.is_file():
        return _read_file(spec, mirrored)
    if spec.modality == "image" and mirrored is not None and _holds_images(mirrored.parent):
        return _read_folder(spec, mirrored.parent)
    if isinstance(spec.source, HubSource):
        hub = spec.source
        labels = spec.labels if hub.labels is None else hub.labels
        return Table(rows=_read_hub(spec, hub), columns=hub.columns or spec.columns, classes=labels)
    hint = f"there is no '{mirrored}'" if mirrored else "give its folder with --data-dir or HARNESS_DATA_DIR"
    raise data_error(spec, f" comes from a local mirror: {hint}")


def _read_file(spec: TaskSpec, path: Path) -> Table:
    if spec.modality == "image" and path.is_dir():
        return _read_folder(spec, path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise UsageError(f"task '{spec.name}': '{path}' is none of {', '.join(_READERS)}")
    if not path.is_file():
        raise data_error(spec, f": there is no file '{path}'")
    named = (*(name for name in astuple(spec.columns) if name is not None), *spec.where)
    if reader == "csv":
        _check_header(spec, path, named)
    status = path.stat()
    state = (status.st_size, status.st_mtime_ns, status.st_ino)
    with naming_errors(f"task '{spec.name}': '{path}' cannot be read as {reader}"):
        rows = _parse(str(path), reader, named, spec.columns.label, state)
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=path.parent.resolve())


def _check_header(spec: TaskSpec, path: Path, named: Iterable[str]) -> None:
    """Raise DataError if a CSV has a needed column twice: pandas would rename the second without a word."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        head = next(csv.reader(file), [])
    for name in named:
        if head.count(name) > 1:
            raise data_error(spec, f": '{path}' has the column '{name}' twice")


@lru_cache(maxsize=2)
def _parse(path: str, reader: str, named: tuple[str, ...], label: str, state: tuple[int, ...]) -> Rows:
    """Read the columns of a file. `state` (size, time, inode) is only a part of the cache's key.

    The cache serves families of tasks, which read one file many times. CSV has no types: its named columns are read
    as text, so that no value depends on another row, and `NA` and `007` stay unchanged.
    """
    as_text = {"keep_default_na": False, "converters": dict.fromkeys(named, str)} if reader == "csv" else {}
    with silent_datasets() as datasets:
        rows = datasets.load_dataset(reader, data_files=path, split="train", streaming=True, **as_text)
        return _read_columns(rows, label, datasets)


def _read_folder(spec: TaskSpec, folder: Path) -> Table:
    """Read a folder of images in a layout of `datasets`: [SPLIT/]CLASS/FILE, or files beside a metadata.csv."""
    folder = folder.resolve()
    said = f"task '{spec.name}': '{folder}' cannot be read as a folder of images"
    with silent_datasets() as datasets, naming_errors(said):
        builder = datasets.load_dataset_builder("imagefolder", data_dir=str(folder))
        rows = _join_splits(builder.as_streaming_dataset(), spec.columns.label, datasets)
    files = [Path(file) for files in builder.config.data_files.values() for file in files]
    said = "format: no image that is read has the ending of its name"
    faults = tuple(f"{quote_path(file, folder)}: {said}" for file in _find_ignored(files))
    if faults and spec.columns.label not in rows:
        raise data_error(spec, f" has too few images that can be read in '{folder}': {faults[0]}")
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=folder, faults=faults)


_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_NO_IMAGES = re.compile(
    r"(?i)(readme|licen[cs]e|copying)[^.]*(\.(md|txt|rst|html|pdf))?|thumbs\.db|desktop\.ini|.*\.zip"
)
"""Names of files in folders of images that are not meant as images; files in an archive have their own rows."""


def _find_ignored(files: Sequence[Path]) -> list[Path]:
    """Return the files that `datasets` ignores silently although each should be an image.

    Where metadata name the rows, no other file has to be an image.
    """
    if any(file.name in _METADATA for file in files):
        return []
    return [file for file in files if not (_is_image_name(file) or _NO_IMAGES.fullmatch(file.name))]


def _is_image_name(file: Path) -> bool:
    """Return True if `datasets` treats a file as an image, by the last two suffixes of its name."""
    return any(suffix.lower() in _image_suffixes() for suffix in file.suffixes[-2:])


@lru_cache(maxsize=1)
def _image_suffixes() -> frozenset[str]:
    with silent_datasets():
        from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
    return frozenset(ImageFolder.EXTENSIONS)


def _holds_images(folder: Path) -> bool:
    """Return True if a folder has an image or a metadata file that is not hidden, at any depth."""
    return any(
        (file.name in _METADATA or _is_image_name(file)) and file.is_file()
        for file in folder.rglob("*")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def quote_path(path: str | Path, folder: Path | None) -> str:
    """Return a path in quotes, relative to `folder` if it is below it."""
    if folder and Path(path).is_relative_to(folder):
        path = Path(path).relative_to(folder)
    return repr(str(path))


def _read_hub(spec: TaskSpec, source: HubSource) -> Rows:
    with silent_datasets() as datasets:
        try:
            splits = datasets.load_dataset(source.hub, source.config, revision=source.revision)
        except Exception as error:  # network, cache and parser errors of many kinds
            hint = "the hub or its local cache; use --data-dir for a local mirror"
            raise data_error(spec, f": the dataset '{source.hub}' cannot be loaded from {hint}") from error
        return _join_splits(splits, (source.columns or spec.columns).label, datasets)


def _join_splits(splits: Any, label: str, datasets: Any) -> Rows:
    """Return the rows of all splits in the columns they share, with a column `split` of their names."""
    parts = {name: _read_columns(part, label, datasets) for name, part in splits.items()}
    parts = {name: part for name, part in parts.items() if any(part.values())}
    names = [name for name, part in parts.items() for _ in next(iter(part.values()))]
    shared = set.intersection(*map(set, parts.values())) if parts else set[str]()
    joined = {key: [value for part in parts.values() for value in part[key]] for key in shared}
    return {**joined, "split": names}


def _read_columns(rows: Any, label: str, datasets: Any) -> dict[str, list[Any]]:
    """Read a dataset or stream of `datasets`, with class names in place of class numbers where it declares them.

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
        # Where labels are withheld, the hub writes -1.
        columns[label] = [None if value is None or value < 0 else names[value] for value in columns[label]]
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
