"""Workers of a simulated cluster: which there are, and which unit a free one takes.

The rules are those of an executor that keeps models: the model that is loaded first, then one that no other worker has,
then any; forward passes before probes; a share of a GPU, or several, by memory.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from harness.api.errors import UsageError
from harness.planning.schedule import Cluster, PlannedUnit

SHARES = (0.25, 0.5, 1.0)
"""Shares of a GPU that a worker may have: more than four on one wait for one another."""

MARGIN = 1.2
"""Memory of a GPU that a forward pass takes, by its estimate: CUDA's own and fragments come to it."""


@dataclass(eq=False)
class Worker:
    """Simulated worker, with a `share` of each of its GPUs; without any on a CPU, where it may do `forwards` or not."""

    number: int
    gpus: tuple[int, ...]
    share: float
    forwards: bool
    probes: bool
    since: float
    model: str | None = None
    unit: PlannedUnit | None = None

    @property
    def size(self) -> float:
        """The number of GPUs, or the share of one."""
        return self.share * len(self.gpus)


@dataclass(eq=False)
class Waiting:
    """Units that may begin: forward passes by model, then probes, each first come first served."""

    sizes: dict[str, float]
    _forwards: OrderedDict[str | None, deque[PlannedUnit]] = field(default_factory=OrderedDict)
    _probes: deque[PlannedUnit] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self._forwards or self._probes)

    def add(self, unit: PlannedUnit) -> None:
        """Add a unit at the end."""
        if unit.kind == "forward":
            self._forwards.setdefault(unit.model, deque()).append(unit)
        else:
            self._probes.append(unit)

    @property
    def n_probes(self) -> int:
        """Number of probe units."""
        return len(self._probes)

    @property
    def needs(self) -> dict[float, int]:
        """Number of forward units by the GPUs that they need; the first of each model counts for all."""
        needs: dict[float, int] = {}
        for units in self._forwards.values():
            size = self.sizes[units[0].key]
            needs[size] = needs.get(size, 0) + len(units)
        return needs

    def take(self, worker: Worker, loaded: Counter[str | None]) -> PlannedUnit | None:
        """Return the next unit for a worker, None if there is none; `loaded` counts the workers that have a model."""
        if (
            worker.probes and self._probes and not worker.gpus
        ):  # records are written early, a stop loses little
            return self._probes.popleft()
        if worker.forwards:
            for model in self._preferred(worker, loaded):
                units = self._forwards[model]
                if self.sizes[units[0].key] <= worker.size:
                    unit = units.popleft()
                    if not units:
                        del self._forwards[model]
                    return unit
        return self._probes.popleft() if worker.probes and self._probes else None

    def _preferred(self, worker: Worker, loaded: Counter[str | None]) -> Iterator[str | None]:
        if worker.model in self._forwards:
            yield worker.model
        yield from (model for model in self._forwards if not loaded[model])
        yield from self._forwards


