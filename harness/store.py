"""Pooled features on disk by content key: atomic, checksummed, sharded; and what else a run need not make twice.

    <root>/features/<key>/<sha256 of the file>.safetensors    rows, and their values (dense or CSR)
    <root>/features/<key>/complete.json                       written last
    <root>/plans/<key>.json                                   the batches of a forward pass
    <root>/fitted/<key>/<sha256 of the file>.safetensors      a dictionary fitted on activations
    <root>/activations/<key>/<sha256 of the file>.safetensors activations of one batch, where they are kept

A shard's name is its own checksum, so a damaged one is seen without a second file, and two processes that write
the same rows do each other no harm.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from harness.errors import MissingError
from harness.files import whole_file, write_json
from harness.identity import hash_file

if TYPE_CHECKING:
    import torch

    from harness.api import Matrix
    from harness.dictionary import Dictionary

BREAK_EVEN = 0.5
"""Above this density CSR (an int32 and a float32 for each value) takes more room than dense rows."""


class FeatureStore:
    """Pooled features under `root`, shared by all runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_complete(self, key: str) -> bool:
        """Whether all rows were written; says nothing about damage since."""
        return (self._folder(key) / "complete.json").is_file()

    def rows(self, key: str) -> set[int]:
        """Rows that lie in undamaged shards; damaged shards are removed."""
        return {int(row) for shard in self._sound_shards(key) for row in _read_shard(shard)[0]}

    def write(self, key: str, rows: Sequence[int], matrix: Matrix) -> None:
        """Write one shard: `rows` [n] and their values `[n, features]`, float32."""
        from safetensors.numpy import save

        _write_named(self._folder(key), save(*_pack(np.asarray(rows, dtype=np.int64), matrix)))

    def complete(self, key: str, about: Mapping[str, Any]) -> None:
        """Declare a key complete; `about` is kept for people."""
        write_json(self._folder(key) / "complete.json", about)

    def about(self, key: str) -> dict[str, Any]:
        """What `complete` was told about a key; empty when it is not complete."""
        try:
            return dict(json.loads((self._folder(key) / "complete.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def read(self, key: str, n_rows: int) -> Matrix | None:
        """All rows in order, or None when some are missing or damaged (those are gone afterwards)."""
        parts = [_read_shard(shard) for shard in self._sound_shards(key)]
        rows = np.concatenate([rows for rows, _ in parts]) if parts else np.empty(0, dtype=np.int64)
        # Two processes may have written the same rows; they are equal, and the first is taken.
        unique, first = np.unique(rows, return_index=True)
        if len(unique) != n_rows or not np.array_equal(unique, np.arange(n_rows)):
            (self._folder(key) / "complete.json").unlink(missing_ok=True)
            return None
        if any(sparse.issparse(values) for _, values in parts):
            stacked = sparse.csr_array(sparse.vstack([sparse.csr_array(values) for _, values in parts]))
        else:
            stacked = np.concatenate([values for _, values in parts])
        return stacked[first]

    # ── batch plans ──────────────────────────────────────────────────────────────────────────────────

    def read_batches(self, key: str) -> list[list[int]] | None:
        """The batches of an earlier, unfinished forward pass; None when there are none to be read."""
        try:
            batches = json.loads((self.root / "plans" / f"{key}.json").read_text("utf-8"))["batches"]
            return [[int(row) for row in batch] for batch in batches]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_batches(self, key: str, batches: Sequence[Sequence[int]]) -> None:
        """Keep the batches of a forward pass before it begins, and again when one of them is halved."""
        write_json(self.root / "plans" / f"{key}.json", {"batches": [list(batch) for batch in batches]})

    # ── fitted dictionaries, kept activations ────────────────────────────────────────────────────────

    def read_fitted(self, key: str, device: str) -> Dictionary | None:
        """The dictionary fitted under `key`; None when there is none."""
        from harness.dictionary import Dictionary

        found = self._read_tensors("fitted", key, device)
        if found is None:
            return None
        tensors, about = found
        fields: dict[str, Any] = {**json.loads(about["dictionary"]), **tensors}
        return Dictionary(**fields)

    def write_fitted(self, key: str, dictionary: Dictionary) -> None:
        """Keep what was fitted, so that every shard of the features it makes is of one dictionary."""
        fields = {name: getattr(dictionary, name) for name in ("name", "width", "activation", "k")}
        self._write_tensors("fitted", key, dictionary.tensors, {"dictionary": json.dumps(fields)})

    def read_activations(self, key: str, device: str) -> torch.Tensor | None:
        """Activations of one batch at one site `[content tokens, width]`; None when they were not kept."""
        found = self._read_tensors("activations", key, device)
        return None if found is None else found[0]["activations"]

    def write_activations(self, key: str, activations: torch.Tensor) -> None:
        """Keep the activations of one batch at one site, in the dtype they have."""
        self._write_tensors("activations", key, {"activations": activations}, {})

    def _read_tensors(
        self, kind: str, key: str, device: str
    ) -> tuple[dict[str, torch.Tensor], dict[str, str]] | None:
        from safetensors import safe_open

        for path in _sound_files(self.root / kind / key):
            with safe_open(path, framework="pt", device=device) as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                return tensors, dict(file.metadata() or {})
        return None

    def _write_tensors(
        self, kind: str, key: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]
    ) -> None:
        from safetensors.torch import save

        on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        _write_named(self.root / kind / key, save(on_host, metadata=dict(about)))

    # ── shards ───────────────────────────────────────────────────────────────────────────────────────

    def _folder(self, key: str) -> Path:
        return self.root / "features" / key

    def _sound_shards(self, key: str) -> Iterator[Path]:
        return _sound_files(self._folder(key))


def _write_named(folder: Path, data: bytes) -> None:
    """Write a file under its own checksum: no two writers share a name, and nothing is ever half named."""
    with whole_file(folder / f"{hashlib.sha256(data).hexdigest()}.safetensors") as temporary:
        temporary.write_bytes(data)


def _sound_files(folder: Path) -> Iterator[Path]:
    """The undamaged files of a folder; damaged ones are removed."""
    for path in sorted(folder.glob("*.safetensors")):
        if hash_file(path) == path.stem:
            yield path
        else:
            path.unlink(missing_ok=True)


def _pack(
    rows: np.ndarray[Any, Any], matrix: Matrix
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Tensors of one shard and its header; CSR below the break-even density, else dense."""
    metadata = {"features": str(matrix.shape[1])}
    if not isinstance(matrix, np.ndarray):
        if matrix.nnz < BREAK_EVEN * matrix.shape[0] * matrix.shape[1]:
            return {
                "rows": rows,
                "indptr": matrix.indptr.astype(np.int64),
                "indices": matrix.indices.astype(np.int32),
                "values": matrix.data.astype(np.float32),
            }, metadata
        matrix = matrix.toarray()
    return {"rows": rows, "dense": np.ascontiguousarray(matrix, dtype=np.float32)}, metadata


def _read_shard(path: Path) -> tuple[np.ndarray[Any, Any], Matrix]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        width = int(file.metadata()["features"])
    rows = tensors["rows"]
    if "dense" in tensors:
        return rows, tensors["dense"]
    shape = (len(rows), width)
    return rows, sparse.csr_array((tensors["values"], tensors["indices"], tensors["indptr"]), shape=shape)


def default_cache_dir() -> Path:
    """`HARNESS_CACHE_DIR`, else the user's cache folder."""
    import platformdirs

    given = os.environ.get("HARNESS_CACHE_DIR")
    return Path(given) if given else Path(platformdirs.user_cache_dir("sae-harness"))


def check_writable(root: Path) -> None:
    """MissingError when the cache folder cannot be made or written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(f"the cache '{root}' cannot be written: {error.strerror}") from error
    if not os.access(root, os.W_OK):
        raise MissingError(f"the cache '{root}' cannot be written: use another folder with --cache-dir")
