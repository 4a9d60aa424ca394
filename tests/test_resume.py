"""Runs killed anywhere and run again: the same records and predictions as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.cli import execute
from harness.records import RunFolder
from harness.store import FeatureStore

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
import harness, harness.run

if "CUT" in os.environ:
    harness.run.FLUSH_ROWS = 1
told = {"batch": 0, "cell": 0}

def count(what):
    told[what] += 1
    if os.environ.get("CUT", "").split(":")[:2] == [what, str(told[what])]:
        os.kill(os.getpid(), getattr(signal, os.environ["CUT"].split(":")[2]))

@harness.hookimpl
def harness_batch_finished(stats):
    count("batch")

@harness.hookimpl
def harness_cell_finished(record):
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

    def cut(self, name: str, where: str) -> int:
        """Run in a process of its own, which cuts itself; its exit code."""
        environment = {**os.environ, "CUT": where, "PYTHONPATH": str(self.path)}
        ended = subprocess.run(
            [sys.executable, "-m", "harness", *self.command(name)],
            env=environment,
            capture_output=True,
            timeout=300,
            check=False,
        )
        return ended.returncode

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


@pytest.mark.slow
def test_a_run_killed_in_its_forward_pass_goes_on_at_the_next_batch(place: Place) -> None:
    assert place.cut("forward", "batch:3:SIGKILL") == -signal.SIGKILL
    assert json.loads((place.path / "forward" / "run.json").read_text())["status"] == "running"
    assert RunFolder(place.path / "forward").records() == []
    assert place.run("forward") == 0
    first, second = [event for event in place.events("forward") if event["event"] == "forward"]
    assert (first["batches"], first["of"]) == (6, 6)
    assert (second["batches"], second["of"]) == (3, 6)
    assert_as_whole(place, "forward")


@pytest.mark.slow
def test_a_run_killed_between_probes_keeps_what_is_done(place: Place) -> None:
    assert place.cut("probe", "cell:3:SIGKILL") == -signal.SIGKILL
    before = (place.path / "probe" / "results.jsonl").read_bytes()
    assert before.count(b"\n") == 3
    assert place.run("probe") == 0
    after = (place.path / "probe" / "results.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 8
    assert len([event for event in place.events("probe") if event["event"] == "forward"]) == 1
    assert_as_whole(place, "probe")


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
    assert capsys.readouterr().err.strip() == f"harness: '{results}' line 3 is not a valid record"


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
