"""Units of a run: packed, done in another process, answered and taken, with the records of one that stays here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.runs.packed_tokens import PackedTokens

EXECUTOR = '''
"""Executor that packs every unit and lets one other process do it."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import harness

WORKER = []


def start(setting):
    WORKER[:] = [harness.open_worker(setting)]


def work(body, shared, how):
    if how == "raises":
        return [harness.Answer(error=harness.WriteError("no disk"))]
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")
    return list(WORKER[0].run(body, shared))


class Elsewhere:
    def __init__(self, how, threads):
        self.how, self.threads, self.waiting = how, threads, []

    def find_device(self, wanted):
        return harness.resolve_device(wanted)

    @contextmanager
    def open(self, workplace):
        from dataclasses import replace

        setting = replace(workplace.setting, threads=self.threads)
        spawn = multiprocessing.get_context("spawn")
        workplace.tell("workers", workers=1, threads=self.threads)
        with ProcessPoolExecutor(1, mp_context=spawn, initializer=start, initargs=(setting,)) as self.process:
            yield self

    def submit(self, unit):
        self.waiting.append(unit)

    def finish(self):
        while self.waiting:
            unit = self.waiting.pop()  # the last one first: no number depends on the order
            while not unit.is_done:
                packed = unit.pack()
                assert len(packed.body) < 1 << 20
                shared = packed.shared() if packed.shared_key else None
                answers = self.process.submit(work, packed.body, shared, self.how).result()
                for answer in answers:
                    unit.take(answer)
                if answers[-1].error:
                    unit.fail(str(answers[-1].error), rest=True)
                if self.how == "twice":
                    for answer in answers:  # what was taken before is passed over
                        unit.take(answer)


@harness.hookimpl
def harness_executors():
    make = lambda *, how="well", threads=1: Elsewhere(how, threads)
    return [harness.ExecutorSpec(name="elsewhere", summary="another process", make=make)]
