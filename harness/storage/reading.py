"""Opening of files that others wrote: regular files only, of a bounded size where they are read whole."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import pyarrow.parquet as pq

DESCRIPTION = 50_000_000
"""Limit in bytes of a file that describes others: a configuration, an index, a card. The index of a model of a trillion
parameters has 15 MB.
"""


HARMLESS = 1_000_000_000
"""Bytes that an archive may unpack to, whatever its size."""

SMALL = 16_000_000
"""Bytes up to which a parquet file is read whole: of a handle, pyarrow asks Python for each column by itself."""

UNPACKED = 500_000_000
"""Limit in bytes of what a gzip file holds; its own word for that is not to be relied on."""

MOST_TIMES = 100
"""Times its own size that a larger archive may unpack to."""


class UnfitFileError(OSError):
    """A file that is not read, for what it is or for its size; `strerror` says why, as for other errors of files."""

    def __init__(self, said: str, path: Path) -> None:
        super().__init__(errno.EINVAL, said, str(path))


def check_regular(path: Path) -> os.stat_result:
    """Return the state of a file. Raise OSError, and UnfitFileError for a pipe, a device or a socket."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a folder has its own error
        raise UnfitFileError("it is a pipe, a device or a socket: put a file in its place", path)
    return status


def open_file(path: Path, *, at_most: int | None = None) -> BufferedReader:
    """Open a regular file of `at_most` so many bytes for reading.

    Raise OSError, and UnfitFileError (one of them) for a pipe, which would wait for a writer, a device or a socket, for
    a larger file, and for what stands in for a file that was not fetched.
    """
    status = check_regular(path)
    if at_most is not None and status.st_size > at_most:
        raise UnfitFileError(f"it has {status.st_size:,} bytes, and at most {at_most:,} are read", path)
    file = path.open("rb")
    if said := _name_stand_in(path, file.peek(_BEGINNING)[:_BEGINNING]):
        file.close()
        raise UnfitFileError(said, path)
    return file


_BEGINNING = 64
_LFS = b"version https://git-lfs.github.com/spec/"
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_PAGE = (b"<!doctype html", b"<html")
_NEVER_PAGES = {".json", ".jsonl", ".yaml", ".yml", ".csv", ".tsv", ".parquet", ".safetensors", ".npz", ".pt"}


def _name_stand_in(path: Path, begin: bytes) -> str | None:
    """Return what lies in a file's place, by its first bytes: fetching and copying leave such files in silence."""
    if begin.startswith(_LFS):
        return "it is a pointer of Git LFS, and the file itself was not fetched: fetch it"
    if begin.startswith(_APPLE_DOUBLE):
        return (
            "it is what macOS notes beside a file, and not the file: remove it, and copy the one without ._"
        )
    if path.suffix.lower() in _NEVER_PAGES:
        if begin.lstrip().lower().startswith(_PAGE):
            return "it is a page of the web, perhaps one that says why the file is not given: fetch the file again"
        if len(begin) == _BEGINNING and not any(begin):
            return "it begins with zeros, as a copy does that was cut off: copy it again"
    return None


def read_file(path: Path, *, at_most: int | None = None) -> bytes:
    """Return the bytes of a regular file. Raises as `open_file`."""
    with open_file(path, at_most=at_most) as file:
        return _read_whole(file)


def _read_whole(file: BufferedReader) -> bytes:
    # Past the buffer, which holds the beginning: joined with it, all would be copied once more.
    raw = cast("FileIO", file.raw)
    raw.seek(0)
    return raw.readall()


def read_description(path: Path) -> bytes:
    """Return the bytes of a file that describes others. Raises as `open_file`."""
    return read_file(path, at_most=DESCRIPTION)


def unzip(path: Path, *, at_most: int) -> bytes:
    """Return the bytes of a gzip file with `at_most` so many. Raises as `open_file`, and EOFError."""
    with open_file(path) as packed, gzip.open(packed) as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise UnfitFileError(f"it unpacks to more than {at_most:,} bytes", path)
    return data


def read_unpacked(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if its name ends in .gz. Raises as `unzip`."""
    return unzip(path, at_most=UNPACKED) if path.suffix == ".gz" else read_file(path)


def check_unpacked(path: Path, declared: int) -> None:
    """Raise UnfitFileError for an archive that declares far more bytes than a file of its size holds.

    It is asked before anything is unpacked. Weights that are compressed take more than half of their bytes.
    """
    if declared > max(HARMLESS, MOST_TIMES * path.stat().st_size):
        raise UnfitFileError(f"it would unpack to {declared:,} bytes, over {MOST_TIMES} times its size", path)


@contextmanager
def open_parquet(path: Path, *, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """Open a parquet file for the block. Raises as `open_file` and `check_unpacked`, and the errors of pyarrow.

    Columns of texts among the `dictionaries`, by their paths in the file, are read as each text once and numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(path) as opened:
        # A handle or bytes: pyarrow would read `~` and `s3://` in a path.
        is_small = os.fstat(opened.fileno()).st_size <= SMALL
        source = pa.BufferReader(_read_whole(opened)) if is_small else opened
        with pq.ParquetFile(
            source, page_checksum_verification=True, read_dictionary=list(dictionaries)
        ) as file:
            groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
            # A column that repeats one value takes no room in the file, and 50 bytes a row in memory.
            check_unpacked(
                path, max(50 * file.metadata.num_rows, sum(each.total_byte_size for each in groups))
            )
            yield file
