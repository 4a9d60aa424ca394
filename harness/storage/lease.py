"""Leases: hold a place alone where nothing frees a lock, on object stores and on file systems without locks.

    lease-<n>    created by its holder alone, who renews a counter in it; lease-<n+1> takes it over

Clocks of machines differ and jump, so none is read: who waits watches the counter by a monotonic clock of its own.
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from harness.api.errors import UnavailableError, WriteError
from harness.storage.places import Place

TIME_TO_LIVE = 60.0
"""Seconds without a new beat after which a lease may be taken over. They hold several beats, as a store may be slow."""

BEATS = 6
"""Beats of a holder in the time to live."""

_PREFIX = "lease-"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Monotonic clock in seconds, and how to wait for so many."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Facts by which a process is known, and whether the process of such facts is known to have ended.

    `has_ended` says False where it cannot know, as of a process of another machine.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    has_ended: Callable[[Mapping[str, Any]], bool] = lambda facts: False


class Lease:
    """Lease on a place, held from `take` to `release` as long as it is renewed."""

    def __init__(
        self, place: Place, holder: Holder, *, time_to_live: float = TIME_TO_LIVE, clock: Clock | None = None
    ) -> None:
        self._place = place
        self._holder = holder
        self._time_to_live = time_to_live
        self._clock = clock or Clock()
        self._token = uuid4().hex
        self._number = 0
        self._beat = 0
        self._is_released = False
        self._renewing = threading.Lock()

    @property
    def pause(self) -> float:
        """Seconds between two beats."""
        return self._time_to_live / BEATS

    def take(self) -> None:
        """Take the lease, after a holder that is silent for the time to live.

        Raise UnavailableError where another process holds it or takes it first, WriteError when nothing can be written.
        """
        newest = self._wait_until_free()
        self._number = newest + 1
        # Who was slow may create a number that is long over and removed: then there is a higher one.
        if not self._place.create(self._name(self._number), self._body()) or self._newest() != self._number:
            raise self._busy()
        for name in self._place.names(""):
            if 0 < _number_of(name) < self._number:
                self._place.remove(name)
        self.check()  # a store that ignores the condition of `create` lets several of them write

    def renew(self) -> None:
        """Show that the holder lives. Raise WriteError when the lease was lost, or nothing can be written."""
        with self._renewing:
            if not self._is_released:
                self.check()
                self._beat += 1
                self._place.write(self._name(self._number), self._body())

    def check(self) -> None:
        """Raise WriteError when another process has taken over: what is written now would mix with its work."""
        about = self._read(self._number)
        if about is None or about.get("token") != self._token or self._newest() != self._number:
            raise WriteError(
                f"another process has taken over '{self._place.location}', where this one was silent for too long: the "
                f"other one goes on"
            )

    def release(self) -> None:
        """Let the next one take the lease at once; without a word where that cannot be written."""
        with self._renewing, suppress(WriteError):
            if not self._is_released:
                self.check()
                self._is_released = True
                self._place.write(self._name(self._number), self._body())

    def _wait_until_free(self) -> int:
        """Return the number of the newest lease once nobody holds it, 0 if there was none."""
        seen: tuple[int, bytes] | None = None
        since = 0.0
        while True:
            # Before the reading: a process that was stopped in between must not count the time of its stop.
            now = self._clock.now()
            number = self._newest()
            body = self._read_bytes(number)
            about = _parse(body)
            if number == 0 or about.get("released") or self._has_ended(about):
                return number
            if seen is not None and seen != (number, body):
                raise self._busy()
            if seen is None:
                seen, since = (number, body), self._clock.now()
                self._say_wait()
            elif now - since >= self._time_to_live:
                return number
            self._clock.sleep(self.pause / 3)

    def _has_ended(self, about: Mapping[str, Any]) -> bool:
        facts = about.get("holder")
        return isinstance(facts, dict) and self._holder.has_ended(facts)

    def _say_wait(self) -> None:
        with suppress(UserWarning):  # also where warnings are errors
            warnings.warn(
                f"'{self._place.location}' was held by a process that may have ended: waiting "
                f"up to {self._time_to_live:.0f} s for a sign of it",
                stacklevel=2,
            )

    def _busy(self) -> UnavailableError:
        return UnavailableError(
            f"another process is at work on '{self._place.location}': wait until it has ended, or choose another -o"
        )

    def _newest(self) -> int:
        return max((_number_of(name) for name in self._place.names("")), default=0)

    def _name(self, number: int) -> str:
        return f"{_PREFIX}{number}"

    def _read_bytes(self, number: int) -> bytes:
        with suppress(OSError):  # removed meanwhile, or not there
            return self._place.read(self._name(number)) if number else b""
        return b""

    def _read(self, number: int) -> dict[str, Any] | None:
        return _parse(self._read_bytes(number)) or None

    def _body(self) -> bytes:
        about = {
            "token": self._token,
            "beat": self._beat,
            "released": self._is_released,
            "holder": dict(self._holder.facts),
        }
        return json.dumps(about).encode()


@contextmanager
def holding(lease: Lease) -> Iterator[Lease]:
    """Hold a lease for the block, and renew it in a thread. A beat that cannot be written is tried again."""
    lease.take()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(lease.pause):
            with suppress(UnavailableError):  # who writes there checks, and says it
                lease.renew()

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        lease.release()


def is_lease(name: str) -> bool:
    """Return whether a file is one of a lease."""
    return _number_of(name) > 0


def _number_of(name: str) -> int:
    text = name.removeprefix(_PREFIX)
    return int(text) if text != name and text.isdecimal() and len(text) < 10 else 0


def _parse(body: bytes) -> dict[str, Any]:
    """Return what a lease says; nothing while it is being written."""
    with suppress(ValueError, RecursionError):
        about = json.loads(body)
        return about if isinstance(about, dict) else {}
    return {}
