"""A task's source in, its rows as they stand there out: a file, a folder of images, the mirror, the hub."""

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

from harness.api.errors import DataError, UsageError, describe
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec

_READERS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}

Rows = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A source as it stands: its rows, which column holds what there, the class of each label that is spelled
    otherwise, the folder that paths go from, and what is wrong with files beside its rows.
    """

    rows: Rows
    columns: Columns
    classes: Mapping[str, str]
    folder: Path | None = None
    faults: tuple[str, ...] = ()


def read_source(spec: TaskSpec, data_dir: Path | None) -> Table:
    """A task's rows: of its file or folder, of the mirror in `data_dir`, or of the hub; DataError where they are not
    there or cannot be read.
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
    wanted = (
        f"there is no '{mirrored}'" if mirrored else "give its folder with --data-dir or HARNESS_DATA_DIR"
    )
    raise DataError(f"task '{spec.name}' comes from a local mirror: {wanted}")


def _read_file(spec: TaskSpec, path: Path) -> Table:
    if spec.modality == "image" and path.is_dir():
        return _read_folder(spec, path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise UsageError(f"task '{spec.name}': '{path}' is none of {', '.join(_READERS)}")
    if not path.is_file():
        raise DataError(f"task '{spec.name}': there is no file '{path}'")
    named = (*(name for name in astuple(spec.columns) if name is not None), *spec.where)
    if reader == "csv":
        _refuse_repeated_columns(spec, path, named)
    status = path.stat()
    try:
        label, as_it_is = spec.columns.label, (status.st_size, status.st_mtime_ns, status.st_ino)
        rows = _parse(str(path), reader, named, label, as_it_is)
    except Exception as error:  # parsers of four formats raise what they like
        said = describe(error.__cause__ or error)
        raise DataError(f"task '{spec.name}': '{path}' cannot be read as {reader}: {said}") from error
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=path.parent.resolve())


