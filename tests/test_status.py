"""`harness status`: counts, what is in work, and what became of a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ARMS = ["--set", "representations=[tfidf, majority, text_length]"]

WAITING = """
import harness, os, pathlib, time

@harness.hookimpl
def harness_cell_finished(event):
    if "WAIT" in os.environ:
        pathlib.Path("ready").touch()
        time.sleep(120)
"""


@pytest.fixture
def words(toy_suite, toy_task):
    return ["run", str(toy_suite), "--include", str(toy_task), "-o", "out", "-d", "cpu", *ARMS]


def set_about(**changes: object) -> None:
    path = Path("out/run.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def status(harness_command):
    told = harness_command("status", "out", "--json")
    assert told.code == 0
    return told.rows[0]


def test_a_finished_run_is_counted_by_task(harness_command, words):
    assert harness_command(*words).code == 0
    facts = status(harness_command)
    whole = {"cells": 3, "ok": 3, "failed": 0, "pending": 0}
    assert {name: facts[name] for name in whole} == whole
    assert facts["tasks"] == {"toy_task": whole}
    assert (facts["suite"], facts["status"], facts["process"], facts["bundle"]) == (
        "toy",
        "finished",
        False,
        None,
    )
    assert facts["last_event"]["event"] == "ended"
    assert facts["disk"] == sum(file.stat().st_size for file in Path("out").rglob("*") if file.is_file())
    told = harness_command("status", "out")
    assert "3 of 3" in told.out
    assert "finished" in told.out


def test_what_cannot_be_read_in_a_run_has_no_size(harness_command, words):
    assert harness_command(*words).code == 0
    disk = status(harness_command)["disk"]
    Path("out/circle").symlink_to("circle")
    closed = Path("out/closed")
    closed.mkdir()
    closed.chmod(0)
    try:
        assert status(harness_command)["disk"] == disk
    finally:
        closed.chmod(0o700)


def test_failed_and_pending_cells_and_what_was_left_out_are_told(harness_command, words, install, write):
    install(
        "import harness\nclass Broken:\n    def fit(self, X, y): raise RuntimeError('no fit')\n"
        "@harness.hookimpl\ndef harness_classifiers():\n"
        "    return [harness.ClassifierSpec(name='broken', summary='', make=Broken)]"
    )
    task = write("gone.yaml", "name: gone\nsource: {file: gone.jsonl}\nlicence: CC0\ncitation: none\n")
    more = ["--include", task, "-t", "gone", "-t", "toy_task", "--set", "classifiers=[logreg, broken]"]
    assert harness_command(*words, *more).code == 1
    results = Path("out/results.jsonl")
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:4]))
    facts = status(harness_command)
    assert facts["ok"] + facts["failed"] == 4
    assert facts["pending"] == 2
    assert facts["failed"] > 0
    assert facts["left_out"].keys() == {"gone"}
    told = harness_command("status", "out").out
    assert "left out" in told
    assert f"{facts['failed']} failed, 2 pending" in told


def test_a_run_at_work_and_what_became_of_it(harness_command, words, install, tmp_path):
    install(WAITING)
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=tmp_path,
        env={**os.environ, "WAIT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 500
        while not (tmp_path / "ready").exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        facts = status(harness_command)
        assert (facts["status"], facts["process"]) == ("running", True)
        assert (facts["ok"], facts["pending"]) == (1, 2)
        assert facts["bundle"]["name"] == "toy_task"
        assert facts["bundle"]["since"]
        child.send_signal(signal.SIGKILL)
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:  # killed, and nobody has asked yet
            time.sleep(0.02)
        assert status(harness_command)["status"] == "interrupted"
    finally:
        child.kill()
        child.wait()
    facts = status(harness_command)
    assert (facts["status"], facts["process"], facts["bundle"]) == ("interrupted", False, None)
    assert json.loads(Path("out/run.json").read_text())["status"] == "running"  # nothing could change it
    Path("runs").mkdir()
    Path("out").rename("runs/out")
    assert harness_command("ls", "runs", "--json").rows[0]["summary"] == "toy: interrupted"


def test_another_process_of_the_same_number_is_not_the_runs(harness_command, words):
    assert harness_command(*words).code == 0
    from harness.runs.environment import this_process

    process = this_process()
    set_about(status="running", process=process)
    assert status(harness_command)["status"] == "running"
    set_about(process={**process, "started": process["started"] - 100})
    assert status(harness_command)["status"] == "interrupted"


@pytest.mark.parametrize("process", [{"pid": 1, "started": 0.0, "machine": "another"}, None, "?"])
def test_what_runs_on_another_machine_is_not_known(harness_command, words, process):
    assert harness_command(*words).code == 0
    set_about(status="running", process=process)
    facts = status(harness_command)
    assert (facts["status"], facts["process"]) == ("running", None)
    assert "not known" in harness_command("status", "out").out


def test_run_json_names_no_machine(harness_command, words):
    import platform

    assert harness_command(*words).code == 0
    text = Path("out/run.json").read_text()
    assert '"process"' not in text
    assert not platform.node() or platform.node() not in text


def test_where_no_run_is_the_exit_code_is_3(harness_command, tmp_path):
    for place in ("nowhere", "."):
        told = harness_command("status", place)
        assert (told.code, told.said) == (3, [f"harness: there is no run in '{place}'"])


def test_counts_are_those_of_the_whole_records_and_nothing_heavy_is_imported(
    harness_command, words, tmp_path
):
    assert harness_command(*words, "--set", "seeds=3").code == 0
    lines = Path("out/results.jsonl").read_text().splitlines()
    fields = json.loads(lines[0])
    later = json.dumps({**fields, "status": "failed", "error": "é \x00"}, separators=(",", ":"))
    older = json.dumps({**json.loads(lines[1]), "schema_version": 1}, separators=(",", ":"))
    Path("out/results.jsonl").write_text("\n".join([*lines, "", later, older, lines[2][:40]]))
    from harness.runs.reader import RunReader

    run = RunReader(Path("out"))
    assert [(end.cell_id, end.task, end.status) for end in run.ends()] == [
        (record.cell_id, record.task, record.status) for record in run.records()
    ]
    facts = status(harness_command)
    assert (facts["ok"], facts["failed"], facts["pending"]) == (8, 1, 0)
    heavy = "import sys, harness.cli.status, harness.runs.state; print({'numpy', 'pandas', 'torch'} & {*sys.modules})"
    told = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert told.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "line", ['{"schema_version":2,"cell_id":"c"', '{"schema_version":2,"cell_id":"c"}', "[]"]
)
def test_a_line_that_is_no_record_is_named(harness_command, words, line):
    assert harness_command(*words).code == 0
    with Path("out/results.jsonl").open("a") as file:
        file.write(line + "\n")
    told = harness_command("status", "out")
    assert told.code == 3
    assert "'out/results.jsonl' line 4 is not a valid record" in told.err
