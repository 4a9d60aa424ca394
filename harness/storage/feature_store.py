"""Store of pooled features and other tensors, in a folder or at a URL, by content key: atomic, checksummed, sharded.

    <root>/features/<key>/<sha256 of the file>.safetensors    rows, and their values (shard.py)
    <root>/features/<key>/complete.json                       written last, touched by each reader
    <root>/plans/<key>.json                                   the batches of a forward pass
    <root>/<kind>/<key>/<sha256 of the file>.safetensors      other tensors that need not be computed twice
    <root>/folders/<key>/                                     folders of other files (cached_folder.py)
    <root>/in-use/                                            a lock for each run that uses the cache
    <root>/<kind>/<key>/first                                 at a URL: which of several files counts

The name of a shard is its checksum: damage shows without a second file, and two processes may write the same rows.
Checksums are computed from the very bytes that are used, not from an earlier reading.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harness.api.errors import PluginResultError, UnavailableError, UsageError, WriteError
from harness.stats.finite import find_row
from harness.storage.atomic import as_json, hold_shared
from harness.storage.cache_place import IN_USE, naming_way_out
from harness.storage.kept_tensors import read_tensors, write_tensors
from harness.storage.parsing import ParseError, parsing, read_mapping
from harness.storage.places import LocalFolder, check_name, open_place, write_named
from harness.storage.reading import read_file
from harness.storage.shard import Shard, join, pack, unpack

if TYPE_CHECKING:
    import torch

    from harness.api.data import Matrix

_Made = TypeVar("_Made")


class FeatureStore:
    """Store of pooled features and other tensors at a location, a local folder or a URL, shared by all runs."""

    def __init__(self, location: Path | str) -> None:
        self._place = open_place(location)

    @property
    def location(self) -> str:
        """Absolute path or URL, from which a worker in another process opens the same store."""
        return self._place.location

    @property
    def root(self) -> Path:
        """Folder of a local store. Raise UsageError for one at a URL."""
        if isinstance(self._place, LocalFolder):
            return self._place.root
        raise UsageError(f"the store '{self.location}' is no folder")

    def __reduce__(self) -> tuple[type[FeatureStore], tuple[str]]:
        """Travel to another process by the location: connections stay here."""
        return FeatureStore, (self.location,)

    def is_complete(self, key: str) -> bool:
        """Return whether all rows were written, damaged since or not."""
        return self._read_json(_mark(key)) is not None

    def rows(self, key: str, n_rows: int | None = None) -> set[int]:
        """Return the rows in undamaged shards. Remove shards that are damaged or hold a row beyond `n_rows`."""
        found: set[int] = set()
        widths: set[int] = set()
        for shard in self._sound(key, n_rows):
            found.update(shard.rows.tolist())
            widths.add(shard.width)
        if len(widths) > 1:  # nothing says which of them is right
            for name in self._shards(key):
                self._place.remove(name)
            return set()
        return found

    def write(self, key: str, rows: Sequence[int], matrix: Matrix) -> None:
        """Write one shard: `rows` [n] and their values `[n, features]`, float32.

        Raise PluginResultError for a value that is not finite in float32: it would be read for good.
        """
        with np.errstate(over="ignore"):  # which the next line says
            matrix = matrix.astype(np.float32, copy=False)
        if find_row(matrix) is not None:
            raise PluginResultError("features that are not finite in float32 are not kept in the cache")
        with self._naming_way_out():
            write_named(self._place, _folder(key), pack(rows, matrix))

    def discard(self, key: str) -> None:
        """Remove everything under a key."""
        for name in (_mark(key), *self._shards(key)):
            self._place.remove(name)

    def complete(self, key: str, about: Mapping[str, Any]) -> None:
        """Mark a key as complete; `about` is a description for people. At a URL, the first readable one stays."""
        data = as_json(about)
        with self._naming_way_out():
            if self._is_local or (
                not self._place.create(_mark(key), data) and self._read_json(_mark(key)) is None
            ):
                self._place.write(_mark(key), data)

    def about(self, key: str) -> dict[str, Any]:
        """Return the description of a complete key; empty when it is not complete."""
        return self._read_json(_mark(key)) or {}

    def read(self, key: str, n_rows: int) -> Matrix | None:
        """Return all rows in order; None when some are missing or damaged. Remove the damaged ones."""
        shards = list(self._sound(key, n_rows))
        rows = np.concatenate([shard.rows for shard in shards]) if shards else np.empty(0, dtype=np.int64)
        # Two processes may have written the same rows; they are equal, and the first is taken.
        unique, first = np.unique(rows, return_index=True)
        widths = {shard.width for shard in shards}
        if not np.array_equal(unique, np.arange(n_rows)) or len(widths) > 1:
            self._place.remove(_mark(key))
            return None
        joined = join(shards)
        shards.clear()  # before the rows are put in order, which takes as much again
        return joined[first]

    # ── batch plans ──────────────────────────────────────────────────────────────────────────────────

    def read_batches(self, key: str) -> list[list[int]] | None:
        """Return the batches of an earlier, unfinished forward pass; None without a readable file."""
        return _read_batches(self._read_json(f"plans/{key}.json"))

    def write_batches(self, key: str, batches: Sequence[Sequence[int]]) -> None:
        """Write the batches of a forward pass: before it begins, and again when one of them is halved."""
        with self._naming_way_out():
            self._place.write(f"plans/{key}.json", as_json({"batches": [list(batch) for batch in batches]}))

    # ── tensors by kind and key ──────────────────────────────────────────────────────────────────────

    def read_tensors(
        self,
        kind: str,
        key: str,
        device: str,
        make: Callable[[dict[str, torch.Tensor], dict[str, str]], _Made],
    ) -> _Made | None:
        """Return what `make` makes of the tensors under a kind (a folder of KINDS) and key, on `device`, and of the
        text that was written with them; None when there are none. A damaged file, of which it can make nothing, is
        removed, as is one that was written under another key.
        """
        return read_tensors(self._place, f"{kind}/{key}", key, device, make)

    def write_tensors(
        self, kind: str, key: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]
    ) -> None:
        """Write tensors, in the dtypes they have, and a text by name, under a kind and key.

        Raise PluginResultError for a value that is not finite.
        """
        with self._naming_way_out():
            write_tensors(self._place, f"{kind}/{key}", key, tensors, about)

    # ── files ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _is_local(self) -> bool:
        return isinstance(self._place, LocalFolder)

    def _naming_way_out(self) -> AbstractContextManager[None]:
        return naming_way_out() if self._is_local else nullcontext()

    def _read_json(self, name: str) -> dict[str, Any] | None:
        """Return the JSON mapping in a file; None without a readable one."""
        if isinstance(self._place, LocalFolder):
            return read_json(self._place.root / name)
        try:
            found = json.loads(self._place.read(name))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _shards(self, key: str) -> list[str]:
        return self._place.names(_folder(key), ".safetensors")

    def _sound(self, key: str, n_rows: int | None) -> Iterator[Shard]:
        """Yield each undamaged shard, and remove the others."""
        self._place.touch(_mark(key))
        for name in self._shards(key):
            try:
                shard = unpack(check_name(self._place.read(name), name))
                if n_rows is not None and shard.rows.max(initial=-1) >= n_rows:
                    raise ParseError("holds rows that are not there")
            except (OSError, ParseError):
                self._place.remove(name)
            else:
                yield shard

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Mark the store as used by a run for the block; wait while `prune` works.

        A store that cannot be written is not marked: it is read all the same, and what `prune` takes is missing. One
        at a URL is not pruned, and not marked.
        """
        with ExitStack() as held:
            if isinstance(self._place, LocalFolder):
                with suppress(WriteError):
                    held.enter_context(hold_shared(self._place.root / IN_USE))
            yield

    def check_writable(self) -> None:
        """Raise WriteError when the store cannot be made or written. A store that holds everything needs no writing,
        so this is called where something is found to be missing, before the work whose result could not be kept.
        """
        self._place.check_writable()


def _folder(key: str) -> str:
    return f"features/{key}"


def _mark(key: str) -> str:
    return f"features/{key}/complete.json"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON mapping; None without a readable one."""
    try:
        return read_mapping(path, "")
    except UnavailableError:
        return None


def read_batches_file(path: Path) -> list[list[int]] | None:
    """Return the batches in one file; None without readable ones."""
    return _read_batches(read_json(path))


def _read_batches(about: Mapping[str, Any] | None) -> list[list[int]] | None:
    try:
        with parsing(""):
            return [[int(row) for row in batch] for batch in (about or {})["batches"]]
    except UnavailableError:
        return None


def read_shard(path: Path) -> Shard:
    """Return the rows in a file. Raise ParseError, saying what is wrong, when it is damaged."""
    return unpack(read_checked(path))


def read_checked(path: Path) -> bytes:
    """Return the bytes of a file named by their SHA-256. Raise ParseError when the name is not theirs."""
    return check_name(read_file(path), path.name)
