"""Worker processes, given small errands in place of probes: what a worker, a message or a forked child may do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from harness_local.executor import Local
from harness_local.processes import Processes

from harness.api.executors import WorkerSetting, Workplace
from harness.api.specs import ClassifierSpec
from harness.registry.loading import Plugins, find_candidates, load_plugins
from harness.runs.context import Stopped
from harness.runs.desk import Desk
from harness.runs.packing import Packer
from harness.runs.units import RunUnit
from harness.runs.work import Failure
from harness.storage.feature_store import FeatureStore

PARENT = "PARENT_OF_ERRANDS"


@dataclass(frozen=True, eq=False)
class Named:
    """Rows of a bundle, as far as an errand needs them."""

    name: str

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True)
class Errand:
    """Work whose cells are functions of it; what they return is the error of a Failure."""

    bundle: Named
    cells: tuple[Callable[[Errand], Any], ...]
    luggage: Any = None

    def after(self, done: int) -> Errand:
        return replace(self, cells=self.cells[done:])

    def run(self, desk: Desk) -> Iterator[Any]:
        for cell in self.cells:
            said = cell(self)
            yield said if isinstance(said, Failure) else Failure(status="failed", error=str(said))


def is_here() -> bool:
    return os.environ[PARENT] == str(os.getpid())


def refuse(where: bool) -> str:
    if is_here() == where:
        raise RuntimeError("not here")
    return "read"


@dataclass(frozen=True)
class Unreadable:
    """Value that cannot be unpickled in the parent if `where`, or in a worker if not."""

    where: bool

    def __reduce__(self) -> Any:
        return refuse, (self.where,)


@dataclass(frozen=True, kw_only=True)
class Strange(Failure):
    """Result that the parent cannot read."""

    status: Any = "failed"
    error: str = "strange"
    what: Unreadable = field(default_factory=lambda: Unreadable(True))


def name_rows(errand: Errand) -> str:
    return errand.bundle.name


def tell_place(errand: Errand) -> str:
    return "here" if is_here() else "worker"


def be_strange(errand: Errand) -> object:
    return "here" if is_here() else Strange()


def interrupt(errand: Errand) -> str:
    signal.raise_signal(signal.SIGINT)
    return "not interrupted"


def read_input(errand: Errand) -> str:
    asked = [sys.executable, "-c", "print(input())"]
    return subprocess.run(asked, stderr=subprocess.PIPE, text=True).stderr


def fork(errand: Errand) -> int:
    """Start a child that sleeps, and return its number; with luggage, it leaves this process's group."""
    if child := os.fork():
        Path("child").write_text(str(child))
        return child
    if errand.luggage:
        os.setsid()
    time.sleep(500)
    os._exit(0)


def fork_here_and_die(errand: Errand) -> None:
    fork(errand)
    if errand.luggage:
        time.sleep(0.5)  # until the child has left
    os.kill(os.getpid(), signal.SIGKILL)


def wait_long(errand: Errand) -> None:
    Path("ready").touch()
    time.sleep(500)


def name_offer(errand: Errand) -> str:
    return f"{tell_place(errand)} {errand.luggage.name}"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PARENT, str(os.getpid()))
    return FeatureStore(tmp_path / "cache")


NONE = Plugins(manager=None, loaded=(), faults=())


def setting(store: FeatureStore) -> WorkerSetting:
    return WorkerSetting(store=str(store.root), device="cpu", path=tuple(sys.path))


def unit(
    errand: Errand, deliver: list[Callable[[Any], None]], store: FeatureStore, plugins: Plugins = NONE
) -> RunUnit:
    facts = {"key": errand.bundle.name, "name": errand.bundle.name, "memory": 0}
    return RunUnit(
        work=errand, deliver=deliver, desk=Desk(store=store), packer=Packer(plugins), warned=set(), **facts
    )


def run(store: FeatureStore, *errands: Errand, plugins: Plugins = NONE) -> list[list[str]]:
    """Run errands in one worker, and return what their cells said."""
    said: list[list[str]] = [[] for _ in errands]
    pool = Processes(setting(store), jobs=1)
    try:
        for errand, own in zip(errands, said, strict=True):
            take = [lambda result, own=own: own.append(result.error)] * len(errand.cells)
            pool.submit(unit(errand, take, store, plugins))
        pool.finish()
    finally:
        pool.close()
    return said


