"""Files that are whole or not there, whatever cuts the writing; and locks that die with their process."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import WriteError

TEMPORARY = ".tmp-"
"""How names of files begin that are not whole yet; a killed writer leaves them behind."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, which replaces it, synced, when the block ends well, and is removed when
    it does not. WriteError when the disk is full or cannot be written.
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
            with suppress(OSError):  # the disk's own fault is the one to tell
                temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON whole; NaN is refused with ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def append_line(path: Path, line: str) -> None:
    """Append one line, on disk when this returns; WriteError, and the file as it was, when it cannot be written."""
    data = (line + "\n").encode("utf-8")
    try:
        # Unbuffered: what a buffer still held after a failure would be written when the file is closed.
        with path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error


def cut_unfinished_line(path: Path) -> None:
    """Remove what follows the last newline: a killed writer did not finish it. WriteError when that fails."""
    try:
        if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error


@contextmanager
def lock(path: Path, *, shared: bool = False) -> Iterator[bool | None]:
    """An advisory lock for the block, which the system frees when the process dies: True when it was taken, False
    when another process has it, None where the file system knows no locks. A shared one waits for its turn.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise WriteError.from_os(f"'{path}'", error) from error
    with file:
        try:
            fcntl.flock(file, kind)
            taken: bool | None = True
        except BlockingIOError:
            taken = False
        except OSError:
            taken = None
        yield taken
