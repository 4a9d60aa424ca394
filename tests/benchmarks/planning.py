"""CPU seconds and memory of planning and listing, beside imports that everybody knows, each in a process of its own.

`python tests/benchmarks/planning.py [ROUNDS]` runs all arms one after another, ROUNDS times (5), and prints the median
of each and the ratios that are aimed at. `harness plan quickstart` is to take at most 1.2 times what the libraries of
data and tokens take to be imported, and one second; `harness ls tasks` half of what pandas takes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

ARMS: dict[str, Sequence[str]] = {
    "harness plan quickstart": ("-m", "harness", "plan", "quickstart"),
    "import datasets, tokenizers": ("-c", "import datasets, tokenizers"),
    "harness ls tasks": ("-m", "harness", "ls", "tasks"),
    "import pandas": ("-c", "import pandas"),
    "harness --help": ("-m", "harness", "--help"),
}


def measure(arguments: Sequence[str], cache: Path) -> tuple[float, float]:
    """Return the CPU seconds and the peak of resident memory, in MiB, of one process of Python."""
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(cache), "HF_HUB_OFFLINE": "1"}
    # Whoever runs it twice has compiled modules; a shell that forbids them would time the compiler.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as cache:
        for arguments in ARMS.values():
            measure(arguments, Path(cache))  # compiled modules, and pages of libraries
        for _ in range(rounds):
            for name, arguments in ARMS.items():
                found[name].append(measure(arguments, Path(cache)))
    seconds = {name: statistics.median(one for one, _ in values) for name, values in found.items()}
    for name, values in found.items():
        spread = sorted(one for one, _ in values)
        memory = max(peak for _, peak in values)
        print(f"{name:30} {seconds[name]:6.2f} s ({spread[0]:.2f} to {spread[-1]:.2f}), {memory:5.0f} MiB")
    allowed = 1.2 * seconds["import datasets, tokenizers"] + 1
    print(f"plan: {seconds['harness plan quickstart'] / allowed:.2f} of what is allowed, {allowed:.2f} s")
    print(f"ls: {seconds['harness ls tasks'] / seconds['import pandas']:.2f} of pandas")


if __name__ == "__main__":
    main()
