"""Leases: one process at a time holds a place without locks, whatever the clocks of the machines say."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from harness import UnavailableError, WriteError
from harness.runs.folder import RunFolder
from harness.runs.holder import has_ended, this_holder
from harness.storage.lease import Clock, Holder, Lease, holding, is_lease
from harness.storage.places import Place, open_place

pytestmark = pytest.mark.filterwarnings("ignore:.*waiting up to")


class FakeClock:
    """Monotonic clock of one machine that starts anywhere; what others do meanwhile happens while it sleeps."""

    def __init__(self, start: float = 0.0, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.time = start
        self.slept = 0.0
        self.meanwhile = meanwhile

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += seconds
        self.meanwhile()

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, sleep=self.sleep)


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return open_place(tmp_path / "run" if request.param == "folder" else f"memory://{uuid4().hex}/run")


def lease(place: Place, clock: FakeClock | None = None, holder: Holder | None = None) -> Lease:
    return Lease(place, holder or Holder(), clock=(clock or FakeClock()).clock)


def test_a_free_place_is_taken_and_released_without_waiting(place: Place) -> None:
    for number in (1, 2, 3):
        clock = FakeClock()
        one = lease(place, clock)
        one.take()
        one.renew()
        one.check()
        one.release()
        assert clock.slept == 0 and place.names("") == [f"lease-{number}"]
    one.renew()  # of a thread that comes late: it must not undo the release
    lease(place).take()
    assert is_lease("lease-4") and not is_lease("lease-x") and not is_lease("run.json")


def test_a_place_whose_holder_lives_is_refused(place: Place) -> None:
    first = lease(place)
    first.take()
    clock = FakeClock(meanwhile=first.renew)
    with pytest.raises(UnavailableError, match=r"another process is at work on .*wait until it has ended"):
        lease(place, clock).take()
    assert clock.slept < 60
    first.check()


def test_a_silent_holder_is_taken_over_after_the_time_to_live_and_must_stop(place: Place) -> None:
    first = lease(place)
    first.take()
    clock = FakeClock()
    second = lease(place, clock)
    second.take()
    assert 60 <= clock.slept < 70
    for call in (first.check, first.renew):
        with pytest.raises(WriteError, match="another process has taken over"):
            call()
    first.release()
    second.renew()
    second.check()


@pytest.mark.parametrize("start", [0.0, 1e9, -1e9])
def test_clocks_that_differ_do_not_matter(place: Place, start: float) -> None:
    first = lease(place, FakeClock(start))
    first.take()
    with pytest.raises(UnavailableError):
        lease(place, FakeClock(-start, first.renew)).take()
    clock = FakeClock(-start)
    lease(place, clock).take()
    assert 60 <= clock.slept < 70


def test_a_clock_that_jumps_while_nobody_reads_takes_no_living_lease(place: Place) -> None:
    """A waiting process is stopped for an hour: the holder has gone on, which the reading after it shows."""
    first = lease(place)
    first.take()
    clock = FakeClock()

    def stop() -> None:
        clock.time += 3600
        first.renew()

    clock.meanwhile = stop
    with pytest.raises(UnavailableError):
        lease(place, clock).take()
    first.check()


def test_time_between_the_reading_and_the_look_at_the_clock_does_not_count(place: Place) -> None:
    """The process is stopped right after it has read the counter; the holder's next beat comes while it is."""
    first = lease(place)
    first.take()
    clock = FakeClock()
    read, calls = place.read, []

    def stopped(name: str) -> bytes:
        data = read(name)
        calls.append(name)
        if len(calls) == 2:
            clock.time += 3600
            place.read = read  # type: ignore[method-assign]  # the real one again
            first.renew()
        return data

    place.read = stopped  # type: ignore[method-assign]  # to stop the reader in between
    with pytest.raises(UnavailableError):
        lease(place, clock).take()
    first.check()


