"""Units of a plan, the cluster that runs them, and what comes out of it, in numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from harness.api.executors import UnitKind

Activity = Literal["start", "load", "forward", "transfer", "probe"]
"""What a worker is at: starting, reading weights, running a model, moving features to or from the store, probing."""

ACTIVITIES: tuple[Activity, ...] = get_args(Activity)

MODEL_ACTIVITIES: tuple[Activity, ...] = ("start", "load", "forward")

BOTTLENECKS: Mapping[Activity, str] = {
    "start": "starting workers",
    "load": "loading weights",
    "forward": "forward passes",
    "transfer": "moving features",
    "probe": "probes",
}

LONG_BUNDLE = "one long bundle"
"""Bottleneck of a schedule that is hardly longer than its longest chain of units: more workers would not help."""

IS_LONG, IS_IDLE = 0.8, 0.5
"""Share of the makespan that the longest chain has then, at least, and workers that are idle."""


@dataclass(frozen=True, kw_only=True)
class PlannedUnit:
    """Unit of a run as it is expected to be: seconds, bytes, and the keys of the units that it comes `after`.

    A worker that has not loaded `model` reads `model_bytes` and works for `load_seconds` first. `read_bytes` are read
    every time: dictionaries by a forward unit, features by a probe unit. `memory` is in bytes, on the device of a
    forward unit.
    """

    key: str
    name: str
    kind: UnitKind
    model: str | None = None
    model_bytes: int = 0
    load_seconds: float = 0.0
    read_bytes: int = 0
    seconds: float = 0.0
    written_bytes: int = 0
    memory: int = 0
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What runs the units: GPUs of `gpu_memory` bytes, as one or several workers share them, and `probers`, or, where
    there are no GPUs, `workers` that do everything.

    All work outside a GPU is done by `cores`, `speed` times as fast as on the machine that the constants are fitted on;
    as many `others` want a core too.
    Bytes come and go at `read_rate` and `write_rate` a worker, and all together at `bandwidth`, each a second. A worker
    takes `start_seconds` before its first unit. Where `forwards_here`, one further worker does the forward passes
    and the others probe.
    """

    gpus: int = 0
    gpu_memory: int = 80 * 10**9
    workers: int = 1
    probers: int = 0
    cores: int = 1
    speed: float = 1.0
    others: float = 0.0
    read_rate: float = 1e9
    write_rate: float = 3.5e8
    bandwidth: float = 1e10
    start_seconds: float = 0.0
    forwards_here: bool = False


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Simulated run: seconds from the first start to the last end, and what workers did in that time.

    `busy` has the seconds of all workers together by activity, `idle` the rest, between the start of each and the end.
    `peak_memory` is the most that the units at work take of one GPU, or of all workers where there are none. `longest`
    are the seconds of the longest chain of units, without any wait. `seconds_by_part` says how long each activity
    alone would keep those busy who can do it.
    """

    makespan: float
    busy: Mapping[Activity, float]
    idle: float
    units: int
    workers: int
    gpus: int
    bytes_read: int
    bytes_written: int
    peak_memory: int
    longest: float
    seconds_by_part: Mapping[Activity, float]

    @property
    def gpu_hours(self) -> float:
        """Hours for which GPUs are held, all of them from the start to the end."""
        return self.gpus * self.makespan / 3600

    @property
    def bottleneck(self) -> str:
        """Name of what a shorter makespan needs less of; empty where nothing is to be done."""
        if not self.makespan:
            return ""
        is_idle = self.idle >= IS_IDLE * (self.idle + sum(self.busy.values()))
        if self.units > 1 and self.longest >= IS_LONG * self.makespan and is_idle:
            return LONG_BUNDLE
        return BOTTLENECKS[max(self.seconds_by_part, key=lambda part: self.seconds_by_part[part])]

    def price(self, per_gpu_hour: float) -> float:
        """Return what the GPUs cost, in the unit of the price of an hour of one."""
        return self.gpu_hours * per_gpu_hour
