"""The executor by itself; what holds for every executor is checked by the harness."""

import json

import harness_processes
import pytest

import harness

CHANGES = {
    "tasks": ["quickstart_topic"],
    "models": ["minigemma-s"],
    "limit": 120,
    "settings": ["representations=[hidden, majority]"],
}
DIFFER = {"started", "ended", "seconds", "environment", "cost"}  # when and where it was


def test_records_are_those_of_a_run_in_this_process(tmp_path):
    records = []
    for executor in ("local", "processes"):
        session = harness.open(device="cpu", cache_dir=tmp_path / f"cache-{executor}")
        run = session.run("quickstart", output=tmp_path / executor, executor=executor, **CHANGES)
        lines = (run.folder / "results.jsonl").read_text("utf-8").splitlines()
        records.append({record["cell_id"]: record for record in map(json.loads, lines)})
    one, other = records
    assert one and one.keys() == other.keys()
    for cell, record in one.items():
        assert {key for key in record if record[key] != other[cell].get(key)} <= DIFFER


def test_no_process_is_refused():
    with pytest.raises(harness.UsageError, match="jobs=0"):
        harness_processes.make(jobs=0)