def test_a_holder_known_to_have_ended_is_taken_over_at_once(place: Place) -> None:
    lease(place, holder=Holder(facts={"pid": 1})).take()
    clock = FakeClock()
    lease(place, clock, Holder(has_ended=lambda facts: facts == {"pid": 1})).take()
    assert clock.slept == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"holder": 3}', b"\xff"])
def test_a_lease_that_is_half_written_counts_as_one(place: Place, body: bytes) -> None:
    place.write("lease-7", body)
    clock = FakeClock()
    lease(place, clock, Holder(has_ended=lambda facts: True)).take()
    assert clock.slept >= 60 and place.names("") == ["lease-8"]


def test_a_slow_taker_of_a_number_long_over_loses(place: Place) -> None:
    lease(place).take()
    slow = lease(place)
    slow._wait_until_free = lambda: 3  # type: ignore[method-assign]  # it saw lease-3 long ago
    place.write("lease-9", b"{}")
    with pytest.raises(UnavailableError, match="another process is at work"):
        slow.take()


def holds(taker: Lease) -> bool:
    try:
        taker.check()
    except WriteError:
        return False
    return True


@pytest.mark.parametrize("is_held", [False, True])
def test_of_many_takers_one_holds_the_place(tmp_path: Path, is_held: bool) -> None:
    """Sixty seconds of these clocks pass at once: a thread that is late may take over from the one that won."""
    for round_number in range(5):
        place = open_place(tmp_path / str(round_number))
        if is_held:
            lease(place).take()
        takers = [lease(place, FakeClock(1000.0 * number)) for number in range(12)]
        begin, won = threading.Barrier(len(takers)), []

        def take(taker: Lease, begin: threading.Barrier = begin, won: list[Lease] = won) -> None:
            begin.wait()
            try:
                taker.take()
                won.append(taker)
            except UnavailableError:
                pass

        threads = [threading.Thread(target=take, args=(taker,)) for taker in takers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([one for one in won if holds(one)]) == 1


def test_a_lease_is_renewed_in_a_thread_and_released(place: Place) -> None:
    with holding(Lease(place, Holder(), time_to_live=0.06)) as held:
        before, beat = place.read("lease-1"), threading.Event()
        for _ in range(500):
            if place.read("lease-1") not in (before, b""):
                break
            beat.wait(0.01)
        assert place.read("lease-1") != before
        held.check()
    assert b'"released": true' in place.read("lease-1")


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells it without a clock")
def test_a_process_that_has_ended_is_known_without_a_clock() -> None:
    program = (
        "import json, sys; from harness.runs.holder import this_holder; print(json.dumps(dict(this_holder().facts)), "
        "flush=True); sys.stdin.read()"
    )

    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        facts: dict[str, Any] = json.loads(process.stdout.readline())
        assert not has_ended(facts) and facts["pid"] == process.pid
        process.kill()
        process.wait()
    assert has_ended(facts)
    for name in ("machine", "boot", "namespace"):
        assert not has_ended({**facts, name: "another"})
    assert has_ended({**this_holder().facts, "started": "12"}) and not has_ended(this_holder().facts)
    assert not has_ended({}) and not has_ended({**facts, "pid": "1"})


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("filelock.lock_descriptor", refuse)
    yield


def test_a_run_folder_without_locks_is_held_by_a_lease(no_locks: None, tmp_path: Path) -> None:

    one = RunFolder(tmp_path / "run")
    with one.hold():
        assert (one.path / "lease-1").is_file()
        taker = Lease(open_place(one.path), Holder(has_ended=lambda facts: True))
        taker.take()
        with pytest.raises(WriteError, match="another process has taken over"):
            # Nothing of what is given is read before the lease is.
            one.write_predictions("a", example_ids=[], labels=[], predictions=[], scores=None, classes=[])  # type: ignore[arg-type]  # not read
        with pytest.raises(WriteError, match="another process has taken over"):
            one.add(None)  # type: ignore[arg-type]  # not read
        taker.release()
    with one.hold():
        assert [path.name for path in one.path.glob("lease-*")] == ["lease-3"]
