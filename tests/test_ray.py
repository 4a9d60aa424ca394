"""The executor on Ray: its queue and its tries with made-up workers, and one suite on a Ray that is started here.

Clusters, faults and many workers are tried by `make test-ray`.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness_ray.messages import Died, Do, Drop, Node, Nodes, Ready, Said, Start, Stop
from harness_ray.places import Places
from harness_ray.pool import RayPool

import harness
from harness.api.executors import Answer, Packed

# ── made-up units and workers ────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class Errand:
    """Unit whose results are the numbers of its cells; `brings` are submitted by its last result."""

    name: str
    kind: Any = "probe"
    model: str | None = None
    memory: int = 0
    n_results: int = 1
    shared_key: str = ""
    brings: Callable[[], None] = lambda: None
    taken: list[str] = field(default_factory=list)
    n_packed: int = 0
    here: str = ""
    stays: bool = False

    @property
    def key(self) -> str:
        return self.name

    @property
    def n_taken(self) -> int:
        return len(self.taken)

    @property
    def is_done(self) -> bool:
        return self.n_taken == self.n_results

    def run_here(self, why: str = "") -> None:
        self.here = why
        self._add(*["here"] * (self.n_results - self.n_taken))

    def pack(self, after: int | None = None) -> Packed:
        if self.stays:
            raise harness.UnavailableError("it stays")
        self.n_packed += 1
        return Packed(body=self.name.encode(), shared_key=self.shared_key, shared=lambda: b"rows")

    def take(self, answer: Answer) -> None:
        self._add(*(result.decode() for result in answer.results[max(0, self.n_taken - answer.first) :]))
        if answer.error is not None:
            raise answer.error

    def fail(self, error: str, *, rest: bool = False) -> None:
        self._add(error)

    def _add(self, *results: str) -> None:
        self.taken += results
        if results and self.is_done:
            self.brings()


Reply = Callable[[int, Errand], Iterator[Any]]


class Cluster:
    """Bridge with made-up workers: what it is sent is kept, and `reply` says what a worker makes of a unit."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply = reply or (lambda worker, unit: finish(unit))
        self.sent: list[Any] = []
        self.events: deque[Any] = deque()
        self.units: dict[str, Errand] = {}
        self.nodes: dict[int, str] = {}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.is_slow = False  # nothing comes before it is waited for

    def send(self, command: Any) -> None:
        self.sent.append(command)
        if isinstance(command, Start):
            node = next(name for name in ("one", "two", "three") if name not in command.avoid)
            self.nodes[command.worker] = node
            self.events.append(Ready(worker=command.worker, node=node, host=node, pid=command.worker))
        if isinstance(command, Do):
            for said in self.reply(command.worker, self.units[command.body.decode()]):
                if isinstance(said, Answer):
                    self.events.append(Said(worker=command.worker, answer=pickle.dumps(said)))
                else:
                    self.events.append(Died(worker=command.worker, reason=said))

    def receive(self, timeout: float) -> Any:
        assert self.events or not timeout, "it would wait for ever"
        return self.events.popleft() if self.events and (timeout or not self.is_slow) else None

    def pool(self, *, jobs: int | None = 2, gpus: float = 0, nodes: tuple[str, ...] = ("one",)) -> RayPool:
        made = [Node(id=name, host=name, cpus=4, gpus=gpus, gpu_memory=1000) for name in nodes]
        places = Places(made, uses_gpus=gpus > 0, jobs=jobs, threads=1)
        return RayPool(self, places, lambda event, **fields: self.told.append((event, fields)))

    def submit(self, pool: RayPool, *units: Errand) -> None:
        for unit in units:
            self.units[unit.name] = unit
            pool.submit(unit)

    def given(self) -> list[tuple[int, str]]:
        return [(each.worker, each.body.decode()) for each in self.sent if isinstance(each, Do)]


def finish(unit: Errand) -> Iterator[Answer]:
    results = tuple(f"{number}".encode() for number in range(unit.n_taken, unit.n_results))
    yield Answer(first=unit.n_taken, results=results)


def test_of_ten_thousand_units_only_those_are_packed_that_workers_have() -> None:
    silent = Cluster(lambda worker, unit: iter(()))
    pool = silent.pool()
    units = [Errand(f"unit {number}") for number in range(10_000)]
    silent.submit(pool, *units)
    assert sum(unit.n_packed for unit in units) == 2
    lively = Cluster()
    pool = lively.pool()
    units = [Errand(f"unit {number}") for number in range(10_000)]
    lively.submit(pool, *units)
    pool.finish()
    assert all(unit.taken == ["0"] for unit in units)
    assert [name for _, name in lively.given()] == [unit.name for unit in units]


