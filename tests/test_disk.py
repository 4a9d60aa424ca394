"""Disks that are full or cannot be written: one sentence, exit code 3, nothing lost, and the same command resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness.runs.folder import RunFolder
from harness.storage.atomic import append_line, lock, write_json
from harness.storage.cache_place import check_writable

N_CELLS = 8
NO_MOUNTS = 77

DISK = """
import ctypes, json, os, shutil
from pathlib import Path
import pandas as pd
import harness.runs.folder, harness.runs.featurizer, harness.runs.forward, harness.pipeline
from harness.runs import folder
from harness import leaderboard
from harness.runs.folder import RunFolder
from harness.storage.feature_store import FeatureStore

harness.runs.forward.FLUSH_ROWS = 1
libc = ctypes.CDLL(None, use_errno=True)

def system(name, *arguments):
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)

user, group = os.geteuid(), os.getegid()
try:
    try:
        system("unshare", 0x20000)  # mounts of its own
    except OSError:
        system("unshare", 0x20000 | 0x10000000)  # and, for that, users of its own
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    system("mount", None, b"/", None, 0x4000 | 0x40000, None)  # which nobody else sees
    disk = Path("disk")
    disk.mkdir(exist_ok=True)
    system("mount", b"tmpfs", b"disk", b"tmpfs", 0, b"size=4m")
except OSError as error:
    print(error)
    os._exit(77)

