"""Guards: notes of the hosts that code asks for, and of the files that it writes, while it runs."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NETWORK = {"socket.connect": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.sendto": 1}
"""Audited event → the argument that names a host."""

_WRITES: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "shutil.rmtree": ((0, None),),
}
"""Audited event → the arguments that name what is written or removed, each with that of the folder that it is below."""


@dataclass
class Notes:
    """Hosts and paths that were noted, each once, in order."""

    hosts: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


_watched: list[tuple[int, Notes, tuple[Path, ...]]] = []
"""Thread, notes and allowed folders of the guards that are active."""

_installed: list[bool] = []


@contextmanager
def watching(*allowed: Path) -> Iterator[Notes]:
    """Note what this thread asks of the network, and what it writes outside the `allowed` and temporary folders.

    Nothing is prevented. What libraries in C do without Python is not seen.
    """
    if not _installed:
        # An audit hook stays until the process ends, so there is one for all guards.
        sys.addaudithook(_audit)
        _installed.append(True)
    notes = Notes()
    folders = tuple(
        Path(os.path.realpath(str(path))) for path in (*allowed, tempfile.gettempdir(), "/dev", "/proc")
    )
    entry = (threading.get_ident(), notes, folders)
    _watched.append(entry)
    try:
        yield notes
    finally:
        _watched.remove(entry)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    here = threading.get_ident()
    for thread, notes, allowed in _watched:
        if thread != here:
            continue
        if event in _NETWORK:
            _note(notes.hosts, _host(arguments[_NETWORK[event]]))
        for path in _written(event, arguments):
            if not any(path.is_relative_to(folder) for folder in allowed):
                _note(notes.written, str(path))


def _note(noted: list[str], what: str) -> None:
    if what and what not in noted:
        noted.append(what)


def _host(address: Any) -> str:
    """Return the host of an address; empty for what is no network, such as a socket in the file system."""
    if isinstance(address, tuple) and address:
        return str(address[0])
    return str(address) if isinstance(address, str) and not address.startswith("/") else ""


def _written(event: str, arguments: tuple[Any, ...]) -> Iterator[Path]:
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND)
        # Compiled modules are the interpreter's, and their names are theirs alone.
        if writes and isinstance(path, str | bytes) and b"__pycache__" not in os.fsencode(path):
            yield Path(os.path.realpath(os.fsdecode(path)))
        return
    for place, beside in _WRITES.get(event, ()):
        path = arguments[place]
        if not isinstance(path, str | bytes | os.PathLike) or b"__pycache__" in os.fsencode(path):
            continue
        # Removing a tree names files by their open folder, and the tree itself in an event of its own.
        if beside is not None and arguments[beside] != -1:
            continue
        found = Path(os.path.realpath(os.fsdecode(path)))
        if not (event == "os.mkdir" and found.is_dir()):  # it is there already: makedirs asks all the same
            yield found