def test_a_worker_is_given_units_of_its_model_then_of_one_that_nobody_has() -> None:
    cluster = Cluster()
    cluster.is_slow = True
    pool = cluster.pool()
    probes = [Errand("probe 1"), Errand("probe 2")]
    models = ["a", "b", "c", "a", "b", "c", "a", "b"]
    units = [Errand(f"{model}{n}", kind="forward", model=model) for n, model in enumerate(models)]
    cluster.submit(pool, probes[0], *units, probes[1])
    pool.finish()
    assert {name for _, name in cluster.given()[:2]} == {"probe 1", "probe 2"}  # without a GPU to keep busy
    loads: Counter[str] = Counter()
    has: dict[int, str] = {}
    for worker, name in cluster.given():
        if not name.startswith("probe"):
            loads[name[0]] += has.get(worker) != name[0]
            has[worker] = name[0]
    assert sum(loads.values()) <= 4  # three models; the last one is shared by who would be idle


def test_a_unit_with_which_workers_die_is_tried_three_times_and_the_rest_of_it_is_done() -> None:
    def reply(worker: int, unit: Errand) -> Iterator[Any]:
        if unit.name == "deadly" and unit.n_taken <= 1:
            if unit.n_taken == 0:
                yield Answer(first=0, results=(b"0",), is_last=False)
            yield "it was killed"
        else:
            yield from finish(unit)

    cluster = Cluster(reply)
    pool = cluster.pool()
    deadly, other = Errand("deadly", n_results=4), Errand("other", n_results=2)
    cluster.submit(pool, deadly, other)
    pool.finish()
    assert other.taken == ["0", "1"]
    assert [deadly.taken[0], *deadly.taken[2:]] == ["0", "2", "3"]
    assert deadly.taken[1] == "the worker on one died: it was killed (as 2 others did with it before)"
    retried = [fields for event, fields in cluster.told if event == "retried"]
    assert [one["deaths"] for one in retried] == [1, 2, 3]
    # Each death is the end of a worker, and another one takes its place.
    assert len({worker for worker, name in cluster.given() if name == "deadly"}) == 4


def test_a_worker_without_a_result_counts_as_dead_and_nothing_is_run_for_ever() -> None:
    cluster = Cluster(lambda worker, unit: iter([Answer()]))
    pool = cluster.pool()
    unit = Errand("empty", n_results=2)
    cluster.submit(pool, unit)
    pool.finish()
    assert len(unit.taken) == 2
    assert len(cluster.given()) == 6
    assert "came to an end without a result" in unit.taken[0]


def test_a_full_disk_retires_a_node_and_the_last_one_ends_the_run() -> None:
    full = {"one"}

    def reply(worker: int, unit: Errand) -> Iterator[Any]:
        if cluster.nodes[worker] in full:
            yield Answer(first=unit.n_taken, error=harness.WriteError("no space left"))
        else:
            yield from finish(unit)

    cluster = Cluster(reply)
    pool = cluster.pool(nodes=("one", "two"))
    units = [Errand(f"unit {number}") for number in range(20)]
    cluster.submit(pool, *units)
    pool.finish()
    assert all(unit.taken == ["0"] for unit in units)
    assert {cluster.nodes[worker] for worker, _ in cluster.given()[4:]} == {"two"}
    assert [fields["host"] for event, fields in cluster.told if event == "retired"][:1] == ["one"]
    full.add("two")
    with pytest.raises(harness.WriteError, match="no space left"):
        cluster.submit(pool, Errand("late"))
        pool.finish()


def test_a_worker_that_lacks_a_plugin_is_retired_and_changed_files_end_the_run() -> None:
    errors: list[harness.HarnessError] = [harness.UnavailableError("no plugin")]

    def reply(worker: int, unit: Errand) -> Iterator[Any]:
        yield from [Answer(error=errors.pop())] if errors else finish(unit)

    cluster = Cluster(reply)
    pool = cluster.pool(nodes=("one", "two"))
    unit = Errand("unit")
    cluster.submit(pool, unit)
    pool.finish()
    assert unit.taken == ["0"]
    errors.append(harness.ChangedError("other files"))
    with pytest.raises(harness.ChangedError):
        cluster.submit(pool, Errand("next"))
        pool.finish()


