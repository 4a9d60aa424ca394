"""Simulation of a run: units go through the workers of a cluster, one event after the other, and none is random."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.planning.schedule import ACTIVITIES, MODEL_ACTIVITIES, Activity, Cluster, PlannedUnit, Schedule
from harness.planning.sharing import SharedRate
from harness.planning.workforce import Worker, Workforce


@dataclass(frozen=True)
class Step:
    """Part of what a worker does: so much work at one of the rates that it shares with others."""

    activity: Activity
    rate: SharedRate
    work: float


def simulate(units: Sequence[PlannedUnit], cluster: Cluster) -> Schedule:
    """Return how the units are expected to go through the cluster.

    Raise UsageError for a unit that the cluster has too little memory for, and ValueError for units that wait for one
    another or for a key that no unit has.
    """
    return _Simulation(units, cluster).run()


class _Simulation:
    def __init__(self, units: Sequence[PlannedUnit], cluster: Cluster) -> None:
        self.units, self.cluster = units, cluster
        self.longest = _longest_chain(units, cluster)
        self.force = Workforce(cluster, units)
        self.cores = SharedRate(cluster.cores * cluster.speed, cluster.speed, cluster.others)
        self.reads = SharedRate(cluster.bandwidth, cluster.read_rate)
        self.writes = SharedRate(cluster.bandwidth, cluster.write_rate)
        self.gpus = [SharedRate(1.0, 1.0) for _ in range(cluster.gpus)]
        self.steps: dict[int, deque[Step]] = {}
        self.at: dict[int, tuple[Worker, Step, float]] = {}
        self.busy: dict[Activity, float] = dict.fromkeys(ACTIVITIES, 0.0)
        self.present = 0.0
        self.now = 0.0
        self.n_left = len(units)
        self.missing = {unit.key: len(set(unit.after)) for unit in units}
        self.next: defaultdict[str, list[PlannedUnit]] = defaultdict(list)
        for unit in units:
            for key in set(unit.after):
                self.next[key].append(unit)
        self.ends: list[tuple[float, int, int]] = []
        """When each rate has its next end: (time, version, number of the rate). Only the last version counts."""
        self.rates = [self.cores, self.reads, self.writes, *self.gpus]
        self.numbers = {id(rate): number for number, rate in enumerate(self.rates)}
        self.versions = [0] * len(self.rates)
        self.memory: Counter[int] = Counter()
        self.peak = 0
        self.read = self.written = 0

    def run(self) -> Schedule:
        for unit in self.units:
            if not self.missing[unit.key]:
                self.force.waiting.add(unit)
        self._employ()
        while self.n_left and (rate := self._next_rate()) is not None:
            number = rate.end(self.now)
            self._renew(rate)
            worker, step, since = self.at.pop(number)
            self.busy[step.activity] += self.now - since
            self._go_on(worker)
        assert not self.n_left, "every unit fits a worker that can be started"
        self.present += sum(self.now - worker.since for worker in self.force.workers)
        return Schedule(
            makespan=self.now,
            busy=dict(self.busy),
            idle=max(0.0, self.present - sum(self.busy.values())),
            units=len(self.units),
            workers=self.force.n_most,
            gpus=self.cluster.gpus,
            bytes_read=self.read,
            bytes_written=self.written,
            peak_memory=self.peak,
            longest=self.longest,
            seconds_by_part=self._seconds_by_part(),
        )

    def _next_rate(self) -> SharedRate | None:
        """Go to the next end of a step, and return the rate at which it was done; None where nothing is at work."""
        while self.ends:
            time, version, number = heapq.heappop(self.ends)
            if version == self.versions[number]:
                self.now = max(self.now, time)
                return self.rates[number]
        return None

    def _renew(self, rate: SharedRate) -> None:
        """Note the next end of a rate whose users have changed."""
        number = self.numbers[id(rate)]
        self.versions[number] += 1
        if rate.next_end < float("inf"):
            heapq.heappush(self.ends, (rate.next_end, self.versions[number], number))

    def _go_on(self, worker: Worker) -> None:
        """Begin a worker's next step; without one, its unit is done."""
        steps = self.steps[worker.number]
        if steps:
            step = steps.popleft()
            step.rate.begin(worker.number, step.work, self.now)
            self.at[worker.number] = worker, step, self.now
            self._renew(step.rate)
            return
        if worker.unit is None:
            self.force.welcome(worker)
        else:
            self._finish(worker, worker.unit)
        self._employ()

    def _finish(self, worker: Worker, unit: PlannedUnit) -> None:
        worker.unit = None
        self.n_left -= 1
        self.force.idle[worker.number] = worker
        self._hold(worker, unit, -1)
        for follower in self.next[unit.key]:
            self.missing[follower.key] -= 1
            if not self.missing[follower.key]:
                self.force.waiting.add(follower)

    def _employ(self) -> None:
        """Give units to idle workers, and start workers for those that wait."""
        if not self.force.waiting:
            return
        for worker in self.force.assign():
            assert worker.unit
            self.steps[worker.number] = deque(self._steps_of(worker, worker.unit))
            self._hold(worker, worker.unit, 1)
            self._go_on(worker)
        for worker in self.force.make_room():
            self.present += self.now - worker.since
        for worker in self.force.start(self.now):
            self.steps[worker.number] = deque([Step("start", self.cores, self.cluster.start_seconds)])
            self._go_on(worker)

    def _steps_of(self, worker: Worker, unit: PlannedUnit) -> Iterator[Step]:
        if unit.kind == "probe":
            self.read += unit.read_bytes
            yield Step("transfer", self.reads, unit.read_bytes)
            yield Step("probe", self.cores, unit.seconds)
            return
        loads = self.force.take_model(worker)
        read = unit.read_bytes + (unit.model_bytes if loads else 0)
        self.read += read
        self.written += unit.written_bytes
        yield Step("load", self.reads, read)
        if loads:
            yield Step("load", self.cores, unit.load_seconds)
        # Layers on several GPUs run one after the other, so one of them works at a time.
        yield Step("forward", self.gpus[worker.gpus[0]] if worker.gpus else self.cores, unit.seconds)
        yield Step("transfer", self.writes, unit.written_bytes)

    def _hold(self, worker: Worker, unit: PlannedUnit, sign: int) -> None:
        """Count the memory of a unit that begins (1) or ends (-1), on its GPUs or on the machine."""
        if self.cluster.gpus and unit.kind == "probe":
            return
        for gpu in worker.gpus or (0,):
            self.memory[gpu] += sign * unit.memory // max(1, len(worker.gpus))
            self.peak = max(self.peak, self.memory[gpu])

    def _seconds_by_part(self) -> dict[Activity, float]:
        """Return how long each activity alone would keep those busy who can do it."""
        cluster = self.cluster
        models = cluster.gpus or (1 if cluster.forwards_here else cluster.workers)
        probing = models + cluster.probers if cluster.gpus else cluster.workers
        hands = {
            name: models if name in MODEL_ACTIVITIES else probing
            for name in ("start", "load", "forward", "probe")
        }
        return {name: busy / hands.get(name, self.force.n_most or 1) for name, busy in self.busy.items()}


