"""An executor: the units of a run in worker processes of the standard library."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import harness

HARNESS_API = 1

CONTEXT = multiprocessing.get_context("spawn")  # a fork would inherit the threads and locks of this process
AHEAD = 4  # units for each process that wait, packed, for their turn

Given = tuple[harness.Unit, Future[list[harness.Answer]], int]  # the number of processes that died before

_worker: harness.Worker  # of this process, where it is one of the workers


class Processes:
    """Executor that runs all units, forward passes too, in `jobs` processes of this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def find_device(self, wanted: str) -> str:
        """Return the device, of this machine, that every process uses."""
        return harness.resolve_device(wanted)

    @contextmanager
    def open(self, workplace: harness.Workplace) -> Iterator[harness.Pool]:
        """Open a pool whose processes end with the block."""
        pool = ProcessPool(workplace.setting, self._jobs)
        try:
            yield pool
        finally:
            pool.close()


class ProcessPool:
    """Pool of one run. Where a process dies, the units that were not answered are done one at a time."""

    def __init__(self, setting: harness.WorkerSetting, jobs: int) -> None:
        self._setting, self._jobs = setting, jobs
        self._given: deque[Given] = deque()
        self._start()

    def submit(self, unit: harness.Unit) -> None:
        """Give a unit to the next free process; where many are given already, take the answers on the first."""
        self._give(unit)
        while len(self._given) > AHEAD * self._jobs:
            self._take_first()

    def finish(self) -> None:
        """Take the answers on all units, those among them that are submitted by a result."""
        while self._given:
            self._take_first()

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in {*multiprocessing.active_children()} - self._others:
            process.kill()
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> None:
        self._others = {*multiprocessing.active_children()}
        self._pool = ProcessPoolExecutor(self._jobs, CONTEXT, _open, (self._setting,))

    def _give(self, unit: harness.Unit, died: int = 0) -> None:
        try:
            packed = unit.pack()
        except harness.UnavailableError as error:
            unit.run_here(why=str(error))
        else:
            # Nobody knows which process comes next: each unit brings the rows that its bundle shares.
            shared = packed.shared() if packed.shared_key else None
            self._given.append((unit, self._pool.submit(_run, packed.body, shared), died))

    def _take_first(self) -> None:
        unit, answers, died = self._given.popleft()  # first, since a result may submit further units
        try:
            said = answers.result()
        except BrokenProcessPool:
            self._start_again((unit, answers, died))
            return
        for answer in said:
            unit.take(answer)
        if not unit.is_done and said[-1].error is not None:
            unit.run_here(why=str(said[-1].error))
        elif not unit.is_done:
            self._give(unit)

    def _start_again(self, first: Given) -> None:
        """Start other processes, and do what was lost: each unit by itself, as one of them ends its process."""
        self.close()
        self._start()
        lost, self._given = [first, *self._given], deque()
        for unit, _, died in lost:
            if died:
                unit.fail("two worker processes died with it")
            if not unit.is_done:
                self._give(unit, died + 1)
                self.finish()


def _open(setting: harness.WorkerSetting) -> None:
    global _worker
    _worker = harness.open_worker(setting)


def _run(body: bytes, shared: bytes | None) -> list[harness.Answer]:
    return [*_worker.run(body, shared)]


def make(*, jobs: int | None = 2) -> harness.Executor:
    """Return the executor; `-j` of the command line is its parameter. Raise UsageError for jobs below 1."""
    if jobs is not None and jobs < 1:
        raise harness.UsageError(f"jobs={jobs} must be 1 or more")
    return Processes(jobs or os.cpu_count() or 1)


@harness.hookimpl
def harness_executors() -> list[harness.ExecutorSpec]:
    return [harness.ExecutorSpec(name="processes", summary="`jobs` processes of this machine", make=make)]
