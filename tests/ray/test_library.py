"""Surprises of Ray 2.60, none of which may be seen in a run that starts a Ray of its own.

Two more of these things are in test_faults.py (a worker that ends itself with status 0 is not run again for ever) and
test_equal.py (threads are those of the executor, whatever the environment says).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.runs.record import VARYING

pytestmark = pytest.mark.skipif(
    not os.environ.get("HARNESS_RAY"), reason="they start Ray: `make test-ray` runs them"
)

SUITE = """
name: library
tasks: [toy]
models: MODELS
representations: [hidden, "random_sae[width=64,k=8]", tfidf]
poolings: [messy]
classifiers: ["logreg(C=1.0)", "messy(how=writing)", "messy(how=raising)"]
"""

MODELS = (
    "{ref: minigemma-s, sites: [resid_post.0]}",
    '{ref: "minigemma-s[max_length=64]", sites: [resid_post.1]}',
)


@dataclass
class Ended:
    """Run that has ended, in a folder and with a home folder of its own."""

    folder: Path
    out: str
    err: str

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Records by cell, without what no two runs share."""
        lines = (self.folder / "run" / "results.jsonl").read_text().splitlines()
        records = [{**json.loads(line), **dict.fromkeys(VARYING)} for line in lines]
        return {record["cell_id"]: record for record in records}

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Notes of the plugin, in the order in which it made them."""
        return [json.loads(line) for line in (self.folder / "habits.txt").read_text().splitlines()]

    @property
    def last_notes(self) -> list[dict[str, Any]]:
        """Those of the worker that lived to the end."""
        return [note for note in self.notes if note["pid"] == self.notes[-1]["pid"]]

    @property
    def files_at_home(self) -> set[str]:
        """Files that the run left in the home folder."""
        home = self.folder / "home"
        return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def run(folder: Path, *options: str, models: tuple[str, ...] = MODELS, dies: bool = False) -> Ended:
    """Run the suite in a folder, all of whose files are named relative to it."""
    for name in ("home", "texts"):
        (folder / name).mkdir()
    words = ("good fine", "bad awful")
    rows = [{"text": f"item {i} {words[i % 2]}", "label": ("pos", "neg")[i % 2]} for i in range(80)]
    (folder / "texts" / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = "name: toy\nsource: {file: texts/data.jsonl}\nlicence: CC0\ncitation: none\nlanguages: [en]\n"
    (folder / "task.yaml").write_text(task)
    (folder / "suite.yaml").write_text(SUITE.replace("MODELS", f"[{', '.join(models)}]"))
    (folder / "words.txt").write_text("words")
    (folder / ".env").write_text("SECRET=secret\n")
    (folder / ".gitignore").write_text("texts\nwords.txt\n*.yaml\n")
    if dies:
        (folder / "death.once").touch()
    command = [sys.executable, "-m", "harness", "-p", str(Path(__file__).with_name("habits.py")), "run"]
    command += ["suite.yaml", "--include", "task.yaml", "-o", "run", "--cache-dir", "cache", "-d", "cpu"]
    settings = {"HOME": str(folder / "home"), "CUDA_VISIBLE_DEVICES": ""}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ended = subprocess.run(
        [*command, "--json", *options],
        cwd=folder,
        env={**environment, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 1, ended.stderr[-3000:]  # one classifier raises
    return Ended(folder, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The run in one process."""
    return run(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The run on one worker, which has the models in the other order; the first one dies, and Ray says so."""
    folder = tmp_path_factory.mktemp("there")
    return run(folder, "--executor", "ray[jobs=1]", models=MODELS[::-1], dies=True)


def test_what_an_earlier_unit_left_in_a_worker_changes_no_later_one(here: Ended, there: Ended) -> None:
    """Seeds, globals and the environment stay in a worker of Ray."""
    assert there.records == here.records
    assert len(there.records) == 15
    assert max(note["used"] for note in there.last_notes) > 3
    assert len({note["pid"] for note in there.notes}) == 2  # the one that died, and one that did all the rest


def test_threads_are_set_anew_in_each_forward_pass(there: Ended) -> None:
    """PyTorch keeps those of a worker's first task, or those that a plugin left."""
    threads = [note["threads"] for note in there.last_notes if note["what"] == "forward"]
    assert threads == [1, 3, 1, 3]  # two representations in each of two passes, which leave 3


def test_an_error_of_several_arguments_is_told_as_in_one_process(here: Ended, there: Ended) -> None:
    """Ray would bring an UnserializableException, or a traceback in colours."""
    errors = [record["error"] for record in there.records.values() if record["status"] != "ok"]
    assert errors == [record["error"] for record in here.records.values() if record["status"] != "ok"]
    assert len(errors) == 5
    assert {error for error in errors if "the probe broke 2 times" not in error} == set()
    assert "\x1b" not in "".join(errors) + there.err
    assert "Traceback" not in there.err


def test_a_classifier_may_write_into_its_matrix(there: Ended) -> None:
    """Arrays and sparse matrices arrive read-only from Ray."""
    written = [record for record in there.records.values() if "writing" in str(record["classifier"])]
    assert [record["status"] for record in written] == ["ok"] * 5


def test_standard_output_holds_nothing_but_json(there: Ended) -> None:
    """Ray prints there that a worker died, although it is told not to log to its driver."""
    found = [json.loads(line) for line in there.out.splitlines()]
    assert found[-1]["folder"] == "run"


def test_a_cpu_worker_sees_the_gpus_that_the_command_sees(there: Ended) -> None:
    """Ray unsets CUDA_VISIBLE_DEVICES there, and a worker would see GPUs that were hidden from the command."""
    assert {note["cuda"] for note in there.notes} == {""}


def test_workers_work_in_the_folder_of_the_command_and_nothing_is_shipped(there: Ended) -> None:
    """A `working_dir` of Ray would lack what .gitignore names, hold `.env`, and be a copy that is lost."""
    assert {note["folder"] for note in there.notes} == {str(there.folder)}
    assert {note["words"] for note in there.notes} == {"words"}
    assert all("working_dir" not in note["shipped"] for note in there.notes)
    assert {note["secret"] for note in there.notes} == {None}


def test_no_secret_is_written_into_the_home_folder(here: Ended, there: Ended) -> None:
    """Ray writes the token of a cluster that it starts there."""
    assert there.files_at_home == here.files_at_home
