"""Inventory of the cache folder: its entries, damage, and pruning. Files of others are neither listed nor touched."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.api.errors import UnavailableError, WriteError
from harness.storage.atomic import TEMPORARY, hold_alone
from harness.storage.cache_place import FOLDERS, IN_USE, KINDS
from harness.storage.cached_folder import find_changed
from harness.storage.feature_store import (
    read_batches_file,
    read_checked,
    read_json,
    read_shard,
)
from harness.storage.parsing import ParseError, parsing

GRACE = 3600.0
"""Seconds after its last use in which an entry is not pruned while any run uses the cache."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Unit of the cache: the files of one key, a batch plan, or a file that a killed writer left.

    `used` is the time of the last reading or writing, in seconds since the epoch.
    """

    kind: str
    path: Path
    complete: bool
    files: tuple[Path, ...]
    bytes: int
    used: float
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Result of pruning: entries taken, entries spared because they are in use, and entries that are dated anew."""

    taken: tuple[Entry, ...]
    spared: tuple[Entry, ...]
    redated: tuple[Entry, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes freed."""
        return sum(entry.bytes for entry in self.taken)


def list_entries(root: Path) -> list[Entry]:
    """Return the entries of the store under `root`, least recently used first.

    Raise UnavailableError when there is no such folder.
    """
    if not root.is_dir():
        raise UnavailableError(f"there is no cache in '{root}'")
    found: list[Entry] = []
    for kind, marked in KINDS.items():
        for folder in sorted((root / kind).glob("*")):
            if _is_key(folder.name):
                about = read_json(folder / "complete.json")
                found += _entries(folder, kind, complete=not marked or about is not None, about=about or {})
    for path in sorted((root / "plans").glob("*.json")):
        if _is_key(path.stem):
            found += _entries(path, "plans", complete=True)
    for path in sorted(root.glob(f"*/{TEMPORARY}*")) + sorted(root.glob(f"*/*/{TEMPORARY}*")):
        if path.relative_to(root).parts[0] in {*KINDS, "plans"}:
            found += _entries(path, "leftovers", complete=False)
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def find_damage(root: Path, *, remove: bool = False) -> dict[Path, str]:
    """Return every damaged file with what is wrong with it, after reading all bytes.

    With `remove` these are deleted, so that the next run makes them again.
    """
    damage: dict[Path, str] = {}
    for entry in list_entries(root):
        found = _damage(entry)
        damage |= found
        if remove and found:
            for path in (*found, *([entry.path / "complete.json"] if entry.path.is_dir() else [])):
                _remove(path)
    return damage


def prune(
    root: Path,
    *,
    older_than: float | None = None,
    max_bytes: int | None = None,
    incomplete: bool = False,
    everything: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Delete entries not used for `older_than` seconds, incomplete ones, or all; then the least recently used, until
    at most `max_bytes` are left. While any run uses the cache, entries used within the last hour stay.

    An entry dated in the future, by a clock that was or is ahead, counts as used just now and is dated so: as it is, it
    would neither grow old nor ever stop counting as in use.
    """
    with hold_alone(root / IN_USE) as alone:
        now = time.time()
        listed = list_entries(root)
        ahead = {entry.path for entry in listed if entry.used > now}
        # Sorted by use, so those that come last keep their place.
        entries = [replace(entry, used=min(entry.used, now)) for entry in listed]
        busy = [] if alone else [entry for entry in entries if now - entry.used < GRACE]

        def is_named(entry: Entry) -> bool:
            too_old = older_than is not None and now - entry.used > older_than
            return everything or too_old or (incomplete and not entry.complete)

        free = [entry for entry in entries if entry not in busy]
        taken = [entry for entry in free if is_named(entry)]
        left = sum(entry.bytes for entry in entries) - sum(entry.bytes for entry in taken)
        for entry in free:
            if max_bytes is None or left <= max_bytes:
                break
            if not is_named(entry):
                taken.append(entry)
                left -= entry.bytes
        if not dry_run:
            for entry in taken:
                _remove(entry.path)
        redated = [entry for entry in entries if entry.path in ahead and entry not in taken]
        if not dry_run:
            for entry in redated:
                _date(entry, now)
    too_much = max_bytes is not None and left > max_bytes
    return Pruned(
        taken=tuple(taken),
        spared=tuple(entry for entry in busy if too_much or is_named(entry)),
        redated=tuple(redated),
    )


def _is_key(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def _entries(
    path: Path, kind: str, *, complete: bool, about: Mapping[str, Any] | None = None
) -> Iterator[Entry]:
    """Yield the entry of a path; nothing when it was deleted meanwhile."""
    try:
        files = {file: file.stat() for file in (sorted(path.iterdir()) if path.is_dir() else [path])}
        used = max((status.st_mtime for status in files.values()), default=path.stat().st_mtime)
    except FileNotFoundError:
        return
    whole = {
        file: status
        for file, status in files.items()
        if kind == "leftovers" or not file.name.startswith(TEMPORARY)
    }
    yield Entry(
        kind=kind,
        path=path,
        complete=complete,
        files=tuple(whole),
        bytes=sum(status.st_size for status in whole.values()),
        used=used,
        about=about or {},
    )


def _damage(entry: Entry) -> dict[Path, str]:
    """Return the damaged files of one entry, with what is wrong."""
    if entry.kind == FOLDERS and entry.complete:
        return find_changed(entry.path, entry.about)
    damage: dict[Path, str] = {}
    rows: set[int] = set()
    for path in entry.files:
        try:
            if path.suffix == ".safetensors" and entry.kind != FOLDERS:
                if entry.kind == "features":
                    rows.update(read_shard(path).rows.tolist())
                else:
                    _check_tensors(read_checked(path))
            elif path.name == "complete.json" and not entry.complete:
                raise ParseError("is not JSON")
            elif entry.kind == "plans" and read_batches_file(path) is None:
                raise ParseError("is no batch plan")
        except FileNotFoundError:
            continue  # deleted meanwhile
        except OSError as error:
            damage[path] = f"cannot be read: {error.strerror}"
        except ParseError as error:
            damage[path] = str(error)
    wanted = entry.about.get("rows")
    is_told = not damage and isinstance(wanted, int) and entry.kind == "features"
    if is_told and (len(rows), max(rows, default=-1) + 1) != (wanted, wanted):  # which may be any number
        damage[entry.path / "complete.json"] = f"tells of {wanted} rows, and the shards hold {len(rows)}"
    return damage


def _check_tensors(data: bytes) -> None:
    """Raise ParseError when the bytes are no safetensors file."""
    from safetensors import deserialize

    with parsing("is not a safetensors file", kind=ParseError):
        deserialize(data)  # type: ignore[no-untyped-call]


def _date(entry: Entry, now: float) -> None:
    """Set the files of an entry that are dated later to `now`."""
    for path in (*entry.files, entry.path):
        # Deleted meanwhile, or another user's: the next pruning tries again.
        with suppress(OSError):
            if path.stat().st_mtime > now:
                os.utime(path, (now, now))


def _remove(path: Path) -> None:
    """Delete a file or folder. Raise WriteError when that fails."""
    try:
        if path.is_dir() and not path.is_symlink():  # of a link only the link goes
            # First the mark: a folder that is half deleted must not count as complete.
            (path / "complete.json").unlink(missing_ok=True)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass  # deleted meanwhile
    except OSError as error:
        raise WriteError(f"'{path}' cannot be removed: {error.strerror or error}") from error
