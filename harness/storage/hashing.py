"""Hashes of content: canonical JSON, lines and files, with SHA-256.

Everything that may change a number is part of one of these hashes; paths, names and times never are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import rfc8785

IDENTITY_VERSION = 1


def hash_json(value: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of the canonical JSON (RFC 8785) of `value`. Raise ValueError on NaN and unknown types."""
    return hashlib.sha256(rfc8785.dumps(dict(value))).hexdigest()


def hash_lines(lines: Iterable[str]) -> str:
    """Return the hex SHA-256 of strings in order, each with its length before it, so that no two lists share bytes."""
    digest = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes, cached while its size, mtime and inode stay the same."""
    path = path.resolve()
    # A large file in the hub's cache is named by its SHA-256: no need to read gigabytes.
    if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", path.name):
        return path.name
    status = path.stat()
    return _hash_file(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=4096)
def _hash_file(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
