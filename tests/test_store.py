"""The feature store: what is written comes back in order, and damage is seen."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save
from scipy import sparse

import harness.storage.atomic
from harness import UnavailableError
from harness.storage.cache_place import check_writable, default_cache_dir
from harness.storage.feature_store import BREAK_EVEN, FeatureStore
from harness.storage.hashing import hash_file

Array = np.ndarray[Any, Any]

KEY = "0" * 64

matrices = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 6)),
    elements=st.floats(-100, 100, width=32) | st.just(0.0),
)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache")


def shards(store: FeatureStore) -> list[Path]:
    return sorted((store.root / "features" / KEY).glob("*.safetensors"))


def dense(matrix: Any) -> Array:
    values: Array = matrix.toarray() if sparse.issparse(matrix) else matrix
    return values


def fill(store: FeatureStore, matrix: Array, *, parts: int = 3, as_sparse: bool = True) -> None:
    """Write rows of `matrix` in so many shards, not in order."""
    order = np.random.default_rng(0).permutation(len(matrix))
    for rows in np.array_split(order, parts):
        values = sparse.csr_array(matrix[rows]) if as_sparse else matrix[rows]
        store.write(KEY, rows.tolist(), values)


EXAMPLE = np.where(np.arange(40).reshape(8, 5) % 3 == 0, np.arange(40, dtype=np.float32).reshape(8, 5), 0)


# ── what is written comes back ───────────────────────────────────────────────────────────────────────────


@given(matrix=matrices, as_sparse=st.booleans(), data=st.data())
@settings(max_examples=60)
def test_rows_come_back_exactly_and_in_order_however_they_were_written(
    matrix: Array, as_sparse: bool, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(matrix))))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(matrix) - 1)), max_size=3)))
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        for rows in np.split(np.array(order), cuts):
            if len(rows):
                values = sparse.csr_array(matrix[rows]) if as_sparse else matrix[rows]
                store.write(KEY, rows.tolist(), values)
        assert store.rows(KEY) == set(range(len(matrix)))
        read = store.read(KEY, len(matrix))
    assert read is not None and read.dtype == np.float32
    np.testing.assert_array_equal(dense(read), matrix)


@pytest.mark.parametrize(("filled", "kept"), [(4, "values"), (5, "dense"), (10, "dense"), (0, "values")])
def test_csr_is_kept_below_the_break_even_density_and_dense_rows_from_there(
    store: FeatureStore, filled: int, kept: str
) -> None:
    from safetensors import safe_open

    assert BREAK_EVEN == 0.5
    row = np.zeros((1, 10), dtype=np.float32)
    row[0, :filled] = 1
    store.write(KEY, [0], sparse.csr_array(row))
    with safe_open(shards(store)[0], framework="numpy") as file:
        assert kept in set(file.keys())
    np.testing.assert_array_equal(dense(store.read(KEY, 1)), row)


def test_a_mixture_of_sparse_and_dense_shards_is_read_as_csr(store: FeatureStore) -> None:
    store.write(KEY, [1], sparse.csr_array(np.ones((1, 4), dtype=np.float32)))
    store.write(KEY, [0], sparse.csr_array(np.eye(1, 4, dtype=np.float32)))
    read = store.read(KEY, 2)
    assert sparse.issparse(read)
    np.testing.assert_array_equal(dense(read), [[1, 0, 0, 0], [1, 1, 1, 1]])


def test_features_beyond_the_range_of_int32_keep_their_columns(store: FeatureStore) -> None:
    wide = sparse.csr_array(([1.0, 2.0], [5, (1 << 31) + 7], [0, 2]), shape=(1, (1 << 31) + 8))
    store.write("wide", [0], wide)
    read = store.read("wide", 1)
    assert sparse.issparse(read) and read.indices.tolist() == [5, (1 << 31) + 7]


def test_dense_rows_are_read_as_an_array(store: FeatureStore) -> None:
    fill(store, EXAMPLE, as_sparse=False)
    assert isinstance(store.read(KEY, 8), np.ndarray)


def test_keys_do_not_mix(store: FeatureStore) -> None:
    store.write("a" * 64, [0], np.ones((1, 2), dtype=np.float32))
    store.write("b" * 64, [0], np.zeros((1, 2), dtype=np.float32))
    assert dense(store.read("a" * 64, 1)).all() and not dense(store.read("b" * 64, 1)).any()
    assert store.rows("c" * 64) == set() and store.read("c" * 64, 1) is None


def test_the_same_rows_written_twice_are_read_once(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    other = FeatureStore(store.root)
    other.write(KEY, [3, 2, 4], sparse.csr_array(EXAMPLE[[3, 2, 4]]))
    assert len(shards(store)) == 4
    np.testing.assert_array_equal(dense(store.read(KEY, 8)), EXAMPLE)


def test_the_same_shard_written_twice_is_one_file(store: FeatureStore) -> None:
    for _ in range(2):
        store.write(KEY, [0, 1], EXAMPLE[:2])
    assert len(shards(store)) == 1


def test_writers_at_the_same_time_lose_nothing(store: FeatureStore) -> None:
    """As two processes that make the same features would."""
    faults: list[BaseException] = []

    def write(start: int) -> None:
        try:
            for row in range(start, 40, 4):
                store.write(KEY, [row], np.full((1, 3), row, dtype=np.float32))
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    np.testing.assert_array_equal(dense(store.read(KEY, 40))[:, 0], np.arange(40))


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_byte_anywhere_is_seen_and_the_shard_is_gone(store: FeatureStore, fraction: float) -> None:
    fill(store, EXAMPLE)
    store.complete(KEY, {"rows": 8})
    victim = shards(store)[1]
    flip(victim, int(victim.stat().st_size * fraction))
    assert store.read(KEY, 8) is None
    assert not victim.exists() and len(shards(store)) == 2
    assert not store.is_complete(KEY) and 0 < len(store.rows(KEY)) < 8


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b"")], ids=["cut", "empty"])
def test_a_shard_cut_short_is_seen_and_gone(store: FeatureStore, damage: Any) -> None:
    fill(store, EXAMPLE)
    victim = shards(store)[0]
    damage(victim)
    assert store.rows(KEY) < set(range(8))
    assert not victim.exists() and store.read(KEY, 8) is None


def test_damage_that_neither_time_nor_size_tells_is_seen(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    assert store.rows(KEY) == set(range(8))  # read once: nothing of it may be believed later
    victim = shards(store)[0]
    times = victim.stat()
    flip(victim, times.st_size - 1)
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert store.read(KEY, 8) is None and not victim.exists()


def foreign(store: FeatureStore, tensors: dict[str, Array], width: int = 5) -> Path:
    """A file in the key's folder that has the right checksum."""
    data = save(tensors, {"features": str(width)})
    path = store.root / "features" / KEY / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    path.write_bytes(data)
    return path


