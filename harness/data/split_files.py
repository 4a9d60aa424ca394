"""Files of a task whose splits lie apart: train.csv beside test.csv, or shards such as train-00000-of-00002.parquet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.api.data import SPLITS, Split
from harness.api.errors import name_some
from harness.data.formats import NO_DATA, TableError, endings_of, is_table, stem_of

SplitFiles = Mapping[Split, tuple[Path, ...]]
"""Split → its files, in the order of their rows: train, validation, test."""

_SHARD = re.compile(r"(.+?)-([0-9]{5})-of-([0-9]{5})")


def find_split_files(folder: Path, *, config: str | None = None) -> SplitFiles | None:
    """Return the files of each split in a folder; None if none is named like a split.

    They lie in the folder itself, or as on the hub in its folder `data` or that of the configuration. A file is named
    like its split, or lies in a folder that is. Raises TableError for any other file beside them, which would be lost,
    for files with two readings, and for a shard that is missing.
    """
    for place in (folder, folder / "data", *([folder / config] if config else [])):
        named = [(file, _name_split(file.relative_to(place))) for file in _walk(place)]
        if any(name for file, name in named if is_table(file)):
            return _group(named, place)
    return None


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of its folders, in order, without those that are no data."""
    for entry in _list(folder) if folder.is_dir() else ():
        yield from _list(entry) if entry.is_dir() else (entry,)


def _list(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and not NO_DATA.fullmatch(entry.name)
    )


def _name_split(place: Path) -> str | None:
    """Return how the split of a file is spelled: its folder's name, or its own, in lower case."""
    if len(place.parts) > 1:
        name = place.parts[0].casefold()
    else:
        shard = _SHARD.fullmatch(stem_of(place))
        name = (shard[1] if shard else stem_of(place)).casefold()
    return name if name in SPLITS else None


def _group(named: Sequence[tuple[Path, str | None]], folder: Path) -> SplitFiles:
    groups: dict[Split, dict[tuple[str, ...], list[Path]]] = {
        split: {} for split in dict.fromkeys(SPLITS.values())
    }
    for file, name in named:
        place = file.relative_to(folder)
        if name is None or not is_table(file):
            raise TableError(
                f"'{place}' is no table that is named like a split, and lies beside such: move it away, name it as "
                "train.csv, validation.csv or test.csv are, or name the files of each split as source.files"
            )
        kind = (place.parts[0],) if len(place.parts) > 1 else (name, *endings_of(file), _shards_of(file))
        groups[SPLITS[name]].setdefault(kind, []).append(file)
    for split, kinds in groups.items():
        if len(kinds) > 1:
            one, other = (files[0].relative_to(folder) for files in [*kinds.values()][:2])
            raise TableError(
                f"'{one}' and '{other}' are both of the split '{split}': keep one, or name its files as source.files"
            )
    found = {split: tuple(next(iter(kinds.values()))) for split, kinds in groups.items() if kinds}
    for files in found.values():
        _check_shards(files)
    return found


def _shards_of(file: Path) -> str:
    shard = _SHARD.fullmatch(stem_of(file))
    return shard[3] if shard else ""


def _check_shards(files: Sequence[Path]) -> None:
    """Raise TableError if shards are missing, as after a download that was cut."""
    by_total: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if shard := _SHARD.fullmatch(stem_of(file)):
            by_total[shard[3]].add(shard[2])
    for total, there in by_total.items():
        missing = [f"{number:05}" for number in range(min(int(total), 10_000)) if f"{number:05}" not in there]
        if missing:
            raise TableError(
                f"'{files[0].name}' is one of {int(total)} shards, and these numbers are missing: "
                f"{name_some(missing)}; fetch them, or name the files of each split as source.files"
            )
