"""Pool that runs work, in this process or in worker processes. Results are delivered here, in their order."""

from __future__ import annotations

import os
import queue
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from harness.api.errors import ENDS_RUN, UsageError
from harness.registry.loading import Plugins
from harness.runs.context import Stopped
from harness.runs.driver import Deliver, Driver, Step
from harness.runs.work import Result, Work
from harness.runs.worker import Packer
from harness.storage.feature_store import FeatureStore

WORKER_MEMORY = 1 << 30
"""Bytes that a worker may take: 300 MB for its libraries, the rest for matrices."""

AHEAD = 4
"""Pieces of work a worker that may be waiting or done before the first of them is delivered."""


class Pool(Protocol):
    """Runner of work. What is delivered comes in the order of submission, and in this thread."""

    @property
    def fault(self) -> Exception | None:
        """Error with which `finish` broke off, which is none of the work that waits for it."""

    def submit(self, work: Work, deliver: Sequence[Deliver]) -> None:
        """Run work, and call one of `deliver` with the result of each cell."""

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` after everything that was submitted before is delivered."""

    def finish(self) -> None:
        """Wait until everything that was submitted is delivered."""


@contextmanager
def open_pool(plugins: Plugins, store: FeatureStore, *, jobs: int) -> Iterator[Pool]:
    """Open a pool with `jobs` worker processes, or none but this for 1.

    Workers are ended with the block. Where a user interrupts it, what they have done by then is delivered.
    """
    if jobs == 1:
        yield OneProcess(store)
        return
    pool = Processes(plugins, store, jobs=jobs)
    try:
        yield pool
    except KeyboardInterrupt:
        pool.deliver_done()
        raise
    finally:
        pool.close()


@dataclass(frozen=True)
class OneProcess:
    """Pool that does everything at once, in this process."""

    store: FeatureStore
    fault: Exception | None = None

    def submit(self, work: Work, deliver: Sequence[Deliver]) -> None:
        """Run work to its end."""
        for one, result in zip(deliver, work.run(self.store), strict=True):
            one(result)

    def then(self, action: Callable[[], None]) -> None:
        """Call `action`."""
        action()

    def finish(self) -> None:
        """Do nothing: everything is delivered."""


class Processes:
    """Pool of worker processes, each driven by a thread of this one."""

    def __init__(self, plugins: Plugins, store: FeatureStore, *, jobs: int) -> None:
        self._store = store
        self._steps: deque[Step] = deque()
        self._todo: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        packer = Packer(plugins)
        self._drivers = [Driver(self._todo, packer, store) for _ in range(jobs)]
        self._has_said = False
        self.fault: Exception | None = None

    def submit(self, work: Work, deliver: Sequence[Deliver]) -> None:
        """Give work to the next free worker, and deliver what has come in."""
        unstarted = (driver for driver in self._drivers if driver.ident is None)
        if driver := next(unstarted, None):  # a run with little work needs few workers
            driver.start()
        step = Step(work, deliver)
        self._steps.append(step)
        self._todo.put(step)
        self._deliver_ready()
        while sum(one.work is not None for one in self._steps) > AHEAD * len(self._drivers):
            self._deliver_first(wait=True)

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` in its turn."""
        self._steps.append(Step(action=action))
        self._deliver_ready()

    def finish(self) -> None:
        """Wait for all work."""
        try:
            while self._steps:
                self._deliver_first(wait=True)
        except Exception as error:
            self.fault = error
            raise

    def deliver_done(self) -> None:
        """Deliver what is there already, also if something before it is missing."""
        for step in self._steps:
            with suppress(queue.Empty):
                while True:
                    number, result = step.results.get_nowait()
                    if not isinstance(result, Exception):
                        # After a failed cell under `fail_fast` too, it is the interruption that ends the run.
                        with suppress(Stopped):
                            step.deliver[number](result)

    def close(self) -> None:
        """End the workers, whatever they do."""
        for driver in self._drivers:
            driver.end()
        for driver in self._drivers:
            if driver.ident is not None:
                self._todo.put(None)
        for driver in self._drivers:
            if driver.ident is not None:
                driver.join()

    def _deliver_ready(self) -> None:
        """Deliver what has come in, as far as nothing before it is missing."""
        with suppress(queue.Empty):
            while self._steps:
                self._deliver_first(wait=False)

    def _deliver_first(self, *, wait: bool) -> None:
        """Deliver the first step. Raise queue.Empty where a result is missing that it does not `wait` for."""
        step = self._steps[0]
        while step.done < len(step.deliver):
            number, result = _take(step, wait=wait)
            if isinstance(result, ENDS_RUN):
                raise result
            if isinstance(result, Exception):
                self._do_here(step, result)
            else:
                step.done = number + 1
                step.deliver[number](result)
        self._steps.popleft()
        step.action()

    def _do_here(self, step: Step, reason: Exception) -> None:
        """Do the rest of some work in this process."""
        if not self._has_said:
            self._has_said = True
            with suppress(UserWarning):  # also where warnings are errors
                warnings.warn(
                    f"worker processes cannot be used, so these cells run in this process: {reason}",
                    stacklevel=2,
                )
        assert step.work
        for result in step.work.after(step.done).run(self._store):
            step.done += 1
            step.deliver[step.done - 1](result)


def _take(step: Step, *, wait: bool) -> tuple[int, Result | Exception]:
    """Return the next result of a step. Raise queue.Empty where none is there and it does not `wait`."""
    while wait:
        with suppress(queue.Empty):  # Windows interrupts no wait without an end
            return step.results.get(timeout=1)
    return step.results.get_nowait()


def count_workers(asked: int | None) -> int:
    """Return how many worker processes are `asked` for; if None, as many as find a free core and memory now.

    Raise UsageError for a number below 1.
    """
    if asked is not None:
        if asked < 1:
            raise UsageError(f"jobs must be 1 or more, or None for one process per free core; it is {asked}")
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    import psutil  # needs a module of Unix on Unix, and is asked for here alone

    room = int(psutil.virtual_memory().available) // WORKER_MEMORY
    return max(1, min(cores - round(load), room))
