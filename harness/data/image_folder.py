"""Reader of a folder of images: [SPLIT/]CLASS/FILE, or files that a metadata.csv beside them names. No image is opened.

Folders alone decide; words inside names mean nothing. The folders at the top are splits only if each of them is named
like one (train, valid, test, …, in any case) and holds folders of classes. Every file is a row or a fault, except those
that are not meant as images (hidden files, README, LICENSE).
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.api.data import SPLITS, Split
from harness.data.formats import NO_DATA, TableError, is_table, stem_of
from harness.data.tables import read_columns
from harness.storage.parsing import parsing
from harness.storage.paths import check_inside

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Suffixes of image files, in lower case."""


Row = dict[str, Any]
"""Column → value; `image` is the path of the file."""


def read_image_folder(
    folder: Path, *, label: str, split: str | None
) -> tuple[Mapping[str, list[Any]], tuple[str, ...]]:
    """Return the columns of a folder, and a sentence about each file that is no row.

    `image` is the path of the file. Without metadata, `label` is its class; `split` and `file_split` are the split of
    its folder, if it has one. Metadata with a column `split` keep it. Raises TableError for a layout with two readings,
    and for a fault of the metadata.
    """
    files = sorted(_walk(folder), key=str)
    metadata = [file for file in files if _is_metadata(file)]
    others = [file for file in files if not _is_metadata(file)]
    if not others:
        raise TableError("it holds no image")
    if metadata:
        rows, faults = _read_named(folder, metadata, others, needed=("file_name", label), split=split)
    else:
        rows, faults = _read_classes(folder, others, label)
    order = list(dict.fromkeys(SPLITS.values()))
    rows.sort(key=lambda row: order.index(row["file_split"]) if "file_split" in row else 0)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}, tuple(faults)


def _is_metadata(file: Path) -> bool:
    """Return True for `metadata.csv` and its like: any table of that name, in any case."""
    return stem_of(file).lower() == "metadata" and is_table(file)


def is_image_name(file: Path) -> bool:
    """Return True if a name ends like that of an image, perhaps before one more suffix."""
    return any(suffix.lower() in SUFFIXES for suffix in file.suffixes[-2:])


def holds_images(folder: Path) -> bool:
    """Return True if a folder is there and has an image or a metadata file that is not hidden, at any depth."""
    return folder.is_dir() and any(_is_metadata(file) or is_image_name(file) for file in _walk(folder))


