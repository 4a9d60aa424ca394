"""Executor `local`: all forward passes in this process; probes here too, or in worker processes beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import harness

WORKER_MEMORY = 1 << 30
"""Bytes that a worker may take: 300 MB for its libraries, the rest for matrices."""


class Local:
    """Executor of one machine with `jobs` worker processes, None for as many as there is room for now."""

    def __init__(self, *, jobs: int | None) -> None:
        self._jobs = count_workers(jobs)

    def find_device(self, wanted: str) -> str:
        """Return the device of this machine."""
        return harness.resolve_device(wanted)

    @contextmanager
    def open(self, workplace: harness.Workplace) -> Iterator[harness.Pool]:
        """Open a pool with worker processes, or none but this for 1.

        Workers are ended with the block. Where a user interrupts it, what they have done by then is delivered.
        """
        if self._jobs == 1:
            yield InOrder()
            return
        from harness_local.processes import Processes

        pool = Processes(workplace.setting, jobs=self._jobs)
        try:
            yield pool
        except KeyboardInterrupt:
            pool.take_done()
            raise
        finally:
            pool.close()


@dataclass(frozen=True)
class InOrder:
    """Pool that does every unit at once, in this process."""

    def submit(self, unit: harness.Unit) -> None:
        """Do a unit."""
        unit.run_here()

    def finish(self) -> None:
        """Do nothing: everything is done."""


def count_workers(asked: int | None) -> int:
    """Return how many worker processes are `asked` for; if None, as many as find a free core and memory now.

    Raise UsageError for what is no whole number from 1.
    """
    if asked is not None:
        if type(asked) is not int or asked < 1:  # neither 1.5 nor True
            raise harness.UsageError(
                f"jobs must be a whole number from 1, or None for one process per free core; it is {asked}"
            )
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    import psutil  # needs a module of Unix on Unix, and is asked for here alone

    room = int(psutil.virtual_memory().available) // WORKER_MEMORY
    return max(1, min(cores - round(load), room))
