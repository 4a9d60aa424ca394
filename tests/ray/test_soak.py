"""Soak: 2,000 small bundles, while workers are killed now and then: nothing lost, nothing twice, memory flat.

HARNESS_SOAK_SECONDS (600) is the time in which workers are killed; a shorter one has fewer bundles.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

SECONDS = int(os.environ.get("HARNESS_SOAK_SECONDS", "600"))

N_MODELS = 50
N_TASKS = max(2, 40 * SECONDS // 600)

KILL_EVERY = 15.0
"""Seconds between two deaths, half of them more or less."""

LONGEST = 600 + 3 * SECONDS
"""Seconds after which a run is taken to hang."""

GROWTH = 1.25
"""Largest size of a process at the end, by that after a quarter of the records."""

SUITE = """
name: soak
tasks: [{tasks}]
models: [{models}]
representations: [hidden]
poolings: [odd]
classifiers: ["logreg(C=1.0)"]
"""


def write_suite(n_tasks: int, n_models: int) -> str:
    """Return a suite of so many bundles. Models differ in nothing that texts of a few words could show."""
    models = (
        f'{{ref: "minigemma-s[max_length={64 + number}]", sites: [resid_post.0]}}'
        for number in range(n_models)
    )
    return SUITE.format(
        tasks=", ".join(f"soak_{number}" for number in range(n_tasks)), models=", ".join(models)
    )


def write_tasks(folder: Path) -> list[str]:
    """Write the tasks, and return the options that name their files."""
    options: list[str] = []
    for number in range(N_TASKS):
        rows = [
            {
                "text": f"{('good', 'bad')[i % 2]} item {number} {i}",
                "label": ("pos", "neg")[i % 2],
                "split": "test" if i < 8 else "train",
            }
            for i in range(24)
        ]
        name = f"soak_{number}"
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nsource: {{file: {name}.jsonl}}\nlicence: CC0\ncitation: none\nlanguages: [en]\n"
            "columns: {input: text, label: label, split: split}\n"
        )
        options += ["--include", f"{name}.yaml"]
    return options


@dataclass
class Killer:
    """Killer of workers, by a fixed seed. It notes the size of the run's processes meanwhile."""

    events: Path
    run: psutil.Process
    killed: list[int] = field(default_factory=list)
    sizes: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds, bytes of the process of the run, bytes of the one that talks to Ray."""

    def watch(self, is_ended: Callable[[], bool]) -> None:
        """Kill a worker every `KILL_EVERY` seconds or so, for `SECONDS`."""
        chance = random.Random(21)
        began = last = 0.0
        while not is_ended():
            time.sleep(0.5)
            now = time.monotonic()
            if not began:
                began = last = now if self.workers() else 0.0
                continue
            with suppress(psutil.NoSuchProcess, IndexError):
                sizes = (self.run.memory_info().rss, self.bridge().memory_info().rss)
                self.sizes.append((now - began, *sizes))
            if last + KILL_EVERY <= now < began + SECONDS and (workers := self.workers()):
                os.kill(victim := chance.choice(workers), signal.SIGKILL)
                self.killed.append(victim)
                last = now + chance.uniform(-1, 1) * KILL_EVERY / 2

    def bridge(self) -> psutil.Process:
        return self.run.children()[0]

    def workers(self) -> list[int]:
        """Return the living workers that have done a unit: one that dies with its first could do so three times."""
        told = self.events.parent.parent / "told.txt"
        lines = told.read_text().splitlines() if told.exists() else []
        begun = Counter(int(line.split()[2]) for line in lines if line.startswith("forward"))
        done = [pid for pid, units in begun.items() if units > 1]
        return [pid for pid in done if psutil.pid_exists(pid) and pid not in self.killed]


@pytest.mark.timeout(2 * LONGEST)
def test_two_thousand_bundles_survive_random_deaths(bare: Any, tell: Callable[..., None]) -> None:
    options = write_tasks(bare.folder)
    bare.ask("unhurried.always")  # bundles of a moment would be done before many workers are killed
    suite = write_suite(N_TASKS, N_MODELS)
    began = time.monotonic()
    run = bare.start("soak", *options, "--executor", "ray", "-j", 2, suite=suite)
    killer = Killer(bare.folder / "soak" / "events.jsonl", psutil.Process(run.pid))
    with ThreadPoolExecutor(
        1
    ) as reading:  # a pipe that nobody reads holds a run up after some hundred records
        ended = reading.submit(bare.end, run, code=0, timeout=LONGEST)
        killer.watch(ended.done)
        ended.result()
    took = time.monotonic() - began
    n_bundles = N_TASKS * N_MODELS
    lines = [json.loads(line) for line in (bare.folder / "soak" / "results.jsonl").read_text().splitlines()]
    assert Counter(line["status"] for line in lines) == {"ok": n_bundles}
    assert len({line["cell_id"] for line in lines}) == n_bundles
    assert len([*(bare.folder / "soak" / "predictions").iterdir()]) == n_bundles
    retried = bare.events("soak", "retried")
    assert len(killer.killed) >= min(took, SECONDS) / KILL_EVERY / 3
    assert killer.killed
    assert len(retried) <= len(killer.killed)
    assert max((each["deaths"] for each in retried), default=0) <= 2
    for name, at in (("the run", 1), ("the process that talks to Ray", 2)):
        quarter, end = (killer.sizes[len(killer.sizes) * part // 20][at] for part in (5, 19))
        print(f"{name}: {quarter >> 20} MB after a quarter, {end >> 20} MB near the end")
        assert end <= GROWTH * quarter, name
    # The same command has nothing left to do; a part of the suite has the same records in one process.
    bare.run("soak", *options, "--executor", "ray", "-j", 2, suite=suite)
    assert (bare.folder / "soak" / "results.jsonl").read_text().count("\n") == n_bundles
    bare.run("part", *options, suite=write_suite(N_TASKS, 1), code=0)
    found, expected = bare.records("soak"), bare.records("part")
    assert len(expected) == N_TASKS
    assert expected.items() <= found.items()
    tell(
        f"{len(killer.killed)} workers killed at random",
        f"in {n_bundles} bundles",
        1 + max((each["deaths"] for each in retried), default=0),
        0,
        took,
    )
