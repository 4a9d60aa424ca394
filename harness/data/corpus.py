"""Files of plain texts in, texts out: what a dictionary is trained on, and what is held out of it.

A text is held out when its row says so (`split`), else by its content, so that neither the order of rows nor that of
files can move it. One that stands on both sides is held out, and not learnt from. Texts come in the order of their
hashes, which mixes files, languages and sources.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from harness.api.errors import DataError, UnavailableError, describe
from harness.data.sources import silent_datasets

Part = Literal["train", "heldout"]

HELDOUT_SHARE = 0.05
"""Of the texts whose rows name no split."""

CHARACTERS = 400_000_000
"""At most so many characters are kept in memory: those of the texts whose hashes come first."""

SPELLED: Mapping[Part, str] = {"train": "training", "heldout": "held-out"}

_PARTS: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "validation": "heldout",
    "valid": "heldout",
    "val": "heldout",
    "dev": "heldout",
    "test": "heldout",
}
_READERS: Mapping[str, str] = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".txt": "text"}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "csv": {"keep_default_na": False},  # "NA" is a text like others
    "text": {"sample_by": "paragraph"},
}
_LINES = (".jsonl", ".jsonl.zst")
_SUFFIXES = (*_LINES, *_READERS)


def read_corpus(sources: Sequence[Path], split: Part, *, characters: int = CHARACTERS) -> Iterator[str]:
    """The texts of one split, each once, in the order of their SHA-256. Of more than `characters` in all, those with
    the lowest hashes. A training text that is also held out is left out, wherever its rows stand.

    A source is a file (.jsonl, .jsonl.zst, .json, .parquet, .csv with a column `text`; .txt of texts with empty lines
    between) or a folder of such files, in which files without that column are passed over. DataError where one is
    not there or cannot be read, and where no text is left.
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
        raise DataError(f"there are no {SPELLED[split]} texts in {', '.join(map(str, sources))}")
    yield from kept.take()


_Item = TypeVar("_Item")


class Kept(Generic[_Item]):
    """Items by hash, each once: those whose hashes come first, as long as their sizes together are at most `room`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.known: set[int] = set()
        """The hashes of all that were added."""
        self._total = 0
        # The highest hash, as a negative number, is the first to go.
        self._heap: list[tuple[int, _Item, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, place: int, item: _Item, size: int) -> None:
        if place in self.known:
            return
        self.known.add(place)
        heapq.heappush(self._heap, (-place, item, size))
        self._total += size
        while self._total > self.room and len(self._heap) > 1:
            self._total -= heapq.heappop(self._heap)[2]

    def drop(self, places: Collection[int]) -> None:
        """Let go of the items with these hashes."""
        self._heap = [one for one in self._heap if -one[0] not in places]

    def take(self) -> Iterator[_Item]:
        """The items in the order of their hashes; each is let go when it is given."""
        self._heap.sort()
        while self._heap:
            yield self._heap.pop()[1]


def part_of(place: int) -> Part:
    """Where an item belongs by the fraction that its hash, a number of 256 bits, is of all."""
    return "heldout" if place / 2**256 < HELDOUT_SHARE else "train"


def _read_all(sources: Sequence[Path]) -> Iterator[tuple[str, Part | None]]:
    """Each text that is not empty, with the part its row names, if it names one."""
    for source in sources:
        found = False
        for path in _files(source):
            for row in _rows(path):
                if "text" not in row:
                    break  # a file of something else
                found = True
                if text := _clean(row["text"]):
                    yield text, read_part(path, row.get("split"))
        if not found:
            raise DataError(f"'{source}' has no column 'text'")


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.name.endswith(_SUFFIXES) and path.is_file())
        if not files:
            raise DataError(f"the folder '{source}' has no file that ends in {', '.join(_SUFFIXES)}")
        return files
    if not source.is_file():
        raise DataError(f"there is no file or folder '{source}'")
    if not source.name.endswith(_SUFFIXES):
        raise DataError(f"'{source}' is none of {', '.join(_SUFFIXES)}")
    return [source]


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield from _lines(path) if path.name.endswith(_LINES) else _parsed(path)
    except UnavailableError:
        raise
    except Exception as error:  # parsers of five formats raise what they like
        said = describe(error.__cause__ or error)
        raise DataError(f"'{path}' cannot be read: {said}") from error


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """JSON lines, read directly: a stream of compressed ones takes `datasets` several times as long."""
    with path.open("rb") as file:
        raw: Any = _decompressed(file, path) if path.suffix == ".zst" else file
        for number, line in enumerate(io.TextIOWrapper(raw, "utf-8"), start=1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise DataError(f"'{path}' line {number} is no JSON object")
            yield row


def _decompressed(file: Any, path: Path) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise UnavailableError(
            f"'{path}' is compressed with zstandard: pip install 'sae-harness[train]'"
        ) from error
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


def _parsed(path: Path) -> Iterator[Mapping[str, Any]]:
    reader = _READERS[path.suffix]
    options = _OPTIONS.get(reader, {})
    with silent_datasets() as datasets:
        stream = datasets.load_dataset(reader, data_files=str(path), split="train", streaming=True, **options)
        for batch in stream.iter(1000):
            names = [name for name in ("text", "split") if name in batch]
            if not names:
                yield {}
            for values in zip(*(batch[name] for name in names), strict=True):
                yield dict(zip(names, values, strict=True))


def _clean(text: Any) -> str:
    """A text as UTF-8 can hold it, without half characters; empty where it is none."""
    return text.strip().encode("utf-8", "ignore").decode("utf-8") if isinstance(text, str) else ""


def read_part(path: Path, split: Any) -> Part | None:
    """Where a row of a file belongs by its own word; None where it has none, DataError for an unknown one."""
    if split is None or split == "":
        return None
    try:
        return _PARTS[str(split)]
    except KeyError:
        raise DataError(f"'{path}' has a split '{split}', which is none of {', '.join(_PARTS)}") from None
