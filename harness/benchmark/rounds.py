"""Rounds of alternating arms: every ratio is of two arms of one round, so that a busy machine disturbs both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Time of one run of an arm: of the clock, and of all threads of this process on the CPU."""

    wall: float
    cpu: float

    def of(self, device: str) -> float:
        """Return what is compared: CPU seconds where the CPU computes, else those of the clock."""
        return self.cpu if device == "cpu" else self.wall


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median, least and greatest of the ratios of all rounds."""

    median: float
    least: float
    greatest: float


Arms = Mapping[str, Callable[[], object]]


def measure(arms: Arms, *, rounds: int, device: str) -> dict[str, list[Seconds]]:
    """Run every arm once to warm up, then all in turn for `rounds`, every second round backwards."""
    for run in arms.values():
        run()
    found: dict[str, list[Seconds]] = {name: [] for name in arms}
    for number in range(rounds):
        order = list(arms) if number % 2 == 0 else list(arms)[::-1]
        for name in order:
            found[name].append(time_once(arms[name], device))
    return found


def time_once(run: Callable[[], object], device: str) -> Seconds:
    """Return the time of one run, from an idle device to an idle device."""
    gc.collect()
    synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    synchronize(device)
    return Seconds(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def compare(arm: Sequence[Seconds], other: Sequence[Seconds], device: str) -> Ratio:
    """Return the ratio of one arm's time to another's, round by round."""
    ratios = [one.of(device) / two.of(device) for one, two in zip(arm, other, strict=True)]
    return Ratio(median=statistics.median(ratios), least=min(ratios), greatest=max(ratios))


def median(seconds: Sequence[Seconds], device: str) -> float:
    """Return the median time of an arm."""
    return statistics.median(one.of(device) for one in seconds)


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
