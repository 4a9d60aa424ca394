"""Kept activations: what went through a model once is read the next time, and makes the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.runs.folder import RunFolder


def metrics(run: Path) -> dict[str, float]:
    return {record.cell_id: record.metrics["macro_f1"].value for record in RunFolder(run).records()}


def test_another_dictionary_needs_no_forward_pass_where_activations_are_kept(
    harness_command: Any,
    toy_suite: Path,
    toy_task: Path,
    tmp_path: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common = ["run", toy_suite, "--include", toy_task, "--json"]
    other = ["--set", 'representations=["random_sae[k=4]", "pca[n=3]"]']
    plain = harness_command(*common, *other, "-o", "plain", "--cache-dir", tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").glob("activations/*")), "nothing is kept unasked"
    assert harness_command(*common, "-o", "first", "--keep-activations").rows[-1]["tokens"] > 0
    assert list(own_cache.glob("activations/*/*.safetensors"))

    second = harness_command(*common, *other, "-o", "second", "--keep-activations")
    assert (plain.code, second.code) == (0, 0), second.err
    assert metrics(tmp_path / "second") == metrics(tmp_path / "plain")
    # The calibration pass has batches of its own; the features came from what was kept.
    records = RunFolder(tmp_path / "second").records()
    assert {record.cost.tokens for record in records} == {0}
    assert {record.cost.tokens_per_s for record in records} == {0.0}, (
        "a pass that reads has no speed of a model"
    )

    monkeypatch.setattr("harness_transformers.model.TransformersModel.load", None)
    third = ["--set", 'representations=["random_sae[k=5]"]']
    assert harness_command(*common, *third, "-o", "third", "--keep-activations").code == 0
    assert harness_command(*common, *third, "-o", "fourth", "--set", "poolings=[max]").code == 1


def test_damaged_activations_are_made_anew(
    harness_command: Any, toy_suite: Path, toy_task: Path, tmp_path: Path, own_cache: Path
) -> None:
    common = ["run", toy_suite, "--include", toy_task, "--json", "--keep-activations"]
    harness_command(*common, "-o", "first")
    for path in own_cache.glob("activations/*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    other = ["--set", 'representations=["random_sae[k=4]"]']
    assert harness_command(*common, *other, "-o", "second").rows[-1]["tokens"] > 0
    clean = harness_command(*common, *other, "-o", "third", "--cache-dir", tmp_path / "elsewhere")
    assert clean.code == 0 and metrics(tmp_path / "second") == metrics(tmp_path / "third")