def name_splits(folders: Collection[str]) -> Mapping[str, Split]:
    """Return the split of each of the folders that lie side by side; none unless all of them are named like splits.

    Raises TableError if two names differ only by case, or by how Unicode spells them.
    """
    _check_spellings(folders)
    named = {folder: SPLITS[folder.casefold()] for folder in folders if folder.casefold() in SPLITS}
    return named if len(named) == len(folders) else {}


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files at any depth, relative to the folder, that may be images or metadata; links are followed once."""
    real = os.path.realpath(folder)
    for entry in os.scandir(folder) if real not in above else ():
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if not _is_text(entry.name):  # it would be a label, and no record could hold it
            raise TableError(f"the name {os.fsencode(entry.name)!r} in it is not UTF-8: rename it")
        if entry.is_dir():
            if entry.is_symlink():
                _check_link(entry, (above or (real,))[0])
            yield from (Path(entry.name) / file for file in _walk(folder / entry.name, (*above, real)))
        elif not NO_DATA.fullmatch(entry.name):
            yield Path(entry.name)


def _is_text(name: str) -> bool:
    with suppress(UnicodeEncodeError):
        name.encode()
        return True
    return False


def _check_link(link: os.DirEntry[str], folder: str) -> None:
    """Raise TableError for a link to a folder above this one: it would lead through all that lies there."""
    place = os.path.realpath(link.path)
    if place != folder and os.path.commonpath([place, folder]) == place:
        raise TableError(
            f"the link '{link.name}' in it leads to '{place}', which holds the folder itself: remove it"
        )


def _check_spellings(names: Iterable[str]) -> None:
    spelled: dict[str, str] = {}
    for name in sorted(set(names)):
        other = spelled.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise TableError(
                f"its folders '{other}' and '{name}' differ only by case or accents: join or rename them"
            )


# ── folders of classes ───────────────────────────────────────────────────────────────────────────────────


def _read_classes(folder: Path, files: Sequence[Path], label: str) -> tuple[list[Row], list[str]]:
    images = [file for file in files if is_image_name(file)]
    others = [file for file in files if not is_image_name(file)]
    faults = [_fault(file, "format: no image that is read has the ending of its name") for file in others]
    depth = _count_wrappers(images)
    splits = _find_splits([file.parts[depth:] for file in images])
    _check_lost(others, depth, splits, "no file that is read as an image lies")
    rows = []
    for file in images:
        top, *inner = file.parts[depth:]
        place = inner if splits else [top, *inner]
        if len(place) < 2:
            faults.append(_fault(file, "unlabelled: it lies in no folder of a class"))
        else:
            found = {"split": splits[top], "file_split": splits[top]} if splits else {}
            rows.append({"image": folder / file, label: place[0], **found})
    _check_spellings(str(row[label]) for row in rows)
    return rows, faults


def _count_wrappers(images: Sequence[Path]) -> int:
    """Return the number of folders, one inside another, that hold nothing but the folders of splits or classes."""
    depth = 0
    while images and all(len(file.parts) > depth + 2 for file in images):
        top, *others = {file.parts[depth] for file in images}
        if others or top.casefold() in SPLITS:
            break
        depth += 1
    return depth


def _find_splits(places: Sequence[tuple[str, ...]]) -> Mapping[str, Split]:
    """Return the split of each folder at the top, or none if they are classes."""
    holds_classes = {place[0]: False for place in places if len(place) > 1}
    for place in places:
        if len(place) > 2:
            holds_classes[place[0]] = True
    splits = name_splits(holds_classes.keys())
    if splits and len(set(holds_classes.values())) == 2:
        yes, no = (
            min(top for top, holds in holds_classes.items() if holds is wanted) for wanted in (True, False)
        )
        raise TableError(
            f"'{yes}' holds folders of classes and '{no}' none, though both are named like splits: sort its images "
            "into folders of classes, or rename it"
        )
    return splits if any(holds_classes.values()) else {}


def _check_lost(left: Sequence[Path], depth: int, splits: Mapping[str, Split], said: str) -> None:
    """Raise TableError if all files of a split are among those left: others would take their place without a word."""
    folders = {file.parts[depth] for file in left if len(file.parts) > depth + 1}
    lost = {folder for folder in folders if folder.casefold() in SPLITS} - splits.keys()
    if splits and lost:
        raise TableError(f"{said} in '{min(lost)}', a folder named like a split")


def _fault(file: Path, said: str) -> str:
    return f"{str(file)!r}: {said}"


# ── metadata ─────────────────────────────────────────────────────────────────────────────────────────────


def _read_named(
    folder: Path, metadata: Sequence[Path], files: Sequence[Path], *, needed: Sequence[str], split: str | None
) -> tuple[list[Row], list[str]]:
    """Return the rows of all metadata files in their order, and a fault for each file that none of them names."""
    for one, other in pairwise(metadata):
        if one.parent == other.parent:
            raise TableError(f"'{one}' and '{other}' lie side by side: keep one")
    rows = [(file, row) for file in metadata for row in _read_metadata(folder, file, needed)]
    places = [_place(file, row) for file, row in rows]
    named = {place for place in places if place is not None}
    splits = name_splits({place.parts[0] if len(place.parts) > 1 else "" for place in named})
    for (file, row), place in zip(rows, places, strict=True):
        row["image"] = place and folder / place
        if splits and place:
            _add_split(row, splits[place.parts[0]], file, split)
    unnamed = [file for file in files if file not in named]
    _check_lost(unnamed, 0, splits, "no row of the metadata names a file")
    faults = [_fault(file, "unlisted: no row of the metadata names it") for file in unnamed]
    return [row for _, row in rows], faults


def _place(file: Path, row: Row) -> Path | None:
    """Return the path of a row's image relative to the folder; None if the row names none.

    Raise UnavailableError for a path out of the folder.
    """
    name = row["file_name"]
    if not name or not name.strip():
        return None
    place = os.path.normpath(file.parent / name)
    check_inside(place, by=f"'{file}'")  # it may lie above the metadata, in another folder of a split
    return Path(place)


def _read_metadata(folder: Path, file: Path, needed: Sequence[str]) -> list[Row]:
    with parsing(f"'{file}'", kind=TableError):
        columns = read_columns(folder / file, needed=needed, label=needed[-1])
    if not columns:
        raise TableError(f"'{file}' has no rows")
    for name, wanted in (("file_name", True), ("image", False)):
        if (name in columns) != wanted:
            raise TableError(f"'{file}' has {'no' if wanted else 'a'} column '{name}'")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for number, row in enumerate(rows):
        if not isinstance(row["file_name"], str | None):
            raise TableError(
                f"'{file}' row {number} has {row['file_name']!r} as its file_name, which is no text"
            )
    return rows


def _add_split(row: Row, split: Split, file: Path, column: str | None) -> None:
    """Add the split of a row's folder, which must agree with the row's own column `split` if the task reads that."""
    row.setdefault("file_split", split)
    own = row.setdefault("split", split)
    if column == "split" and SPLITS.get(str(own)) != split:
        raise TableError(
            f"'{row['file_name']}' lies in a folder of the split '{split}', and '{file}' says '{own}': name "
            "the right one as columns.split, for example file_split"
        )
