"""Simulated schedules beside those worked out by hand, and their bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.planning.schedule import Cluster, PlannedUnit, Schedule
from harness.planning.simulation import simulate

TWO = Cluster(workers=2, cores=2)


def forward(key: str, model: str, seconds: float, **more: Any) -> PlannedUnit:
    return PlannedUnit(key=key, name=key, kind="forward", model=model, seconds=seconds, **more)


def probe(key: str, seconds: float, *after: str, **more: Any) -> PlannedUnit:
    return PlannedUnit(key=key, name=key, kind="probe", seconds=seconds, after=after, **more)


def test_two_workers_three_models() -> None:
    """Worker 1 loads A (10 s) and does A1, A2 and A3 (5 s each), to 25. Worker 2 loads B, does B1 to 15, then loads C,
    which nobody has, rather than A, does C1 to 30. Worker 1 is free at 25, and nothing is left.
    """
    units = [forward(name, name[0], 5, load_seconds=10) for name in ("A1", "A2", "A3", "B1", "C1")]
    found = simulate(units, TWO)
    assert found.makespan == pytest.approx(30)
    assert found.busy == pytest.approx({"start": 0, "load": 30, "forward": 25, "transfer": 0, "probe": 0})
    assert found.idle == pytest.approx(5)
    assert found.workers == 2
    assert (found.longest, found.bottleneck) == (5, "loading weights")


def test_one_model_is_loaded_by_a_second_worker_only_when_no_other_is_left() -> None:
    """Both load A: 10 + 5, then A3 and A4: 20. With one worker it is 10 + 20."""
    units = [forward(f"A{n}", "A", 5, load_seconds=10) for n in range(4)]
    assert simulate(units, TWO).makespan == pytest.approx(20)
    assert simulate(units, Cluster(workers=1)).makespan == pytest.approx(30)


def test_probes_come_before_forward_passes_on_cores() -> None:
    """A1 to 4, its probe to 5, B1 to 9, its probe to 10. A third pass would begin after the probe that is ready."""
    units = [forward("A1", "A", 4), probe("pA", 1, "A1"), forward("B1", "B", 4), probe("pB", 1, "B1")]
    assert simulate(units, Cluster(workers=1)).makespan == pytest.approx(10)
    assert simulate(units, TWO).makespan == pytest.approx(5)
    late = [*units, forward("C1", "C", 1), probe("pC", 10, "C1")]
    # Worker 1: A1, pA, C1 at 5 to 6, pC to 16. The other one: B1, pB.
    assert simulate(late, TWO).makespan == pytest.approx(16)


def test_four_workers_on_two_cores_are_as_fast_as_two() -> None:
    units = [probe(str(n), 6) for n in range(4)]
    for workers, makespan in ((1, 24), (2, 12), (4, 12)):
        assert simulate(units, Cluster(workers=workers, cores=2)).makespan == pytest.approx(makespan)
    assert simulate(units, Cluster(workers=2, cores=2, speed=2)).makespan == pytest.approx(6)


def test_workers_share_cores_when_there_are_more_of_them_and_have_one_each_when_not() -> None:
    """Three on one core: the one of 1 s ends at 3; two go on, so that of 2 s at 5, and that of 4 s at 7."""
    units = [probe("a", 1), probe("b", 2), probe("c", 4)]
    assert simulate(units, Cluster(workers=3, cores=1)).makespan == pytest.approx(7)


def test_bytes_share_the_network() -> None:
    """Each of two workers could read 10 B/s, and both together 10: 100 B each take 20 s. Alone they take 10."""
    units = [forward(name, name, 0, model_bytes=100) for name in ("A", "B")]
    wide = Cluster(workers=2, cores=2, read_rate=10, bandwidth=100)
    assert simulate(units, wide).makespan == pytest.approx(10)
    narrow = simulate(units, replace(wide, bandwidth=10))
    assert narrow.makespan == pytest.approx(20)
    assert narrow.bytes_read == 200
    assert narrow.bottleneck == "loading weights"


def test_a_worker_starts_before_its_first_unit() -> None:
    found = simulate([probe("a", 1)], Cluster(workers=8, cores=8, start_seconds=3))
    assert found.makespan == pytest.approx(4)
    assert found.workers == 1
    assert found.bottleneck == "starting workers"


def test_small_models_share_a_gpu_by_memory() -> None:
    """With a margin of 1.2, 20 of 100 bytes are a quarter of a GPU, and 21 a half. Passes on one GPU share it."""
    gpu = Cluster(gpus=1, gpu_memory=100, cores=4)
    four = [forward(name, name, 1, memory=20, load_seconds=10) for name in "ABCD"]
    found = simulate(four, gpu)
    assert found.makespan == pytest.approx(14)
    assert found.workers == 4
    assert found.peak_memory == 80
    assert simulate([replace(unit, memory=21) for unit in four], gpu).workers == 2
    assert simulate([replace(unit, memory=60) for unit in four], gpu).makespan == pytest.approx(44)


def test_a_model_larger_than_a_gpu_takes_several() -> None:
    """200 bytes are 240 with the margin, three GPUs of 100: two such units take turns on four GPUs."""
    units = [forward(name, name, 5, memory=200) for name in ("A", "B")]
    found = simulate(units, Cluster(gpus=4, gpu_memory=100))
    assert found.makespan == pytest.approx(10)
    assert found.workers == 1
    assert found.gpu_hours == pytest.approx(40 / 3600)
    assert found.price(2.5) == pytest.approx(100 / 3600)
    with pytest.raises(harness.UsageError, match="3 GPUs of"):
        simulate(units, Cluster(gpus=2, gpu_memory=100))


def test_workers_of_small_units_make_room_for_a_large_one() -> None:
    """The small one is done first, for the large one has to wait for it."""
    units = [
        forward("small", "A", 5, memory=1),
        forward("large", "B", 5, memory=150, after=("small",)),
        forward("again", "A", 5, memory=1, after=("large",)),
    ]
    assert simulate(units, Cluster(gpus=2, gpu_memory=100)).makespan == pytest.approx(15)


def test_workers_that_become_idle_later_make_room_too() -> None:
    """Two GPUs are free after a second, two after another one: the large units begin then, each on two GPUs."""
    small = [forward(f"small {n}", f"m{n}", 1 + n // 2, memory=80) for n in range(4)]
    after = (("small 0", "small 1"), ("small 2", "small 3"))
    large = [forward(f"large {n}", f"l{n}", 100, memory=150, after=after[n]) for n in range(2)]
    found = simulate([*small, *large], Cluster(gpus=4, gpu_memory=100, cores=8))
    assert found.makespan == pytest.approx(102)


def test_probers_work_beside_the_next_forward_pass() -> None:
    """Passes at 0 to 2, 2 to 4 and 4 to 6; each one's probe of 2 s beside the next pass, the last to 8."""
    units = [
        one for n in range(3) for one in (forward(f"f{n}", "A", 2, memory=8), probe(f"p{n}", 2, f"f{n}"))
    ]
    found = simulate(units, Cluster(gpus=1, gpu_memory=10, probers=1, cores=2))
    assert found.makespan == pytest.approx(8)
    assert found.workers == 2
    here = simulate(units, Cluster(workers=2, cores=3, forwards_here=True))
    assert here.makespan == pytest.approx(8)


