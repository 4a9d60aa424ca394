"""Form of the lines of `results.jsonl`: their schema version, and the words for how a cell ended."""

from __future__ import annotations

from typing import Literal

from harness.api.errors import UnavailableError

SCHEMA_VERSION = 2
"""Schema version of records and run.json. Since 2, records hold the pooled tokens and the source of a transfer."""

MADE_AGAIN = "remove the line, and the same `harness run` again makes what it held"
"""Way out of a broken line of a run's records."""

Status = Literal["ok", "failed", "skipped", "oom"]


_NOW = f'{{"schema_version":{SCHEMA_VERSION},'.encode()


def is_plain(line: bytes) -> bool:
    """Return whether a line starts like a record of this version and has no `\\u` escape, which may be half of a
    character.
    """
    return line.startswith(_NOW) and b"\\u" not in line


class NewerError(UnavailableError):
    """A file was written by a newer harness than this one."""


def check_version(version: int, what: str) -> None:
    """Raise NewerError when a file is of a schema version newer than this harness."""
    if version > SCHEMA_VERSION:
        raise NewerError(
            f"{what} was written by a newer harness: it is of schema version {version}, and this one reads up to "
            f"{SCHEMA_VERSION}"
        )
