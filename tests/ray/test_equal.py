"""A suite on one, two and four workers: the records of one process, pure JSON, threads as they were asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_records_and_predictions_are_those_of_one_process(
    runs: Any, jobs: int, tell: Callable[..., None]
) -> None:
    """Ray would set OMP_NUM_THREADS by the cores of a worker, where it is not set."""
    began = time.monotonic()
    runs.run("ray", "--executor", f"ray[jobs={jobs}]")
    difference = runs.check_equal("ray")
    (event,) = runs.events("ray", "workers")
    assert (event["executor"], event["threads"], event["jobs"]) == ("ray", 1, jobs)
    assert {line[1] for line in runs.told("forward")} == {"1"}
    assert {line[-1] for line in runs.told("forward")} == {"1"}
    processes = {line[-3] for line in runs.told("fit")}
    assert len(processes) == len(runs.events("ray", "worker"))
    assert (1 if jobs == 1 else 2) <= len(processes) <= jobs
    tell(f"{jobs} workers", "", 1, difference, time.monotonic() - began)


def test_at_other_threads_features_differ_by_rounding_and_differing_predictions_are_counted(
    runs: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch keeps the threads of a worker's first work, and Ray those that the environment says."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    began = time.monotonic()
    runs.run("ray", "--executor", "ray[threads=2]", "-j", 1)
    assert {line[1] for line in runs.told("forward")} == {"2"}
    assert {line[-1] for line in runs.told("forward")} == {"2"}
    (event,) = runs.events("ray", "workers")
    assert event["threads"] == 2
    found, expected = runs.features("ray"), runs.features("alone")
    assert found.keys() == expected.keys()
    furthest = max(float(np.abs(found[key] - expected[key]).max()) for key in expected)
    assert furthest <= 1e-5
    difference, n_differing = runs.compare("ray", "alone")
    records, alone = runs.records("ray"), runs.records("alone")
    assert records.keys() == alone.keys()
    changed = [cell for cell in alone if records[cell]["predictions_hash"] != alone[cell]["predictions_hash"]]
    assert bool(changed) == bool(n_differing)
    when = f"features within {furthest:.0e}; {n_differing} predictions of {len(alone)} cells differ"
    tell("2 threads, not 1", when, 1, difference, time.monotonic() - began)
