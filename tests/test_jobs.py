"""Cells probed in worker processes: the same records as in one process, whatever becomes of a worker."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness

PLUGIN = """
import os, pathlib, signal, sys, time, warnings
from dataclasses import replace
import harness
from sklearn.linear_model import LogisticRegression

def note(what):
    with open("told", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

class Fickle(LogisticRegression):
    def __init__(self, how="well", C=1.0):
        super().__init__(C=C)
        self.how = how
    def fit(self, X, y, sample_weight=None):
        note("fit")
        print("chatter on standard output")
        if pathlib.Path("well").exists() or self.how == "well":
            pass
        elif self.how == "raises":
            raise RuntimeError(f"cannot be fitted to {X.shape[1]} columns")
        elif self.how == "exits":
            sys.exit(3)
        elif self.how == "hungry":
            raise MemoryError
        elif self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "waits" and X.shape[1] > 5:
            if hasattr(os, "fork") and os.fork() == 0:
                note("child")
                time.sleep(500)
            pathlib.Path("ready").touch()
            time.sleep(500)
        return super().fit(X, y)

class Pairs:
    '''Every language to every language.'''
    def __call__(self, examples, rows, seed):
        def of(part, language): return tuple(row for row in part if examples.languages[row] == language)
        tags = sorted(set(examples.languages))
        return [
            replace(rows, train=of(rows.train, a), validation=of(rows.validation, a), test=of(rows.test, b))
            for a in tags for b in tags if of(rows.train, a) and of(rows.test, b)
        ]

class Same:
    def fit(self, source, target): return self
    def transform(self, target): return target

@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="fickle", summary="", make=lambda how="well": Fickle(how))]

@harness.hookimpl
def harness_regimes():
    return [harness.RegimeSpec(name="pairs", summary="", make=Pairs, by_language=True, moves_test=True)]

@harness.hookimpl
def harness_alignments():
    return [harness.AlignmentSpec(name="same", summary="", make=Same)]

@harness.hookimpl
def harness_cell_finished(event):
    note(f"cell {event.cell_id} {event.status}")

@harness.hookimpl
def harness_bundle_finished(event):
    note("bundle -")
"""

WORDS = {"de": ("gut", "schlecht"), "en": ("good", "bad")}

SUITE = """
name: jobs
tasks: [toy]
models:
  - {ref: minigemma-s, sites: [resid_post.0]}
  - {ref: "minigemma-s[max_length=64]", sites: [resid_post.0]}
representations: [hidden, "random_sae[width=64,k=8]", tfidf, majority]
poolings: [max, mean]
classifiers: ["logreg(C=1.0)", "fickle(how=HOW)"]
regimes: [pairs]
"""

TRANSFERS = """
transfers: [{from: minigemma-s, to: "minigemma-s[max_length=64]"}]
alignments: [same]
"""

Run = Callable[..., Any]


@pytest.fixture
def run(harness_command: Any, install: Any, write: Any) -> Run:
    """`run(jobs, folder)` → the command's result."""
    install(PLUGIN, name="fickleness")
    rows = [
        {
            "text": f"{language} item {i} {WORDS[language][i % 2]}",
            "label": ("pos", "neg")[i % 2],
            "lang": language,
            "item": i,
        }
        for i in range(60)
        for language in WORDS
    ]
    write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(
        "task.yaml",
        "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\nlanguages: [de, en]\n"
        "columns: {language: lang, group: item}\n",
    )

    def call(jobs: object, folder: str, *more: object, how: str = "well", suite: str = SUITE) -> Any:
        write(f"{folder}.yaml", suite.replace("HOW", how))
        Path("told").unlink(missing_ok=True)
        return harness_command(*command(jobs, folder), *more)

    return call


def command(jobs: object, folder: str) -> list[object]:
    return [
        *("run", f"{folder}.yaml", "--include", "task.yaml", "-o", folder, "-d", "cpu", "-j", jobs, "--json")
    ]