def fill(*arguments):
    with open("disk/fill", "ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass

def freeze(*arguments):
    system("mount", b"tmpfs", b"disk", b"tmpfs", 32 | 1, b"size=4m")  # again, and read-only

def thaw():
    system("mount", b"tmpfs", b"disk", b"tmpfs", 32, b"size=4m")

def run_twice(name, *arguments):
    first = execute(list(arguments))
    run = Path(arguments[arguments.index("-o") + 1])
    results = run / "results.jsonl"
    lines = results.read_bytes() if results.exists() else b""
    about = json.loads((run / "run.json").read_text()) if (run / "run.json").exists() else {}
    thaw()
    (disk / "fill").unlink(missing_ok=True)
    second = execute(list(arguments))
    kept = results.read_bytes().startswith(lines) if results.exists() else not lines
    shutil.copytree(run, name)
    facts = {"first": first, "second": second, "kept": kept, "status": about.get("status"), "lines": lines.decode()}
    Path(name + ".json").write_text(json.dumps(facts))
    os._exit(0)
"""

FULL = {
    "before the run": "fill()",
    "writing a batch plan": "at(FeatureStore, 'write_batches', fill)",
    "writing a shard": "at(FeatureStore, 'write', fill, 7)",
    "completing features": "at(FeatureStore, 'complete', fill, 2)",
    "writing predictions": "at(pd.DataFrame, 'to_parquet', fill, 3)",
    "writing a record": "at(folder, 'append_line', fill, 4, where=lambda path, line: 'results' in path.name)",
    "writing the last run.json": "at(RunFolder, 'finish', fill)",
    "writing the leaderboard": "at(leaderboard, 'write', fill)",
}


def run_on_disk(
    forks: Any, name: str, *, output: str, cache: str, before: str
) -> tuple[dict[str, Any], list[str]]:
    """The command twice, on a small disk that is crippled the first time; what is found, and the sentences said."""
    arguments = forks.command(output, cache)
    ended = forks.run(output, before=f"{DISK}\n{before}\nrun_twice({name!r}, *{arguments!r})")
    if ended.code == NO_MOUNTS:
        pytest.skip(f"no file system can be mounted here: {ended.said}")
    assert ended.code == 0, ended.said
    said = [line for line in ended.said.splitlines() if line.startswith("harness: ")]
    return json.loads((forks.home / f"{name}.json").read_text()), said


def assert_finished(forks: Any, name: str) -> None:
    """The copied run `name` is equal to the one that no disk disturbed."""
    whole, other = RunFolder(forks.home / "whole"), RunFolder(forks.home / name)
    expected = {record.cell_id: record for record in whole.records()}
    found = {record.cell_id: record for record in other.records()}
    assert found.keys() == expected.keys() and len(found) == N_CELLS
    for cell_id, record in expected.items():
        assert found[cell_id].model_dump(exclude={"cost"}) == record.model_dump(exclude={"cost"})
        pd.testing.assert_frame_equal(whole.predictions(cell_id), other.predictions(cell_id))
    assert other.about()["status"] == "finished"
    assert (forks.home / name / "leaderboard.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("moment", FULL)
def test_a_disk_that_is_full_under_run_and_cache_is_one_sentence(forks: Any, moment: str) -> None:
    name = f"full {moment}"
    told, said = run_on_disk(forks, name, output="disk/run", cache="disk/cache", before=FULL[moment])
    assert (told["first"], told["second"]) == (3, 0)
    assert len(said) == 1 and "No space left on device" in said[0], said
    assert told["kept"] and (not told["lines"] or told["lines"].endswith("\n"))
    assert told["status"] in {None, "failed"} or moment == "writing the leaderboard"
    assert_finished(forks, name)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["writing a batch plan", "writing a shard", "completing features"])
def test_a_full_cache_ends_the_run_and_its_folder_says_so(forks: Any, moment: str) -> None:
    name = f"full cache {moment}"
    told, said = run_on_disk(forks, name, output=f"beside {moment}", cache="disk/cache", before=FULL[moment])
    assert (told["first"], told["second"], told["status"]) == (3, 0, "failed")
    assert len(said) == 1 and "disk/cache" in said[0] and "No space left on device" in said[0]
    assert "--cache-dir or HARNESS_CACHE_DIR" in said[0]
    assert_finished(forks, name)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["writing predictions", "writing a record", "writing the last run.json"])
def test_a_full_run_folder_keeps_what_is_done_and_the_features(forks: Any, moment: str) -> None:
    name = f"full run {moment}"
    told, said = run_on_disk(forks, name, output="disk/run", cache=f"cache {moment}", before=FULL[moment])
    assert (told["first"], told["second"], told["status"]) == (3, 0, "failed")
    assert len(said) == 1 and "disk/run" in said[0] and "No space left on device" in said[0]
    assert (forks.home / name / "events.jsonl").read_text().count('"forward"') == 1
    assert_finished(forks, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "cache", "sentence"),
    [
        (
            "disk/run",
            "cache beside",
            "harness: the run folder 'disk/run' cannot be made: Read-only file system",
        ),
        (
            "run beside",
            "disk",
            "harness: the cache 'disk' cannot be written: make room there, or name another cache with --cache-dir or "
            "HARNESS_CACHE_DIR",
        ),
    ],
)
def test_a_read_only_disk_is_one_sentence(forks: Any, output: str, cache: str, sentence: str) -> None:
    name = f"read-only {output}".replace("/", " ")
    told, said = run_on_disk(forks, name, output=output, cache=cache, before="freeze()")
    assert (told["first"], told["second"]) == (3, 0)
    assert told["status"] == (None if output == "disk/run" else "failed")
    assert said == [sentence]
    assert_finished(forks, name)


@pytest.mark.slow
def test_a_cache_on_a_read_only_disk_that_holds_everything_is_enough(forks: Any) -> None:
    """Features, and all else that the first run keeps: the second one writes nothing there."""
    first = forks.command("filled", "disk/cache")
    before = f"assert execute({first!r}) == 0; freeze()"
    told, said = run_on_disk(
        forks, "read from a frozen cache", output="read", cache="disk/cache", before=before
    )
    assert (told["first"], told["second"], told["status"], said) == (0, 0, "finished", [])
    assert_finished(forks, "read from a frozen cache")


@pytest.mark.slow
def test_a_finished_run_that_has_become_read_only_is_left_as_it_is(forks: Any) -> None:
    arguments = forks.command("disk/run", "cache of the frozen")
    before = f"assert execute({arguments!r}) == 0; freeze()"
    told, said = run_on_disk(forks, "frozen", output="disk/run", cache="cache of the frozen", before=before)
    assert (told["first"], told["second"], told["status"]) == (3, 0, "finished")
    assert said == ["harness: 'disk/run/lock' cannot be written: Read-only file system"]
    assert_finished(forks, "frozen")


LIMIT = """
import resource
import harness.runs.folder
def limit(path, line):
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + len(line) // 2, resource.RLIM_INFINITY))
at(harness.runs.folder, "append_line", limit, 4, where=lambda path, line: path.name == "results.jsonl")
"""


@pytest.mark.slow
def test_a_record_that_is_written_by_half_is_taken_back(forks: Any) -> None:
    """Needs no mounts: the system refuses to let the file grow in the middle of a line."""
    ended = forks.run("limited", before=LIMIT)
    results = forks.home / "limited" / "results.jsonl"
    assert ended.code == 3
    said = [line for line in ended.said.splitlines() if line.startswith("harness: ")]
    assert said == ["harness: 'limited/results.jsonl' cannot be written: File too large"]
    assert results.read_bytes().count(b"\n") == 3 and results.read_bytes().endswith(b"\n")
    assert RunFolder(forks.home / "limited").about()["status"] == "failed"
    assert forks.run("limited").code == 0
    assert_finished(forks, "limited")


def test_a_folder_that_cannot_be_written_is_an_error_of_its_own_type(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    refused: dict[str, Callable[[], object]] = {
        "whole file": lambda: write_json(blocked / "value.json", {}),
        "line": lambda: append_line(blocked / "lines.jsonl", "{}"),
        "lock": lambda: lock(blocked / "lock").__enter__(),
        "cache": lambda: check_writable(blocked),
        "run folder": lambda: RunFolder(blocked).hold().__enter__(),
    }
    for name, act in refused.items():
        with pytest.raises(harness.WriteError) as caught:
            act()
        assert str(blocked) in str(caught.value), name
