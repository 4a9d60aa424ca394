"""Run folders at a URL: on a real S3 server, and in memory where only the mirror is looked at."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import Harness

import harness
from harness import UnavailableError, UsageError, WriteError
from harness.runs.folder_at_url import RunFolderAtUrl, open_run_folder
from harness.runs.mirror import Mirror, fetch
from harness.runs.record import VARYING
from harness.storage.lease import Holder, Lease
from harness.storage.parts import MOST_PARTS, GrowingFile, part_of, read_parts
from harness.storage.remote import RemotePlace


@pytest.fixture
def memory() -> RemotePlace:
    """Empty place in the memory of this process."""
    return RemotePlace(f"memory://{uuid4().hex}/run")


def copy_down(url: str, folder: Path) -> None:
    """Copy all objects of a URL into a folder."""
    place = RemotePlace(url)
    for name in place.every_name():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(place.read(name))


# ── files that grow ──────────────────────────────────────────────────────────────────────────────────────


def read_back(place: RemotePlace, name: str = "results.jsonl") -> bytes:
    return read_parts(place, name, place.every_name())


def put(growing: GrowingFile, *lines: bytes) -> None:
    for line in lines:
        growing.add(line)
    growing.put_part(growing.take())


def test_a_file_grows_by_parts_that_are_put_into_one_now_and_then(memory: RemotePlace) -> None:
    memory.write("results.jsonl", b"start\n")
    memory.write("results.jsonl.gz", b"of somebody else")
    growing, lines = GrowingFile(memory, "results.jsonl"), [b"start\n"]
    growing.put_all(b"start\n")
    for number in range(3 * MOST_PARTS + 5):
        put(growing, b"%d\n" % number)
        lines.append(b"%d\n" % number)
        assert len(memory.every_name()) <= 2 + MOST_PARTS + 3
    assert read_back(memory) == b"".join(lines)
    put(growing)
    assert len(memory.every_name()) == 2 + 3 + 5
    growing.put_all(b"".join(lines))
    assert memory.every_name() == ["results.jsonl", "results.jsonl.gz"] and read_back(memory) == b"".join(
        lines
    )
    put(growing, b"more\n", b"lines\n")
    assert read_back(memory) == b"".join([*lines, b"more\n", b"lines\n"])


def test_whatever_put_a_killed_writer_came_to_the_file_is_whole(memory: RemotePlace) -> None:
    """Every state between two puts of a merge, and of putting all into one, reads as the same bytes."""
    growing, whole = GrowingFile(memory, "results.jsonl"), b""
    states: list[bytes] = []
    write, remove = memory.write, memory.remove

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any) -> None:
            call(*arguments)
            states.append(read_back(memory))

        return do

    memory.write, memory.remove = watched(write), watched(remove)  # type: ignore[method-assign]  # spies
    for number in range(MOST_PARTS):
        whole += b"%d\n" % number
        put(growing, b"%d\n" % number)
    assert len(states) == 2 * MOST_PARTS and set(states[MOST_PARTS - 1 :]) == {whole}
    put(growing, b"more\n")
    states.clear()
    growing.put_all(whole + b"more\n")
    assert len(states) > 2 and set(states) == {whole + b"more\n"}


def test_what_follows_a_missing_part_is_not_read(memory: RemotePlace) -> None:
    growing = GrowingFile(memory, "results.jsonl")
    for line in (b"one\n", b"two\n", b"three\n"):
        put(growing, line)
    memory.remove("results.jsonl.000000000004")
    assert read_back(memory) == b"one\n"


@pytest.mark.parametrize("name", ["results.jsonl", "results.jsonl.12", "000000000004", "lease-000000000001"])
def test_names_that_are_no_parts(name: str) -> None:
    assert part_of(name) is None


# ── the mirror ───────────────────────────────────────────────────────────────────────────────────────────


class Gate:
    """Place whose puts wait for leave, or fail."""

    def __init__(self, place: RemotePlace) -> None:
        self.place, self.open = place, threading.Event()
        self.written: list[str] = []
        self.error: Exception | None = None

    def write(self, name: str, data: bytes) -> None:
        self.open.wait(30)
        if self.error:
            raise self.error
        self.place.write(name, data)
        self.written.append(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)


@pytest.fixture
def gate(memory: RemotePlace, tmp_path: Path) -> Iterator[tuple[Gate, Mirror]]:
    """A place, and a mirror of the folder `run` on it that has begun."""
    (tmp_path / "run" / "predictions").mkdir(parents=True)
    found = Gate(memory)
    found.open.set()
    mirror = Mirror(tmp_path / "run", found, lambda: None)
    mirror.begin()
    yield found, mirror
    found.open.set()
    mirror.end()


def add(mirror: Mirror, folder: Path, number: int) -> int:
    """Write predictions and a record, as a run does."""
    (folder / "run/predictions" / f"{number}.parquet").write_bytes(b"%d" % number)
    mirror.put(f"predictions/{number}.parquet")
    line = b"%d\n" % number
    with (folder / "run/results.jsonl").open("ab") as file:
        file.write(line)
    return mirror.append("results.jsonl", line)


def test_what_waits_during_a_put_is_put_together_and_predictions_come_first(
    gate: tuple[Gate, Mirror], tmp_path: Path
) -> None:
    place, mirror = gate
    place.open.clear()
    numbers = [add(mirror, tmp_path, number) for number in range(50)]
    assert numbers == sorted(numbers) and mirror.kept == 0
    place.open.set()
    mirror.wait()
    assert mirror.kept == numbers[-1]
    parts = [name for name in place.written if part_of(name)]
    assert len(parts) <= 3 and len(place.written) == 50 + len(parts)
    assert read_back(place.place) == b"".join(b"%d\n" % number for number in range(50))
    before = {
        int(name[12:-8]) for name in place.written[: place.written.index(parts[0])] if name not in parts
    }
    assert set(map(int, place.place.read(parts[0]).split())) <= before


def test_the_first_error_ends_the_writing_and_is_raised_from_then_on(
    gate: tuple[Gate, Mirror], tmp_path: Path
) -> None:
    place, mirror = gate
    place.error = WriteError("nobody answers")
    add(mirror, tmp_path, 1)
    for call in (mirror.wait, mirror.check, mirror.sync):
        with pytest.raises(WriteError, match="nobody answers"):
            call()
    place.error = None
    add(mirror, tmp_path, 2)
    with pytest.raises(WriteError, match="nobody answers"):
        mirror.wait()
    assert mirror.kept == 0 and place.place.every_name() == []


def test_at_the_end_the_place_has_the_files_of_the_folder_and_no_others(
    gate: tuple[Gate, Mirror], memory: RemotePlace, tmp_path: Path
) -> None:
    _, mirror = gate
    memory.write("notes.txt", b"of somebody else")
    for name in ("run.json", "old.html", "lock", "lease-3", ".tmp-x", "pictures/a/b.png"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(name)
    add(mirror, tmp_path, 7)
    mirror.sync()
    expected = [
        "notes.txt",
        "old.html",
        "pictures/a/b.png",
        "predictions/7.parquet",
        "results.jsonl",
        "run.json",
    ]
    assert memory.every_name() == expected
    (tmp_path / "run/old.html").unlink()
    (tmp_path / "run/run.json").write_text("ended")
    mirror.sync()
    assert memory.every_name() == [name for name in expected if name != "old.html"]
    assert memory.read("run.json") == b"ended"


@pytest.mark.parametrize("name", ["../outside", "a/../../outside"])
def test_names_that_lead_out_of_the_folder_are_not_fetched(
    name: str, memory: RemotePlace, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match="leads out of its folder"):
        fetch(memory, ["run.json", name], tmp_path / "run")
    assert not (tmp_path / "outside").exists()


def test_a_place_without_a_run_is_not_fetched(memory: RemotePlace, tmp_path: Path) -> None:
    memory.write("other/run.json", b"{}")
    fetch(memory, memory.every_name(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ── reports of records ───────────────────────────────────────────────────────────────────────────────────


def test_a_record_is_reported_once_the_url_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolderAtUrl(f"memory://{uuid4().hex}/run", tmp_path)
    told: list[str] = []
    with folder.hold():
        mirror = folder._mirror
        assert mirror
        place = Gate(mirror._place)  # type: ignore[arg-type]  # any place will do
        place.open.set()
        mirror.begin()
        mirror.wait()
        for growing in mirror._growing.values():
            growing._place = place
        place.open.clear()
        folder._append("results.jsonl", "{}")
        folder.once_kept(lambda: told.append("one"))
        folder.once_kept(lambda: told.append("two"))
        assert told == []
        place.open.set()
        mirror.wait()
        folder.once_kept(lambda: told.append("three"))
        assert told == ["one", "two", "three"]


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────

SUITE = """
name: small
version: 1
summary: two models
tasks: [quickstart_tone]
models: [{ref: minigemma-s, sites: [resid_post.50%]}]
representations: [hidden, pca, tfidf]
poolings: [mean]
transforms: [none]
classifiers: [logreg]
seeds: 2
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    return path


