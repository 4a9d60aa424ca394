"""Faults of clusters: the records and predictions are those of one process in which nothing happens.

Clocks apart: mischief.py shifts `time.time` in all workers of one node, as its clock would be; a clock that is injected
into leases is in tests/test_lease.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

Tell = Callable[..., None]

SMALL = """
name: ray
tasks: [toy]
models: [{ref: minigemma-s, sites: [resid_post.0]}]
representations: [hidden, tfidf]
poolings: [odd]
classifiers: ["logreg(C=1.0)", "odd(how=HOW)"]
"""


def on(cluster: Any) -> tuple[str, str]:
    return "--executor", f"ray[address={cluster.address}]"


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    began = time.monotonic()
    yield lambda: time.monotonic() - began


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("what", "when", "kind"),
    [
        ("forward", "amid a forward pass", "forward"),
        ("write", "amid the write of features", "forward"),
        ("probe", "amid a fit", "probe"),
    ],
)
def test_a_worker_that_is_killed_is_replaced_and_its_unit_run_again(
    runs: Any, what: str, when: str, kind: str, tell: Tell
) -> None:
    runs.ask(f"{what}.once")
    with timed() as seconds:
        runs.run("ray", "--executor", "ray", "-j", 2)
    assert runs.done() == [what]
    assert [(each["kind"], each["deaths"]) for each in runs.events("ray", "retried")] == [(kind, 1)]
    tell("worker killed", when, 2, runs.check_equal("ray"), seconds())


def test_a_worker_that_ends_with_status_0_counts_as_dead(runs: Any, tell: Tell) -> None:
    runs.ask("exit.once")
    with timed() as seconds:
        runs.run("ray", "--executor", "ray", "-j", 2)
    assert runs.done() == ["exit"]
    assert [each["deaths"] for each in runs.events("ray", "retried")] == [1]
    tell("worker ends itself, status 0", "amid a forward pass", 2, runs.check_equal("ray"), seconds())


def test_a_classifier_that_asks_for_the_end_of_its_process_fails_as_with_worker_processes(runs: Any) -> None:
    runs.run("here", "-j", 2, how="leaving", suite=SMALL, code=1)
    runs.run("ray", "--executor", "ray", "-j", 1, how="leaving", suite=SMALL, code=1)
    assert runs.records("ray") == runs.records("here")
    assert not runs.events("ray", "retried")


@pytest.mark.parametrize(
    ("what", "when", "n_failed"),
    [
        ("forward", "each time in the forward pass", 2),
        ("probe", "each time in the fits of one classifier", 2),
    ],
)
def test_a_unit_that_always_dies_fails_after_three_tries_and_the_same_command_completes_it(
    runs: Any, what: str, when: str, n_failed: int, tell: Tell
) -> None:
    runs.ask(f"{what}.always")
    with timed() as seconds:
        runs.run("ray", "--executor", "ray", "-j", 2, suite=SMALL, code=1)
    records, expected = runs.records("ray"), runs.records("alone")
    failed = {cell: record for cell, record in records.items() if record["status"] != "ok"}
    assert len(failed) == n_failed
    assert {record["status"] for record in failed.values()} == {"failed"}
    assert all("died" in record["error"] for record in failed.values())
    assert all("2 others did with it before" in record["error"] for record in failed.values())
    rest = {cell: record for cell, record in records.items() if record["status"] == "ok"}
    assert len(rest) == 2
    assert rest.items() <= expected.items()
    deaths = [each["deaths"] for each in runs.events("ray", "retried")]
    assert Counter(deaths) == dict.fromkeys((1, 2, 3), len(deaths) // 3)
    assert len(deaths) == len(runs.done()) == (3 if what == "forward" else 6)
    runs.stop_asking()
    runs.run("ray", "--executor", "ray", "-j", 2, suite=SMALL)
    records = runs.records("ray")
    assert len(records) == 4
    assert records.items() <= expected.items()
    tell("worker killed, always", when, 3, 0, seconds())


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_units_of_a_node_that_goes_away_are_run_elsewhere(
    runs: Any, cluster: Any, wait_for: Any, tell: Tell
) -> None:
    cluster.add()
    cluster.add()
    runs.ask("slow.always")
    with timed() as seconds:
        run = runs.start("ray", *on(cluster))
        wait_for(lambda: any(line[-2] == "2" for line in runs.told("")), "work of the second node")
        cluster.kill(2)
        runs.end(run, code=0)
    (retried,) = runs.events("ray", "retried")
    assert retried["deaths"] == 1
    tell("node gone", f"amid a {retried['kind']} unit", 2, runs.check_equal("ray"), seconds())


def test_a_slow_node_has_fewer_units(runs: Any, cluster: Any, tell: Tell) -> None:
    cluster.add()
    runs.ask("lame.always")
    with timed() as seconds:
        runs.run("ray", *on(cluster))
    fits = Counter(line[-2] for line in runs.told("fit"))
    assert 0 < fits["2"] < fits["1"]
    tell("slow node", f"{fits['2']} fits there, {fits['1']} elsewhere", 1, runs.check_equal("ray"), seconds())


def test_a_node_whose_disk_is_full_is_given_no_more_units(runs: Any, cluster: Any, tell: Tell) -> None:
    cluster.add()
    runs.ask("slow.always")
    runs.ask("full.always", "2")
    with timed() as seconds:
        runs.run("ray", *on(cluster))
    assert {*runs.done()} == {"full"}
    (retired,) = runs.events("ray", "retired")
    assert "No space left on device" in retired["reason"]
    there = [line[0] for line in runs.told("") if line[-2] == "2"]
    assert there[-1] == "forward"  # the one whose features could not be written
    tell("disk of a node full", "at the write of features", 2, runs.check_equal("ray"), seconds())


def test_where_all_disks_are_full_the_run_ends_with_one_sentence_and_goes_on_later(
    runs: Any, tell: Tell
) -> None:
    runs.ask("full.always", "None")  # the name of a node that a test did not start
    with timed() as seconds:
        said = runs.run("ray", "--executor", "ray", "-j", 2, code=3)
    assert said.splitlines()[-1].startswith("harness: ")
    assert "No space left on device" in said.splitlines()[-1]
    took = seconds()
    runs.stop_asking()
    runs.run("ray", "--executor", "ray", "-j", 2)
    tell("all disks full", "at the write of features", "2 runs", runs.check_equal("ray"), took)


@pytest.mark.parametrize("days", [3, -3])
def test_clocks_may_be_days_apart(runs: Any, cluster: Any, days: int, tell: Tell) -> None:
    cluster.add()
    runs.ask("clock.always", str(days * 86400))
    with timed() as seconds:
        runs.run("ray", *on(cluster))
    assert {line[-2] for line in runs.told("fit")} == {"1", "2"}
    shifted = {line[1] for line in runs.told("clock")}
    assert shifted == {str(days * 86400.0)}
    tell(f"clock of a node {days:+} days", "throughout", 1, runs.check_equal("ray"), seconds())


# ── the head, and the process of the run ─────────────────────────────────────────────────────────────────


def test_without_a_head_the_run_ends_in_a_minute_and_goes_on_with_another_cluster(
    runs: Any, clusters: Any, wait_for: Any, tell: Tell
) -> None:
    first = clusters()
    first.add()
    runs.ask("slow.always")
    run = runs.start("ray", *on(first))
    wait_for(lambda: runs.n_written("ray") >= 4, "some records")
    with timed() as seconds:
        first.kill(1)
        _, err = runs.end(run, code=3)
        took = seconds()
    said = [line for line in err.splitlines() if line.startswith("harness: ")]
    assert len(said) == 1
    assert "the same command goes on" in said[0]
    assert took < 60
    first.kill(2)
    second = clusters()
    check_goes_on(runs, *on(second))
    tell("head gone", "amid fits", "2 runs", runs.check_equal("ray"), took)


def check_goes_on(runs: Any, *options: str) -> None:
    """Run the same command, and check that it does nothing again of what is written."""
    fits_of_a_cell = len(runs.told_alone("fit")) / sum(map(is_odd, runs.records("alone").values()))
    before, shards, fits = runs.records("ray"), runs.shards("ray"), len(runs.told("fit"))
    assert 0 < len(before) < len(runs.records("alone"))
    runs.run("ray", *options)
    missing = [cell for cell in runs.records("ray") if cell not in before]
    odd = [cell for cell in missing if is_odd(runs.records("ray")[cell])]
    assert len(runs.told("fit")) - fits == fits_of_a_cell * len(odd)
    assert shards.items() <= runs.shards("ray").items()  # their times too


def is_odd(record: dict[str, Any]) -> bool:
    return str(record["classifier"]).startswith("odd")


@pytest.mark.parametrize("where", ["its own Ray", "a cluster"])
def test_a_run_that_is_killed_leaves_no_process_and_goes_on(
    runs: Any, request: pytest.FixtureRequest, wait_for: Any, where: str, tell: Tell
) -> None:
    options = (
        on(request.getfixturevalue("cluster")) if where == "a cluster" else ("--executor", "ray", "-j", "2")
    )
    runs.ask("slow.always")
    run = runs.start("ray", *options)
    wait_for(lambda: runs.n_written("ray") >= 4, "some records")
    left = psutil.Process(run.pid).children(recursive=True)
    for line in runs.told("fit"):
        with suppress(psutil.NoSuchProcess):
            left.append(psutil.Process(int(line[-3])))
    assert len(left) >= 2
    with timed() as seconds:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        _, alive = psutil.wait_procs(left, timeout=60)
        took = seconds()
    assert not alive
    check_goes_on(runs, *options)
    tell("run killed", f"amid fits, on {where}", "2 runs", runs.check_equal("ray"), took)
