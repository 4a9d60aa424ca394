"""`harness plan` with an executor, jobs or GPUs: the schedule below the table, and options that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.planning.planned_units import plan_units


@pytest.fixture
def plan(harness_command: Any, toy_suite: Path, toy_task: Path, tmp_path: Path) -> Any:
    """`plan("--jobs", 2)`: the result of `harness plan` on a toy, with an empty cache."""
    places = ("--include", toy_task, "--cache-dir", tmp_path / "cache", "-d", "cpu")
    return lambda *options: harness_command("plan", toy_suite, *places, *options)


def test_a_schedule_is_printed_where_one_is_asked_for(plan: Any) -> None:
    assert "schedule" not in plan().out
    assert json.loads(plan("--json").out)["schedule"] is None
    told = plan("--jobs", 2)
    assert told.code == 0, told.err
    assert "schedule: 3 units, " in told.out
    assert "minutes, 0.00 GPU hours; the longest chain of units takes 0.0 minutes" in told.out
    assert "bottleneck: starting workers" in told.out
    assert told.out == plan("--jobs", 2).out


def test_a_schedule_on_a_gpu_has_its_price(plan: Any) -> None:
    facts = json.loads(plan("--gpus", 1, "--gpu-memory", "2GiB", "--price", 3600, "--json").out)["schedule"]
    assert facts["executor"] == "local"
    assert facts["cluster"]["gpu_memory"] == 2 << 30
    assert facts["price"] == pytest.approx(facts["makespan_seconds"], rel=0.05)
    assert facts["units"] == 3
    assert facts["bytes_written"] > 0
    told = plan("--gpus", 1, "--price", 2.5)
    assert "GPU hours, price 0.0" in told.out
    assert " GB of one GPU" in told.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--gpus", 0], "0 is not in the range x>=1"),
        (["--gpus", 2], "the executor 'local' does all forward passes in one process, on one GPU"),
        (["--gpus", 1, "--gpu-memory", "80"], "'80' is no amount of memory such as 80GB or 80GiB"),
        (["--gpus", 1, "--gpu-memory", "0GB"], "'0GB' is no amount of memory such as 80GB or 80GiB"),
        (
            ["--gpus", 1, "--gpu-memory", "0.1GB"],
            " GB on the device, which is ",
        ),
        (["--gpus", 1, "--price", -1], "-1.0 is not in the range x>=0"),
        (["--gpus", 1, "--price", "nan"], "nan is no finite number"),
        (["--price", 2], "--price is that of the GPUs: add --gpus"),
        (["--gpu-memory", "80GB"], "--gpu-memory is that of the GPUs: add --gpus"),
        (["--jobs", 0], "'0' is neither auto nor a positive number"),
        (["--executor", "local[jobs=0]"], "jobs must be a whole number from 1"),
        (["--executor", "nowhere"], "there is no executor 'nowhere'"),
    ],
)
def test_bad_values_are_one_sentence(plan: Any, options: list[Any], sentence: str) -> None:
    told = plan(*options)
    assert told.code == harness.UsageError.exit_code
    assert sentence in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_units_of_a_plan_hold_all_its_cells_and_what_is_cached_runs_no_model() -> None:
    session = harness.open(device="cpu")
    found = session.plan("quickstart", tasks=["quickstart_roles"], limit=200)
    units = plan_units(found, device="cpu", cached=lambda key: False)
    assert [unit.name for unit in units if unit.kind == "forward"] == [
        bundle.name for bundle in found.bundles if bundle.model
    ]
    keys = {unit.key for unit in units}
    assert len(keys) == len(units)
    assert all(set(unit.after) <= keys for unit in units)
    matrices = {(bundle.name, id(cell.features)) for bundle in found.bundles for cell in bundle.cells}
    assert sum(unit.kind == "probe" for unit in units) == len(matrices)
    cached = plan_units(found, device="cpu", cached=lambda key: True)
    assert [unit.key for unit in cached] == [unit.key for unit in units if unit.kind == "probe"]
    on_gpu = plan_units(found, device="cuda", cached=lambda key: False)
    assert sum(unit.seconds for unit in on_gpu) < sum(unit.seconds for unit in units)


def test_the_probes_of_a_transfer_come_after_both_models() -> None:
    session = harness.open(device="cpu")
    found = session.plan("transfer", tasks=["quickstart_tone"], limit=100)
    units = plan_units(found, device="cpu", cached=lambda key: False)
    by_key = {unit.key: unit for unit in units}
    transfers = [unit for unit in units if unit.key.startswith("transfer")]
    assert len({unit.name for unit in transfers}) == len(found.transfers) > 0
    for unit in transfers:
        models = {by_key[key].model for key in unit.after}
        assert len(models) == 2
