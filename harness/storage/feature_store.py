"""Store of pooled features and other tensors on disk, by content key: atomic, checksummed, sharded.

    <root>/features/<key>/<sha256 of the file>.safetensors    rows, and their values (shard.py)
    <root>/features/<key>/complete.json                       written last, touched by each reader
    <root>/plans/<key>.json                                   the batches of a forward pass
    <root>/<kind>/<key>/<sha256 of the file>.safetensors      other tensors that need not be computed twice
    <root>/folders/<key>/                                     folders of other files (cached_folder.py)
    <root>/in-use/                                            a lock for each run that uses the cache

The name of a shard is its checksum: damage shows without a second file, and two processes may write the same rows.
Checksums are computed from the very bytes that are used, not from an earlier reading.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harness.api.errors import PluginResultError, UnavailableError, WriteError
from harness.stats.finite import find_row
from harness.storage.atomic import hold_shared, whole_file, write_json
from harness.storage.cache_place import ANOTHER_CACHE, IN_USE, check_writable, naming_way_out
from harness.storage.parsing import ParseError, parsing, read_mapping
from harness.storage.reading import read_file
from harness.storage.shard import Shard, join, pack, read_header, unpack

if TYPE_CHECKING:
    import torch

    from harness.api.data import Matrix

_Made = TypeVar("_Made")


class FeatureStore:
    """Store of pooled features and other tensors under `root`, shared by all runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_complete(self, key: str) -> bool:
        """Return whether all rows were written, damaged since or not."""
        return read_json(self._folder(key) / "complete.json") is not None

    def rows(self, key: str, n_rows: int | None = None) -> set[int]:
        """Return the rows in undamaged shards. Remove shards that are damaged or hold a row beyond `n_rows`."""
        found: set[int] = set()
        widths: set[int] = set()
        for shard in self._sound(key, n_rows):
            found.update(shard.rows.tolist())
            widths.add(shard.width)
        if len(widths) > 1:  # nothing says which of them is right
            for path in self._shards(key):
                _remove(path)
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
        with naming_way_out():
            _write_named(self._folder(key), pack(rows, matrix))

    def discard(self, key: str) -> None:
        """Remove everything under a key."""
        for path in (self._folder(key) / "complete.json", *self._shards(key)):
            _remove(path)

    def complete(self, key: str, about: Mapping[str, Any]) -> None:
        """Mark a key as complete; `about` is a description for people."""
        with naming_way_out():
            write_json(self._folder(key) / "complete.json", about)

    def about(self, key: str) -> dict[str, Any]:
        """Return the description of a complete key; empty when it is not complete."""
        return read_json(self._folder(key) / "complete.json") or {}

    def read(self, key: str, n_rows: int) -> Matrix | None:
        """Return all rows in order; None when some are missing or damaged. Remove the damaged ones."""
        shards = list(self._sound(key, n_rows))
        rows = np.concatenate([shard.rows for shard in shards]) if shards else np.empty(0, dtype=np.int64)
        # Two processes may have written the same rows; they are equal, and the first is taken.
        unique, first = np.unique(rows, return_index=True)
        widths = {shard.width for shard in shards}
        if not np.array_equal(unique, np.arange(n_rows)) or len(widths) > 1:
            _remove(self._folder(key) / "complete.json")
            return None
        joined = join(shards)
        shards.clear()  # before the rows are put in order, which takes as much again
        return joined[first]

    # ── batch plans ──────────────────────────────────────────────────────────────────────────────────

    def read_batches(self, key: str) -> list[list[int]] | None:
        """Return the batches of an earlier, unfinished forward pass; None without a readable file."""
        return read_batches_file(self.root / "plans" / f"{key}.json")

    def write_batches(self, key: str, batches: Sequence[Sequence[int]]) -> None:
        """Write the batches of a forward pass: before it begins, and again when one of them is halved."""
        with naming_way_out():
            write_json(self.root / "plans" / f"{key}.json", {"batches": [list(batch) for batch in batches]})

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
        from safetensors.torch import load

        for path in sorted((self.root / kind / key).glob("*.safetensors")):
            try:
                with parsing("is damaged"):
                    data = read_checked(path)
                    about = _read_about(data, key)
                    made = make({name: tensor.to(device) for name, tensor in load(data).items()}, about)
            except UnavailableError:
                _remove(path)
                continue
            with suppress(OSError):  # only `prune` uses the time
                os.utime(path)
            return made
        return None

    def write_tensors(
        self, kind: str, key: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]
    ) -> None:
        """Write tensors, in the dtypes they have, and a text by name, under a kind and key.

        Raise PluginResultError for a value that is not finite.
        """
        from safetensors.torch import save

        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                raise PluginResultError(f"{name} that are not finite are not kept in the cache")
        on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with naming_way_out():
            _write_named(self.root / kind / key, save(on_host, metadata=_describe(about, key)))

    # ── shards ───────────────────────────────────────────────────────────────────────────────────────

    def _folder(self, key: str) -> Path:
        return self.root / "features" / key

    def _shards(self, key: str) -> list[Path]:
        return sorted(self._folder(key).glob("*.safetensors"))

    def _sound(self, key: str, n_rows: int | None) -> Iterator[Shard]:
        """Yield each undamaged shard, and remove the others."""
        with suppress(OSError):  # only `prune` uses the time
            os.utime(self._folder(key) / "complete.json")
        for path in self._shards(key):
            try:
                shard = read_shard(path)
                if n_rows is not None and shard.rows.max(initial=-1) >= n_rows:
                    raise ParseError("holds rows that are not there")
            except (OSError, ParseError):
                _remove(path)
            else:
                yield shard

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Mark the store as used by a run for the block; wait while `prune` works.

        A store that cannot be written is not marked: it is read all the same, and what `prune` takes is missing.
        """
        with ExitStack() as held:
            with suppress(WriteError):
                held.enter_context(hold_shared(self.root / IN_USE))
            yield

    def check_writable(self) -> None:
        """Raise WriteError when the folder cannot be made or written. A store that holds everything needs no writing,
        so this is called where something is found to be missing, before the work whose result could not be kept.
        """
        check_writable(self.root)


def _write_named(folder: Path, data: bytes) -> None:
    """Write a file under its own checksum, so that writers of different bytes never share a name."""
    with whole_file(folder / f"{hashlib.sha256(data).hexdigest()}.safetensors") as temporary:
        temporary.write_bytes(data)


def _remove(path: Path) -> None:
    """Remove a damaged file. Raise WriteError when that fails: it would be in the way of a whole one."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"'{path}' in the cache is damaged and cannot be removed ({error.strerror}): {ANOTHER_CACHE}"
        ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON mapping; None without a readable one."""
    try:
        return read_mapping(path, "")
    except UnavailableError:
        return None


def read_batches_file(path: Path) -> list[list[int]] | None:
    """Return the batches in one file; None without readable ones."""
    try:
        with parsing(""):
            return [[int(row) for row in batch] for batch in (read_json(path) or {})["batches"]]
    except UnavailableError:
        return None


def read_shard(path: Path) -> Shard:
    """Return the rows in a file. Raise ParseError, saying what is wrong, when it is damaged."""
    return unpack(read_checked(path))


def read_checked(path: Path) -> bytes:
    """Return the bytes of a file named by their SHA-256. Raise ParseError when the name is not theirs."""
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != path.stem:
        raise ParseError("is not what its name says")
    return data


def _describe(about: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the metadata of a file of tensors: one entry, because the library writes several in any order."""
    return {"about": json.dumps({**about, "key": key}, sort_keys=True)}


def _read_about(data: bytes, key: str) -> dict[str, str]:
    """Return the text that was written with tensors. Raise ParseError when they were written under another key."""
    metadata: dict[str, str] = read_header(data).get("__metadata__", {})
    about = dict(json.loads(metadata["about"])) if "about" in metadata else metadata
    if about.pop("key", key) != key:  # files of earlier versions do not name their key
        raise ParseError("belongs to another key")
    return about
