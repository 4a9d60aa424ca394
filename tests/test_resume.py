"""Runs killed anywhere and run again: the same records and predictions as if nothing had happened.

`python -m pytest tests/test_resume.py -s` shows the table: where a run was killed, what run.json said then, the cells
done by then and in the end, and the largest difference of any metric or score from a run that nobody killed and that
had a cache of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness.features.featurize
from harness.cli import execute
from harness.runs.folder import RunFolder
from harness.storage.feature_store import FeatureStore

N_CELLS = 8

# ── killed, and run again ────────────────────────────────────────────────────────────────────────────────

PREPARED = """
from pathlib import Path
import pandas as pd
import harness.runs.featurizer, harness.runs.forward, harness.pipeline
import harness.features.featurize, harness.runs.folder, harness.registry.catalog
from harness import leaderboard
from harness.runs.folder import RunFolder
from harness.storage.feature_store import FeatureStore

harness.runs.forward.FLUSH_ROWS = 1  # a shard after every batch

write_bytes, to_parquet = Path.write_bytes, pd.DataFrame.to_parquet
def half_bytes(path, data): write_bytes(path, data[:len(data) // 2])
def half_line(path, line):
    with path.open("a") as file: file.write(line[:len(line) // 2])
def half_table(frame, path):
    to_parquet(frame, path)
    half_bytes(path, path.read_bytes())

def in_features(path, *more): return "features" in path.parts
def is_json(path, data): return in_features(path) and data[:1] == b"{"
def in_plans(path, *more): return "plans" in path.parts
def in_results(path, line): return path.name == "results.jsonl"
def in_events(path, line): return path.name == "events.jsonl"

class Cut:
    def __init__(self, made): self.made = made
    def fit(self, X, y): return self.made.fit(X, y)
    def predict_proba(self, X): return self.made.predict_proba(X)

def cut_fit(n):
    make = harness.registry.catalog.Choice.make
    def made(self, **more):
        return Cut(make(self, **more)) if self.kind == "classifiers" else make(self, **more)
    harness.registry.catalog.Choice.make = made
    cut(Cut, "fit", n, after=True)
"""

PLACES = {
    "nothing written": "cut(RunFolder, 'start')",
    "run.json written, env.json not": "cut(harness.runs.folder, 'environment')",
    "mid-write of the batch plan": "cut(Path, 'write_bytes', before=half_bytes, where=in_plans)",
    "model about to be loaded": "cut(harness.runs.featurizer, 'featurize')",
    "mid-forward, first batch": "cut(harness.features.featurize, 'pool_reading', 2)",
    "mid-forward, fourth batch": "cut(harness.features.featurize, 'pool_reading', 8)",
    "mid-write of a shard": "cut(Path, 'write_bytes', 7, before=half_bytes, where=in_features)",
    "shard written, not yet named": "cut(Path, 'replace', 6, where=in_features)",
    "between two shards of one batch": "cut(FeatureStore, 'write', 10, after=True)",
    "all shards written, none complete": "cut(FeatureStore, 'complete')",
    "mid-write of complete.json": "cut(Path, 'write_bytes', 2, before=half_bytes, where=is_json)",
    "mid-fit, first cell": "cut_fit(1)",
    "mid-fit, fifth cell": "cut_fit(5)",
    "mid-write of predictions": "cut(pd.DataFrame, 'to_parquet', 2, before=half_table)",
    "predictions written, record not": "cut(harness.runs.folder, 'append_line', 4, where=in_results)",
    "mid-record": "cut(harness.runs.folder, 'append_line', 3, before=half_line, where=in_results)",
    "between two cells": "cut(harness.runs.folder, 'append_line', 5, where=in_results, after=True)",
    "mid-event": "cut(harness.runs.folder, 'append_line', 2, before=half_line, where=in_events)",
    "all cells done, run.json not": "cut(RunFolder, 'finish')",
    "leaderboard not written": "cut(leaderboard, 'write')",
}

MOMENTS = [round((tenth + share) / 10, 3) for tenth, share in enumerate(np.random.default_rng(3).random(10))]
"""Shares of the time that a run takes when nobody kills it, one in each tenth."""


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Filled by each kill, shown in the end."""
    lines = [
        f"{'killed':<36} {'run.json':<9} {'shards':>6} {'done':>4} {'end':>4} {'redone':>6}  largest difference"
    ]
    yield lines
    print("", *lines, sep="\n")


def read_status(folder: Path) -> str:
    return (
        json.loads((folder / "run.json").read_text())["status"] if (folder / "run.json").exists() else "none"
    )


def assert_goes_on(forks: Any, name: str, place: str, table: list[str]) -> None:
    """Run the killed `name` again, and compare it with the run that was not killed."""
    folder = forks.home / name
    results = folder / "results.jsonl"
    before = results.read_bytes() if results.exists() else b""
    whole = before[: before.rfind(b"\n") + 1]  # what follows the last newline was never finished
    status, done = read_status(folder), whole.count(b"\n")
    shards = len(list((forks.home / f"{name}-cache").rglob("*.safetensors")))
    again = forks.run(name)
    assert again.code == 0, again.said
    after = results.read_bytes()
    difference = largest_difference(RunFolder(forks.home / "whole"), RunFolder(folder))
    redone = after.count(b"\n") - N_CELLS
    table.append(f"{place:<36} {status:<9} {shards:>6} {done:>4} {N_CELLS:>4} {redone:>6}  {difference:.1e}")
    assert after.startswith(whole) and redone == 0
    assert difference <= 1e-12
    assert read_status(folder) == "finished"
    assert (folder / "leaderboard.csv").read_bytes() and not list(folder.rglob(".tmp-*"))


def largest_difference(one: RunFolder, two: RunFolder) -> float:
    """Of any metric, bound or score; all else of records (but what they cost) and predictions must be equal."""
    first, second = ({record.cell_id: record for record in run.records()} for run in (one, two))
    assert first.keys() == second.keys()
    assert len(first) == N_CELLS
    differences = [0.0]
    for cell_id, record in first.items():
        other = second[cell_id]
        assert record.status == other.status == "ok"
        unlike = {"cost", "metrics", "validation_metrics"}
        assert record.model_dump(exclude=unlike) == other.model_dump(exclude=unlike)
        assert record.metrics.keys() == other.metrics.keys()
        for name, metric in record.metrics.items():
            twin = other.metrics[name]
            pairs = ((metric.value, twin.value), (metric.low, twin.low), (metric.high, twin.high))
            differences += [abs((a or 0.0) - (b or 0.0)) for a, b in pairs]
        a, b = one.predictions(cell_id), two.predictions(cell_id)
        scores = [column for column in a.columns if column.startswith("score_")]
        pd.testing.assert_frame_equal(a.drop(columns=scores), b.drop(columns=scores))
        differences.append(float(np.abs(a[scores].to_numpy() - b[scores].to_numpy()).max()))
    return max(differences)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_run_killed_here_goes_on_as_if_nothing_had_happened(
    forks: Any, table: list[str], place: str
) -> None:
    name = place.replace(" ", "-")
    ended = forks.run(name, before=PREPARED + PLACES[place])
    assert ended.code == -signal.SIGKILL, ended.said
    assert_goes_on(forks, name, place, table)


@pytest.mark.slow
@pytest.mark.parametrize("share", MOMENTS)
def test_a_run_killed_at_any_moment_goes_on_as_if_nothing_had_happened(
    forks: Any, table: list[str], share: float
) -> None:
    for attempt in range(10):
        name, moment = f"moment-{share}-{attempt}", share * forks.seconds * 0.8**attempt
        ended = forks.run(name, before=PREPARED, kill_after=moment)
        if ended.code == -signal.SIGKILL and read_status(forks.home / name) != "finished":
            break  # else it was quicker this time
    else:
        pytest.fail(ended.said)
    assert_goes_on(forks, name, f"after {moment:.2f} s of {forks.seconds:.2f} s", table)


@pytest.mark.slow
def test_a_run_killed_in_its_forward_pass_goes_on_at_the_next_batch(forks: Any) -> None:
    ended = forks.run("batch", before=PREPARED + "cut(FeatureStore, 'write', 12, after=True)")  # 4 of a batch
    assert ended.code == -signal.SIGKILL
    assert RunFolder(forks.home / "batch").records() == []
    assert forks.run("batch").code == 0
    events = [json.loads(line) for line in (forks.home / "batch" / "events.jsonl").read_text().splitlines()]
    first, second = [event for event in events if event["event"] == "forward"]
    assert (first["batches"], first["of"]) == (6, 6)
    assert (second["batches"], second["of"]) == (3, 6)


@pytest.mark.slow
def test_a_twin_without_a_cache_and_one_with_it_are_equal(forks: Any) -> None:
    for name, cache in (("fresh", "fresh-cache"), ("warm", "fresh-cache"), ("none", "another-cache")):
        assert forks.run(name, cache=cache).code == 0
        assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(forks.home / name)) == 0.0
    forwards = [
        (forks.home / name / "events.jsonl").read_text().count('"forward"') for name in ("fresh", "warm")
    ]
    assert forwards == [1, 0]


# ── at the same time ─────────────────────────────────────────────────────────────────────────────────────

SLOWED = """
import time
import harness.runs.featurizer, harness.runs.forward, harness.pipeline
harness.runs.forward.FLUSH_ROWS = 1
featurize = harness.runs.featurizer.featurize
def slowly(**more):
    for pooled in featurize(**more):
        yield pooled
        time.sleep(0.1)
harness.runs.featurizer.featurize = slowly
"""

FIRST = """
import time
from pathlib import Path
import harness.runs.featurizer, harness.runs.forward, harness.pipeline
def wait(*arguments):
    while not Path("second-ended").exists():
        time.sleep(0.02)
at(harness.runs.featurizer, "featurize", wait)
"""

SECOND = """
import time
from pathlib import Path
import harness.cli
while not Path("both/events.jsonl").exists():
    time.sleep(0.02)
at(harness.cli, "_fail", lambda *arguments: Path("second-ended").touch(), after=True)
"""


@pytest.mark.slow
def test_two_runs_on_one_cache_at_the_same_time_are_both_right(forks: Any) -> None:
    jobs = [(forks.command(name, "shared-cache"), SLOWED, None) for name in ("left", "right")]
    for ended in forks.together(jobs):
        assert ended.code == 0, ended.said
    for name in ("left", "right"):
        assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(forks.home / name)) <= 1e-12


@pytest.mark.slow
def test_of_two_runs_on_one_folder_the_second_says_so_and_harms_nothing(forks: Any) -> None:
    jobs = [(forks.command("both"), before, None) for before in (FIRST, SECOND)]
    first, second = forks.together(jobs)
    assert first.code == 0, first.said
    assert second.code == 3
    assert (
        second.said.strip()
        == "harness: another process is at work on 'both': wait until it has ended, or choose another -o"
    )
    assert (forks.home / "both" / "results.jsonl").read_text().count("\n") == N_CELLS
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(forks.home / "both")) <= 1e-12


STOPPED = """
import os, signal, time
from pathlib import Path
import harness.runs.forward
from harness.storage.feature_store import FeatureStore
harness.runs.forward.FLUSH_ROWS = 1
def stop(*arguments):
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:  # again and again: the first may come before it has stopped
            if Path("pruned").exists():
                os.kill(parent, signal.SIGCONT)
            time.sleep(0.05)
        os._exit(0)
    Path("stopping").touch()
    os.kill(parent, signal.SIGSTOP)
at(FeatureStore, "write", stop, 5, after=True)
"""

PRUNED = """
import time
from pathlib import Path
import harness.storage.cache
while not Path("stopping").exists():
    time.sleep(0.02)
at(harness.storage.cache, "prune", lambda *arguments: Path("pruned").touch(), after=True)
"""


@pytest.mark.slow
def test_a_run_that_is_stopped_and_woken_goes_on_and_what_it_uses_is_not_pruned(forks: Any) -> None:
    prune = ["cache", "prune", "--all", "--cache-dir", "stopped-cache"]
    run, pruned = forks.together([(forks.command("stopped"), STOPPED, None), (prune, PRUNED, None)])
    assert (run.code, pruned.code) == (0, 0), run.said + pruned.said
    assert "stay: a run uses the cache" in pruned.said
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(forks.home / "stopped")) == 0.0
    assert (forks.home / "stopped" / "events.jsonl").read_text().count('"forward"') == 1