def is_alive(process: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 100
    while is_alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_rows_are_sent_again_after_a_message_that_could_not_be_read(store: FeatureStore) -> None:
    a, b = Named("a"), Named("b")
    with pytest.warns(UserWarning, match="these cells run in this process: RuntimeError: not here"):
        said = run(
            store,
            Errand(a, (name_rows,)),
            Errand(b, (name_rows,), luggage=Unreadable(False)),
            Errand(b, (name_rows, tell_place)),
            Errand(b, (name_rows, tell_place)),
        )
    assert said == [["a"], ["b"], ["b", "worker"], ["b", "worker"]]


def test_answers_after_one_that_cannot_be_read_are_not_those_of_the_next_work(store: FeatureStore) -> None:
    a = Named("a")
    with pytest.warns(UserWarning, match="not here"):
        said = run(
            store,
            Errand(a, (tell_place, be_strange, name_rows)),
            Errand(a, (tell_place, interrupt, read_input)),
        )
    assert said[0] == ["worker", "here", "a"]
    assert said[1][:2] == ["worker", "not interrupted"]
    assert "EOFError" in said[1][2]


def test_what_cannot_be_given_away_is_done_here_also_where_warnings_are_errors(store: FeatureStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(store, Errand(Named("a"), (tell_place,), luggage=lambda: None)) == [["here"]]


def test_a_unit_that_a_result_submits_is_done_before_the_pool_is_finished(store: FeatureStore) -> None:
    said: list[str] = []
    pool = Processes(setting(store), jobs=1)

    def take(result: Any) -> None:
        said.append(result.error)
        if len(said) == 1:
            pool.submit(unit(Errand(Named("b"), (name_rows,)), [take], store))

    try:
        pool.submit(unit(Errand(Named("a"), (name_rows, name_rows)), [take, take], store))
        pool.finish()
    finally:
        pool.close()
    assert said == ["a", "a", "b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("leaves", [False, True])
def test_a_worker_that_dies_is_noticed_though_its_child_goes_on(store: FeatureStore, leaves: bool) -> None:
    """A child of the worker's group ends with it; one that has left it holds the worker's pipes open."""
    errand = Errand(Named("a"), (fork_here_and_die, tell_place), luggage=leaves)
    [[first, second]] = run(store, errand)
    child = int(Path("child").read_text())
    try:
        assert "ended by SIGKILL" in first
        assert second == "worker"
        if leaves:
            assert is_alive(child)
        else:
            wait_for_end(child)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_an_interruption_ends_workers_with_their_children_and_stays_one(store: FeatureStore) -> None:
    """A failed cell that has come in by then, which ends a run under `fail_fast`, does not stand in its place."""

    def stop(result: object) -> None:
        stopped.append(result)
        raise Stopped

    stopped: list[object] = []
    with pytest.raises(KeyboardInterrupt), Local(jobs=2).open(Workplace(setting=setting(store))) as pool:
        pool.submit(unit(Errand(Named("a"), (fork, wait_long)), [lambda result: None, stop], store))
        deadline = time.monotonic() + 100
        while not Path("ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        Path("ready").unlink()
        pool.submit(unit(Errand(Named("b"), (tell_place, wait_long)), [stop, stop], store))
        while not Path("ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)  # until the failed cell has come in
        raise KeyboardInterrupt
    assert len(stopped) == 1
    wait_for_end(int(Path("child").read_text()))


OFFERS = """
import harness, os

@harness.hookimpl
def harness_classifiers():
    names = ["first", "second", "third"]
    if os.environ["PARENT_OF_ERRANDS"] != str(os.getpid()):
        names = ["third", "first"]
    return [harness.ClassifierSpec(name=name, summary="", make=lambda: None) for name in names]
"""


def test_what_a_plugin_offers_is_found_by_its_name(store: FeatureStore, install: Any) -> None:
    """A worker's plugin may offer less, or in another order."""
    install(OFFERS, name="shuffled")
    plugins = load_plugins(find_candidates(only={"shuffled"}))
    offers: dict[str, ClassifierSpec] = {
        one.name: one for one in plugins.find("shuffled").offers["classifiers"]
    }
    errands = [
        Errand(Named("a"), (name_offer,), luggage=offers[name]) for name in ("first", "third", "second")
    ]
    with pytest.warns(UserWarning, match="plugin 'shuffled' does not offer 'second' in another process"):
        said = run(store, *errands, plugins=plugins)
    assert said == [["worker first"], ["worker third"], ["here second"]]