'''

SUITE = """
name: toy
version: 1
tasks: [toy_task]
models:
  - {ref: minigemma-s, sites: [resid_post.50%, resid_post.25%]}
  - {ref: "minigemma-s[max_length=64]", sites: [resid_post.50%, resid_post.25%]}
representations: [hidden, minigemma-scope, pca, "random_sae[k=8,width=64]", tfidf]
poolings: [mean, "count(t=0)"]
transforms: [none]
classifiers: ["logreg(C=1.0)"]
regimes: [full]
transfers: [{from: minigemma-s, to: "minigemma-s[max_length=64]"}]
alignments: [assignment]
"""


@pytest.fixture
def run(harness_command: Any, install: Any, toy_task: Path, tmp_path: Path) -> Callable[..., Any]:
    """`run(folder, *more)` → the command's result, with a cache of its own for each folder."""
    install(EXECUTOR, name="elsewhere")
    (tmp_path / "suite.yaml").write_text(SUITE)

    def call(folder: str, *more: object) -> Any:
        where = ("-o", folder, "--cache-dir", f"cache-{folder}", "-d", "cpu", "--json")
        return harness_command("run", "suite.yaml", "--include", toy_task, *where, *more)

    return call


def records(folder: str) -> dict[str, Any]:
    """The records by their cells, without what VARYING names."""
    from harness.runs.record import VARYING

    lines = [json.loads(line) for line in Path(folder, "results.jsonl").read_text().splitlines()]
    assert len({line["cell_id"] for line in lines}) == len(lines)
    return {
        line["cell_id"]: {name: value for name, value in line.items() if name not in VARYING}
        for line in lines
    }


def shards(folder: str) -> list[str]:
    """The names of the shards in a run's cache, which are their checksums."""
    return sorted(path.name for path in Path(f"cache-{folder}").glob("features/*/*.safetensors"))


def events(folder: str, name: str) -> list[dict[str, Any]]:
    lines = map(json.loads, Path(folder, "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == name]


def test_records_of_another_process_are_those_of_this_one(run: Any) -> None:
    assert run("here").code == 0
    told = run("there", "--executor", "elsewhere[how=twice]")
    assert told.code == 0, told.err
    assert records("there") == records("here")
    assert len({*Path("pids").read_text().split()}) == 1
    for name in ("forward", "calibrated", "measured"):
        assert len(events("there", name)) == len(events("here", name)) > 0
    assert events("there", "workers")[0]["threads"] == 1
    one, other = (
        {path.name: path.read_bytes() for path in Path(folder, "predictions").iterdir()}
        for folder in ("here", "there")
    )
    assert one == other
    shards = [
        sorted(path.name for path in Path(f"cache-{each}").glob("features/*/*.safetensors"))
        for each in ("here", "there")
    ]
    assert shards[0] == shards[1]


def test_a_worker_that_cannot_write_ends_the_run_and_one_without_the_plugin_fails_its_cells(
    run: Any, tmp_path: Path
) -> None:
    told = run("there", "--executor", "elsewhere[how=raises]")
    assert told.code == 3
    assert told.said[-1] == "harness: no disk"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--executor", "nobody"), "there is no executor 'nobody'"),
        (("--executor", "elsewhere[jobs=2]"), "has no parameter 'jobs'; it takes: how, threads"),
        (("--executor", "elsewhere", "-j", "2"), "has no parameter 'jobs'; it takes: how, threads"),
        (
            ("--executor", "local[jobs=2]", "-j", "3"),
            "jobs are given twice, 2 with the executor 'local' and 3 beside",
        ),
        (("--executor", "local[jobs=0]"), "jobs must be a whole number from 1"),
        (("--executor", "local[jobs=1.5]"), "it is 1.5"),
        (("--executor", "local[jobs=many]"), "takes a number as jobs, not many"),
    ],
)
def test_an_executor_that_is_none_is_refused(run: Any, more: tuple[str, ...], said: str) -> None:
    told = run("there", *more)
    assert told.code == 2
    assert said in told.said[-1]
    assert not Path("there").exists()


def test_without_a_plugin_that_offers_one_there_is_no_executor(
    harness_command: Any, toy_suite: Path, toy_task: Path
) -> None:
    told = harness_command("-p", "no:local", "run", toy_suite, "--include", toy_task)
    assert told.code == 3
    assert "no plugin that is loaded offers an executor for runs that name none" in told.said[-1]


def test_a_python_call_takes_an_executor(
    run: Any, toy_task: Path, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = harness.open(include=[toy_task], cache_dir="cache", device="cpu")
    suite = SUITE.replace("transfers", "#").replace("alignments", "#")
    Path("small.yaml").write_text(suite)
    done = session.run("small.yaml", output="out", executor={"name": "elsewhere", "threads": 2})
    assert done.summary.is_whole
    assert events("out", "workers")[0]["threads"] == 2


def test_tokens_come_back_from_their_columns_as_they_were() -> None:
    image = harness.Image(encoded=b"bytes", id="0" * 64, size=(2, 2))
    given = [
        harness.Tokens(ids=np.array([5, 2]), content=np.array([False, True])),
        harness.Tokens(ids=np.array([], dtype=np.int64), content=np.array([], dtype=np.bool_)),
        harness.Tokens(
            ids=np.array([7]),
            content=np.array([True]),
            prompt=np.array([False]),
            own=np.array([True]),
            truncated=True,
        ),
        harness.Tokens(ids=np.array([1]), content=np.array([True]), image=image, summary=np.array([False])),
    ]
    for one, found in zip(given, PackedTokens.of(given).unpack(), strict=True):
        for each in fields(harness.Tokens):
            value, other = getattr(one, each.name), getattr(found, each.name)
            if isinstance(value, np.ndarray):
                assert value.dtype == other.dtype
                np.testing.assert_array_equal(value, other)
            else:
                assert value == other
