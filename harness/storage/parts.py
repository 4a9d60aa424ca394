"""Files that grow, at a place whose files cannot: lines are added as parts beside a file.

    results.jsonl       the bytes up to some number
    results.jsonl.<n>   bytes of the file from number n on

Parts may overlap, which is what a writer leaves that was killed while it put several into one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from harness.storage.places import Place

_T = TypeVar("_T")

MOST_PARTS = 64
"""Parts that are put into one: each byte is put twice, and of n parts about n / 64 have to be read again."""

_DIGITS = 12

_AT_ONCE = 16


def together(call: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Call a function with each of several items, some at a time: waiting for a store takes longer than its work."""
    wanted = list(items)
    if len(wanted) < 2:
        for item in wanted:
            call(item)
        return
    with ThreadPoolExecutor(min(len(wanted), _AT_ONCE)) as pool:
        for _ in pool.map(call, wanted):
            pass


class GrowingFile:
    """Writer of one file that grows. Lines may be added in any thread, everything else is for one at a time."""

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self.name = name
        self._size = 0
        self._waiting: list[bytes] = []
        self._parts: dict[int, bytes] = {}
        self.is_one = False
        """True if the place has no parts of the file, and no line waits."""

    def add(self, line: bytes) -> None:
        """Let a line wait for the next part."""
        self._waiting.append(line)
        self.is_one = False

    def take(self) -> bytes:
        """Return the lines that wait, which wait no longer."""
        count = len(self._waiting)
        data = b"".join(self._waiting[:count])
        del self._waiting[:count]
        return data

    def put_part(self, data: bytes) -> None:
        """Put lines at the end of the file."""
        if not data:
            return
        self._place.write(self._part(self._size), data)
        self._parts[self._size] = data
        self._size += len(data)
        if len(self._parts) == MOST_PARTS:
            first, *others = self._parts
            self._place.write(self._part(first), b"".join(self._parts.values()))
            self._parts = {}
            together(self._place.remove, map(self._part, others))

    def put_all(self, data: bytes) -> None:
        """Put the whole file in place of its parts."""
        self._waiting.clear()
        self._place.write(self.name, data)
        self._size, self._parts, self.is_one = len(data), {}, True
        together(self._place.remove, [name for name in self._place.names("") if part_of(name) == self.name])

    def _part(self, start: int) -> str:
        return f"{self.name}.{start:0{_DIGITS}d}"


def part_of(name: str) -> str | None:
    """Return the name of the file of which another one is a part; None where it is none."""
    file, _, number = name.rpartition(".")
    return file if file and len(number) == _DIGITS and number.isdecimal() else None


def read_parts(place: Place, file: str, names: Collection[str]) -> bytes:
    """Return the bytes of a file and of its parts among `names`. What comes after a part that is missing is lost."""
    found: dict[str, bytes] = {}

    def read(name: str) -> None:
        with suppress(FileNotFoundError):  # it was put into another one since it was listed
            found[name] = place.read(name)

    # The file comes last: parts that are gone by then are in it.
    together(read, [name for name in names if part_of(name) == file])
    data = b""
    with suppress(FileNotFoundError):
        data = place.read(file)
    for name in sorted(found):
        start, part = int(name.rpartition(".")[2]), found[name]
        if start <= len(data) < start + len(part):
            data += part[len(data) - start :]
    return data
