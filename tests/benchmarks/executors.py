"""Executor `ray` on this machine: overhead per small bundle, speed-up of two workers, start of a long queue.

`python tests/benchmarks/executors.py` runs arms in turn, each with an empty store, and prints medians and the load of
the machine as JSON. Seconds are counted from the first worker that is there (for the overhead: from the first forward
pass that has come back) to the last record: how long Ray takes to start is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
)

MODELS, SHORTEST = 190, 64
"""Models of the long queue, which differ in the most tokens of a text, from `SHORTEST` on: as many as one can tell."""

SUITE = """
name: executors
tasks: [{tasks}]
models: [{{ref: {model}, sites: [{sites}]}}]
representations: [hidden]
poolings: [{poolings}]
classifiers: ["logreg(C=1.0)"]
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bundles", type=int, default=100, help="small bundles of one model")
    parser.add_argument("--tasks", type=int, default=8, help="large bundles")
    parser.add_argument("--texts", type=int, default=1500, help="texts of a large bundle")
    parser.add_argument("--queued", type=int, default=10_000, help="bundles of the long queue")
    parser.add_argument("--parts", default="overhead,speed,queue")
    options = parser.parse_args()
    found: dict[str, object] = {"load before": os.getloadavg()[0], "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="ex-", dir="/tmp") as folder:
        for part in options.parts.split(","):
            measure = {"overhead": measure_overhead, "speed": measure_speed, "queue": measure_queue}[part]
            found |= measure(Path(folder, part), options)
    print(json.dumps(found | {"load after": os.getloadavg()[0]}, indent=2))


def measure_overhead(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Return the milliseconds of a small bundle on one worker of Ray above those in one process."""
    write_suite(folder, options.bundles, 24, model="minigemma-s", sites="resid_post.0", poolings="last")
    arms = {"local": "local[jobs=1]", "ray": "ray[jobs=1]"}
    rounds = take_turns(folder, options.rounds, arms, begins="forward")
    each = [{name: 1000 * seconds / (options.bundles - 1) for name, seconds in one.items()} for one in rounds]
    return {
        "ms per bundle": each,
        "overhead, ms per bundle, median": statistics.median(one["ray"] - one["local"] for one in each),
    }


def measure_speed(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Return the seconds of one worker over those of two, on bundles with enough to do."""
    sites = "resid_post.25%, resid_post.50%, resid_post.75%"
    write_suite(folder, options.tasks, options.texts, model="minigemma-l", sites=sites, poolings="mean, max")
    arms = {"one": "ray[jobs=1]", "two": "ray[jobs=2]"}
    rounds = take_turns(folder, options.rounds, arms, begins="worker")
    return {
        "seconds by workers": rounds,
        "speed-up of two workers, median": statistics.median(one["one"] / one["two"] for one in rounds),
    }


def measure_queue(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Return the seconds from the start of a run of very many bundles to its first forward pass, after its plan."""
    n_tasks = -(-options.queued // MODELS)
    models = (f'"minigemma-s[max_length={SHORTEST + number}]"' for number in range(MODELS))
    write_suite(folder, n_tasks, 6, model="MODEL", sites="resid_post.0", poolings="last")
    suite = folder / "suite.yaml"
    one = "{ref: MODEL, sites: [resid_post.0]}"
    suite.write_text(suite.read_text().replace(one, ", ".join(one.replace("MODEL", name) for name in models)))
    seconds = run(folder, "ray[jobs=1]", "started", ends="forward")
    return {"bundles in the queue": n_tasks * MODELS, "seconds to the first forward pass": seconds}


def take_turns(
    folder: Path, n_rounds: int, arms: Mapping[str, str], *, begins: str
) -> list[dict[str, float]]:
    """Return the seconds of each arm, round by round; every second round in the other order."""
    rounds: list[dict[str, float]] = []
    for number in range(n_rounds):
        order = [*arms] if number % 2 == 0 else [*reversed(arms)]
        rounds.append({name: run(folder, arms[name], begins) for name in order})
        print(f"load {os.getloadavg()[0]:.1f}: {rounds[-1]}", file=sys.stderr)
    return rounds


def run(folder: Path, executor: str, begins: str, *, ends: str = "") -> float:
    """Run the suite, and return the seconds from the first event `begins` to the last record, or to the first event
    `ends`, at which the run is stopped.
    """
    out, cache = folder / "out", folder / "cache"
    for place in (out, cache):
        shutil.rmtree(place, ignore_errors=True)
    include = [word for path in sorted(folder.glob("task_*.yaml")) for word in ("--include", path.name)]
    command = [sys.executable, "-m", "harness", "run", "suite.yaml", *include, "-o", str(out), "-d", "cpu"]
    process = subprocess.Popen(
        [*command, "--cache-dir", str(cache), "--json", "--executor", executor],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=(log := (folder / "log.txt").open("w")),
    )
    began = ended = 0.0
    seen = 0
    events = out / "events.jsonl"

    def has_come(event: str) -> bool:
        return events.exists() and f'"event": "{event}"' in events.read_text()

    while process.poll() is None:
        time.sleep(0.01)
        if not began and has_come(begins):
            began = time.monotonic()
        if ends and began and has_come(ends):
            ended = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait()
            break
        results = out / "results.jsonl"
        if results.exists() and (size := results.stat().st_size) != seen:
            seen, ended = size, time.monotonic()
    log.close()
    if process.returncode and not (ends and ended):
        raise SystemExit((folder / "log.txt").read_text()[-2000:])
    return ended - began


def write_suite(folder: Path, n_tasks: int, n_texts: int, **choices: str) -> None:
    """Write a suite of one model on so many tasks."""
    folder.mkdir(parents=True)
    chance = random.Random(7)
    names = [f"task_{number:03}" for number in range(n_tasks)]
    for name in names:
        with (folder / f"{name}.jsonl").open("w") as file:
            for row in range(n_texts):
                words = " ".join(chance.choices(WORDS, k=12))
                line = {"text": f"{('good', 'bad')[row % 2]} {name} {row} {words}", "label": str(row % 2)}
                file.write(json.dumps(line | {"split": "test" if row % 3 == 0 else "train"}) + "\n")
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nsource: {{file: {name}.jsonl}}\nlicence: CC0\ncitation: none\nlanguages: [en]\n"
            "columns: {input: text, label: label, split: split}\n"
        )
    (folder / "suite.yaml").write_text(SUITE.format(tasks=", ".join(names), **choices))


if __name__ == "__main__":
    main()