class Workforce:
    """Workers of a cluster, started when there is something to do for them."""

    def __init__(self, cluster: Cluster, units: Sequence[PlannedUnit]) -> None:
        self.cluster = cluster
        self.waiting = Waiting({unit.key: _size(unit, cluster) for unit in units})
        self.workers: list[Worker] = []
        self.n_started = 0
        self.n_most = 0
        self._free = [1.0] * cluster.gpus
        self._loaded: Counter[str | None] = Counter()
        self._n_coming: Counter[float] = Counter()
        self.idle: OrderedDict[int, Worker] = OrderedDict()

    def start(self, now: float) -> Iterator[Worker]:
        """Yield the workers that are worth starting for the units that wait, beside those that are there."""
        if self.cluster.gpus:
            yield from self._start_on_gpus(now)
            yield from self._start_probers(now, max(1, self.cluster.probers))
            return
        if self.cluster.forwards_here:
            if not self.workers:
                yield self._add(now, forwards=True, probes=self.cluster.workers == 1)
            if self.cluster.workers > 1:
                yield from self._start_probers(now, self.cluster.workers)
            return
        waiting = self.waiting.n_probes + sum(self.waiting.needs.values()) - self._n_coming[0.0]
        room = self.cluster.workers - len(self.workers)
        for _ in range(min(room, waiting)):
            yield self._add(now, forwards=True, probes=True)

    def assign(self) -> Iterator[Worker]:
        """Yield idle workers with the unit that each has taken."""
        for worker in [*self.idle.values()]:
            unit = self.waiting.take(worker, self._loaded)
            if unit is not None:
                del self.idle[worker.number]
                worker.unit = unit
                yield worker

    def take_model(self, worker: Worker) -> bool:
        """Let a worker have the model of its unit; return whether it has to load it."""
        assert worker.unit
        model = worker.unit.model
        if model is None or model == worker.model:
            return False
        if worker.model is not None:
            self._loaded[worker.model] -= 1
        self._loaded[model] += 1
        worker.model = model
        return True

    def welcome(self, worker: Worker) -> None:
        """Count a worker as started."""
        self._n_coming[worker.size] -= 1
        self.idle[worker.number] = worker

    def make_room(self) -> Iterator[Worker]:
        """Yield the idle workers that are stopped because units with more GPUs wait than workers come for."""
        largest = max(self.waiting.needs, default=0.0)
        if sum(n for size, n in self._n_coming.items() if size >= largest) >= self.waiting.needs.get(
            largest, 0
        ):
            return
        for worker in [*self.idle.values()]:
            if worker.forwards and worker.gpus and worker.size < largest:
                del self.idle[worker.number]
                self.workers.remove(worker)
                for gpu in worker.gpus:
                    self._free[gpu] += worker.share
                if worker.model is not None:
                    self._loaded[worker.model] -= 1
                yield worker

    def _start_on_gpus(self, now: float) -> Iterator[Worker]:
        for need, waiting in sorted(self.waiting.needs.items(), reverse=True):
            coming = sum(n for size, n in self._n_coming.items() if size >= need)
            while coming < waiting and (gpus := self._find_gpus(need)):
                coming += 1
                share = min(1.0, need)
                for gpu in gpus:
                    self._free[gpu] -= share
                yield self._add(now, gpus=gpus, share=share, forwards=True, probes=True)

    def _start_probers(self, now: float, most: int) -> Iterator[Worker]:
        there = sum(not worker.forwards for worker in self.workers)
        for _ in range(min(most - there, self.waiting.n_probes - self._n_coming[0.0])):
            yield self._add(now, forwards=False, probes=True)

    def _find_gpus(self, need: float) -> tuple[int, ...]:
        """Return GPUs with enough room, the fullest first, so that whole ones are kept for large units."""
        if need > 1:
            whole = [gpu for gpu, free in enumerate(self._free) if free == 1.0][: math.ceil(need)]
            return tuple(whole) if len(whole) == math.ceil(need) else ()
        fitting = [gpu for gpu, free in enumerate(self._free) if free >= need]
        return (min(fitting, key=lambda gpu: (self._free[gpu], gpu)),) if fitting else ()

    def _add(
        self, now: float, *, gpus: tuple[int, ...] = (), share: float = 0.0, forwards: bool, probes: bool
    ) -> Worker:
        worker = Worker(self.n_started, gpus, share, forwards, probes, now)
        self.n_started += 1
        self.workers.append(worker)
        self.n_most = max(self.n_most, len(self.workers))
        self._n_coming[worker.size] += 1
        return worker


def _size(unit: PlannedUnit, cluster: Cluster) -> float:
    """Return the number of GPUs, or the share of one, that a unit needs.

    Raise UsageError where the cluster has too few.
    """
    if not cluster.gpus or unit.kind != "forward":
        return 0.0
    wanted = MARGIN * unit.memory / cluster.gpu_memory
    size = next((share for share in SHARES if wanted <= share), float(math.ceil(wanted)))
    if size > cluster.gpus:
        needed, each = MARGIN * unit.memory / 1e9, cluster.gpu_memory / 1e9
        raise UsageError(
            f"'{unit.name}' needs about {needed:,.1f} GB on the device, which is {size:,.0f} GPUs of {each:,.1f} GB "
            f"and not {cluster.gpus}: plan with more --gpus, or a larger --gpu-memory"
        )
    return size
