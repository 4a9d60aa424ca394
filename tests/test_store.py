"""The feature store: what is written comes back in order, and damage is seen."""

from __future__ import annotations

import hashlib
import json
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
from harness.storage.cache import find_damage
from harness.storage.cache_place import check_writable, default_cache_dir
from harness.storage.feature_store import FeatureStore
from harness.storage.hashing import hash_file
from harness.storage.parsing import ParseError
from harness.storage.shard import BREAK_EVEN, Shard, join, pack, read_header, unpack

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


@pytest.mark.parametrize(("filled", "kept"), [(6, "values"), (7, "dense"), (10, "dense"), (0, "values")])
def test_csr_is_kept_below_the_break_even_density_and_dense_rows_from_there(
    store: FeatureStore, filled: int, kept: str
) -> None:
    from safetensors import safe_open

    assert 6 < 10 * BREAK_EVEN < 7
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


def pack_first(rows: Any, matrix: Any) -> bytes:
    """Return the bytes of a shard as they were before shards had a version."""
    if isinstance(matrix, np.ndarray):
        tensors = {"dense": np.ascontiguousarray(matrix, dtype=np.float32)}
    else:
        tensors = {
            "indptr": matrix.indptr.astype(np.int64),
            "indices": matrix.indices.astype(np.int32 if matrix.shape[1] <= 1 << 31 else np.int64),
            "values": matrix.data.astype(np.float32),
        }
    return save(
        {"rows": np.asarray(rows, dtype=np.int64), **tensors}, metadata={"features": str(matrix.shape[1])}
    )


def unpack_first(data: bytes) -> tuple[Array, Any]:
    """Return what the harness read from such a shard: the oracle of what it reads now."""
    from safetensors.numpy import load

    tensors = load(data)
    if "dense" in tensors:
        return tensors["rows"], tensors["dense"]
    width = int(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["features"])
    parts = (tensors["values"], tensors["indices"], tensors["indptr"])
    return tensors["rows"], sparse.csr_array(parts, shape=(len(tensors["rows"]), width))


def draw(n_rows: int, width: int, seed: int) -> sparse.csr_array:
    """Return float32 rows with up to 40 values each, some in the first and last columns, some zeros among them."""
    random = np.random.default_rng(seed)
    columns = [np.unique(random.integers(0, width, size)) for size in random.integers(0, 40, n_rows)]
    columns[0], columns[-1] = np.array([0, width - 1]), np.array([], dtype=np.int64)
    values = random.choice(np.array([0.0, -0.0, 1e-42, 3.4e38, 0.1], np.float32), sum(map(len, columns)))
    indptr = np.cumsum([0, *map(len, columns)])
    return sparse.csr_array((values, np.concatenate(columns), indptr), shape=(n_rows, width))


def assert_same(shard: Shard, rows: Any, matrix: Any) -> None:
    """Assert that a shard holds exactly these rows, explicit zeros and signs of zeros included."""
    read = join([shard])
    assert shard.rows.tolist() == list(rows) and read.shape == matrix.shape
    parts = ("data", "indices", "indptr") if sparse.issparse(matrix) else ("real",)
    for part in parts:
        one, other = np.asarray(getattr(read, part)), np.asarray(getattr(matrix, part))
        assert (one == other).all() and (np.signbit(one) == np.signbit(other)).all()


WIDTHS = [100, 65_535, 65_536, 65_537, 131_072, 1 << 20, (1 << 24) + 1, 1 << 31, (1 << 32) + 5]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", [pack, pack_first])
def test_a_shard_of_any_width_and_either_layout_gives_the_values_that_it_was_made_of(
    width: int, make: Any
) -> None:
    matrix = draw(50, width, seed=width)
    rows = np.random.default_rng(0).permutation(70_000)[:50]
    assert_same(unpack(make(rows, matrix)), rows, matrix)
    assert_same(unpack(make(rows, matrix)), *unpack_first(pack_first(rows, matrix)))


def test_dense_shards_of_either_layout_are_the_same_rows() -> None:
    for make in (pack, pack_first):
        assert_same(unpack(make(range(8), EXAMPLE)), range(8), EXAMPLE)


def test_a_cache_with_shards_of_both_layouts_is_read_whole(store: FeatureStore) -> None:
    matrix = draw(90, 5000, seed=0)
    foreign_bytes(store, pack_first(range(0, 40), matrix[:40]))
    store.write(KEY, range(60, 90), matrix[60:])
    foreign_bytes(store, pack_first(range(40, 60), matrix[40:60].toarray()))
    store.complete(KEY, {"rows": 90})
    assert find_damage(store.root) == {} and store.rows(KEY, 90) == set(range(90))
    np.testing.assert_array_equal(dense(store.read(KEY, 90)), matrix.toarray())


def test_a_non_zero_takes_little_more_than_its_value_and_a_short_column() -> None:
    for width, most in ((16_384, 6.1), (65_536, 6.1), (1 << 20, 6.4)):
        random = np.random.default_rng(0)
        columns = np.concatenate([np.sort(random.choice(width, 60, replace=False)) for _ in range(1000)])
        values = random.random(len(columns)).astype(np.float32)
        matrix = sparse.csr_array((values, columns, np.arange(0, len(columns) + 1, 60)), shape=(1000, width))
        assert len(pack(range(1000), matrix)) <= most * matrix.nnz


