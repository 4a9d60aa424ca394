"""Folders in the cache, each made once from what identifies it, whole or not at all, and checked when it is used again.

<root>/folders/<key>/<files>          what was made, with no folders inside
<root>/folders/<key>/complete.json    written last: the hash of each file, and what it was made from
<root>/folders/lock                   held by the process that makes a folder
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.api.errors import UnavailableError, WriteError
from harness.storage.atomic import TEMPORARY, hold_shared, lock, write_json
from harness.storage.cache_place import FOLDERS, IN_USE, check_writable, default_cache_dir, naming_way_out
from harness.storage.hashing import hash_file, hash_json
from harness.storage.parsing import read_mapping

MARK = "complete.json"
"""Name of the file that says that a folder is complete."""


def cached_folder(of: Mapping[str, Any], make: Callable[[Path], None], *, what: str) -> Path:
    """Return the folder in the cache for `of`, JSON that identifies its content; `make(folder)` fills it if need be.

    One process makes it while others wait. A folder of which a file is damaged is made again. `what` names the content
    for people. Raise WriteError when the cache cannot be written, and whatever `make` raises.
    """
    root = default_cache_dir()
    folder = root / FOLDERS / hash_json(of)
    if not _is_sound(folder):
        check_writable(root)
        # A run that prunes meanwhile would take the unfinished folder for what a killed process left.
        with naming_way_out(), hold_shared(root / IN_USE), lock(root / FOLDERS / "lock", wait=True):
            if not _is_sound(folder):  # another process may have made it since
                _make(folder, make, {"of": dict(of), "what": what})
    return folder


def find_changed(folder: Path, about: Mapping[str, Any]) -> dict[Path, str]:
    """Return each file of a complete folder that is not what it was, with what is wrong."""
    files = about.get("files")
    if not isinstance(files, dict):
        return {folder / MARK: "names no files"}
    changed: dict[Path, str] = {}
    for name, sha256 in files.items():
        path = folder / Path(name).name
        try:
            if hash_file(path) != sha256:
                changed[path] = "is not what was written"
        except FileNotFoundError:
            changed[path] = "is missing"
        except (OSError, UnavailableError):
            changed[path] = "cannot be read"
    return changed


def _is_sound(folder: Path) -> bool:
    try:
        about = read_mapping(folder / MARK, "")
    except UnavailableError:
        return False
    if find_changed(folder, about):
        return False
    with suppress(OSError):  # only `prune` uses the time
        os.utime(folder / MARK)
    return True


def _make(folder: Path, make: Callable[[Path], None], about: Mapping[str, Any]) -> None:
    with _temporary_folder(folder) as temporary:
        make(temporary)
        files = sorted(temporary.iterdir())
        for path in files:
            _sync(path)
        write_json(temporary / MARK, {**about, "files": {path.name: hash_file(path) for path in files}})
        if folder.exists():  # damaged
            shutil.rmtree(folder)
        temporary.rename(folder)


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside another, which is removed after the block unless it was renamed."""
    try:
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
        temporary.chmod(0o755)
    except OSError as error:
        raise WriteError.from_os(f"'{folder}'", error) from error
    try:
        yield temporary
    except OSError as error:
        raise WriteError.from_os(f"'{folder}'", error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
