"""Reader of plain texts for training a dictionary, and of those held out of the training.

A text is held out if its row says so (`split`), otherwise by its content, so that neither the order of rows nor that
of files can change it. A text on both sides is held out and not used for training. Texts are returned in the order of
their hashes, which mixes files, languages and sources.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from harness.api.data import SPLITS
from harness.api.errors import DataError
from harness.data.formats import ENDINGS, TableError, endings_of, format_of, open_text
from harness.data.tables import read_blocks
from harness.storage.hashing import unchanged
from harness.storage.parsing import parsing
from harness.storage.strict_json import parse_json

Part = Literal["train", "heldout"]

HELDOUT_SHARE = 0.05
"""Share of the texts without a split in their rows that is held out."""

CHARACTERS = 400_000_000
"""Limit on the characters kept in memory: those of the texts whose hashes come first."""

SPELLED: Mapping[Part, str] = {"train": "training", "heldout": "held-out"}
"""Part → its name in messages."""


def read_corpus(sources: Sequence[Path], split: Part, *, characters: int = CHARACTERS) -> Iterator[str]:
    """Yield the texts of one part, each once, in the order of their SHA-256.

    A source is a file (.jsonl, .json, .parquet, .csv or .tsv with a column `text`; .txt of texts separated by empty
    lines; also as .gz or .zst) or a folder of such files, in which files without that column are ignored. Of more than
    `characters` in all, the texts with the lowest hashes are kept. Raises DataError if a source is missing or
    unreadable, or if no text remains.
    """
    kept = Kept[str](characters)
    heldout: set[int] = set()
    for text, named in _read_all(sources):
        place = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
        part = named or part_of(place)
        if part == "heldout":
            heldout.add(place)
        if part == split:
            kept.add(place, text, len(text))
    if split == "train":  # only now: the row that holds a text out may be the last
        kept.drop(heldout)
    if not len(kept):
        raise DataError(
            f"there are no {SPELLED[split]} texts in {', '.join(map(str, sources))}: one in twenty is held out, unless "
            f"a column 'split' says which are, and in .txt an empty line ends a text"
        )
    yield from kept.take()


def read_parts(sources: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Return the training texts and the held-out texts of `read_corpus`. Raises ChangedError if a file changes."""
    paths = [path for source in sources for path in _find_texts(source)]
    with unchanged(dict.fromkeys(paths)):
        return list(read_corpus(sources, "train")), list(read_corpus(sources, "heldout"))


_Item = TypeVar("_Item")


class Kept(Generic[_Item]):
    """Unique items with the lowest hashes, as many as fit in `room`, the limit on the sum of their sizes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.known: set[int] = set()
        """Hashes of all items ever added."""
        self._total = 0
        # heapq removes the smallest: negative numbers make that the item with the highest hash.
        self._heap: list[tuple[int, _Item, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, place: int, item: _Item, size: int) -> None:
        """Add an item with its hash and size, unless it is known; remove the highest hashes above the limit."""
        if place in self.known:
            return
        self.known.add(place)
        heapq.heappush(self._heap, (-place, item, size))
        self._total += size
        while self._total > self.room and len(self._heap) > 1:
            self._total -= heapq.heappop(self._heap)[2]

    def drop(self, places: Collection[int]) -> None:
        """Remove the items with these hashes."""
        self._heap = [one for one in self._heap if -one[0] not in places]

    def take(self) -> Iterator[_Item]:
        """Yield the items in the order of their hashes, and release the memory of each."""
        self._heap.sort()
        while self._heap:
            yield self._heap.pop()[1]


def part_of(place: int) -> Part:
    """Return the part of an item by its hash, a number of 256 bits: the lowest share is held out."""
    return "heldout" if place / 2**256 < HELDOUT_SHARE else "train"


def find_files(source: Path, is_read: Callable[[Path], bool], endings: str, pattern: str = "*") -> list[Path]:
    """Return the source itself or, for a folder, its files that match `pattern` and that `is_read` takes, sorted.

    `endings` says in messages which they are. Raises DataError if no file fits.
    """
    if source.is_dir():
        found = (path for path in source.glob(pattern) if not path.name.startswith("."))
        if files := sorted(path for path in found if is_read(path) and path.is_file()):
            return files
        raise DataError(f"the folder '{source}' has no file that ends in {endings}")
    if not source.is_file():
        raise DataError(f"there is no file or folder '{source}'")
    if not is_read(source):
        raise DataError(f"'{source}' is none of {endings}")
    return [source]


def _find_texts(source: Path) -> list[Path]:
    return find_files(source, lambda path: format_of(path) is not None, ENDINGS)


def _read_all(sources: Sequence[Path]) -> Iterator[tuple[str, Part | None]]:
    """Yield each text that is not empty, with the part that its row names, or None."""
    for source in sources:
        found = False
        for path in _find_texts(source):
            for row in _read_rows(path):
                if "text" not in row:
                    continue
                found = True
                if text := _clean(row["text"]):
                    yield text, read_part(path, row.get("split"))
        if not found:
            raise DataError(f"'{source}' has no column 'text'")


def _read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with parsing(f"'{path}' cannot be read", kind=DataError):
        if format_of(path) == "txt":
            yield from ({"text": text} for text in read_paragraphs(path))
        elif endings_of(path)[0] == ".jsonl":
            yield from _read_lines(path)
        else:
            yield from _read_table(path)


def _read_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of JSON lines, one by one: a file may be larger than the memory."""
    # Other characters that end a line elsewhere may stand in a text of JSON.
    with open_text(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                with parsing(f"'{path}' line {number} cannot be read", kind=DataError):
                    row = parse_json(line)
                if not isinstance(row, dict):
                    raise TableError(f"line {number} is no JSON object")
                yield row


def read_paragraphs(path: Path) -> Iterator[str]:
    """Yield the texts of a plain file, which empty lines separate."""
    paragraph: list[str] = []
    with open_text(path) as file:
        for line in file:
            if line == "\n":
                yield "".join(paragraph)
                paragraph = []
            else:
                paragraph.append(line)
    yield "".join(paragraph)


def _read_table(path: Path) -> Iterator[Mapping[str, Any]]:
    for block in read_blocks(path, needed=("text", "split")):
        names = [name for name in ("text", "split") if name in block]
        if not names:
            yield {}
        for values in zip(*(block[name] for name in names), strict=True):
            yield dict(zip(names, values, strict=True))


def _clean(value: Any) -> str:
    """Return a text without blanks around it and without lone surrogates; return "" for a value of another type."""
    return value.strip().encode("utf-8", "ignore").decode("utf-8") if isinstance(value, str) else ""


def read_part(path: Path, split: Any) -> Part | None:
    """Return the part that a row of a file names, None if it names none; raise DataError for an unknown name."""
    if split is None or split == "":
        return None
    if str(split) not in SPLITS:
        raise DataError(f"'{path}' has a split '{split}', which is none of {', '.join(SPLITS)}")
    return "train" if SPLITS[str(split)] == "train" else "heldout"
