"""Files at a URL, by fsspec: an object store, or another protocol of which the user has installed the package."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from harness.api.errors import HarnessError, UnavailableError, UsageError, WriteError, describe

_T = TypeVar("_T")

_PROBE = ".can-be-written"

_REASONS = {
    "NoCredentialsError": "there are no credentials: give them as the package of its protocol takes them",
    "PermissionError": "access is denied: it takes the rights to list, read, write and delete objects there",
    "FileNotFoundError": "there is no such bucket: make it first",
    "NotImplementedError": "its protocol cannot do that",
    "ConnectionError": "nobody answers there: once it can be reached, the same command continues",
    "ConnectTimeoutError": "nobody answers there: once it can be reached, the same command continues",
    "ClientConnectionError": "nobody answers there: once it can be reached, the same command continues",
}
"""Reasons by the name of an error's type or of one above it: types of packages that may not be installed."""


class RemotePlace:
    """Place of files at a URL. An object is written as a whole or not at all; nothing that is listed is remembered."""

    def __init__(self, url: str) -> None:
        self._system, self._root = _open(url)
        self._url = url.rstrip("/")

    @property
    def location(self) -> str:
        """URL of the place."""
        return self._url

    def names(self, folder: str, ending: str = "") -> list[str]:
        """Return the names of files, as of a Place. Raise WriteError where nobody answers."""
        with suppress(FileNotFoundError):
            found = self._ask(lambda: self._system.find(self._path(folder), maxdepth=1), "listed")
            names = (path.rstrip("/").rpartition("/")[2] for path in found)
            return sorted(f"{folder}/{name}".lstrip("/") for name in names if name.endswith(ending))
        return []

    def every_name(self) -> list[str]:
        """Return the names of all files, in folders too. Raise WriteError where nobody answers."""
        with suppress(FileNotFoundError):
            found = self._ask(lambda: self._system.find(self._path("")), "listed")
            start = len(self._path("").strip("/")) + 1
            return sorted(path.strip("/")[start:] for path in found)
        return []

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raise FileNotFoundError where there is none, WriteError where nobody answers."""
        return bytes(self._ask(lambda: self._system.cat_file(self._path(name)), "read"))

    def write(self, name: str, data: bytes) -> None:
        """Put a file, in place of an older one."""
        self._put(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Put a file unless there is one, which the store decides."""
        try:
            self._put(name, data, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file if there is one."""
        with suppress(FileNotFoundError):
            self._ask(lambda: self._system.rm_file(self._path(name)), "written")

    def touch(self, name: str) -> None:
        """Do nothing: rules of the store, and not `prune`, say when something is old."""

    def check_writable(self) -> None:
        """Raise WriteError when nothing can be put here."""
        self._put(_PROBE, b"")
        with suppress(WriteError):  # the right to delete is not needed until something is damaged
            self.remove(_PROBE)

    def _put(self, name: str, data: bytes, **how: str) -> None:
        path = self._path(name)

        def put() -> None:
            if not self._system.async_impl:  # object stores, which fsspec asks so, have no folders
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(path, data, **how)

        try:
            self._ask(put, "written")
        except FileNotFoundError as error:  # of a bucket: a file needs not be there to be put
            raise self._refuse("written", error) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _ask(self, call: Callable[[], _T], what: str) -> _T:
        """Return what the store answers; raise every fault but a file's own state as one sentence."""
        try:
            return call()
        except (HarnessError, MemoryError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # packages of protocols raise types of their own
            raise self._refuse(what, error) from error

    def _refuse(self, what: str, error: Exception) -> WriteError:
        names = [kind.__name__ for kind in type(error).__mro__]
        reason = next((_REASONS[name] for name in names if name in _REASONS), describe(error))
        return WriteError(f"'{self._url}' cannot be {what}: {reason}")


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    if "::" in url or protocol in ("http", "https"):
        raise UsageError(
            f"'{url}' is no place to write to: name a folder or an object store, such as s3://bucket/folder"
        )
    if not url.partition("://")[2].strip("/"):
        raise UsageError(f"'{url}' names no bucket or folder, as in s3://bucket/folder")
    try:
        # A listing that is remembered would not show what another worker wrote.
        system, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise UnavailableError(
            f"'{url}' needs a package that is not installed: `pip install {_name_package(protocol)}`"
        ) from error
    except ValueError as error:
        raise UsageError(f"'{url}' cannot be opened: {describe(error)}") from error
    except Exception as error:  # packages of protocols raise types of their own
        raise UnavailableError(f"'{url}' cannot be opened: {describe(error)}") from error
    return system, path.rstrip("/")


_PACKAGES = {"sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol"}
"""Packages of protocols that fsspec has itself."""


def _name_package(protocol: str) -> str:
    """Return the package that brings a protocol, which fsspec knows by the class that it would import."""
    from fsspec.registry import known_implementations

    named: str = known_implementations.get(protocol, {}).get("class", "").partition(".")[0]
    return _PACKAGES.get(protocol, named if named and named != "fsspec" else f"fsspec[{protocol}]")
