"""Whoever watches a run cannot disturb it, by streams that cannot be written, observers that raise, or lost events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.runs.folder import RunFolder
from harness.runs.messages import LossyStream

STREAMS = {
    "a full disk": "os.dup2(full, 1); os.dup2(full, 2)",
    "a reader that went away": "os.dup2(gone, 1); os.dup2(gone, 2)",
    "a terminal that went away": "Console.is_terminal = True; os.dup2(gone, 1); os.dup2(gone, 2)",
    "streams that were closed": "os.closerange(0, 3); sys.stdin = sys.stdout = sys.stderr = None",
    "a stderr that a plugin closed": "sys.stderr.close()",
}
NOISY = """
import logging, warnings
import harness.runs.work as run
train = run.train
logging.basicConfig()
run.train = lambda *given, **more: (logging.error("loud"), warnings.warn("loud"), train(*given, **more))[-1]
"""
"""Makes the training of each probe log and warn, as libraries do."""

for fault in ("a full disk", "a stderr that a plugin closed"):
    STREAMS[f"{fault}, with loggers and warnings"] = f"{NOISY}{STREAMS[fault]}"

AS_MAIN = """
import json, os, sys
from harness import cli
from rich.console import Console
full = os.open("/dev/full", os.O_WRONLY)
reading, gone = os.pipe()
os.close(reading)
{broken}
sys.argv = ["harness", *json.loads({arguments!r})]
try:
    cli.main()
except SystemExit as end:
    os._exit(end.code)
"""


@pytest.fixture(scope="module")
def ended(forks: Any) -> dict[str, Any]:
    """End of a run of eight cells, by the state of its streams."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    jobs = [
        (AS_MAIN.format(broken=broken, arguments=json.dumps(forks.command(name))))
        for name, broken in STREAMS.items()
    ]
    return dict(zip(STREAMS, forks.together([([], before, None) for before in jobs]), strict=True))


@pytest.mark.parametrize("name", STREAMS)
def test_a_run_whose_messages_cannot_be_written_ends_as_any_other(
    forks: Any, ended: dict[str, Any], name: str
) -> None:
    run = RunFolder(forks.home / name)
    statuses = [record.status for record in run.records()]
    assert (ended[name].code, statuses) == (0, ["ok"] * 8), ended[name].said
    assert (run.path / "leaderboard.md").is_file() and run.status == "finished"


def test_a_run_read_by_head_ends_with_its_own_code(toy_suite, toy_task, tmp_path):
    """In a process of its own, because Python itself has another code for streams that it cannot flush at its end."""
    arms = "--set representations=[majority] --set models=[]"
    command = f"{sys.executable} -m harness run {toy_suite} --include {toy_task} {arms} -o {tmp_path / 'out'}"
    piped = f"({command}; echo $? >{tmp_path / 'code'}) 2>&1 | head -c 1"
    subprocess.run(piped, shell=True, check=True, capture_output=True)
    assert (tmp_path / "code").read_text().strip() == "0"
    assert [record.status for record in RunFolder(tmp_path / "out").records()] == ["ok"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["ls", "tasks"], ["status", "whole", "--json"]])
def test_an_answer_that_cannot_be_written_is_an_error_and_no_bug(forks: Any, arguments: list[str]) -> None:
    before = AS_MAIN.format(broken="os.dup2(full, 1)", arguments=json.dumps(arguments))
    ended = forks.run("unused", before=before)
    assert ended.code == 3
    assert ended.said == "harness: standard output cannot be written: No space left on device\n"


BROKEN = """
import sys
import harness

class Mute(Exception):
    def __str__(self): raise ValueError("cannot say")

class Rude(BaseException): pass

def fail():
    {fault}
"""
HOOKS = ("run_started", "batch_finished", "bundle_finished", "cell_finished", "run_finished")
FAULTS = {
    "an error": "raise ValueError('observer')",
    "an error that cannot say what it is": "raise Mute()",
    "an exit": "sys.exit(7)",
    "what is no Exception": "raise Rude('observer')",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_observer_that_fails_in_every_event_disturbs_nothing(
    install, toy_suite, toy_task, tmp_path, fault
):
    observers = "".join(f"\n@harness.hookimpl\ndef harness_{hook}(event): fail()\n" for hook in HOOKS)
    install(BROKEN.format(fault=fault) + observers)
    told: list[str] = []

    def report(found: object) -> None:
        told.append(str(found))
        raise OSError("and the report cannot be written")

    settings = {"device": "cpu", "cache_dir": tmp_path, "plugins": ["no:progress"]}
    session = harness.open(include=[toy_task], report=report, **settings)
    run = session.run(toy_suite, output=tmp_path / "out")
    assert (run.summary.ok, run.summary.failed) == (2, 0)
    assert {hook for hook in HOOKS if any(f"harness_{hook}'" in line for line in told)} == set(HOOKS)


def test_events_that_cannot_be_written_are_lost_and_results_are_not(harness_command, toy_suite, toy_task):
    Path("out/events.jsonl").mkdir(parents=True)
    with pytest.warns(UserWarning, match="events of the run are lost: 'out/events.jsonl' cannot be written"):
        told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out")
    assert (told.code, len(RunFolder(Path("out")).records())) == (0, 2)


def test_a_lossy_stream_loses_what_cannot_be_written_and_passes_on_the_rest(tmp_path):
    with (tmp_path / "said").open("w") as below:
        stream = LossyStream(below)
        assert stream.write("one\n") == 4
        stream.writelines(["two\n", "three\n"])
        stream.flush()
        assert not stream.isatty() and stream.fileno() == below.fileno()
    assert stream.write("four\n") == 5
    stream.flush()
    stream.buffer.write(b"five\n")
    assert (tmp_path / "said").read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1:strict"])
def test_a_character_that_the_output_lacks_is_written_as_json_escapes_it(
    encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "Δ.yaml").write_text("name: [")
    said = subprocess.run(
        [sys.executable, "-m", "harness", "validate", "Δ.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert b"\\u0394.yaml" in said.stdout + said.stderr
    assert said.returncode in (2, 4) and b"bug" not in said.stderr


def test_a_working_folder_that_was_deleted_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && {sys.executable} -m harness ls tasks"
    said = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr == "harness: the working folder was deleted or moved: go to another one with cd\n"
