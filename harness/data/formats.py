"""Formats of data files by the endings of their names, and their text, unpacked within a bound.

A name may end in any case, and a file of text may be packed (`.csv.gz`, `.jsonl.zst`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from harness.storage.parsing import ParseError
from harness.storage.reading import open_file

FORMATS: Mapping[str, str] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "json",
    ".json": "json",
    ".tsv": "tsv",
    ".txt": "txt",
}
"""Ending of a name → its format."""

PACKED: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}
"""Second ending of a name → how the file is packed."""

NO_DATA = re.compile(
    r"(?i)(readme|licen[cs]e|copying)[^.]*(\.(md|txt|rst|html|pdf))?|thumbs\.db|desktop\.ini"
    r"|(dataset_)?infos?\.json|.*\.card\.json"
)
"""Names of files that are not meant as data."""

_TOO = "(all but .parquet also packed, as .csv.gz or .jsonl.zst)"

ENDINGS = f"{', '.join(FORMATS)} {_TOO}"
"""Endings of all formats, for messages."""

TABLES = f"{', '.join(ending for ending in FORMATS if ending != '.txt')} {_TOO}"
"""Endings of tables, for messages."""

FLOOR = 16 * 2**20
"""Number of bytes that any file may unpack to."""

RATIO = 200
"""Limit on bytes from each packed byte beyond that: prose gives about 4, many rows with one long prompt 100."""

_BEGINNINGS: Mapping[bytes, str] = {
    b"\x1f\x8b": "it is packed with gzip: give it a name that ends in .gz too",
    b"\x28\xb5\x2f\xfd": "it is packed with zstd: give it a name that ends in .zst too",
    b"PK\x03\x04": "it is an archive or a workbook, no text: save its table as CSV (UTF-8)",
    b"sep=": "its first line is Excel's mark of a separator: delete the line",
    b"PAR1\x15": "it is a parquet file: give it a name that ends in .parquet",
    b"\xff\xfe": "it is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16 text: save it as UTF-8",
}
"""First bytes of a file that is no UTF-8 text → what it is, with the way out."""


class TableError(ParseError):
    """A fault of a file of data in one sentence that begins with its place, without the file's name."""


def endings_of(path: Path) -> tuple[str, str]:
    """Return the ending of the format in lower case, and that of the packing or an empty text."""
    name = path.name.lower()
    packing = next((ending for ending in PACKED if name.endswith(ending)), "")
    return Path(name.removesuffix(packing)).suffix, packing


def format_of(path: Path) -> str | None:
    """Return the format that the ending of a name stands for; None if it is none of FORMATS, or a packed parquet."""
    ending, packing = endings_of(path)
    found = FORMATS.get(ending)
    return None if packing and found == "parquet" else found


def is_table(path: Path) -> bool:
    """Return True if a name ends like that of a table, which has columns."""
    return format_of(path) not in (None, "txt")


def stem_of(path: Path) -> str:
    """Return a name without the endings of its format."""
    return path.name[: len(path.name) - sum(map(len, endings_of(path)))]


def open_text(path: Path, *, newline: str | None = None) -> IO[str]:
    """Open the text of a file, UTF-8 with or without a byte order mark, unpacked; `newline` as of `open`.

    Raises OSError as `open_file`, and TableError for other files than text. Reading raises TableError if the file
    cannot be unpacked, or unpacks to more than FLOOR bytes at more than RATIO for each byte read: a few bytes could
    fill the memory.
    """
    packing = PACKED.get(endings_of(path)[1])
    raw: Any = io.BufferedReader(_Unpacked(path, packing), 2**20) if packing else open_file(path)
    begin = raw.peek(5)[:5]
    for beginning, said in _BEGINNINGS.items():
        if begin.startswith(beginning):
            raw.close()
            raise TableError(said)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)


class _Unpacked(io.RawIOBase):
    """Bytes of a packed file. pyarrow, unlike the package zstandard, notices a file that lacks its end."""

    def __init__(self, path: Path, packing: str) -> None:
        import pyarrow as pa

        self._packing = packing
        self._file = open_file(path)
        self._stream = pa.CompressedInputStream(pa.PythonFile(self._file, "r"), packing)
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            raise TableError(
                f"it cannot be unpacked with {self._packing}: {error}: fetch it anew, or pack it anew"
            ) from error
        self._unpacked += len(data)
        if self._unpacked > max(FLOOR, RATIO * self._file.tell()):
            raise TableError(
                f"its first {self._file.tell():,} bytes unpack to more than {RATIO} times as many: if that is right, "
                "unpack it and name the unpacked file"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()
