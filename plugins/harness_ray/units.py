"""Queue of units: which one a worker is given next."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Set
from dataclasses import dataclass

import harness


@dataclass(eq=False)
class Item:
    """Unit in the queue. `gpus` is the share of GPUs that its forward pass needs, 0 for none.

    `deaths` counts the workers that died with the result after `dead_at` others. `key` is that of what it shares with
    others, where it was sent with it.
    """

    unit: harness.Unit
    gpus: float = 0.0
    deaths: int = 0
    dead_at: int = -1
    key: str = ""

    def count_death(self) -> int:
        """Count a worker that died with the next result, and return how many have."""
        if self.dead_at != self.unit.n_taken:
            self.deaths, self.dead_at = 0, self.unit.n_taken
        self.deaths += 1
        return self.deaths


class Queue:
    """Units that wait: forward passes by model, and probes, each first come first served."""

    def __init__(self) -> None:
        self._forwards: OrderedDict[str | None, deque[Item]] = OrderedDict()
        self._probes: deque[Item] = deque()
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def n_probes(self) -> int:
        """Number of probe units."""
        return len(self._probes)

    @property
    def needs(self) -> dict[float, int]:
        """Number of forward units by the share of GPUs that they need: the first of each model counts for all."""
        needs: dict[float, int] = {}
        for items in self._forwards.values():
            needs[items[0].gpus] = needs.get(items[0].gpus, 0) + len(items)
        return needs

    def add(self, item: Item, *, first: bool = False) -> None:
        """Add a unit at the end, or at the beginning."""
        is_forward = item.unit.kind == "forward"
        place = self._forwards.setdefault(item.unit.model, deque()) if is_forward else self._probes
        (place.appendleft if first else place.append)(item)
        self._n += 1

    def take(self, *, gpus: float, forwards: bool, model: str | None, others: Set[str | None]) -> Item | None:
        """Return the next unit for a worker with so many `gpus`, which has `model` loaded; None if there is none.

        `others` are the models that other workers have. A worker that does no `forwards` is given probes alone, one
        with GPUs probes last, and one without them probes first.
        """
        if self._probes and not gpus:  # no device waits, and records are written as the run goes on
            item = self._probes.popleft()
        elif forwards and (chosen := self._choose(gpus, model, others)) is not None:
            items = self._forwards[chosen]
            item = items.popleft()
            if not items:
                del self._forwards[chosen]
        elif self._probes:
            item = self._probes.popleft()
        else:
            return None
        self._n -= 1
        return item

    def _choose(self, gpus: float, model: str | None, others: Set[str | None]) -> str | None:
        """Return the model of the next forward pass: the loaded one, one that no other worker has, any."""
        fitting = [name for name, items in self._forwards.items() if items[0].gpus <= gpus]
        if model in fitting:
            return model
        return next((name for name in fitting if name not in others), fitting[0] if fitting else None)
