"""Pool of workers on a Ray cluster: gives each free worker its next unit, and takes what it answers.

Ray places the workers and tells when one dies. Tries are counted here: Ray would run a task again that has answered.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

import harness
from harness_ray.messages import Command, Died, Do, Drop, Event, Nodes, Ready, Said, Start, Stop
from harness_ray.places import Places, Slot
from harness_ray.units import Item, Queue

TRIES = 3
"""Workers that may die with a result before it has failed, and workers that may die one after the other at start."""

KEPT = 4
"""Keys of what units share that are kept although no unit at work needs them: the next one often does."""


class Line(Protocol):
    """Connection to the bridge, as `harness_ray.link.Link` is one."""

    def send(self, command: Command) -> None:
        """Send a command."""

    def receive(self, timeout: float) -> Event | None:
        """Return the next event, None if none comes in time. Raise UnavailableError when the cluster is gone."""


@dataclass(eq=False)
class Hand:
    """Worker as the pool sees it: it has no `node` before it is ready, and no `item` when it is free.

    `model` and `shared_key` are what it has of the units before.
    """

    number: int
    slot: Slot
    node: str = ""
    host: str = ""
    item: Item | None = None
    model: str | None = None
    shared_key: str = ""

    @property
    def is_free(self) -> bool:
        """True when it can be given a unit."""
        return bool(self.node) and self.item is None


class RayPool:
    """Pool of one run. `places` decides how many workers there are, and of what kind."""

    def __init__(self, line: Line, places: Places, tell: Callable[..., None]) -> None:
        self._line, self._places, self._tell = line, places, tell
        self._queue = Queue()
        self._hands: dict[int, Hand] = {}
        self._shared = SharedKeys(line)
        self._retired: dict[str, harness.HarnessError] = {}
        self._n_started = 0
        self._false_starts = 0
        self._is_taking = False

    def submit(self, unit: harness.Unit) -> None:
        """Give a unit to a free worker, or let it wait for one. Take what has come in."""
        self._queue.add(Item(unit, gpus=self._places.need(unit)))
        if self._is_taking:  # the results of another unit brought this one: they are taken to their end first
            return
        while (event := self._line.receive(0.0)) is not None:
            self._handle(event)
        self._employ()

    def finish(self) -> None:
        """Wait until all units are done."""
        self._employ()
        while self._queue or any(hand.item for hand in self._hands.values()):
            if (event := self._line.receive(1.0)) is not None:
                self._handle(event)
                self._employ()

    def take_done(self) -> None:
        """Take what is there already. What ends a run is no news then: it is an interruption that ends it."""
        with suppress(harness.HarnessError):
            while (event := self._line.receive(0.0)) is not None:
                hand = self._hands.get(event.worker) if isinstance(event, Said) else None
                if isinstance(event, Said) and hand and hand.item:
                    with suppress(Exception):
                        hand.item.unit.take(pickle.loads(event.answer))

    # ── giving ───────────────────────────────────────────────────────────────────────────────────────────

    def _employ(self) -> None:
        """Give units to free workers, and start workers for those that wait."""
        for hand in self._hands.values():
            while hand.is_free and (item := self._next(hand)) is not None:
                self._give(hand, item)
        if not self._queue:
            return
        starting = [hand.slot for hand in self._hands.values() if not hand.node]
        for hand in [*self._hands.values()]:
            if hand.is_free and self._places.is_too_small(hand.slot, self._queue, starting):
                self._stop(hand)
        slots = [hand.slot for hand in self._hands.values()]
        for slot in self._places.find_new(self._queue, slots, starting):
            self._start(slot)

    def _next(self, hand: Hand) -> Item | None:
        """Return the next unit for a worker; it is in the queue no more."""
        others = {other.model for other in self._hands.values() if other is not hand}
        slot = hand.slot
        return self._queue.take(gpus=slot.gpus, forwards=slot.forwards, model=hand.model, others=others)

    def _give(self, hand: Hand, item: Item) -> None:
        """Give a unit to a worker, or do it here where no other process can."""
        unit = item.unit
        try:
            packed = unit.pack()
            key = packed.shared_key
            shared = self._shared.use(packed) if key and key != hand.shared_key else None
        except harness.UnavailableError as error:
            with self._taking():
                unit.run_here(str(error))
            return
        item.key = key if key != hand.shared_key else ""
        self._line.send(Do(worker=hand.number, body=packed.body, shared_key=item.key, shared=shared))
        hand.item, hand.shared_key = item, key or hand.shared_key
        if unit.kind == "forward":
            hand.model = unit.model

    def _start(self, slot: Slot) -> None:
        self._n_started += 1
        self._hands[self._n_started] = Hand(self._n_started, slot)
        avoid = tuple(self._retired)
        self._line.send(Start(worker=self._n_started, cpus=slot.cpus, gpus=slot.gpus, avoid=avoid))

    def _stop(self, hand: Hand) -> None:
        del self._hands[hand.number]
        self._line.send(Stop(worker=hand.number))

    # ── taking ───────────────────────────────────────────────────────────────────────────────────────────

    def _handle(self, event: Event) -> None:
        """Take what the bridge says. Raise what ends the run."""
        if isinstance(event, Nodes):
            self._places.nodes = [node for node in event.nodes if node.id not in self._retired]
        hand = self._hands.get(event.worker) if isinstance(event, Ready | Said | Died) else None
        if hand is None:  # one that was stopped may say something still
            return
        if isinstance(event, Ready):
            self._welcome(hand, event)
        elif isinstance(event, Said):
            self._take(hand, event)
        elif isinstance(event, Died):
            self._bury(hand, event.reason)

    def _welcome(self, hand: Hand, ready: Ready) -> None:
        """Count a worker that is there; end the run where it does not see the feature store."""
        hand.node, hand.host = ready.node, ready.host
        if ready.error and ready.is_blind:
            raise harness.UnavailableError(ready.error)
        if ready.error:
            self._retire(hand, harness.UnavailableError(ready.error))
            return
        self._false_starts = 0
        self._tell("worker", number=hand.number, host=ready.host, pid=ready.pid, gpus=hand.slot.gpus)
        if ready.node in self._retired:
            self._stop(hand)

    def _take(self, hand: Hand, said: Said) -> None:
        """Take the results of a worker; a unit that has none left is done, another one is given away again."""
        item = hand.item
        assert item  # it says nothing without having been asked
        answer: harness.Answer = pickle.loads(said.answer)
        before = item.unit.n_taken
        ends_run = isinstance(answer.error, harness.ChangedError)  # files differ: records would lie
        with self._taking():
            item.unit.take(answer if ends_run else replace(answer, error=None))
        if not answer.is_last:
            return
        self._release(hand)
        if answer.error is not None:
            self._queue.add(item, first=True)
            self._retire(hand, answer.error)
        elif item.unit.n_taken == before and not item.unit.is_done:
            self._try_again(item, "its worker came to an end without a result", hand)
        elif not item.unit.is_done:
            self._queue.add(item, first=True)

    def _bury(self, hand: Hand, reason: str) -> None:
        """Let the unit of a dead worker be tried again. Raise UnavailableError where workers die at their start."""
        del self._hands[hand.number]
        if not hand.node:
            self._false_starts += 1
            if self._false_starts >= TRIES:
                raise harness.UnavailableError(f"no worker can be started on the Ray cluster: {reason}")
        if hand.item:
            item = hand.item
            self._release(hand)
            self._try_again(item, f"the worker on {hand.host} died: {reason}", hand)

    def _try_again(self, item: Item, reason: str, hand: Hand) -> None:
        """Put a unit back into the queue, after three deaths with its next result as a failure."""
        deaths = item.count_death()
        self._tell(
            "retried", unit=item.unit.name, kind=item.unit.kind, deaths=deaths, host=hand.host, reason=reason
        )
        if deaths >= TRIES:
            with self._taking():
                item.unit.fail(f"{reason} (as {TRIES - 1} others did with it before)")
        if not item.unit.is_done:
            self._queue.add(item, first=True)

    def _retire(self, hand: Hand, error: harness.HarnessError) -> None:
        """Give a node no more units. Raise the error when no other node is left."""
        self._retired[hand.node] = error
        self._places.nodes = [node for node in self._places.nodes if node.id != hand.node]
        self._tell("retired", host=hand.host, reason=str(error))
        for other in [*self._hands.values()]:
            if other.node == hand.node and other.item is None:
                self._stop(other)
        if not self._places.nodes:
            raise error

    def _release(self, hand: Hand) -> None:
        """Let a worker be free."""
        assert hand.item
        self._shared.release(hand.item.key)
        hand.item = None

    @contextmanager
    def _taking(self) -> Iterator[None]:
        """Let units that are submitted meanwhile wait in the queue."""
        self._is_taking = True
        try:
            yield
        finally:
            self._is_taking = False


class SharedKeys:
    """Keys of what many units share, as the bridge has it: it is sent once, and dropped when nobody needs it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._users: OrderedDict[str, int] = OrderedDict()

    def use(self, packed: harness.Packed) -> bytes | None:
        """Count a unit that needs what it shares; return it if the bridge lacks it."""
        key = packed.shared_key
        shared = None if key in self._users else packed.shared()
        self._users[key] = self._users.get(key, 0) + 1
        self._users.move_to_end(key)
        return shared

    def release(self, key: str) -> None:
        """Count a unit that is done; drop what was longest without use."""
        if key:
            self._users[key] -= 1
        idle = [one for one, users in self._users.items() if not users]
        for one in idle[:-KEPT]:
            del self._users[one]
            self._line.send(Drop(shared_key=one))
