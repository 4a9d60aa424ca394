"""What all tests share: no network, a cache of their own, the command line, and toy plugins on disk."""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tests/structure.py
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # before any hub client is imported

# Machines are shared: how long one example takes says nothing about the code.
hypothesis.settings.register_profile(
    "shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes minutes, unless HARNESS_LONG is set, and put the files with the most slow tests first: a long
    file that begins last keeps the other processes waiting.
    """
    if not os.environ.get("HARNESS_LONG"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="it takes minutes: `make test-proofs` runs it"))
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path]))


def pytest_collection_finish() -> None:
    """Take what the imports and the collected tests hold out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the last collection find everything: bindings report what is alive at exit as leaked."""
    gc.unfreeze()


_cache_number = itertools.count()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty feature cache for each test."""
    # Numbered here: mktemp reads the names of all folders of all earlier tests to find the next number.
    folder = tmp_path_factory.getbasetemp() / "caches" / str(next(_cache_number))
    folder.mkdir(parents=True)
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@dataclass(frozen=True)
class Result:
    """What one command did: its exit code, and all it wrote."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines on stderr that are not empty."""
        return [line for line in self.err.splitlines() if line.strip()]

    @property
    def rows(self) -> list[dict[str, object]]:
        """The lines on stdout, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


Harness = Callable[..., Result]


@pytest.fixture
def harness_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Harness:
    """`harness_command("ls", "tasks")` in this process, in an empty folder, without settings of the user's."""
    from harness.cli import execute

    # pytest-xdist sets COLUMNS to 80 in its processes, and a test alone has none.
    for name in ("HARNESS_PLUGINS", "HARNESS_DATA_DIR", "HARNESS_DEBUG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = execute([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return call


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(source)` puts a distribution with one module on the path, here and in child processes.

    A folder with `<module>.py` and `<name>-1.0.dist-info`, so that real entry points are read.
    """
    installed: list[str] = []

    def put(source: str, *, name: str = "toy", module: str | None = None, points: str | None = None) -> Path:
        module = module or f"{name.replace('-', '_')}_module"
        folder = tmp_path / f"site-{name}"
        about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source, "utf-8")
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
        (about / "entry_points.txt").write_text(f"[harness]\n{points or f'{name} = {module}'}\n", "utf-8")
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        monkeypatch.syspath_prepend(str(folder))
        installed.append(module)
        return folder

    yield put
    for module in installed:
        sys.modules.pop(module, None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """`write("a.yaml", text)` gives the path of a new file."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return put


@pytest.fixture
def toy_task(write: Callable[[str, str], Path]) -> Path:
    """A task file with 40 rows that words alone tell apart; 12 of them are test rows."""
    rows = [
        {
            "text": f"{'good fine lovely' if row % 2 else 'bad awful nasty'} thing number {row}",
            "label": "good" if row % 2 else "bad",
            "split": "test" if row < 12 else "train",
        }
        for row in range(40)
    ]
    write("toy.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    return write(
        "toy_task.yaml",
        "name: toy_task\nsource: {file: toy.jsonl}\nlicence: CC0\ncitation: none\n"
        "columns: {input: text, label: label, split: split}\n",
    )


@pytest.fixture
def toy_suite(write: Callable[[str, str], Path]) -> Path:
    """A suite over the toy task that takes about a second: one model, one site, two cells."""
    return write(
        "toy_suite.yaml",
        "name: toy\nversion: 1\ntasks: [toy_task]\n"
        "models: [{ref: minigemma-s, sites: [resid_post.1]}]\n"
        "representations: [hidden, majority]\npoolings: [mean]\ntransforms: [none]\n"
        "classifiers: [logreg]\nseeds: 1\n",
    )


# ── processes of their own, quickly ──────────────────────────────────────────────────────────────────────

SERVER = r'''
"""Imports everything once, then forks a child for each job: a run costs its own second, not the imports'."""
import json, os, signal, sys, time
import torch
from harness.cli import execute


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def at(owner, name, act, n=1, *, where=lambda *arguments: True, after=False):
    """Do `act` at the n-th call of owner.name whose arguments are as wanted: before it, or after it."""
    original, calls = getattr(owner, name), [0]

    def called(*arguments, **more):
        wanted = where(*arguments)
        calls[0] += wanted
        due = wanted and calls[0] == n
        if due and not after:
            act(*arguments)
        result = original(*arguments, **more)
        if due and after:
            act(*arguments)
        return result

    setattr(owner, name, called)


def cut(owner, name, n=1, *, before=lambda *arguments: None, **more):
    """Die there, after having done `before`."""
    at(owner, name, lambda *arguments: (before(*arguments), kill()), n, **more)


def start(job):
    if pid := os.fork():
        return pid
    code = 99
    try:
        signal.alarm(500)
        # A child's pool of threads is renewed on first use; where several threads that load weights are first, all but
        # one of them find none, and PyTorch ends with an internal error.
        torch.set_num_threads(torch.get_num_threads())
        for number in (1, 2):
            os.dup2(os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        exec(job["before"], {"at": at, "cut": cut, "execute": execute})
        code = execute(job["arguments"])
        sys.stdout.flush()
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid, job, started):
    if job["kill_after"] is not None:
        time.sleep(max(0.0, started + job["kill_after"] - time.perf_counter()))
        os.kill(pid, signal.SIGKILL)  # a child that has ended is still there until it is waited for
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"code": code, "seconds": time.perf_counter() - started}


execute(json.loads(sys.argv[1]))  # whatever the first run imports late, later ones have
print("ready", flush=True)
for line in sys.stdin:
    jobs = json.loads(line)
    started = time.perf_counter()
    pids = [start(job) for job in jobs]
    print(json.dumps([wait(pid, job, started) for pid, job in zip(pids, jobs)]), flush=True)
'''


@dataclass(frozen=True)
class Ended:
    """How a forked command ended: its exit code (negative for a signal), all it said, and how long it took."""

    code: int
    said: str
    seconds: float


LABELS = (1, 3, 4, 7, 8, 9)
"""Last digits of the rows labelled b: not quite told by the words, so that no score is 1."""


class Forks:
    """Runs `harness` commands in processes that may be killed, crippled, or at work at the same time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        rows = [
            {
                "text": f"{'warm' if i % 2 else 'cold'} day {i} " + "again " * (i % 7),
                "label": "ab"[i % 10 in LABELS],
            }
            for i in range(60)
        ]
        (home / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (home / "task.yaml").write_text(
            "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\n"
        )
        (home / "suite.yaml").write_text(
            "name: cut\ntasks: [toy]\nmodels: [{ref: minigemma-s, sites: [resid_post.0]}]\n"
            'representations: [hidden, "random_sae[width=96,k=8]"]\npoolings: [mean, max]\n'
            "classifiers: [{name: logreg, C: 10.0}]\nseeds: 2\n"
        )
        (home / "server.py").write_text(SERVER)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, home / "server.py", json.dumps(self.command("whole"))],
            env=environment,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while (line := self._answer()) != "ready\n":
            assert line, "the first run failed"
        self.seconds = min(self.run(f"timed-{number}").seconds for number in range(3))

    def command(self, output: str | Path, cache: str | Path | None = None) -> list[str]:
        """The command that runs the suite into a folder, with a cache of its own where none is named."""
        folders = ["-o", str(output), "--cache-dir", str(cache or f"{output}-cache")]
        return ["run", "suite.yaml", "--include", "task.yaml", *folders, "-d", "cpu", "-b", "10"]

    def run(
        self,
        output: str | Path,
        *,
        cache: str | Path | None = None,
        before: str = "",
        kill_after: float | None = None,
    ) -> Ended:
        """Run the suite in a child, which first executes `before`."""
        (ended,) = self.together([(self.command(output, cache), before, kill_after)])
        return ended

    def together(self, jobs: Sequence[tuple[list[str], str, float | None]]) -> list[Ended]:
        """Several commands at the same time: arguments, code to execute before, seconds until it is killed."""
        names = [self.home / f"said-{next(self._number)}" for _ in jobs]
        for name in names:
            name.touch()  # a child may be killed before it opens its own
        keys = ("arguments", "before", "kill_after", "output")
        wanted = [
            dict(zip(keys, (*job, str(name)), strict=True)) for job, name in zip(jobs, names, strict=True)
        ]
        assert self.process.stdin
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        answers = json.loads(self._answer())
        return [Ended(said=name.read_text(), **answer) for name, answer in zip(names, answers, strict=True)]

    _number = itertools.count()

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """A small suite of eight cells over one model, run once, uninterrupted, into the folder `whole`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HARNESS_PLUGINS", "HARNESS_DATA_DIR", "HARNESS_DEBUG", "COLUMNS"):
            patch.delenv(name, raising=False)
        opened = Forks(tmp_path_factory.mktemp("forks"))
    yield opened
    assert opened.process.stdin
    opened.process.stdin.close()
    opened.process.wait(timeout=500)


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """Environment variables by which s3fs finds a server with an empty bucket."""
    from s3_server import serving_s3

    with serving_s3() as environment:
        yield environment


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty folder of a bucket."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{uuid4().hex}"
