"""Clusters of Ray on this machine, and a suite to run on them: `make test-ray` runs the tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def asked_for() -> None:
    """Skip all tests of this folder unless HARNESS_RAY is set."""
    if not os.environ.get("HARNESS_RAY"):
        # `make test` runs this folder too, and these tests are minutes each.
        pytest.skip("they start clusters of Ray and take minutes: `make test-ray` runs them")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Fail what is skipped for another reason: a fault that nobody tried is no proof."""
    report = yield
    if os.environ.get("HARNESS_RAY") and report.skipped:
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


# ── the table of faults ──────────────────────────────────────────────────────────────────────────────────

ROWS = pytest.StashKey[list[tuple[str, ...]]]()

HEADINGS = ("what", "when", "tries", "largest difference", "seconds")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`tell(what, when, tries, difference, seconds)` adds a line to the table at the end."""
    rows = request.config.stash.setdefault(ROWS, [])

    def add(what: str, when: str, tries: object, difference: object, seconds: float) -> None:
        rows.append((what, when, str(tries), str(difference), f"{seconds:.0f}"))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    if not (rows := config.stash.get(ROWS, [])):
        return
    terminalreporter.section("equal to the run in one process")
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    for row in (HEADINGS, *rows):
        terminalreporter.line(" | ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)))


# ── clusters ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Cluster:
    """Nodes of Ray on this machine, each a group of processes that can be killed as a whole."""

    folder: Path
    port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, cpus: int = 1) -> None:
        """Start a node; the first one is the head."""
        number = len(self.nodes) + 1
        head = f"--head --port {self.port} --temp-dir {self.folder} --include-dashboard=false --no-monitor"
        place = head if number == 1 else f"--address {self.address}"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *place.split(), "--block"]
        command += f"--num-cpus {cpus} --object-store-memory 200000000 --include-log-monitor=false".split()
        settings = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "NODE": str(number)}
        log = self.folder.with_suffix(f".{number}.log")
        with log.open("wb") as file:
            node = subprocess.Popen(
                command, stdout=file, stderr=file, env={**os.environ, **settings}, start_new_session=True
            )
        self.nodes.append(node)
        wait_for(lambda: "Ray runtime started" in log.read_text(), "a node of Ray")

    def kill(self, number: int) -> None:
        """Kill all processes of a node: those of its session, and those that left it."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.nodes[number - 1].pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.nodes[number - 1].pid, signal.SIGKILL)
        self.nodes[number - 1].wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head with one core; the test adds nodes."""
    yield from start_cluster()


@pytest.fixture
def clusters() -> Iterator[Callable[[], Cluster]]:
    """`clusters()` starts another cluster."""
    started: list[Iterator[Cluster]] = []

    def start() -> Cluster:
        started.append(start_cluster())
        return next(started[-1])

    yield start
    for one in started:
        next(one, None)


def start_cluster() -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))  # names of sockets have to be short
    made = Cluster(folder / "s", port)
    made.add()
    yield made
    for number in range(len(made.nodes), 0, -1):
        made.kill(number)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="wait_for")
def _wait_for() -> Callable[..., None]:
    """`wait_for(is_there, what)` waits until something is there."""
    return wait_for


def wait_for(is_there: Callable[[], bool], what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds} seconds"
        time.sleep(0.05)


# ── the suite ────────────────────────────────────────────────────────────────────────────────────────────

SUITE = """
name: ray
tasks: [toy]
models:
  - {ref: minigemma-s, sites: [resid_post.0, resid_post.1]}
  - {ref: "minigemma-s[max_length=64]", sites: [resid_post.0]}
