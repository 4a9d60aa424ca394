"""Pool of worker processes for probes. Results are taken in the order of the units, and in the thread of the run."""

from __future__ import annotations

import queue
from collections import deque
from contextlib import suppress

import harness
from harness_local.driver import Died, Driver, Step
from harness_local.messages import Sender

AHEAD = 4
"""Units a worker that may be waiting or done before the first of them is taken."""


class Processes:
    """Pool of worker processes, each driven by a thread of this one."""

    def __init__(self, setting: harness.WorkerSetting, *, jobs: int) -> None:
        self._steps: deque[Step] = deque()
        self._todo: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._beside = not setting.device.startswith("cpu")
        self._drivers = [Driver(self._todo, Sender(), setting) for _ in range(jobs)]
        self._is_taking = False

    def submit(self, unit: harness.Unit) -> None:
        """Run a model here and now, after all probes where they compete for the CPU; give probes to the next free
        worker, and take what has come in.
        """
        if unit.kind == "forward":
            if not self._beside:
                self.finish()
            unit.run_here()
            return
        unstarted = (driver for driver in self._drivers if driver.ident is None)
        if driver := next(unstarted, None):  # a run with little work needs few workers
            driver.start()
        step = Step(unit)
        self._steps.append(step)
        self._todo.put(step)
        if self._is_taking:  # a result submits it: the step of that is still the first
            return
        self._take_ready()
        while len(self._steps) > AHEAD * len(self._drivers):
            self._take_first(wait=True)

    def finish(self) -> None:
        """Wait for all units."""
        while self._steps and not self._is_taking:
            self._take_first(wait=True)

    def take_done(self) -> None:
        """Take what is there already, also if something before it is missing. What ends a run is no news then: it is
        the interruption that ends it.
        """
        for step in self._steps:
            with suppress(queue.Empty):
                while True:
                    said = step.said.get_nowait()
                    if isinstance(said, harness.Answer):
                        with suppress(Exception):
                            step.unit.take(said)

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

    def _take_ready(self) -> None:
        """Take what has come in, as far as nothing before it is missing."""
        with suppress(queue.Empty):
            while self._steps:
                self._take_first(wait=False)

    def _take_first(self, *, wait: bool) -> None:
        """Finish the first step. Raise queue.Empty where an answer is missing that it does not `wait` for."""
        step, self._is_taking = self._steps[0], True
        try:
            while not step.unit.is_done:
                said = _take(step, wait=wait)
                if isinstance(said, Died):
                    step.unit.fail(said.reason)
                elif isinstance(said, harness.Answer) and said.error is None:
                    step.unit.take(said)
                else:
                    _do_here(step.unit, said)
        finally:
            self._is_taking = False
        self._steps.popleft()


def _do_here(unit: harness.Unit, said: harness.Answer | Exception) -> None:
    """Do the rest of a unit in this process, as no worker can; what ends the run is raised."""
    reason: Exception | None = said if isinstance(said, Exception) else said.error
    if isinstance(said, harness.Answer):
        unit.take(said)
    unit.run_here(why=str(reason))


def _take(step: Step, *, wait: bool) -> harness.Answer | Died | Exception:
    """Return what was said next of a step. Raise queue.Empty where there is nothing and it does not `wait`."""
    while wait:
        with suppress(queue.Empty):  # Windows interrupts no wait without an end
            return step.said.get(timeout=1)
    return step.said.get_nowait()
