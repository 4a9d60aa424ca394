"""The GPU benchmark at toy size on the CPU, so that it runs where there is a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("gpu.py")


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu", "--toy", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of a step of each kind, by its name; the tests themselves are left out."""
    out = tmp_path_factory.mktemp("gpu")
    steps = ("2b-limit", "memory", "2b-loops")
    done = run(out, "--only", *steps)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.stem: json.loads(path.read_text()) for path in out.iterdir()}
    assert sorted(found) == sorted(steps)
    return found


@pytest.mark.slow
def test_every_result_names_the_machine_and_the_versions_it_was_measured_on(results: dict[str, Any]) -> None:
    for name, one in results.items():
        assert one["ok"] and one["step"] == name and one["step_seconds"] > 0
        assert one["machine"].keys() >= {"date", "commit", "device", "gpu", "python", "torch", "transformers"}
        assert one["machine"]["toy"]


@pytest.mark.slow
def test_speed_is_a_ratio_of_arms_that_took_turns(results: dict[str, Any]) -> None:
    for name in ("2b-limit", "2b-loops"):
        for one in results[name]["ratios"].values():
            assert 0 < one["low"] <= one["median"] <= one["high"] and one["rounds"] >= 2
        for arm in results[name]["arms"].values():
            assert arm["tokens_per_s"] > 0


@pytest.mark.slow
def test_the_harness_and_a_plain_loop_give_the_same_rows(results: dict[str, Any]) -> None:
    agreement = results["2b-loops"]["agreement"]
    assert len(agreement) == 2 * 4
    for distance in agreement.values():
        assert distance["median"] < 1e-5 and distance["largest"] < 1e-2


@pytest.mark.slow
def test_no_tensor_is_as_large_as_all_features_of_all_tokens(results: dict[str, Any]) -> None:
    for one in results["memory"]["by_width"].values():
        assert 0 < one["largest_tensor_bytes"] < one["bound_bytes"]
        assert one["non_zeros_per_row"]["max"] > 0


def test_after_the_deadline_no_step_begins(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--deadline", "0")
    assert done.returncode == 0 and done.stdout.count("left out") == 6
    assert not list((tmp_path / "out").iterdir())