def test_columns_in_any_order_are_written_in_theirs() -> None:
    loose = sparse.csr_array(([1.0, 2.0, 3.0], [4, 0, 2], [0, 2, 3]), shape=(2, 50), dtype=np.float32)
    read = join([unpack(pack([1, 0], loose))])
    assert read.indices.tolist() == [0, 4, 2] and read.data.tolist() == [2, 1, 3]
    assert loose.indices.tolist() == [4, 0, 2]  # what was given stays as it is


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
    return foreign_bytes(store, save(tensors, {"features": str(width)}))


def foreign_bytes(store: FeatureStore, data: bytes) -> Path:
    path = store.root / "features" / KEY / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
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
        {
            "rows": ROWS,
            "values": np.ones(1, dtype=np.float32),
            "indices": np.array([0]),
            "indptr": np.array([1, 2]),
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


U16 = np.uint16
PARTS: dict[str, Array] = {
    "rows": np.array([3, 1], U16),
    "counts": np.array([[2, 0], [0, 1]], np.uint8),
    "indices": np.array([1, 5, 9], U16),
    "values": np.ones(3, np.float32),
}
FAULTS: dict[str, dict[str, Array]] = {
    "a row twice": {"rows": np.array([1, 1], U16)},
    "a row too few": {"rows": np.array([1], U16)},
    "rows that are no integers": {"rows": np.array([1, 2], np.float32)},
    "rows beside one another": {"rows": np.array([[3, 1]], U16)},
    "columns that fall": {"indices": np.array([5, 1, 9], U16)},
    "a column twice": {"indices": np.array([5, 5, 9], U16)},
    "a column beyond the last": {"indices": np.array([1, 5, 10], U16)},
    "columns longer than a block": {"indices": np.array([1, 5, 9], np.uint32)},
    "columns that are no integers": {"indices": np.array([1, 5, 9], np.float32)},
    "a column too few": {"indices": np.array([1, 5], U16)},
    "a value too many": {"values": np.ones(4, np.float32)},
    "values that are no floats": {"values": np.ones(3, np.int32)},
    "counts of too few": {"counts": np.array([[1, 0], [0, 1]], np.uint8)},
    "counts that are negative": {"counts": np.array([[4, -2], [0, 1]], np.int64)},
    "counts whose sum runs over": {"counts": np.array([[2**63, 2], [2**63, 1]], np.uint64)},
    "counts of another block": {"counts": np.array([[2, 0, 0], [0, 1, 0]], np.uint8)},
    "counts of rows only": {"counts": np.array([2, 1], np.uint8)},
}


def save_parts(about: Any, **parts: Array) -> bytes:
    return save({**PARTS, **parts}, {"shard": json.dumps({"version": 2, "features": 65_546, **about})})


def test_the_parts_of_which_faults_are_made_are_a_shard() -> None:
    assert join([unpack(save_parts({}))]).toarray().nonzero()[1].tolist() == [1, 5, 65_545]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_shard_whose_parts_contradict_one_another_is_refused(fault: str) -> None:
    with pytest.raises(ParseError, match="holds no rows of features"):
        unpack(save_parts({}, **FAULTS[fault]))


def test_a_narrow_shard_with_counts_of_blocks_is_refused() -> None:
    parts = {"rows": ROWS, "counts": np.array([[0, 1, 0]], np.uint8), "indices": np.array([7], U16)}
    data = save_parts({"features": 10}, **parts, values=np.ones(1, np.float32))
    with pytest.raises(ParseError, match="holds no rows of features"):
        unpack(data)


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.uint64])
def test_counts_may_be_integers_of_any_type(kind: type) -> None:
    data = save_parts({}, counts=PARTS["counts"].astype(kind))
    assert join([unpack(data)]).toarray().nonzero()[1].tolist() == [1, 5, 65_545]


@pytest.mark.parametrize("end", [-4, 4])
def test_a_shard_with_a_tensor_of_another_size_than_its_shape_is_refused(end: int) -> None:
    data, header = save_parts({}), read_header(save_parts({}))
    begin = 8 + int.from_bytes(data[:8], "little")
    header["values"]["data_offsets"][1] += end
    changed = json.dumps(header).encode()
    with pytest.raises(ParseError, match="another size than its shape"):
        unpack(len(changed).to_bytes(8, "little") + changed + data[begin:])


@pytest.mark.parametrize(
    "about", [{"version": 3}, {"features": -1}, {"features": 10**30}, {"features": None}]
)
def test_a_shard_of_another_version_or_of_no_width_is_refused(about: Any) -> None:
    with pytest.raises(ParseError, match="holds no rows of features"):
        unpack(save_parts(about))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_shard_with_a_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ParseError, match="not finite"):
        unpack(save_parts({}, values=np.array([1, value, 1], np.float32)))


def test_a_shard_without_values_has_rows_of_zeros() -> None:
    empty = sparse.csr_array((3, 70_000), dtype=np.float32)
    assert join([unpack(pack(range(3), empty))]).nnz == 0


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