def records(folder: Path) -> list[dict[str, Any]]:
    """Read the records of a run, without what no two runs share."""
    lines = (folder / "results.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in VARYING} for line in lines]


def test_a_run_at_a_url_is_a_run_folder(
    harness_command: Harness, s3: str, suite: Path, tmp_path: Path, own_cache: Path
) -> None:
    """Store and folder are both there; a copy of it is what a run in a folder writes."""
    ran = harness_command("run", suite, "--store", f"{s3}/store", "--json", "-o", f"{s3}/run")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert facts["folder"] == f"{s3}/run" and facts["leaderboard"] == f"{s3}/run/leaderboard.md"
    copy, local = tmp_path / "copy", tmp_path / "local"
    copy_down(f"{s3}/run", copy)
    assert harness_command("run", suite, "--store", f"{s3}/store", "--json", "-o", local).code == 0
    assert records(copy) == records(local)
    here, there = (
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        for folder in (local, copy)
    )
    assert there - {"lease-1"} == here - {"lock"}
    for path in (local / "predictions").iterdir():
        assert (copy / "predictions" / path.name).read_bytes() == path.read_bytes()
    assert json.loads((copy / "run.json").read_text())["status"] == "finished"
    assert harness_command("validate", copy).code == 0
    # The copy, and another machine without a cache, have nothing left to do.
    for output, cache in ((copy, own_cache), (f"{s3}/run", tmp_path / "another machine")):
        again = harness_command("run", suite, "--json", "-o", output, "--cache-dir", cache)
        assert again.code == 0, again.err
        assert (
            json.loads(again.out)["skipped"] == len(records(local)) and json.loads(again.out)["tokens"] == 0
        )
    place = RemotePlace(f"{s3}/run")
    assert place.read("results.jsonl") == (copy / "results.jsonl").read_bytes()
    assert [name for name in place.every_name() if part_of(name)] == []
    before = {name: place.read(name) for name in place.every_name() if not name.startswith("lease-")}
    other = harness_command("run", suite, "-o", f"{s3}/run", "--seeds", 1)
    assert other.code == 2 and "choose another -o" in other.err
    assert {name: place.read(name) for name in place.every_name() if not name.startswith("lease-")} == before


KILLED = """
import os, signal, sys
import harness

told = []

class Kill:
    @harness.hookimpl
    def harness_cell_finished(self, event):
        print(event.cell_id, flush=True)
        told.append(event.cell_id)
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

session = harness.open(cache_dir=sys.argv[3])
session.registry.plugins.manager.register(Kill())
session.run(sys.argv[1], output=sys.argv[2])
"""


def test_a_killed_driver_loses_nothing_that_it_reported(
    harness_command: Harness, s3: str, suite: Path, tmp_path: Path
) -> None:
    """Another machine, with a cache of its own, goes on with it."""
    command = [sys.executable, "-c", KILLED, str(suite), s3, str(tmp_path / "cache-1")]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    told = killed.stdout.split()
    again = harness_command("run", suite, "--json", "-o", s3, "--cache-dir", tmp_path / "cache-2")
    assert again.code == 0, again.err
    assert json.loads(again.out)["skipped"] >= len(told) == 2
    copy_down(s3, tmp_path / "copy")
    found = [record["cell_id"] for record in records(tmp_path / "copy")]
    assert len(found) == len(set(found)) == json.loads(again.out)["ok"] and found[:2] == told
    statuses = [record["status"] for record in records(tmp_path / "copy")]
    assert set(statuses) == {"ok"}


def test_a_run_whose_lease_is_lost_ends_before_it_writes_again(s3: str, suite: Path, tmp_path: Path) -> None:
    session = harness.open(cache_dir=tmp_path / "cache")
    place = RemotePlace(s3)

    class TakeOver:
        @harness.hookimpl
        def harness_run_started(self, event: harness.RunStarted) -> None:
            Lease(place, Holder(has_ended=lambda facts: True)).take()

    session.registry.plugins.manager.register(TakeOver())
    with pytest.raises(WriteError, match="another process has taken over"):
        session.run(suite, output=s3)
    assert json.loads(place.read("run.json"))["status"] == "running"
    assert not any("results" in name or "predictions" in name for name in place.every_name())


def test_only_the_last_working_folder_is_kept(tmp_path: Path) -> None:
    url = f"memory://{uuid4().hex}/run"
    folders = [open_run_folder(url, tmp_path) for _ in range(3)]
    for folder in folders:
        with folder.hold():
            pass
    other = open_run_folder(f"{url}-2", tmp_path)
    with other.hold():
        assert sorted((tmp_path / "runs").iterdir()) == sorted([folders[-1].path, other.path])


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url, kind, said",
    [
        ("s3://", UsageError, "names no bucket or folder"),
        ("nowhere://a/b", UsageError, "Protocol not known: nowhere"),
        ("https://a/b", UsageError, "is no place to write to"),
    ],
)
def test_a_url_that_is_none(url: str, kind: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said):
        open_run_folder(url, tmp_path)


def test_a_url_that_cannot_be_written_ends_the_run_before_any_forward_pass(
    harness_command: Harness, s3: str, suite: Path, own_cache: Path
) -> None:
    ran = harness_command("run", suite, "-o", s3.replace("bucket", "absent"))
    assert ran.code == 3 and "cannot be written: there is no such bucket: make it first" in ran.said[-1]
    assert not (own_cache / "features").exists()


def test_a_missing_package_ends_the_run_before_any_forward_pass(
    harness_command: Harness, monkeypatch: pytest.MonkeyPatch, suite: Path, own_cache: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    ran = harness_command("run", suite, "-o", "gs://bucket/run")
    assert ran.code == 3 and "not installed: `pip install gcsfs`" in ran.said[-1]
    assert not (own_cache / "features").exists()