def _longest_chain(units: Sequence[PlannedUnit], cluster: Cluster) -> float:
    """Return the seconds of the longest chain of units that wait for one another, each as fast as it can be.

    Raise ValueError for a key that no unit has, or that two have, and for a circle.
    """
    by_key = {unit.key: unit for unit in units}
    if len(by_key) != len(units):
        raise ValueError("two units have the same key")
    missing = {unit.key: len(set(unit.after)) for unit in units}
    followers: defaultdict[str, list[str]] = defaultdict(list)
    for unit in units:
        for key in set(unit.after):
            if key not in by_key:
                raise ValueError(f"unit '{unit.key}' waits for '{key}', which is no unit")
            followers[key].append(unit.key)
    ready = deque(key for key, count in missing.items() if not count)
    ends = dict.fromkeys(by_key, 0.0)
    n_done = 0
    while ready:
        key = ready.popleft()
        n_done += 1
        ends[key] += _least_seconds(by_key[key], cluster)
        for follower in followers[key]:
            ends[follower] = max(ends[follower], ends[key])
            missing[follower] -= 1
            if not missing[follower]:
                ready.append(follower)
    if n_done < len(units):
        raise ValueError("units wait for one another in a circle")
    return max(ends.values(), default=0.0)


def _least_seconds(unit: PlannedUnit, cluster: Cluster) -> float:
    """Return the seconds of a unit on a worker that has its model, with nobody beside it."""
    on_cores = not cluster.gpus or unit.kind == "probe"
    seconds = unit.seconds / (cluster.speed if on_cores else 1.0)
    reading = unit.read_bytes / min(cluster.read_rate, cluster.bandwidth)
    return seconds + reading + unit.written_bytes / min(cluster.write_rate, cluster.bandwidth)