def test_rows_are_sent_once_and_dropped_when_nobody_needs_them() -> None:
    cluster = Cluster()
    pool = cluster.pool(jobs=1)
    units = [Errand(f"unit {number}", shared_key=f"bundle {number // 5}") for number in range(100)]
    cluster.submit(pool, *units)
    pool.finish()
    given = [each for each in cluster.sent if isinstance(each, Do)]
    assert sum(each.shared is not None for each in given) == 20
    assert sum(bool(each.shared_key) for each in given) == 20  # the worker has it, of the unit before
    assert sum(isinstance(each, Drop) for each in cluster.sent) >= 15


def test_rows_are_sent_again_to_a_worker_in_the_place_of_a_dead_one() -> None:
    deaths = ["killed"]

    def reply(worker: int, unit: Errand) -> Iterator[Any]:
        yield from deaths.pop() if unit.name == "second" and deaths else finish(unit)

    deaths[:] = [["killed"]]  # type: ignore[list-item]  # a death in the place of an answer
    cluster = Cluster(reply)
    pool = cluster.pool(jobs=1)
    cluster.submit(pool, Errand("first", shared_key="rows"), Errand("second", shared_key="rows"))
    pool.finish()
    keys = [(each.worker, each.body, each.shared_key) for each in cluster.sent if isinstance(each, Do)]
    assert keys == [(1, b"first", "rows"), (1, b"second", ""), (2, b"second", "rows")]


def test_results_that_bring_units_are_taken_one_after_the_other() -> None:
    cluster = Cluster()
    pool = cluster.pool()
    probes = [Errand(f"probe {number}") for number in range(3)]
    forward = Errand("forward", kind="forward", model="a", brings=lambda: cluster.submit(pool, *probes))
    cluster.submit(pool, forward)
    pool.finish()
    assert all(probe.taken == ["0"] for probe in probes)


def test_what_cannot_be_given_away_is_done_here() -> None:
    cluster = Cluster()
    pool = cluster.pool()
    unit = Errand("unit", stays=True, n_results=3)
    cluster.submit(pool, unit)
    pool.finish()
    assert (unit.taken, unit.here) == (["here"] * 3, "it stays")


def test_memory_decides_how_many_workers_share_a_gpu() -> None:
    cluster = Cluster()
    pool = cluster.pool(jobs=None, gpus=2)
    small = [Errand(f"small {n}", kind="forward", model=f"m{n}", memory=100) for n in range(20)]
    cluster.submit(pool, *small)
    pool.finish()
    starts = [each for each in cluster.sent if isinstance(each, Start)]
    assert {each.gpus for each in starts} == {0.25}
    assert len(starts) <= 8
    large = Errand("large", kind="forward", model="large", memory=1500)  # 1.8 GPUs
    middle = Errand("middle", kind="forward", model="middle", memory=700)
    cluster.submit(pool, middle, large, Errand("probe"))
    pool.finish()
    later = [each for each in cluster.sent if isinstance(each, Start)][len(starts) :]
    assert max(each.gpus for each in later) == 2
    assert any(isinstance(each, Stop) for each in cluster.sent)  # small ones made room
    assert large.is_done
    assert middle.is_done


def test_idle_workers_make_room_for_as_many_large_units_as_wait() -> None:
    cluster = Cluster(lambda worker, unit: iter(()) if "large" in unit.name else finish(unit))
    pool = cluster.pool(jobs=None, gpus=4)
    for number in range(2):
        small = [Errand(f"small {n}", kind="forward", model=f"m{n}", memory=800) for n in range(4)]
        cluster.submit(pool, *small)
        cluster.submit(pool, Errand(f"large {number}", kind="forward", model=f"l{number}", memory=1500))
    assert [each.gpus for each in cluster.sent if isinstance(each, Start)].count(2) == 2


def test_probes_run_beside_forward_passes_where_there_are_gpus() -> None:
    cluster = Cluster(lambda worker, unit: iter(()) if unit.kind == "forward" else finish(unit))
    pool = cluster.pool(jobs=None, gpus=1)
    forwards = [Errand(f"f{n}", kind="forward", model="m", memory=900) for n in range(3)]
    cluster.submit(pool, *forwards, Errand("p1"), Errand("p2"))
    probes = [Errand(f"more {number}") for number in range(10)]
    cluster.submit(pool, *probes)
    assert probes[0].is_done  # no forward pass has ended
    assert sum(each.gpus > 0 for each in cluster.sent if isinstance(each, Start)) == 1