DELETED = {
    "before the forward pass": "at(harness.runs.featurizer, 'featurize', delete)",
    "between two shards": "at(FeatureStore, 'write', delete, 5)",
    "before the features are marked": "at(FeatureStore, 'complete', delete)",
    "before the first cell": "at(FeatureStore, 'read', delete)",
    "between two cells": "at(harness.runs.folder, 'append_line', delete, 5, where=in_results)",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", DELETED)
def test_a_cache_that_is_deleted_under_a_run_costs_time_only(forks: Any, moment: str) -> None:
    name = f"deleted {moment}"
    delete = f"import shutil\ndef delete(*arguments): shutil.rmtree({name + '-cache'!r})\n"
    ended = forks.run(name, before=PREPARED + delete + DELETED[moment])
    assert ended.code in (0, 1), ended.said  # 1: cells whose features are gone have failed, and say so
    for record in RunFolder(forks.home / name).records():
        assert record.status == "ok" or "vanished from the cache" in str(record.error)
    assert forks.run(name).code == 0
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(forks.home / name)) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("days", [-400, 400])
def test_a_cache_that_was_written_by_a_machine_with_another_clock_is_read_all_the_same(
    forks: Any, days: int
) -> None:
    folder, then = copy_whole(forks, f"clock {days}"), time.time() + days * 86400
    for path in (forks.home / f"clock {days}-cache").rglob("*"):
        os.utime(path, (then, then))
    for name in ("results.jsonl", "events.jsonl"):
        (folder / name).unlink()
    ended = forks.run(f"clock {days}")
    assert ended.code == 0, ended.said
    assert '"forward"' not in (folder / "events.jsonl").read_text()
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(folder)) == 0.0