ONE = np.ones((1, 5), dtype=np.float32)
ROWS = np.array([0])


@pytest.mark.parametrize(
    "tensors",
    [
        {"other": ONE},
        {"rows": ROWS},
        {"rows": np.array([0, 1]), "dense": ONE},
        {"rows": np.array([0, 0]), "dense": np.ones((2, 5), dtype=np.float32)},
        {"rows": np.array([8]), "dense": ONE},
        {"rows": np.array([-1]), "dense": ONE},
        {"rows": ROWS, "dense": np.ones(1, dtype=np.float32)},
        {
            "rows": ROWS,
            "values": np.ones(1, dtype=np.float32),
            "indices": np.array([5]),
            "indptr": np.array([0, 1]),
        },
        {
            "rows": ROWS,
            "values": np.ones(1, dtype=np.float32),
            "indices": np.array([0]),
            "indptr": np.array([0, 2]),
        },
    ],
)
def test_a_file_with_the_right_checksum_that_holds_no_such_rows_is_gone(
    store: FeatureStore, tensors: dict[str, Array]
) -> None:
    fill(store, EXAMPLE)
    path = foreign(store, tensors)
    assert store.rows(KEY, 8) == set(range(8))
    assert not path.exists() and len(shards(store)) == 3
    np.testing.assert_array_equal(dense(store.read(KEY, 8)), EXAMPLE)


