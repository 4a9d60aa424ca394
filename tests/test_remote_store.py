"""Stores that machines share: a feature store on an object store, against a real S3 server, and in memory."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from conftest import Harness
from scipy import sparse

import harness
from harness import UnavailableError, UsageError, WriteError
from harness.storage.feature_store import FeatureStore
from harness.storage.places import Place, open_place

KEY = "0" * 64
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(params=["s3", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    return f"memory://{uuid4().hex}/folder"


def names(url: str) -> list[str]:
    from harness.storage.remote import RemotePlace

    return RemotePlace(url).every_name()


# ── the feature store ────────────────────────────────────────────────────────────────────────────────────


def test_rows_written_at_a_url_come_back_in_order(url: str) -> None:
    store = FeatureStore(url)
    store.check_writable()
    assert store.rows(KEY) == set() and store.read(KEY, 4) is None and not store.is_complete(KEY)
    store.write(KEY, [2, 0], ROWS[[2, 0]])
    store.write(KEY, [3, 1], sparse.csr_array(ROWS[[3, 1]]))
    with store.in_use():
        other = pickle.loads(pickle.dumps(FeatureStore(store.location)))
    read = other.read(KEY, 4)
    assert np.array_equal(read.toarray() if sparse.issparse(read) else read, ROWS)
    assert other.rows(KEY, 4) == {0, 1, 2, 3}
    store.complete(KEY, {"rows": 4})
    assert other.is_complete(KEY) and other.about(KEY) == {"rows": 4}
    store.write_batches(KEY, [[0, 1], [2]])
    store.write_batches(KEY, [[0], [1], [2]])
    assert other.read_batches(KEY) == [[0], [1], [2]]
    other.discard(KEY)
    assert store.rows(KEY) == set() and not store.is_complete(KEY)
    assert names(url) == [f"plans/{KEY}.json"]


def test_the_bytes_at_a_url_are_those_of_a_folder(url: str, tmp_path: Path) -> None:
    for store in (FeatureStore(url), FeatureStore(tmp_path)):
        store.write(KEY, [0, 1, 2, 3], ROWS)
        store.complete(KEY, {"rows": 4, "of": "naïve"})
        store.write_batches(KEY, [[0, 1]])
        store.write_tensors("fitted", KEY, {"w": torch.ones(2)}, {"a": "b"})
    place = open_place(url)
    local = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert {name: place.read(name) for name in names(url) if not name.endswith("/first")} == local


def test_a_damaged_object_is_removed_and_its_rows_are_missing(url: str) -> None:
    store, place = FeatureStore(url), open_place(url)
    store.write(KEY, [0, 1], ROWS[:2])
    store.write(KEY, [2, 3], ROWS[2:])
    store.complete(KEY, {"rows": 4})
    first = place.names(f"features/{KEY}", ".safetensors")[0]
    place.write(first, place.read(first)[:-1])
    assert store.read(KEY, 4) is None and not store.is_complete(KEY) and len(store.rows(KEY)) == 2
    assert len(place.names(f"features/{KEY}")) == 1


def test_the_first_complete_json_stays_and_a_broken_one_is_replaced(url: str) -> None:
    store, place = FeatureStore(url), open_place(url)
    store.complete(KEY, {"by": "one"})
    store.complete(KEY, {"by": "two"})
    assert store.about(KEY) == {"by": "one"}
    place.write(f"features/{KEY}/complete.json", b'{"by"')
    store.complete(KEY, {"by": "two"})
    assert store.about(KEY) == {"by": "two"}


def test_of_two_fitted_dictionaries_all_workers_use_the_first(url: str) -> None:
    def read() -> Any:
        return FeatureStore(url).read_tensors("fitted", KEY, "cpu", lambda tensors, _: tensors["w"].item())

    store, place = FeatureStore(url), open_place(url)
    assert read() is None
    for value in (3.0, 1.0, 2.0, 4.0):
        store.write_tensors("fitted", KEY, {"w": torch.tensor(value)}, {})
        assert read() == 3.0
    place.write(place.read(f"fitted/{KEY}/first").decode(), b"damaged")
    assert read() in {1.0, 2.0, 4.0}
    store.write_tensors("fitted", KEY, {"w": torch.tensor(5.0)}, {})
    assert read() == 5.0


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """Return what calls in threads that begin at once return."""
    begin, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int) -> None:
        begin.wait()
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_that_write_one_shard_end_in_one(url: str) -> None:
    together([lambda: FeatureStore(url).write(KEY, [0, 1, 2, 3], ROWS)] * 4)
    assert len(names(url)) == 1 and FeatureStore(url).rows(KEY) == {0, 1, 2, 3}


WRITER = """
import sys
import numpy as np
from harness.storage.feature_store import FeatureStore
store = FeatureStore(sys.argv[1])
store.write("0" * 64, [0, 1, 2, 3], np.arange(12, dtype=np.float32).reshape(4, 3))
store.complete("0" * 64, {"by": sys.argv[2]})
"""


def test_processes_that_write_one_shard_end_in_one(s3: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, s3, name], stderr=subprocess.PIPE) for name in "ab"
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors == [b"", b""] and [process.returncode for process in processes] == [0, 0]
    assert len(names(s3)) == 2 and FeatureStore(s3).about(KEY)["by"] in {"a", "b"}


def test_of_many_that_create_one_object_one_wins(s3: str) -> None:
    places: list[Place] = [open_place(s3) for _ in range(8)]
    won = together(
        [lambda place=place, data=bytes([i]): place.create("one", data) for i, place in enumerate(places)]
    )
    assert sum(won) == 1 and open_place(s3).read("one") == bytes([won.index(True)])


def test_a_listing_shows_what_another_process_has_written(s3: str) -> None:
    store = FeatureStore(s3)
    store.write(KEY, [0], ROWS[:1])
    assert store.rows(KEY) == {0}
    program = WRITER.replace("[0, 1, 2, 3]", "[0, 1, 2, 3]")
    subprocess.run([sys.executable, "-c", program, s3, "other"], check=True, timeout=60)
    assert store.rows(KEY) == {0, 1, 2, 3}


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    store = FeatureStore(f"file://{tmp_path}/store")
    store.write(KEY, [0], ROWS[:1])
    assert store.location == str(tmp_path / "store") and store.root == tmp_path / "store"
    with pytest.raises(UsageError, match="is no folder"):
        FeatureStore("memory://a/b").root  # noqa: B018  # reading it is what raises


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_bucket_that_is_not_there(s3: str) -> None:
    store = FeatureStore(s3.replace("bucket", "absent"))
    said = "cannot be written: there is no such bucket: make it first"
    with pytest.raises(WriteError, match=said):
        store.check_writable()
    with pytest.raises(WriteError, match=said):
        store.write(KEY, [0], ROWS[:1])


def test_no_credentials(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    store = FeatureStore(s3)
    with pytest.raises(WriteError, match="cannot be read: there are no credentials"):
        store.is_complete(KEY)
    s3fs.S3FileSystem.clear_instance_cache()


class _Fault:
    """File system of which every call fails so."""

    async_impl, protocol = True, "s3"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> None:
            raise self.error

        return fail


@pytest.mark.parametrize(
    "error, said",
    [
        (PermissionError("Access Denied"), "access is denied"),
        (type("ConnectionError", (Exception,), {})(), "nobody answers there"),
        (NotImplementedError(), "its protocol cannot do that"),
        (RuntimeError("odd\nlines"), "RuntimeError: odd"),
    ],
)
def test_faults_of_a_store_remove_nothing_and_are_one_sentence(error: Exception, said: str) -> None:
    url = f"memory://{uuid4().hex}/x"
    whole = FeatureStore(url)
    whole.write(KEY, [0], ROWS[:1])
    whole.complete(KEY, {"rows": 1})
    whole.write_tensors("fitted", KEY, {"w": torch.ones(1)}, {})
    before = names(url)
    store = FeatureStore(url)
    place: Any = store._place
    listing = place._system
    for broken in ("all", "read"):
        place._system = _Fault(error)
        if broken == "read":
            place._system.find = listing.find
        for call in (
            lambda: store.is_complete(KEY),
            lambda: store.rows(KEY),
            lambda: store.read(KEY, 1),
            lambda: store.read_tensors("fitted", KEY, "cpu", lambda *_: 1),
            lambda: store.write(KEY, [1], ROWS[:1]),
            lambda: store.complete(KEY, {}),
            store.check_writable,
        ):
            with pytest.raises(WriteError, match=said) as caught:
                call()
            assert "\n" not in str(caught.value)
    assert names(url) == before


@pytest.mark.parametrize(
    "url, kind, said",
    [
        ("nowhere://a/b", UsageError, "Protocol not known: nowhere"),
        ("https://a/b", UsageError, "is no place to write to"),
        ("simplecache::s3://a/b", UsageError, "is no place to write to"),
        ("memory://", UsageError, "names no bucket or folder"),
    ],
)
def test_a_url_that_is_none(url: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        FeatureStore(url)


@pytest.mark.parametrize("protocol, package", [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")])
def test_a_missing_package_is_named(protocol: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec  # noqa: F401  # before its packages are hidden

    monkeypatch.setitem(sys.modules, package, None)
    registry: Any = sys.modules["fsspec.registry"]  # fsspec has another thing of this name
    monkeypatch.delitem(registry._registry, protocol, raising=False)
    with pytest.raises(UnavailableError, match=f"not installed: `pip install {package}`"):
        FeatureStore(f"{protocol}://bucket/x")


def test_commands_on_a_url(harness_command: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("info", "verify", "prune --all"):
        result = harness_command("cache", *command.split(), "--cache-dir", "s3://bucket/x")
        assert result.code == 2 and "lifecycle rules" in result.err
    result = harness_command("status", "s3://bucket/x")
    assert result.code == 2 and "is a URL" in result.err
    monkeypatch.setenv("HARNESS_CACHE_DIR", "s3://bucket/x")
    result = harness_command("cache", "info")
    assert result.code == 2 and "HARNESS_STORE" in result.said[-1]


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────────


SUITE = """
name: small
version: 1
summary: two models
tasks: [quickstart_tone]
models: [{ref: minigemma-s, sites: [resid_post.50%]}, {ref: minigemma-m, sites: [resid_post.50%]}]
representations: [hidden, pca, tfidf]
poolings: [mean]
transforms: [none]
classifiers: [logreg]
seeds: 1
"""


def test_a_run_keeps_its_features_at_the_store(
    harness_command: Harness, s3: str, own_cache: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE)
    run = ("run", suite, "--store", s3, "--json", "-o")
    first = harness_command(*run, "one")
    assert first.code == 0, first.err
    assert not (own_cache / "features").exists() and any(name.startswith("features/") for name in names(s3))
    second = harness_command(*run, "two")
    assert second.code == 0 and json.loads(first.out)["tokens"] > 0 == json.loads(second.out)["tokens"]
    plan = harness_command("plan", suite, "--store", s3, "--json")
    assert all(row["cached"] == row["features"] for row in json.loads(plan.out)["bundles"])


def test_a_session_takes_the_store_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_STORE", "memory://a/b")
    assert harness.open().store().location == "memory://a/b"
    assert harness.open(store=tmp_path).store().location == str(tmp_path)
    assert os.environ["HARNESS_STORE"] == "memory://a/b"