def test_workers_that_end_at_their_start_end_the_run() -> None:
    cluster = Cluster()
    pool = cluster.pool(jobs=1)

    def send(command: Any) -> None:
        if isinstance(command, Start):
            cluster.events.append(Died(worker=command.worker, reason="no harness there"))

    cluster.send = send  # type: ignore[method-assign]  # a cluster that starts nobody
    with pytest.raises(harness.UnavailableError, match=r"no worker can be started .*no harness there"):
        cluster.submit(pool, Errand("unit"))
        pool.finish()


def test_a_worker_that_does_not_see_the_store_ends_the_run() -> None:
    cluster = Cluster()
    pool = cluster.pool(jobs=1)
    cluster.send = lambda command: cluster.events.append(  # type: ignore[method-assign]  # says one thing
        Ready(worker=1, node="two", host="two", pid=1, error="a worker on two does not see", is_blind=True)
    )
    with pytest.raises(harness.UnavailableError, match="a worker on two does not see"):
        cluster.submit(pool, Errand("unit"))
        pool.finish()


def test_nodes_that_come_bring_workers() -> None:
    cluster = Cluster(lambda worker, unit: iter(()))
    pool = cluster.pool(jobs=None)
    cluster.submit(pool, *(Errand(f"unit {number}") for number in range(20)))
    assert len(cluster.given()) == 4
    cluster.events.append(
        Nodes(nodes=tuple(Node(id=name, host=name, cpus=4, gpus=0) for name in ("one", "two")))
    )
    cluster.submit(pool, Errand("late"))
    cluster.submit(pool, Errand("later"))
    assert len(cluster.given()) == 8


# ── Ray itself ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["threads=1.5", "threads=0", "jobs=1.5", "jobs=true"])
def test_numbers_of_workers_and_threads_are_whole(
    harness_command: Any, toy_suite: Path, toy_task: Path, given: str
) -> None:
    told = harness_command("run", toy_suite, "--include", toy_task, "--executor", f"ray[{given}]")
    name, _, value = given.partition("=")
    wanted = f"{name} of the executor 'ray' must be a whole number from 1; it is {value.title()}"
    assert (told.code, told.said) == (2, [f"harness: {wanted}"])


def test_without_ray_one_sentence_says_how_it_is_installed(
    harness_command: Any, toy_suite: Path, toy_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    told = harness_command("run", toy_suite, "--include", toy_task, "--executor", "ray")
    assert told.code == 3
    assert told.said == ["harness: the executor 'ray' needs the package ray: pip install 'sae-harness[ray]'"]


@pytest.mark.slow
def test_a_run_on_ray_has_the_records_and_predictions_of_one_process(
    harness_command: Any, toy_suite: Path, toy_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else that happens on Ray is tried by `make test-ray`."""
    from harness.runs.record import VARYING

    monkeypatch.setenv(
        "OMP_NUM_THREADS", "2"
    )  # Ray leaves it to workers, which have threads as they were asked for
    records: list[dict[str, Any]] = []
    for name, executor in (("here", "local"), ("there", "ray[jobs=1]")):
        where = ("-o", name, "--cache-dir", f"cache-{name}", "-d", "cpu", "--json")
        told = harness_command("run", toy_suite, "--include", toy_task, "--executor", executor, *where)
        assert told.code == 0, told.err
        assert all(isinstance(json.loads(line), dict) for line in told.out.splitlines())
        lines = [json.loads(line) for line in Path(name, "results.jsonl").read_text().splitlines()]
        assert all(line["status"] == "ok" for line in lines)
        records.append({line["cell_id"]: {**line, **dict.fromkeys(VARYING)} for line in lines})
    assert records[0] == records[1]
    assert len(records[0]) >= 2
    one, other = (
        {path.name: path.read_bytes() for path in Path(name, "predictions").iterdir()}
        for name in ("here", "there")
    )
    assert one == other
    events = [json.loads(line) for line in Path("there", "events.jsonl").read_text().splitlines()]
    (workers,) = (event for event in events if event["event"] == "workers")
    assert (workers["executor"], workers["threads"], workers["jobs"]) == ("ray", 1, 1)
    assert len([event for event in events if event["event"] == "worker"]) == 1
