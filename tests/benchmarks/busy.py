"""CPU seconds of a harness command beside busy processes, on one core, and with two threads against one.

    python tests/benchmarks/busy.py [--busy 4] [--rounds 1] [--limit 1800] [--arms ARM ...] [COMMAND ...]

COMMAND is what follows `harness` (default: `run quickstart`); each run has a cache and an output folder of its own.
Arms take turns. A run that takes longer than `--limit` seconds is ended and counts as not ended. The seconds are those
of the process and its children; with other programs on the machine, wall seconds say little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables of the environment that say how many threads libraries take; without them, one a core."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Circumstances of a run: threads (None: nothing is set), whether it has one core only, and busy neighbours."""

    threads: int | None = None
    one_core: bool = False
    is_busy: bool = False


ARMS = {
    "default": Arm(),
    "1 thread": Arm(threads=1),
    "2 threads": Arm(threads=2),
    "1 thread, one core": Arm(threads=1, one_core=True),
    "2 threads, one core": Arm(threads=2, one_core=True),
    "default, beside busy": Arm(is_busy=True),
}

RATIOS = (
    ("2 threads", "1 thread", 1.1),
    ("2 threads, one core", "1 thread, one core", 1.1),
    ("default, beside busy", "default", 1.2),
)
"""Pairs of arms, with the ratio of their CPU seconds that the project aims at."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """CPU and wall seconds of a run; None for one that did not end in time."""

    cpu: float
    wall: float
    load: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the arms in turn, and print their seconds and ratios as JSON. Return 1 if a run did not end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--busy", type=int, default=4, help="busy processes beside the run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1800, help="wall seconds after which a run is ended")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("command", nargs="*", default=["run", "quickstart"])
    options = parser.parse_args(arguments)
    spent: dict[str, list[Spent | None]] = {name: [] for name in options.arms}
    for _ in range(options.rounds):
        for name in options.arms:
            spent[name].append(measure(options.command, ARMS[name], busy=options.busy, limit=options.limit))
            print(name, spent[name][-1], file=sys.stderr, flush=True)
    medians = {
        name: statistics.median(run.cpu for run in runs if run) for name, runs in spent.items() if any(runs)
    }
    answer = {
        "cpu_seconds": {name: round(seconds, 1) for name, seconds in medians.items()},
        "wall_seconds": {
            name: [round(run.wall, 1) if run else None for run in runs] for name, runs in spent.items()
        },
        "load_before": {
            name: [round(run.load, 1) if run else None for run in runs] for name, runs in spent.items()
        },
        "ratios": {
            f"{one} / {other}": {"is": round(medians[one] / medians[other], 3), "target": target}
            for one, other, target in RATIOS
            if one in medians and other in medians
        },
    }
    print(json.dumps(answer, indent=1))
    return 0 if all(run for runs in spent.values() for run in runs) else 1


def measure(command: Sequence[str], arm: Arm, *, busy: int, limit: float) -> Spent | None:
    """Return what a run of `harness COMMAND` costs under an arm; None if it is not done after `limit` seconds."""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    if arm.threads is not None:
        environment |= dict.fromkeys(THREADS, str(arm.threads))
    cores = sorted(os.sched_getaffinity(0))[: 1 if arm.one_core else None]
    harness = [sys.executable, "-c", "from harness.cli import main; main()"]
    with tempfile.TemporaryDirectory() as folder, neighbours(busy if arm.is_busy else 0):
        words = [*command, "--cache-dir", str(Path(folder) / "cache"), "-o", str(Path(folder) / "run")]
        load, before, began = os.getloadavg()[0], _cpu_seconds(), time.perf_counter()
        process = subprocess.Popen(
            [*harness, *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            raise SystemExit(f"harness {' '.join(words)} ended with code {code}")
        return Spent(cpu=_cpu_seconds() - before, wall=time.perf_counter() - began, load=load)


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Keep `number` processes busy during the block; none outlives it, nor this process by more than a second."""
    # Should this process be killed, they find themselves with another parent.
    loop = "import os, time\nmine = os.getppid()\nwhile os.getppid() == mine:\n    sum(range(200_000))\n"
    started = [subprocess.Popen([sys.executable, "-S", "-c", loop]) for _ in range(number)]
    try:
        yield
    finally:
        for process in started:
            process.kill()


def _cpu_seconds() -> float:
    """Return the CPU seconds of all children that were waited for: the neighbours' are not among them yet."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
