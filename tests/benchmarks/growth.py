"""CPU seconds and peak memory of whole runs, as texts, widths, sites, cells and records grow: a CSV and a figure.

`python tests/benchmarks/growth.py` takes about half an hour. `--axis texts --sizes 4000,64000` measures a part, and
`--harness PATH` another installation. Each run is a process of its own with an empty cache; the texts are drawn from
common words, 12 each, so that every text costs the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_COMMON = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who oil its now find long down day did get come made may part"
)
WORDS = _COMMON.split()
SIZES: Mapping[str, Sequence[int]] = {
    "texts": (1_000, 4_000, 16_000, 64_000, 100_000),
    "widths": (4_096, 16_384, 65_536, 262_144, 1_048_576),
    "sites": (1, 2, 3),
    "cells": (8, 32, 128, 512),
    "records": (100, 1_000, 10_000),
}
TEXTS = {"widths": 200, "sites": 4_000, "cells": 500, "records": 500}
"""Number of texts where something else grows."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one process: CPU seconds and the most bytes that it held."""

    axis: str
    size: int
    cpu_seconds: float
    peak_bytes: int


def measure(axis: str, size: int, harness: str, folder: Path) -> Cost:
    """Return the cost of the run of this size, or of what reads its records."""
    write_task(folder / "growth.jsonl", size if axis == "texts" else TEXTS[axis])
    (folder / "task.yaml").write_text(TASK)
    (folder / "suite.yaml").write_text(json.dumps(make_suite(axis, size)))
    run = [harness, "run", "suite.yaml", "--include", "task.yaml", "-d", "cpu", "-o", "run"]
    cost = spend(run, folder)
    if axis == "records":
        repeat_records(folder / "run", size)
        cost = spend([harness, "status", "run"], folder)
    return Cost(axis=axis, size=size, cpu_seconds=cost[0], peak_bytes=cost[1])


TASK = """name: growth
version: 1
source: {file: growth.jsonl}
columns: {input: text, label: label, split: split}
languages: [en]
licence: none
citation: none
"""


def write_task(path: Path, n_texts: int) -> None:
    """Write texts of 12 common words each, labelled by one of them."""
    draw = random.Random(0)
    with path.open("w") as file:
        for number in range(n_texts):
            words = draw.choices(WORDS, k=12)
            label = "ab"[(WORDS.index(words[3]) + WORDS.index(words[7])) % 2]
            split = "test" if number % 5 == 0 else "validation" if number % 5 == 1 else "train"
            file.write(json.dumps({"text": " ".join(words), "label": label, "split": split}) + "\n")


def make_suite(axis: str, size: int) -> dict[str, object]:
    """Return a suite with one dictionary, one pooling and a classifier whose cost is linear in the texts."""
    representation = "minigemma-scope[expansion=32]"  # the narrower ones are made dense by classifiers
    sites = ["resid_post.50%"]
    seeds = 1
    if axis == "widths":
        representation = f"random_sae[k=16, width={size}]"
    elif axis == "sites":
        representation, sites = (
            "minigemma-scope",
            ["resid_post.25%", "resid_post.50%", "resid_post.75%"][:size],
        )
    elif axis == "cells":
        seeds = size
    return {
        "name": "growth",
        "version": 1,
        "summary": "what grows",
        "tasks": ["growth"],
        "models": [{"ref": "minigemma-s", "sites": sites}],
        "representations": [representation],
        "poolings": ["mean"],
        "transforms": ["none"],
        "classifiers": ["nearest_centroid"],
        "seeds": seeds,
    }


def repeat_records(run: Path, size: int) -> None:
    """Make the run folder one of `size` records, all but one of other cells with the same result."""
    line = (run / "results.jsonl").read_text().splitlines()[0]
    record = json.loads(line)
    about = json.loads((run / "run.json").read_text())
    ids = [record["cell_id"], *(f"{number:016x}" for number in range(1, size))]
    lines = [json.dumps({**record, "cell_id": one}) for one in ids]
    (run / "results.jsonl").write_text("\n".join(lines) + "\n")
    (run / "run.json").write_text(json.dumps({**about, "cells": ids}))


def spend(command: Sequence[str], folder: Path) -> tuple[float, int]:
    """Return the CPU seconds and peak bytes of a command, its children included. Raise where it fails."""
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command} ended with {process.returncode}: {said.read()[-2000:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def write_csv(costs: Sequence[Cost], path: Path) -> None:
    """Write a line for each cost, with what one more of a size costs since the size before."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["axis", "size", "cpu_seconds", "peak_bytes", "cpu_seconds_each", "peak_bytes_each"])
        before: dict[str, Cost] = {}
        for cost in costs:
            one = before.get(cost.axis)
            step: list[object] = ["", ""]
            if one:
                more = cost.size - one.size
                step = [
                    f"{(cost.cpu_seconds - one.cpu_seconds) / more:.3g}",
                    round((cost.peak_bytes - one.peak_bytes) / more),
                ]
            table.writerow([cost.axis, cost.size, f"{cost.cpu_seconds:.2f}", cost.peak_bytes, *step])
            before[cost.axis] = cost


def read_csv(path: Path) -> list[Cost]:
    """Return the costs in a CSV; none where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            Cost(
                axis=row["axis"],
                size=int(row["size"]),
                cpu_seconds=float(row["cpu_seconds"]),
                peak_bytes=int(row["peak_bytes"]),
            )
            for row in csv.DictReader(file)
        ]


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Draw CPU seconds and peak memory of each axis."""
    import matplotlib.pyplot as plt

    axes = [axis for axis in SIZES if any(cost.axis == axis for cost in costs)]
    figure, panels = plt.subplots(2, len(axes), figsize=(3 * len(axes), 5.2), squeeze=False)
    value: Mapping[str, Callable[[Cost], float]] = {
        "CPU seconds": lambda cost: cost.cpu_seconds,
        "peak memory, MB": lambda cost: cost.peak_bytes / 1e6,
    }
    for column, axis in enumerate(axes):
        own = [cost for cost in costs if cost.axis == axis]
        for row, name in enumerate(value):
            panel = panels[row][column]
            panel.plot([cost.size for cost in own], [value[name](cost) for cost in own], marker="o")
            panel.set_ylim(bottom=0)
            panel.set_xlabel(axis)
            panel.set_ylabel(name if not column else "")
            panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure each axis from its smallest size on, the largest number of texts last of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--axis", choices=SIZES, action="append")
    parser.add_argument("--sizes", help="numbers with commas between them")
    parser.add_argument("--harness", default=str(Path(sys.executable).with_name("harness")))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    sizes = [int(one) for one in given.sizes.split(",")] if given.sizes else None
    path = given.output / "growth.csv"
    for axis in given.axis or SIZES:
        for size in sizes or SIZES[axis]:
            began = time.time()
            with tempfile.TemporaryDirectory() as folder:
                cost = measure(axis, size, given.harness, Path(folder))
            print(
                f"{axis} {size:,}: {cost.cpu_seconds:.1f} CPU s, {cost.peak_bytes / 1e6:,.0f} MB, "
                f"{time.time() - began:.0f} s by the clock",
                flush=True,
            )
            others = [one for one in read_csv(path) if (one.axis, one.size) != (axis, size)]
            order = {name: place for place, name in enumerate(SIZES)}
            costs = sorted([*others, cost], key=lambda one: (order[one.axis], one.size))
            write_csv(costs, path)
            draw(costs, given.output / "growth.svg")


if __name__ == "__main__":
    main()
