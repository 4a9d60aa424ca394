"""Content in, names out: canonical JSON and file contents hashed with SHA-256.

Everything that may change a number ends up in one of these hashes; paths, names and times never do.
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
    """Hex SHA-256 of the canonical JSON (RFC 8785) of `value`; NaN and unknown types raise ValueError."""
    return hashlib.sha256(rfc8785.dumps(dict(value))).hexdigest()


def hash_lines(lines: Iterable[str]) -> str:
    """Hex SHA-256 of strings in order; each is length-prefixed, so no two lists share bytes."""
    digest = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, remembered while its size, mtime and inode stay the same.

    A large file in the hub's cache is named by its SHA-256 there, which is taken instead of reading gigabytes.
    """
    path = path.resolve()
    if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", path.name):
        return path.name
    status = path.stat()
    return _hash_file(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=4096)
def _hash_file(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
