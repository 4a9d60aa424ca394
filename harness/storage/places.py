"""Places of files by name: a local folder, or what a URL leads to (remote.py). Feature store and leases live on one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from harness.api.errors import WriteError
from harness.storage.atomic import whole_file
from harness.storage.cache_place import ANOTHER_CACHE, check_writable
from harness.storage.parsing import ParseError
from harness.storage.reading import read_file

LOCAL = ("file://", "local://")
"""Beginnings of URLs of local folders, which need nothing that a path does not."""


class Place(Protocol):
    """Files by name, `folder/folder/name`, at one location."""

    @property
    def location(self) -> str:
        """Absolute path or URL, from which another process opens the same place."""

    def names(self, folder: str, ending: str = "") -> list[str]:
        """Return the names of the files in a folder that end so, in order; none where there is no such folder."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raise OSError where there is none, and WriteError where nobody answers."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole, in place of an older one. Raise WriteError when this fails."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; return False if there is. Raise WriteError when this fails."""

    def remove(self, name: str) -> None:
        """Remove a file if there is one. Raise WriteError when this fails."""

    def touch(self, name: str) -> None:
        """Note that a file was used, where that is noted; never fails."""

    def check_writable(self) -> None:
        """Raise WriteError when nothing can be written here."""


class LocalFolder:
    """Place of files in a local folder, which is made when the first one is written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def location(self) -> str:
        """Absolute path of the folder."""
        return str(self.root.absolute())

    def names(self, folder: str, ending: str = "") -> list[str]:
        """Return the names of files, as of a Place."""
        return sorted(f"{folder}/{path.name}".lstrip("/") for path in (self.root / folder).glob(f"*{ending}"))

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raise OSError."""
        return read_file(self.root / name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole, synced."""
        with whole_file(self.root / name) as temporary:
            temporary.write_bytes(data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one, synced; a reader may see it before it is whole."""
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
        except OSError as error:
            raise WriteError.from_os(f"'{path}'", error) from error
        return True

    def remove(self, name: str) -> None:
        """Remove a file. Raise WriteError when that fails: a damaged one would be in the way of a whole one."""
        path = self.root / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(
                f"'{path}' in the cache is damaged and cannot be removed ({error.strerror}): {ANOTHER_CACHE}"
            ) from error

    def touch(self, name: str) -> None:
        """Set the time of a file, which only `prune` uses."""
        try:
            os.utime(self.root / name)
        except OSError:
            return

    def check_writable(self) -> None:
        """Raise WriteError when the folder cannot be made or written."""
        check_writable(self.root)


def is_url(location: Path | str) -> bool:
    """Return whether a location is the URL of something else than a local folder."""
    return isinstance(location, str) and "://" in location and not location.startswith(LOCAL)


def open_place(location: Path | str) -> Place:
    """Open a local path, or the URL of a folder or object store.

    Raise UsageError for a URL that names none, UnavailableError where the package of its protocol is missing.
    """
    if is_url(location):
        from harness.storage.remote import RemotePlace  # imports fsspec, which a local folder does not need

        return RemotePlace(str(location))
    text = str(location)
    for beginning in LOCAL:
        text = text.removeprefix(beginning)
    return LocalFolder(Path(text))


def write_named(place: Place, folder: str, data: bytes) -> str:
    """Write a file under its own checksum, so that writers of different bytes never share a name; return the name."""
    name = f"{folder}/{hashlib.sha256(data).hexdigest()}.safetensors"
    place.write(name, data)
    return name


def check_name(data: bytes, name: str) -> bytes:
    """Return bytes whose SHA-256 is the stem of their file's name. Raise ParseError when it is not."""
    if hashlib.sha256(data).hexdigest() != name.rpartition("/")[2].partition(".")[0]:
        raise ParseError("is not what its name says")
    return data