def test_the_bottleneck_has_a_name() -> None:
    parts = [probe(str(n), 1) for n in range(8)]
    assert simulate(parts, TWO).bottleneck == "probes"
    assert (
        simulate([*parts, forward("long", "A", 30)], replace(TWO, workers=8, cores=8)).bottleneck
        == "one long bundle"
    )
    moved = [replace(one, read_bytes=5 * 10**9) for one in parts]
    assert simulate(moved, TWO).bottleneck == "moving features"
    assert simulate([forward("A", "A", 1)], TWO).bottleneck == "forward passes"
    nothing = simulate([], TWO)
    assert (nothing.makespan, nothing.bottleneck) == (0, "")


def test_units_that_can_never_begin_are_refused() -> None:
    for units in (
        [probe("a", 1, "b")],
        [probe("a", 1, "b"), probe("b", 1, "a")],
        [probe("a", 1), probe("a", 1)],
    ):
        with pytest.raises(ValueError, match="unit"):
            simulate(units, TWO)


def test_ten_thousand_bundles_are_simulated_in_steps_of_their_number() -> None:
    """Each has a pass and two probes. A GPU has the work of 1,562 s, and loads each of five models at most once."""
    units = []
    for n in range(10_000):
        units.append(forward(f"f{n}", f"model-{n % 5}", 10, memory=60 * 10**9, load_seconds=20))
        units += [probe(f"p{n}.{m}", 2, f"f{n}") for m in range(2)]
    found = simulate(units, Cluster(gpus=64, probers=64, cores=128))
    assert found.units == 30_000
    assert 100_000 / 64 <= found.makespan <= 100_000 / 64 + 5 * 20 + 12
    assert found == simulate(units, Cluster(gpus=64, probers=64, cores=128))