def _refuse_repeated_columns(spec: TaskSpec, path: Path, named: Iterable[str]) -> None:
    """The reader would take the first of two columns of one name and call the second otherwise."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        head = next(csv.reader(file), [])
    for name in named:
        if head.count(name) > 1:
            raise DataError(f"task '{spec.name}': '{path}' has the column '{name}' twice")


@lru_cache(maxsize=2)
def _parse(path: str, reader: str, named: tuple[str, ...], label: str, as_it_is: tuple[int, ...]) -> Rows:
    """The columns of a file, remembered while it stays as it is: a family of tasks reads one file many times.

    CSV knows no types: read as text, a value depends on no other row, and `NA` and `007` stay what they are.
    """
    as_text = {"keep_default_na": False, "converters": dict.fromkeys(named, str)} if reader == "csv" else {}
    with silent_datasets() as datasets:
        rows = datasets.load_dataset(reader, data_files=path, split="train", streaming=True, **as_text)
        return _named_labels(_encoded(rows, datasets), label)


def _read_folder(spec: TaskSpec, folder: Path) -> Table:
    """A folder of images as `datasets` lays it out: [SPLIT/]CLASS/FILE, or files beside a metadata.csv."""
    folder = folder.resolve()
    with silent_datasets() as datasets:
        try:
            builder = datasets.load_dataset_builder("imagefolder", data_dir=str(folder))
            rows = _joined_splits(builder.as_streaming_dataset(), spec.columns.label, datasets)
        except Exception as error:  # the builder raises what it likes
            said = describe(error.__cause__ or error)
            raise DataError(
                f"task '{spec.name}': '{folder}' cannot be read as a folder of images: {said}"
            ) from error
    files = [Path(file) for files in builder.config.data_files.values() for file in files]
    faults = tuple(
        f"{quote_path(file, folder)}: format: no image that is read has the ending of its name"
        for file in _strangers(files)
    )
    if faults and spec.columns.label not in rows:
        raise DataError(f"task '{spec.name}' has too few images that can be read in '{folder}': {faults[0]}")
    return Table(rows=rows, columns=spec.columns, classes=spec.labels, folder=folder, faults=faults)


_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_BESIDE = re.compile(
    r"(readme|licen[cs]e|copying)[^.]*(\.(md|txt|rst|html|pdf))?|thumbs\.db|desktop\.ini|.*\.zip",
    re.IGNORECASE,
)
"""Names of what lies in folders of images and is none; what is in an archive has rows of its own."""


def _strangers(files: Sequence[Path]) -> list[Path]:
    """The files that `datasets` passes over in silence, though each should be an image; where metadata say which files
    are the rows, no other has to be one.
    """
    if any(file.name in _METADATA for file in files):
        return []
    return [file for file in files if not _is_named_as_image(file) and not _BESIDE.fullmatch(file.name)]


def _is_named_as_image(file: Path) -> bool:
    """Whether `datasets` takes a file for an image, which it does by the last two endings of its name."""
    return any(ending.lower() in _image_endings() for ending in file.suffixes[-2:])


@lru_cache(maxsize=1)
def _image_endings() -> frozenset[str]:
    with silent_datasets():
        from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
    return frozenset(ImageFolder.EXTENSIONS)


def _holds_images(folder: Path) -> bool:
    """Whether anything in a folder is an image by its name, or says which are; what is hidden does not count."""
    return any(
        (file.name in _METADATA or _is_named_as_image(file)) and file.is_file()
        for file in folder.rglob("*")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def quote_path(path: str | Path, folder: Path | None) -> str:
    """A path as sentences have it, from its folder on where it lies there."""
    if folder and Path(path).is_relative_to(folder):
        path = Path(path).relative_to(folder)
    return repr(str(path))


def _read_hub(spec: TaskSpec, source: HubSource) -> Rows:
    with silent_datasets() as datasets:
        try:
            splits = datasets.load_dataset(source.hub, source.config, revision=source.revision)
        except Exception as error:  # network, cache and parser errors of many kinds
            raise DataError(
                f"task '{spec.name}': the dataset '{source.hub}' cannot be loaded from the hub or its local "
                f"cache; use --data-dir for a local mirror"
            ) from error
        return _joined_splits(splits, (source.columns or spec.columns).label, datasets)


def _joined_splits(splits: Any, label: str, datasets: Any) -> Rows:
    """The rows of every split, with the name of theirs in the column `split`."""
    parts = {name: _named_labels(_encoded(part, datasets), label) for name, part in splits.items()}
    parts = {name: part for name, part in parts.items() if any(part.values())}
    names = [name for name, part in parts.items() for _ in next(iter(part.values()))]
    keys = set.intersection(*(set(part) for part in parts.values())) if parts else set[str]()
    joined: dict[str, Sequence[Any]] = {
        key: [value for part in parts.values() for value in part[key]] for key in keys
    }
    return {**joined, "split": names}


def _encoded(rows: Any, datasets: Any) -> Any:
    """The rows with images as the bytes or paths of their files: here they are decoded, and what is broken counted."""
    for name, feature in (rows.features or {}).items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _named_labels(part: Any, label: str) -> dict[str, list[Any]]:
    """The columns of one split, with class numbers as class names where the dataset declares them."""
    columns = _columns(part)
    names = getattr((part.features or {}).get(label), "names", None)
    if names:
        # Where labels are withheld, the hub writes -1.
        columns[label] = [None if value is None or value < 0 else names[value] for value in columns[label]]
    return columns


def _columns(rows: Any) -> dict[str, list[Any]]:
    """Of a dataset or a stream, batch by batch: row by row takes ten times as long."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for batch in rows.iter(10_000):
        for key, values in batch.items():
            columns[key].extend(values)
    return columns


@contextmanager
def silent_datasets() -> Iterator[Any]:
    """The `datasets` library without its progress bars, and without its own lines about what cannot be read."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield datasets
    finally:
        datasets.logging.set_verbosity(level)
