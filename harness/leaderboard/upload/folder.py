"""Upload to a folder, such as the pages of a site that is built: each file whole, and those of others left alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.api.errors import UnavailableError, UsageError, WriteError
from harness.leaderboard.upload.changes import LIST, Uploaded, find_removed
from harness.leaderboard.upload.content import Content
from harness.runs.folder import RunFolder
from harness.storage.atomic import TEMPORARY, whole_file
from harness.storage.hashing import hash_file
from harness.storage.parsing import read_mapping


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Names of files of an upload that are to be written, and of an earlier one that are to be removed."""

    written: frozenset[str]
    removed: frozenset[str]


def check_folder(target: Path, board: Path) -> None:
    """Raise UnavailableError or UsageError where a board cannot be uploaded to the folder."""
    if target.exists() and not target.is_dir():
        raise UnavailableError(f"'{target}' is a file, not a folder")
    if target.resolve() == board.resolve():
        raise UsageError(f"'{target}' is the folder of the board itself: name another with --to")
    if RunFolder(target).exists:
        raise UsageError(f"'{target}' is a run folder: name another with --to")


def find_changes(content: Content, target: Path, *, replace: bool = False) -> Changes:
    """Return what an upload changes in a folder.

    Raise UsageError for a folder with files of others unless `replace` is set, and for a link that leads out of it.
    """
    new = Uploaded.of(content.board, content.files)
    earlier = _read_list(target)
    present = _names(target)
    removed = find_removed(f"'{target}'", present, earlier, new, replace=replace)
    for name in {*new.files, *removed}:
        if not (target / name).parent.resolve().is_relative_to(target.resolve()):
            raise UsageError(f"'{(target / name).parent}' is a link that leads out of '{target}': remove it")
    # What was changed by hand since then is somebody's own by now.
    removed = {name for name in removed if earlier and _hash(target / name) == earlier.files[name]}
    written = {name for name in new.files if _hash(target / name) != new.files[name]}
    return Changes(written=frozenset(written), removed=frozenset(removed))


def upload_to_folder(content: Content, target: Path, changes: Changes) -> None:
    """Write the files of a board and their list into a folder, and remove those of an earlier upload that are no longer
    part of it. Raise WriteError when the disk refuses.
    """
    new, earlier = Uploaded.of(content.board, content.files), _read_list(target)
    if changes.written or changes.removed:
        # Both uploads' files are in the list meanwhile, so that one that is cut off can be done again.
        files = {**(earlier.files if earlier else {}), **new.files}
        _write(target / LIST, Uploaded(board=content.board, files=files).to_bytes())
    for name in sorted(changes.written):
        _write(target / name, content.files[name])
    for name in sorted(changes.removed):
        try:
            (target / name).unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                (target / name).parent.rmdir()
        except OSError as error:
            raise WriteError.from_os(f"'{target / name}'", error) from error
    if _read_list(target) != new:
        _write(target / LIST, new.to_bytes())


def _write(path: Path, data: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def _read_list(target: Path) -> Uploaded | None:
    """Return the list of an earlier upload; None where there is none that can be read."""
    with suppress(UnavailableError):
        return Uploaded.read(read_mapping(target / LIST, f"'{target / LIST}' is damaged"))
    return None


def _names(target: Path) -> set[str]:
    """Return the paths of all files below a folder, without those that a killed writer left."""
    found = (path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(target).as_posix() for path in found if not path.name.startswith(TEMPORARY)}


def _hash(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none or it cannot be read."""
    if path.is_symlink() or not path.is_file():
        return None
    with suppress(OSError):
        return hash_file(path)
    return None