def test_on_a_file_system_without_locks_a_lease_holds_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert place.run("unlocked") == 0
    assert '"released": true' in (place.path / "unlocked" / "lease-1").read_text()
    assert_as_whole(place, "unlocked")


def test_a_write_error_ends_the_run_whatever_it_says_and_other_errors_do_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> Callable[..., None]:
        def act(*arguments: object, **more: object) -> None:
            raise error

        return act

    monkeypatch.setattr(FeatureStore, "write", fail(harness.WriteError("the disk is gone")))
    assert place.run("ended") == 3
    assert not RunFolder(place.path / "ended").records()
    monkeypatch.setattr(FeatureStore, "write", fail(ValueError("a word cannot be written thus")))
    assert place.run("went on") == 1
    assert {record.status for record in RunFolder(place.path / "went on").records()} >= {"failed"}


# ── damaged, and run again ───────────────────────────────────────────────────────────────────────────────


def flip_bit(path: Path, share: float = 0.5) -> None:
    """So that neither time nor size tells."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"what is this?")


def put_shard(path: Path, rows: list[int], width: int) -> None:
    """A shard with the right checksum, which is wrong all the same, beside this one or for it."""
    import hashlib

    from safetensors.numpy import save

    dense = np.ones((len(rows), width), dtype=np.float32)
    data = save({"rows": np.array(rows), "dense": dense}, {"features": str(width)})
    path.with_name(f"{hashlib.sha256(data).hexdigest()}.safetensors").write_bytes(data)


SHARD, COMPLETE = "features/*/*.safetensors", "features/*/complete.json"

CACHE_DAMAGE: dict[str, tuple[str, Any, int]] = {
    "a bit of a shard flipped": (SHARD, flip_bit, 1),
    "a shard truncated": (SHARD, truncate, 1),
    "a shard empty": (SHARD, empty, 1),
    "a shard that is something else": (SHARD, scribble, 1),
    "a shard gone": (SHARD, Path.unlink, 1),
    "a stranger's file beside the shards": (SHARD, lambda path: scribble(path.with_name("x.safetensors")), 0),
    "a shard of rows that are not there": (SHARD, lambda path: put_shard(path, [60, 61], 64), 0),
    "a shard of negative rows": (SHARD, lambda path: put_shard(path, [-1], 64), 0),
    "a shard of another width": (SHARD, lambda path: put_shard(path, [0, 1], 7), 1),
    "complete.json empty": (COMPLETE, empty, 1),
    "complete.json that is something else": (COMPLETE, scribble, 1),
}


def copy_whole(forks: Any, name: str) -> Path:
    """The finished run and its cache under another name; the run's folder."""
    shutil.copytree(forks.home / "whole", forks.home / name)
    shutil.copytree(forks.home / "whole-cache", forks.home / f"{name}-cache")
    folder: Path = forks.home / name
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", CACHE_DAMAGE)
def test_damage_to_the_cache_is_found_and_made_good(forks: Any, damage: str) -> None:
    pattern, hurt, forwards = CACHE_DAMAGE[damage]
    folder = copy_whole(forks, damage)
    hurt(sorted((forks.home / f"{damage}-cache").glob(pattern))[0])
    for name in ("results.jsonl", "events.jsonl"):
        (folder / name).unlink()
    ended = forks.run(damage)
    assert ended.code == 0, ended.said
    assert (folder / "events.jsonl").read_text().count('"event": "forward"') == forwards
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(folder)) == 0.0
    assert execute(["cache", "verify", "--cache-dir", str(forks.home / f"{damage}-cache")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("damage", [scribble, empty])
def test_a_damaged_batch_plan_of_an_unfinished_pass_is_made_again(forks: Any, damage: Any) -> None:
    name = f"plan-{damage.__name__}"
    assert forks.run(name, before=PREPARED + PLACES["mid-forward, fourth batch"]).code == -signal.SIGKILL
    plan = next((forks.home / f"{name}-cache").glob("plans/*.json"))
    whole = plan.read_bytes()
    damage(plan)
    assert forks.run(name).code == 0
    assert plan.read_bytes() == whole
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(forks.home / name)) == 0.0


PREDICTIONS = {
    "flipped in a row": lambda path: flip_bit(path, 0.02),
    "flipped in a name": lambda path: path.write_bytes(path.read_bytes().replace(b"label", b"labem")),
    "truncated": truncate,
    "empty": empty,
    "gone": Path.unlink,
    "of another cell": lambda path: pd.read_parquet(path).head(3).to_parquet(path, index=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", PREDICTIONS)
def test_a_cell_whose_predictions_are_damaged_is_done_again(forks: Any, damage: str) -> None:
    name = f"predictions {damage}"
    folder = copy_whole(forks, name)
    PREDICTIONS[damage](sorted((folder / "predictions").iterdir())[2])
    assert forks.run(name).code == 0
    assert (folder / "results.jsonl").read_text().count("\n") == N_CELLS + 1
    assert largest_difference(RunFolder(forks.home / "whole"), RunFolder(folder)) == 0.0


@pytest.mark.slow
def test_a_damaged_run_json_is_one_sentence_that_says_how_to_mend_it(forks: Any) -> None:
    folder = copy_whole(forks, "emptied")
    before = (folder / "results.jsonl").read_bytes()
    empty(folder / "run.json")
    ended = forks.run("emptied")
    assert ended.code == 3
    assert ended.said.strip() == (
        "harness: 'emptied/run.json' is damaged (it is empty): remove it, and the same `harness run` "
        "again keeps what is done"
    )
    assert (folder / "results.jsonl").read_bytes() == before
    (folder / "run.json").unlink()
    assert forks.run("emptied").code == 0
    assert (folder / "results.jsonl").read_bytes() == before
    assert read_status(folder) == "finished"


# ── cut, damaged, broken ─────────────────────────────────────────────────────────────────────────────────

SUITE = """
name: cut
tasks: [toy]
models: [{ref: minigemma-s, sites: [resid_post.0]}]
representations: [hidden, "random_sae[width=96,k=8]"]
poolings: [mean, max]
classifiers: [{name: logreg, C: 10.0}]
seeds: 2
"""

# Cuts the run at the N-th batch or cell, by the signal that is asked for; a shard is written after every row.
PLUGIN = """
import os, signal
import harness, harness.runs.forward

if "CUT" in os.environ:
    harness.runs.forward.FLUSH_ROWS = 1
told = {"batch": 0, "cell": 0}

def count(what):
    told[what] += 1
    if os.environ.get("CUT", "").split(":")[:2] == [what, str(told[what])]:
        os.kill(os.getpid(), getattr(signal, os.environ["CUT"].split(":")[2]))

@harness.hookimpl
def harness_batch_finished(event):
    count("batch")

@harness.hookimpl
def harness_cell_finished(event):
    count("cell")
"""


class Place:
    """A folder with a task, a suite and the plugin that cuts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "suite.yaml").write_text(SUITE)
        (path / "task.yaml").write_text(
            "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\n"
        )
        rows = [
            {
                "text": f"{'warm' if i % 2 else 'cold'} weather on day {i} " + "again " * (i % 7),
                "label": "ab"[i % 2],
            }
            for i in range(60)
        ]
        (path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (path / "cutter.py").write_text(PLUGIN)

    def command(self, name: str) -> list[str]:
        folders = ["-o", str(self.path / name), "--cache-dir", str(self.path / f"{name}-cache")]
        files = [str(self.path / "suite.yaml"), "--include", str(self.path / "task.yaml")]
        return ["-p", "cutter", "run", *files, *folders, "-d", "cpu", "-b", "10"]

    def run(self, name: str) -> int:
        """Run here, to the end."""
        return execute(self.command(name))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / name / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The suite, run whole once, as `whole`."""
    place = Place(tmp_path_factory.mktemp("resume"))
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place.path)
        assert place.run("whole") == 0
        yield place
    signal.signal(signal.SIGTERM, handler)


def assert_as_whole(place: Place, name: str) -> None:
    whole, cut = RunFolder(place.path / "whole"), RunFolder(place.path / name)
    expected = {record.cell_id: record for record in whole.records()}
    found = {record.cell_id: record for record in cut.records()}
    assert found.keys() == expected.keys()
    for cell_id, record in expected.items():
        for metric, value in record.metrics.items():
            other = found[cell_id].metrics[metric]
            for bound in ("value", "low", "high"):
                assert getattr(other, bound) == pytest.approx(getattr(value, bound), abs=1e-12)
        assert found[cell_id].model_dump(exclude={"cost", "metrics"}) == record.model_dump(
            exclude={"cost", "metrics"}
        )
        one, two = whole.predictions(cell_id), cut.predictions(cell_id)
        pd.testing.assert_frame_equal(one.iloc[:, :3], two.iloc[:, :3])
        np.testing.assert_allclose(one.iloc[:, 3:], two.iloc[:, 3:], rtol=0, atol=1e-12)
    assert json.loads((place.path / name / "run.json").read_text())["status"] == "finished"


def test_a_terminated_run_says_so_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import cutter  # type: ignore[import-not-found]

    monkeypatch.setitem(cutter.told, "cell", 0)
    monkeypatch.setenv("CUT", "cell:2:SIGTERM")
    assert place.run("terminated") == 143
    assert "the same command resumes" in capsys.readouterr().err
    assert json.loads((place.path / "terminated" / "run.json").read_text())["status"] == "interrupted"
    monkeypatch.delenv("CUT")
    assert place.run("terminated") == 0
    assert_as_whole(place, "terminated")


def test_an_unfinished_last_line_is_cut_and_its_cell_done_again(place: Place) -> None:
    assert place.run("unfinished") == 0
    results = place.path / "unfinished" / "results.jsonl"
    whole = results.read_bytes()
    results.write_bytes(whole[:-100])
    assert place.run("unfinished") == 0
    assert results.read_bytes().count(b"\n") == 8
    assert len([event for event in place.events("unfinished") if event["event"] == "forward"]) == 1
    assert_as_whole(place, "unfinished")


def test_a_broken_line_stops_a_run_with_one_sentence(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("broken") == 0
    results = place.path / "broken" / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    lines[2] = lines[2][:50] + "\n"
    results.write_text("".join(lines))
    capsys.readouterr()
    assert place.run("broken") == 3
    assert capsys.readouterr().err.strip() == (
        f"harness: '{results}' line 3 is not a valid record (character 31: Unterminated string starting at): remove "
        "the line, and the same `harness run` again makes what it held"
    )


def test_a_damaged_shard_is_made_again(place: Place) -> None:
    assert place.run("damaged") == 0
    shards = sorted((place.path / "damaged-cache").rglob("*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:-8] + b"\x00\x01\x02\x03\x04\x05\x06\x07")
    (place.path / "damaged" / "results.jsonl").unlink()
    assert place.run("damaged") == 0
    assert len([event for event in place.events("damaged") if event["event"] == "forward"]) == 2
    assert_as_whole(place, "damaged")


def test_features_that_vanish_while_a_run_reads_them_fail_its_cells(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "read", lambda *arguments: None)
        assert place.run("vanished") == 1
    assert all(
        "vanished from the cache" in str(r.error) for r in RunFolder(place.path / "vanished").records()
    )
    assert place.run("vanished") == 0
    assert_as_whole(place, "vanished")
