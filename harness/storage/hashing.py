"""Hashes of content: canonical JSON, lines and files, with SHA-256.

Everything that may change a number is part of one of these hashes; paths, names and times never are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedReader
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import rfc8785

from harness.api.errors import ChangedError, UnavailableError
from harness.storage.reading import UnfitFileError, open_file

IDENTITY_VERSION = 1


def hash_json(value: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of the canonical JSON (RFC 8785) of `value`. Raise ValueError on NaN and unknown types."""
    return hashlib.sha256(_write(dict(value)).encode()).hexdigest()


def _write(value: Any) -> str:
    """Return the canonical JSON of a value as `rfc8785` writes it, which takes six times as long for whole mappings."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict and all(type(key) is str for key in value):
        keys = sorted(value) if all(map(str.isascii, value)) else sorted(value, key=_utf_16)
        return f"{{{','.join([f'{encode_basestring(key)}:{_write(value[key])}' for key in keys])}}}"
    if kind is list or kind is tuple:
        return f"[{','.join(map(_write, value))}]"
    return rfc8785.dumps(value).decode()  # numbers, and what it refuses


def _utf_16(text: str) -> bytes:
    return text.encode("utf-16be")


def hash_lines(lines: Iterable[str]) -> str:
    """Return the hex SHA-256 of strings in order, each with its length before it, so that no two lists share bytes."""
    digest = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes, cached while its size, mtime and inode stay the same.

    Raise ChangedError when the file is written or replaced meanwhile.
    """
    path = path.resolve()
    # A large file in the hub's cache is named by its SHA-256: no need to read gigabytes.
    if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", path.name):
        return path.name
    return _hash_file(path, _state(path))


@contextmanager
def unchanged(files: Mapping[Path, str | None]) -> Iterator[None]:
    """Check that the block reads these files as they were when they were hashed.

    `files` maps each file to the SHA-256 under which its content is known, or to None where it has not been hashed
    yet. Raise ChangedError when one of them has another hash before the block, or is written or replaced during it.
    An error of the block is then its consequence, and is replaced too.
    """
    before = {path: _state(path) for path in files}
    for path, sha256 in files.items():
        if sha256 is None:
            if before[path] is not None:
                _open(path).close()  # a stand-in is named here: libraries would call it broken
        elif before[path] is None or not _has_hash(path, sha256):
            raise ChangedError.of(path)
    try:
        yield
    except Exception as error:
        _check_states(before, error)
        raise
    _check_states(before)


_State = tuple[str, int, int, int]
"""Resolved path of a file, with its size, mtime in ns and inode."""


def _state(path: Path) -> _State | None:
    """Return the state of a file; None if there is none."""
    try:
        resolved = path.resolve()
        status = resolved.stat()
    except OSError:
        return None
    return str(resolved), status.st_size, status.st_mtime_ns, status.st_ino


def _check_states(before: Mapping[Path, _State | None], cause: Exception | None = None) -> None:
    for path, state in before.items():
        if _state(path) != state:
            raise ChangedError.of(path) from cause


@lru_cache(maxsize=4096)
def _hash_file(path: Path, state: _State | None) -> str:
    """Hash a file. `state` is a part of the cache's key, and must be the file's after the reading too."""
    with _open(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _check_states({path: state})
    return digest


def _has_hash(path: Path, sha256: str) -> bool:
    try:
        return hash_file(path) == sha256
    except UnavailableError:  # a stand-in has taken its place since
        return False


def _open(path: Path) -> BufferedReader:
    """Open a file. Raise OSError, and UnavailableError for one that is not read for what it is."""
    try:
        return open_file(path)
    except UnfitFileError as error:
        raise UnavailableError(f"'{path}' cannot be read: {error.strerror}") from error