def lines(folder: str) -> list[dict[str, Any]]:
    """The records in their order, without times."""
    found = [json.loads(line) for line in Path(folder, "results.jsonl").read_text().splitlines()]
    for one in found:
        one["cost"].pop("probe_seconds", None)
    return found


def predictions(folder: str) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder, "predictions").glob("*.parquet")
    }


def told(what: str) -> list[list[str]]:
    """Return what the plugin noted, with the number of the process as the last word."""
    return [line.split() for line in Path("told").read_text().splitlines() if line.startswith(what)]


SMALL = (
    SUITE.replace("hidden, ", "")
    .replace("max, ", "")
    .replace('  - {ref: "minigemma-s[max_length=64]", sites: [resid_post.0]}\n', "")
)


@pytest.mark.slow
def test_records_and_predictions_are_those_of_one_process_in_their_order(run: Run) -> None:
    suite = SUITE + TRANSFERS
    assert run(1, "one", suite=suite).code == 0
    assert {line[-1] for line in told("fit")} == {str(os.getpid())}
    order = [line[:-1] for line in (*told("cell"), *told("bundle"))]
    two = run(2, "two", suite=suite)
    assert (two.code, len(two.rows)) == (0, 1), two.err
    assert lines("one") == lines("two")
    assert any(one["sharing"] for one in lines("two"))
    assert any(one["learnt_on"] for one in lines("two"))
    assert predictions("one") == predictions("two")
    assert len(predictions("two")) == len(lines("two")) > 50
    # Fits were elsewhere, observers here.
    assert str(os.getpid()) not in {line[-1] for line in told("fit")}
    assert [line[:-1] for line in (*told("cell"), *told("bundle"))] == order
    assert {line[-1] for line in told("cell")} == {str(os.getpid())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "RuntimeError: cannot be fitted to"),
        pytest.param("hungry", "memory ran out (MemoryError)", marks=pytest.mark.long),
        pytest.param("exits", "SystemExit: 3", marks=pytest.mark.long),
        pytest.param(
            *("dies", "ended by SIGKILL, as the system does where memory runs out: use fewer --jobs"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_cell_that_fails_in_a_worker_fails_alone_and_the_same_command_mends_it(
    run: Run, how: str, said: str
) -> None:
    two = run(2, "two", how=how, suite=SMALL)
    assert two.code == 1
    failed = {one["cell_id"]: one for one in lines("two") if one["status"] != "ok"}
    assert all(said in one["error"] for one in failed.values())
    assert {one["classifier"] for one in failed.values()} == {"fickle(how=" + how + ")"}
    assert len(failed) == len(lines("two")) / 2
    assert {one["status"] for one in failed.values()} == {"oom" if how == "hungry" else "failed"}
    if how in ("raises", "hungry"):
        assert run(1, "one", how=how, suite=SMALL).code == 1
        assert lines("one") == lines("two")
    Path("well").touch()
    assert run(2, "two", how=how, suite=SMALL).code == 0
    assert len(lines("two")) == 1.5 * len(predictions("two"))


@pytest.mark.slow
def test_fail_fast_leaves_the_records_that_one_process_leaves(run: Run) -> None:
    assert run(1, "one", "--fail-fast", how="raises", suite=SMALL).code == 1
    assert run(2, "two", "--fail-fast", how="raises", suite=SMALL).code == 1
    assert lines("one") == lines("two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_signal_ends_the_workers_and_what_is_done_stays(
    run: Run, tmp_path: Path, number: int, code: int
) -> None:
    (tmp_path / "two.yaml").write_text(SMALL.replace("HOW", "waits"))
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", *map(str, command(2, "two"))],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(tmp_path / "ready", child)
    # One worker may wait before the other has ended its first cell.
    wait_for(tmp_path / "two" / "results.jsonl", child)
    workers = {int(line[-1]) for line in told("fit")}
    child.send_signal(number)
    _, err = child.communicate(timeout=300)
    assert child.returncode == code, err
    assert "the same command resumes" in err
    assert "Traceback" not in err
    assert child.pid not in workers
    assert not any(is_alive(worker) for worker in workers)
    assert json.loads(Path("two", "run.json").read_text())["status"] == "interrupted"
    done = [one["cell_id"] for one in lines("two")]
    assert done
    Path("well").touch()
    assert run(2, "two", how="waits", suite=SMALL).code == 0
    assert [one["cell_id"] for one in lines("two")][: len(done)] == done
    assert len({one["cell_id"] for one in lines("two")}) == len(lines("two"))


def wait_for(path: Path, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 500
    while not path.exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.long
def test_workers_end_when_the_command_is_killed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(SMALL.replace("HOW", "waits"))
    child = subprocess.Popen([sys.executable, "-m", "harness", *map(str, command(2, "two"))], cwd=tmp_path)
    wait_for(tmp_path / "ready", child)
    child.kill()
    child.wait()
    workers = {int(line[-1]) for line in (*told("fit"), *told("child"))}
    deadline = time.monotonic() + 100
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_plugin_that_no_other_process_finds_is_used_in_this_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module is made in this process, and lies on no path."""
    import types

    made = types.ModuleType("made_here")
    exec(PLUGIN.replace('name="fickle"', 'name="fickle2"'), vars(made))
    for name in ("harness_regimes", "harness_alignments"):
        delattr(made, name)
    monkeypatch.setitem(sys.modules, "made_here", made)
    session = harness.open(plugins=["made_here"], include=["task.yaml"], device="cpu")
    (tmp_path / "suite.yaml").write_text(SMALL.replace("fickle(how=HOW)", "fickle2"))
    session.run("suite.yaml", output="one")
    with pytest.warns(
        UserWarning, match="worker processes cannot be used, so these cells run in this process: .*made_here"
    ) as said:
        done = session.run("suite.yaml", output="two", jobs=2)
    assert done.summary.is_whole
    assert len([one for one in said if "this process" in str(one.message)]) == 1
    assert lines("one") == lines("two")


@pytest.mark.slow
def test_an_error_amid_the_delivery_of_results_is_none_of_the_cells_that_wait_for_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second model waits until the results of the first are delivered."""
    from harness.runs.context import RunContext

    errors = [RuntimeError("no result can be announced")]

    def announce(context: RunContext, record: Any) -> None:
        if record.classifier == "fickle(how=well)" and errors:
            raise errors.pop()

    monkeypatch.setattr(RunContext, "announce", announce)
    suite = SUITE.replace("hidden, ", "").replace("max, ", "").replace("HOW", "well")
    (tmp_path / "suite.yaml").write_text(suite)
    session = harness.open(include=["task.yaml"], device="cpu")
    with pytest.raises(RuntimeError, match="no result can be announced"):
        session.run("suite.yaml", output="two", jobs=2)
    assert {one["status"] for one in lines("two")} == {"ok"}


@pytest.mark.slow
def test_code_that_was_edited_since_it_was_imported_ends_the_run(run: Run, tmp_path: Path) -> None:
    session = harness.open(include=["task.yaml"], device="cpu")
    (tmp_path / "suite.yaml").write_text(SMALL.replace("HOW", "well"))
    plan = session.plan("suite.yaml")
    file = tmp_path / "site-fickleness" / "fickleness_module.py"
    file.write_text(file.read_text() + "\n# another line\n")
    with pytest.raises(harness.HarnessError, match="was edited after it was imported"):
        session.run(plan, output="two", jobs=2)


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_a_number_of_jobs_that_is_none_is_refused(run: Run, jobs: str) -> None:
    told = run(jobs, "two")
    assert (told.code, len(told.said)) == (2, 1)
    assert "--jobs" in told.err


def test_a_number_of_jobs_below_one_is_refused_in_python_too(run: Run) -> None:
    with pytest.raises(
        harness.UsageError,
        match="jobs must be a whole number from 1, or None for one process per free core; it is 0",
    ):
        harness.open().run("there-is-none", jobs=0)