def test_more_gpus_or_workers_take_no_longer_and_never_less_than_the_longest_chain() -> None:
    units = []
    for n in range(120):
        memory = (1 + 20 * (n % 4)) * 10**9
        units.append(forward(f"f{n}", f"model-{n % 4}", 5 + n % 7, memory=memory, load_seconds=8))
        units += [probe(f"p{n}.{m}", 3, f"f{n}") for m in range(3)]
    gpus = [simulate(units, Cluster(gpus=n, probers=4 * n, cores=5 * n)) for n in (1, 2, 4, 8, 16, 64)]
    here = [simulate(units, Cluster(workers=n, cores=n)) for n in (1, 2, 4, 8, 16, 64)]
    for found in (gpus, here):
        makespans = [one.makespan for one in found]
        assert makespans == sorted(makespans, reverse=True)
        assert makespans[0] > 8 * makespans[-1]
        assert all(one.makespan >= one.longest for one in found)
    passes = sum(unit.seconds for unit in units if unit.kind == "forward")
    assert all(one.gpu_hours * 3600 >= passes for one in gpus)


@st.composite
def drawn_units(draw: st.DrawFn) -> list[PlannedUnit]:
    units: list[PlannedUnit] = []
    for number in range(draw(st.integers(1, 12))):
        size = st.integers(0, 50)
        after = draw(st.sets(st.sampled_from([unit.key for unit in units]), max_size=2)) if units else set()
        facts: dict[str, Any] = {
            "seconds": float(draw(size)),
            "read_bytes": draw(size),
            "memory": draw(st.integers(0, 150)),
            "after": tuple(sorted(after)),
        }
        if draw(st.booleans()):
            model = draw(st.sampled_from("ABC"))
            units.append(
                forward(str(number), model, load_seconds=float(draw(size)), written_bytes=draw(size), **facts)
            )
        else:
            units.append(probe(str(number), facts.pop("seconds"), *facts.pop("after"), **facts))
    return units


CLUSTERS = st.builds(
    Cluster,
    gpus=st.sampled_from([0, 0, 2, 4]),
    gpu_memory=st.just(100),
    workers=st.integers(1, 5),
    probers=st.integers(0, 3),
    cores=st.integers(1, 4),
    speed=st.sampled_from([0.5, 1.0, 2.0]),
    read_rate=st.just(10.0),
    write_rate=st.just(5.0),
    bandwidth=st.sampled_from([10.0, 100.0]),
    start_seconds=st.sampled_from([0.0, 3.0]),
    forwards_here=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(units=drawn_units(), cluster=CLUSTERS)
def test_bounds_hold_for_any_units_on_any_cluster(units: list[PlannedUnit], cluster: Cluster) -> None:
    found = simulate(units, cluster)
    assert found == simulate(units, cluster)
    assert found.makespan >= found.longest - 1e-6
    on_cores = [unit for unit in units if unit.kind == "probe" or not cluster.gpus]
    assert found.makespan >= sum(unit.seconds for unit in on_cores) / (cluster.cores * cluster.speed) - 1e-6
    if cluster.gpus:
        passes = sum(unit.seconds for unit in units if unit.kind == "forward")
        assert found.makespan >= passes / cluster.gpus - 1e-6
    moved = found.bytes_read + found.bytes_written
    assert found.makespan >= moved / (2 * cluster.bandwidth) - 1e-6  # there and back at once
    assert found.makespan <= _one_after_the_other(units, cluster) + 1e-6
    _check_accounts(found, units, cluster)


def _one_after_the_other(units: list[PlannedUnit], cluster: Cluster) -> float:
    """Return the seconds of all units in turn, every load and a start for each, which no schedule exceeds here: a
    share of a rate is never less than that of one among all.
    """
    slow = min(1.0, cluster.speed)
    alone = sum(
        (unit.seconds + unit.load_seconds + cluster.start_seconds) / slow
        + unit.read_bytes / 10
        + unit.written_bytes / 5
        for unit in units
    )
    return alone + 10 * cluster.start_seconds / slow


def _check_accounts(found: Schedule, units: list[PlannedUnit], cluster: Cluster) -> None:
    assert found.units == len(units)
    assert found.idle >= 0
    assert all(seconds >= 0 for seconds in found.busy.values())
    assert found.bytes_written == sum(unit.written_bytes for unit in units)
    assert found.gpu_hours == pytest.approx(cluster.gpus * found.makespan / 3600)
    if not cluster.gpus and cluster.start_seconds == 0:
        assert found.idle + sum(found.busy.values()) <= found.workers * found.makespan + 1e-6