def test_shards_that_disagree_about_the_width_are_all_made_again(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    foreign(store, {"rows": ROWS, "dense": np.ones((1, 7), dtype=np.float32)})
    assert store.read(KEY, 8) is None
    assert store.rows(KEY, 8) == set() and shards(store) == []


def test_a_missing_shard_is_missing_rows(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    store.complete(KEY, {})
    shards(store)[0].unlink()
    assert store.read(KEY, 8) is None and not store.is_complete(KEY)


def test_what_was_lost_can_be_written_again(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    truncate(shards(store)[2])
    lost = sorted(set(range(8)) - store.rows(KEY))
    store.write(KEY, lost, sparse.csr_array(EXAMPLE[lost]))
    np.testing.assert_array_equal(dense(store.read(KEY, 8)), EXAMPLE)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_write_cut_before_it_is_named_leaves_nothing(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def cut(handle: int) -> None:
        raise error

    monkeypatch.setattr(harness.storage.atomic.os, "fsync", cut)
    with pytest.raises((KeyboardInterrupt, UnavailableError)):
        store.write(KEY, [0], EXAMPLE[:1])
    monkeypatch.undo()
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == []
    assert store.rows(KEY) == set()


def test_a_full_disk_is_said_in_one_sentence(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnavailableError, match="cannot be written: No space left on device"):
        store.write(KEY, [0], EXAMPLE[:1])


def test_a_leftover_of_a_killed_writer_is_not_read(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    (shards(store)[0].parent / ".tmp-abc").write_bytes(b"half")
    np.testing.assert_array_equal(dense(store.read(KEY, 8)), EXAMPLE)


def test_a_shards_name_is_its_own_checksum(store: FeatureStore) -> None:
    fill(store, EXAMPLE)
    assert all(hash_file(path) == path.stem for path in shards(store))


# ── what is said about a key, and batch plans ────────────────────────────────────────────────────────────


def test_what_is_said_about_a_key_comes_back(store: FeatureStore) -> None:
    assert store.about(KEY) == {} and not store.is_complete(KEY)
    store.complete(KEY, {"rows": 8, "cost": {"seconds": 1.5}})
    assert store.about(KEY) == {"rows": 8, "cost": {"seconds": 1.5}} and store.is_complete(KEY)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"batches": 3}', '{"batches": [["a"]]}', "{}", "\xff"])
def test_a_batch_plan_that_cannot_be_read_is_none(store: FeatureStore, text: str) -> None:
    store.write_batches(KEY, [[2, 0], [1]])
    assert store.read_batches(KEY) == [[2, 0], [1]]
    (store.root / "plans" / f"{KEY}.json").write_bytes(text.encode("latin-1"))
    assert store.read_batches(KEY) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "\xff"])
def test_words_about_a_key_that_cannot_be_read_are_none(store: FeatureStore, text: str) -> None:
    store.complete(KEY, {})
    (store.root / "features" / KEY / "complete.json").write_bytes(text.encode("latin-1"))
    assert store.about(KEY) == {} and not store.is_complete(KEY)


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_cache_that_cannot_be_written_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UnavailableError, match=r"the cache '.*/file' cannot be written"):
        check_writable(tmp_path / "file")
    with pytest.raises(UnavailableError, match=r"the cache '.*/file/cache' cannot be written"):
        check_writable(tmp_path / "file" / "cache")
    with pytest.raises(UnavailableError, match="cannot be written"):
        FeatureStore(tmp_path / "file").write(KEY, [0], EXAMPLE[:1])


def test_a_read_only_cache_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:  # the superuser may write anywhere: ask as if not
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    tmp_path.chmod(0o555)
    with pytest.raises(UnavailableError, match=r"cannot be written.*--cache-dir"):
        check_writable(tmp_path)
    tmp_path.chmod(0o755)


def test_the_cache_folder_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_DIR", "/some/where")
    assert default_cache_dir() == Path("/some/where")
    monkeypatch.delenv("HARNESS_CACHE_DIR")
    assert "sae-harness" in str(default_cache_dir())