representations: [hidden, "random_sae[width=64,k=8]", tfidf, majority]
poolings: [odd, max]
classifiers: ["logreg(C=1.0)", "odd(how=HOW)"]
"""


@dataclass
class Runs:
    """Runs of one suite in a folder of their own; each has a feature store of its own."""

    folder: Path

    def start(self, name: str, *options: object, how: str = "well", suite: str = SUITE) -> Any:
        """Start `harness run` and return the process."""
        (self.folder / f"{name}.yaml").write_text(suite.replace("HOW", how))
        command = [sys.executable, "-m", "harness", "-p", str(HERE / "mischief.py"), "run", f"{name}.yaml"]
        command += ["--include", "task.yaml", "-o", name, "-d", "cpu", "--json", *map(str, options)]
        environment = {**os.environ, "HARNESS_CACHE_DIR": str(self.folder / f"cache-{name}")}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**environment, "RAY_AUTH_MODE": "disabled"} if "address" in str(options) else environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, name: str, *options: object, code: int = 0, **more: Any) -> str:
        """Run the suite, and return what was said on stderr."""
        out, err = self.end(self.start(name, *options, **more), code=code)
        if code in (0, 1) and options:  # what plugins print in the process of the run itself is their affair
            assert [json.loads(line) for line in out.splitlines()], err  # nothing but JSON
        return err

    def end(self, process: Any, *, code: int, timeout: float = 400) -> tuple[str, str]:
        """Read what a run says until it ends."""
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, err[-3000:]
        assert "Traceback" not in err
        return out, err

    def ask(self, what: str, text: str = "") -> None:
        """Ask the workers for mischief."""
        (self.folder / what).write_text(text)

    def stop_asking(self) -> None:
        """Let the workers behave."""
        for path in self.folder.glob("*.always"):
            path.unlink()

    def done(self) -> list[str]:
        """Return the kinds of mischief that were done, in order."""
        path = self.folder / "done.txt"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def told(self, what: str) -> list[list[str]]:
        """Return what the processes of runs in this folder noted."""
        return read_notes(self.folder, what)

    def told_alone(self, what: str) -> list[list[str]]:
        """Return what the run in one process noted."""
        return read_notes((self.folder / "alone").resolve().parent, what)

    def shards(self, name: str) -> dict[str, int]:
        """Return the files of features of a run, with their times."""
        folder = self.folder / f"cache-{name}" / "features"
        return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        """The records by cell, without what no two runs share."""
        return read_records(self.folder / name)

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        lines = (self.folder / name / "events.jsonl").read_text().splitlines()
        return [one for one in map(json.loads, lines) if one["event"] == event]

    def n_written(self, name: str) -> int:
        """The number of records that a run has written by now."""
        path = self.folder / name / "results.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def check_equal(self, name: str) -> float:
        """Check that a run has the records of the run in one process; return the largest difference of predictions."""
        assert self.records(name) == self.records("alone")
        difference, n_differing = self.compare(name, "alone")
        assert (difference, n_differing) == (0, 0)
        return difference

    def compare(self, one: str, other: str) -> tuple[float, int]:
        """Return the largest difference of two scores of a cell, and how many rows are predicted otherwise."""
        return compare_predictions(self.folder / one, self.folder / other)

    def features(self, name: str) -> dict[str, Any]:
        """Return all feature matrices of a run by their keys."""
        return read_features((self.folder / name).resolve().parent / f"cache-{name}")


def read_notes(folder: Path, what: str) -> list[list[str]]:
    path = folder / "told.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines if line.startswith(what)]


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Read records, without the fields of which harness/runs/record.py says that they tell how a record was made.

    A failed one may be followed by a later one.
    """
    from harness.runs.record import VARYING

    found: dict[str, dict[str, Any]] = {}
    for line in (folder / "results.jsonl").read_text().splitlines():
        record = {name: value for name, value in json.loads(line).items() if name not in VARYING}
        assert found.get(record["cell_id"], {}).get("status") != "ok"
        found[record["cell_id"]] = record
    return found


def compare_predictions(one: Path, other: Path) -> tuple[float, int]:
    """Return the largest difference of two scores of a cell, and the number of rows that are predicted otherwise."""
    import numpy as np
    import pandas as pd

    names, others = ({path.name for path in (run / "predictions").iterdir()} for run in (one, other))
    assert names == others
    assert names
    largest, n_differing = 0.0, 0
    for name in names:
        left, right = (pd.read_parquet(run / "predictions" / name) for run in (one, other))
        scores = [column for column in left.columns if column.startswith("score_")]
        assert left.drop(columns=[*scores, "prediction"]).equals(right.drop(columns=[*scores, "prediction"]))
        largest = max(largest, float(np.abs(left[scores].to_numpy() - right[scores].to_numpy()).max()))
        n_differing += int((left["prediction"] != right["prediction"]).sum())
    return largest, n_differing


def read_features(cache: Path) -> dict[str, Any]:
    """Return all matrices of a feature store by their keys."""
    from harness.storage.feature_store import FeatureStore

    store = FeatureStore(cache)
    return {path.name: store.read(path.name, N_ROWS) for path in (cache / "features").iterdir()}


N_ROWS = 80


def write_task(folder: Path) -> None:
    words = ("good fine", "bad awful")
    rows = [{"text": f"item {i} {words[i % 2]}", "label": ("pos", "neg")[i % 2]} for i in range(N_ROWS)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\nlanguages: [en]\n"
    (folder / "task.yaml").write_text(task)


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of the suite in one process."""
    runs = Runs(tmp_path_factory.mktemp("alone"))
    write_task(runs.folder)
    runs.run("alone")
    return runs.folder / "alone"


@pytest.fixture
def bare(tmp_path: Path) -> Runs:
    """Runs in an empty folder, without the run `alone`."""
    write_task(tmp_path)
    return Runs(tmp_path)


@pytest.fixture
def runs(tmp_path: Path, alone: Path) -> Runs:
    """Runs in an empty folder; the run `alone` is there already."""
    write_task(tmp_path)
    (tmp_path / "alone").symlink_to(alone)
    return Runs(tmp_path)
