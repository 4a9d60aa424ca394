"""Rates that several users share, in simulated time."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field


@dataclass(eq=False)
class SharedRate:
    """Something that does `capacity` work a second in all, at most `most` for each of those who use it at once: cores,
    one GPU, a network. As many `others` take a share too, who are not simulated.

    All users get the same share, so the order in which they end is known when they begin: each has a point on one scale
    of work done per user. A change of their number costs nothing but a look at that scale.
    """

    capacity: float
    most: float
    others: float = 0.0
    _now: float = field(default=0.0, init=False)
    _done: float = field(default=0.0, init=False)
    """Work that a user has been given who was there from the start."""
    _ends: list[tuple[float, int]] = field(default_factory=list, init=False)

    def begin(self, user: int, work: float, now: float) -> None:
        """Let a user begin some work at a time."""
        self._advance(now)
        heapq.heappush(self._ends, (self._done + work, user))

    def end(self, now: float) -> int:
        """Return the user who ends first, and is there no more."""
        self._advance(now)
        return heapq.heappop(self._ends)[1]

    @property
    def next_end(self) -> float:
        """Time at which the first user ends if none comes before; infinite without a user."""
        if not self._ends:
            return math.inf
        return self._now + max(0.0, self._ends[0][0] - self._done) / self._share

    @property
    def _share(self) -> float:
        return min(self.most, self.capacity / (len(self._ends) + self.others))

    def _advance(self, now: float) -> None:
        if self._ends:
            self._done += (now - self._now) * self._share
        self._now = now
