"""What a plan expects of time and memory; beside published runs in `test_plan_identity.py`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import harness
from harness.planning.cells import Plan
from harness.planning.cost import estimate
from harness.runs.folder import RunFolder


def nothing_cached(key: str) -> bool:
    return False


def total_seconds(plan: Plan) -> float:
    return sum(estimate(bundle, device="cpu", cached=nothing_cached).seconds for bundle in plan.bundles)


def test_what_is_cached_or_smaller_is_expected_to_take_less() -> None:
    session = harness.open(device="cpu")

    def seconds(**overrides: Any) -> float:
        return total_seconds(session.plan("quickstart", **overrides))

    plan = session.plan("quickstart")
    whole = total_seconds(plan)
    assert 0 < seconds(tasks=["quickstart_tone"]) < whole
    assert 0 < seconds(models=["minigemma-s"]) < whole
    cached = [estimate(bundle, device="cpu", cached=lambda key: True) for bundle in plan.bundles]
    assert 0 < sum(one.seconds for one in cached) < whole
    assert {(one.tokens, one.disk, one.memory) for one in cached} == {(0, 0, 0)}


def test_a_fit_that_is_larger_than_the_machine_is_told_beforehand_and_refused(
    harness_command: Any, tmp_path: Path, toy_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 40 classes of words that are seen once, and a machine of 1 MB."""
    rows = [
        {"text": " ".join(f"w{row}x{n}" for n in range(25)), "label": f"c{row % 40}"} for row in range(2400)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "many.yaml").write_text(
        "name: many\nsource: {file: rows.jsonl}\nlicence: CC0\ncitation: none\n"
    )
    toy_suite.write_text("name: toy\ntasks: [many]\nrepresentations: [tfidf]\nclassifiers: [logreg]\n")
    small = SimpleNamespace(total=1 << 20, available=1 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    arguments = (toy_suite, "--include", "many.yaml")
    for command in ("plan", "validate"):
        told = harness_command(command, *arguments)
        assert told.code == 0, told.err
        assert "logreg needs about 0 GiB for 40 classes × " in told.out + told.err
        assert "more than this machine's 0" in told.out + told.err
    told = harness_command("run", *arguments, "-o", "refused")
    assert told.code == 1, told.err
    (record,) = RunFolder(tmp_path / "refused").records()
    assert record.status == "oom"
    assert "logreg needs about 0.3 GiB for 40 classes" in str(record.error)
    assert "use a transform that keeps fewer" in str(record.error)


def test_the_vocabulary_of_very_long_texts_is_told_beforehand(
    harness_command: Any, toy_suite: Path, toy_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"text": f"{label} " + f"{row} " * 20_000, "label": label, "split": split}
        for row, label, split in [(n, "ab"[n % 2], "test" if n < 4 else "train") for n in range(12)]
    ]
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arms = ("--set", "representations=[tfidf]", "--set", "classifiers=[decision_tree]")
    for size, told_so in ((1 << 20, True), (1 << 40, False)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda size=size: SimpleNamespace(total=size))
        told = harness_command("plan", toy_suite, "--include", toy_task, *arms)
        assert told.code == 0, told.err
        assert ("features of 'tfidf', more than this machine's" in told.err) is told_so
