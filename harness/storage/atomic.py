"""Atomic writing of files, and locks that are freed when their process dies."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from harness.api.errors import WriteError
from harness.storage.reading import UnfitFileError, check_regular

TEMPORARY = ".tmp-"
"""Prefix of files that are still being written; a killed writer leaves them behind."""

ESCAPE = "backslashreplace"
"""Handler of lone surrogates, which stand for bytes of paths that are no UTF-8: it writes them as JSON escapes them."""

_GUARD = "guard"
_MARK = ".lock"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it, synced, when the block succeeds, else is removed.

    Raise WriteError when the disk is full or cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # the error of the disk itself is the one to report
                temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically. Raise ValueError on NaN."""
    data = as_json(value)
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def as_json(value: Mapping[str, Any]) -> bytes:
    """Return a mapping as the bytes of a JSON file. Raise ValueError on NaN."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", ESCAPE)


def as_line(line: str) -> bytes:
    """Return a line as the bytes that `append_line` appends."""
    return (line + "\n").encode("utf-8", ESCAPE)


def append_line(path: Path, line: str, *, synced: bool = True) -> None:
    """Append one line, synced to disk. Raise WriteError, leaving the file as it was, when this fails.

    One that is not `synced` costs no time, and is lost where the machine, not only the process, ends at once.
    """
    data = as_line(line)
    try:
        # Unbuffered: what a buffer still held after a failure would be written when the file is closed.
        _check_appendable(path)
        with path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                while data:
                    data = data[file.write(data) :]
                if synced:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error


def _check_appendable(path: Path) -> None:
    """Raise OSError for a pipe, a device or a socket, which would wait for a reader, and for a link: in a folder of
    somebody else it may lead to any file of the user.
    """
    if path.is_symlink():
        raise UnfitFileError("it is a link, which may lead anywhere: put a copy in its place", path)
    with suppress(FileNotFoundError):
        check_regular(path)


def cut_unfinished_line(path: Path) -> None:
    """Remove what follows the last newline, the line of a killed writer. Raise WriteError when this fails."""
    try:
        _check_appendable(path)
        if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[bool | None]:
    """Hold an exclusive lock for the block, which the system frees when the process dies.

    Yield True when it was taken, False when another process has it and `wait` is not set, None where the file system
    or platform has no locks. Raise WriteError when the lock file cannot be made.
    """
    from filelock import lock_descriptor  # slow to import, and only what writes needs it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_appendable(path)
        file = path.open("ab")
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error
    with file:
        try:
            taken: bool | None = lock_descriptor(file.fileno(), blocking=wait)
        except OSError:
            taken = None
        yield taken


@contextmanager
def hold_shared(folder: Path) -> Iterator[None]:
    """Hold `folder` together with any number of other processes; wait while `hold_alone` has it.

    Each holder locks a file of its own: readers-writer locks of libraries use SQLite, which reports a file system
    without locks as a lock that is taken, and would wait forever.
    """
    mark = folder / f"{uuid4().hex}{_MARK}"
    with ExitStack() as held:
        with lock(folder / _GUARD, wait=True):  # so that nobody who has the guard sees a mark not yet locked
            held.enter_context(lock(mark))
        try:
            yield
        finally:
            held.close()
            _remove_mark(mark)


@contextmanager
def hold_alone(folder: Path) -> Iterator[bool]:
    """Keep new holders of `folder` waiting for the block; yield whether there is none (False: also when unknown)."""
    with lock(folder / _GUARD) as guarded:
        yield bool(guarded) and all(_is_free(mark) for mark in sorted(folder.glob(f"*{_MARK}")))


def _is_free(mark: Path) -> bool:
    """Return whether nobody holds a mark, and remove one that a killed process left."""
    with lock(mark) as taken:
        pass
    if taken:
        _remove_mark(mark)
    return taken is True


def _remove_mark(mark: Path) -> None:
    # Another process may be trying it: Windows then keeps the file, which does no harm.
    with suppress(OSError):
        mark.unlink(missing_ok=True)
