"""Places for workers on the nodes of a cluster: how many of which kind the units that wait are worth."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import harness
from harness_ray.messages import Node
from harness_ray.units import Queue

SHARES = (0.25, 0.5, 1.0)
"""Shares of a GPU that a worker may have: more than four on one wait for one another."""

MARGIN = 1.2
"""Memory of a GPU that a forward pass takes, by its estimate: CUDA's own and fragments come to it."""


@dataclass(frozen=True)
class Slot:
    """Share of a node that a worker has. One without `forwards` does probes alone."""

    cpus: float
    gpus: float
    forwards: bool


@dataclass(eq=False)
class Places:
    """Places of one run. `jobs` limits the workers that run models, and those beside them that only probe."""

    nodes: Sequence[Node]
    uses_gpus: bool
    jobs: int | None
    threads: int

    def need(self, unit: harness.Unit) -> float:
        """Return the number of GPUs, or the share of one, that a unit needs."""
        if not self.uses_gpus or unit.kind != "forward":
            return 0.0
        memory = min((node.gpu_memory for node in self.nodes if node.gpus), default=0)
        wanted = MARGIN * unit.memory / memory if memory else 1.0
        most = max((node.gpus for node in self.nodes), default=1.0)
        return next((share for share in SHARES if wanted <= share), min(math.ceil(wanted), most))

    def find_new(self, queue: Queue, slots: Collection[Slot], starting: Sequence[Slot]) -> Iterator[Slot]:
        """Yield the places of workers to start, beside those that have `slots`, some of which are `starting`."""
        if not self.uses_gpus:
            one = Slot(self.threads, 0.0, forwards=True)
            room = (self.jobs or self._count_free(0)) - len(slots)
            yield from [one] * min(room, len(queue) - len(starting))
            return
        devices = [slot for slot in slots if slot.forwards]
        for need, waiting in sorted(queue.needs.items(), reverse=True):
            coming = sum(slot.gpus >= need for slot in starting)
            while coming < waiting and self._has_room(need, devices):
                devices.append(Slot(self._device_cpus, need, forwards=True))
                coming += 1
                yield devices[-1]
        probing = [slot for slot in starting if not slot.forwards]
        room = self._count_free(len(devices)) - (len(slots) - sum(slot.forwards for slot in slots))
        if self.jobs:
            room = min(room, self.jobs)
        yield from [Slot(self.threads, 0.0, forwards=False)] * min(room, queue.n_probes - len(probing))

    def is_too_small(self, slot: Slot, queue: Queue, starting: Collection[Slot]) -> bool:
        """Return whether a worker without work has to make room: units with more GPUs wait than workers come for."""
        largest = max(queue.needs, default=0.0)
        coming = sum(other.gpus >= largest for other in starting)
        return slot.forwards and slot.gpus < largest and coming < queue.needs[largest]

    def _has_room(self, need: float, devices: Sequence[Slot]) -> bool:
        """Return whether a worker with so many GPUs can be started beside these."""
        used = sum(slot.gpus for slot in devices)
        return used + need <= self._total_gpus + 1e-6 and (not self.jobs or len(devices) < self.jobs)

    @property
    def _total_gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)

    @property
    def _device_cpus(self) -> float:
        """Cores of a worker with a GPU: one, where there are enough."""
        return float(sum(node.cpus for node in self.nodes) >= self._total_gpus)

    def _count_free(self, taken: int) -> int:
        """Return the number of workers that find their threads' cores, beside `taken` cores."""
        places = sum(int(node.cpus // self.threads) for node in self.nodes)
        return max(0, places - math.ceil(taken / self.threads))
