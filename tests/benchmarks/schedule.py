"""Measure runs of a suite with several numbers of workers, and compare them with the schedule that was expected.

Each run has an empty cache. The speed of the machine is measured first, as the core seconds of the suite in one process
against those that the plan expects; how many other processes want a core is sampled during each run. Both go into the
simulation, whose constants are fitted elsewhere. Linux alone, for the sampling.

    python tests/benchmarks/schedule.py quickstart --executor ray --workers 1 2 4 --limit 600
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

import harness
from harness.planning.clusters import START_SECONDS, find_cluster
from harness.planning.planned_units import plan_units
from harness.planning.schedule import PlannedUnit, Schedule
from harness.planning.simulation import simulate
from harness.registry.executors import choose_executor

EVERY = 0.25
"""Seconds between two samples."""


@dataclass
class Others:
    """Number of threads of other processes that want a core, sampled while this process waits for a run."""

    samples: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def sampled(self) -> Iterator[None]:
        """Sample during the block."""
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(EVERY):
                self.samples.append(_count_running() - _count_own())

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @property
    def mean(self) -> float:
        """Mean of the samples."""
        return max(0.0, sum(self.samples) / max(1, len(self.samples)))


@dataclass(frozen=True)
class Measured:
    """Seconds of a run by its own summary, core seconds of its processes, other processes that wanted a core."""

    seconds: float
    core_seconds: float
    others: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of measured and expected seconds, as Markdown."""
    asked = _read(arguments)
    limit = ["--limit", str(asked.limit)] if asked.limit else []
    session = harness.open(device="cpu")
    units = plan_units(session.plan(asked.suite, limit=asked.limit), device="cpu", cached=lambda key: False)
    speed = asked.speed or measure_speed(units, asked.suite, limit)
    print(
        f"speed {speed:.2f} of the machine that the constants are fitted on; {len(units)} units\n", flush=True
    )
    print("| executor | workers | other processes | expected s | measured s | expected / measured |")
    print("|---|---|---|---|---|---|", flush=True)
    for workers in asked.workers:
        found = run(asked.suite, *limit, "--executor", asked.executor, "--jobs", str(workers))
        expected = expect(session, units, asked.executor, workers, speed=speed, others=found.others)
        print(
            f"| {asked.executor} | {workers} | {found.others:.1f} | {expected.makespan:.0f} | {found.seconds:.0f} | "
            f"{expected.makespan / found.seconds:.2f} |",
            flush=True,
        )


def expect(
    session: Any, units: Sequence[PlannedUnit], executor: str, workers: int, *, speed: float, others: float
) -> Schedule:
    """Return the schedule of units with so many workers on this machine."""
    choice = choose_executor(session.registry, executor, jobs=workers)
    cluster = find_cluster(choice, cores=len(os.sched_getaffinity(0)))
    return simulate(units, replace(cluster, speed=speed, others=others))


def measure_speed(units: Sequence[PlannedUnit], suite: str, options: Sequence[str]) -> float:
    """Return the core seconds that are expected of units over those that a run of them in one process takes."""
    models = {unit.model: unit.load_seconds for unit in units if unit.model}
    expected = START_SECONDS + sum(unit.seconds for unit in units) + sum(models.values())
    found = run(suite, *options, "--executor", "local", "--jobs", "1")
    return expected / found.core_seconds


def run(suite: str, *options: str) -> Measured:
    """Run a suite with an empty cache."""
    others = Others()
    with tempfile.TemporaryDirectory(prefix="harness-schedule-") as folder:
        words = ["-m", "harness", "run", suite, *options, "--json", "-d", "cpu"]
        places = ["--output", str(Path(folder, "run")), "--cache-dir", str(Path(folder, "cache"))]
        before = _core_seconds()
        with others.sampled():
            done = subprocess.run(
                [sys.executable, *words, *places], stdout=subprocess.PIPE, check=True, text=True
            )
        return Measured(json.loads(done.stdout)["seconds"], _core_seconds() - before, others.mean)


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _count_running() -> int:
    """Return the number of threads of the machine that run or could."""
    text = Path("/proc/stat").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("procs_running"))


def _count_own() -> int:
    """Return the number of running threads of this process and of all that it has started."""
    running = 0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(OSError):  # it has ended
            for status in Path(f"/proc/{process.pid}/task").glob("*/stat"):
                running += (
                    status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "R"
                )
    return running


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--speed", type=float, help="a speed that was measured before")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    started = time.time()
    main()
    print(f"\n{time.time() - started:.0f} s", file=sys.stderr)
