"""Every example as a stranger has it: its wheel beside the harness's, checked, tested, and on a board."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/pyproject.toml"))
Fresh = Any
"""The environment of the fixture `fresh`."""

SUITE = """\
name: examples
tasks: [visits]
models: [{ref: gru, sites: [resid_post.1]}]
representations: [hidden, lsa, majority]
poolings: [mean, quantile]
classifiers: [logreg, knn]
regimes: [full, native]
"""


def test_there_are_seven() -> None:
    assert EXAMPLES == ["gru", "knn", "lsa", "mlflow", "processes", "quantile", "visits"]


def test_the_harness_of_the_environment_is_the_wheel(fresh: Fresh) -> None:
    where = fresh.run(
        "python", "-c", "import harness, harness_knn; print(harness.__file__, harness_knn.__file__)"
    )
    assert all(Path(path).is_relative_to(fresh.folder) for path in where.stdout.split())


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_the_checks_and_its_own_tests(name, fresh, copied):
    fresh.run("harness", "check", name)
    ended = fresh.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", at=copied(name))
    assert " passed" in ended.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_readme_names_commands_that_exist_and_its_types_hold(name, fresh):
    text = (ROOT / "examples" / name / "README.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ harness run (.*)$", text, re.M)
    fresh.run("harness", "plan", *shlex.split(command.split(" -o ")[0]))
    options = ["--follow-imports=silent", "--ignore-missing-imports"]  # as of MLflow, which may not be here
    typed = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"examples/{name}/harness_{name}"],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "examples" / name)},
        capture_output=True,
        text=True,
    )
    assert typed.returncode == 0, typed.stdout


@pytest.fixture(scope="module")
def board(fresh: Fresh) -> Path:
    """The folder of a run with all of them."""
    (fresh.work / "examples.yaml").write_text(SUITE)
    fresh.run("harness", "run", "examples.yaml", "-d", "cpu", "--executor", "processes", "-o", "run")
    return fresh.work / "run"


def test_each_stands_on_a_board(board: Path) -> None:
    records = [json.loads(line) for line in (board / "results.jsonl").read_text("utf-8").splitlines()]
    assert {record["status"] for record in records} == {"ok"}
    for field, name in (
        ("model", "gru"),
        ("representation", "lsa"),
        ("pooling", "quantile"),
        ("classifier", "knn"),
        ("task", "visits"),
    ):
        assert name in {record[field] for record in records}, field
    assert {record["test_language"] for record in records} >= {"en", "de", "es"}
    rows = pd.read_csv(board / "leaderboard.csv")
    assert {"hidden", "lsa"} <= set(rows["representation"]) and "gru" in set(rows["model"])
    page = (board / "leaderboard.html").read_text("utf-8")
    assert all(f"harness-{name}" in page for name in ("gru", "lsa"))


def test_mlflow_has_every_cell(fresh: Fresh, board: Path) -> None:
    count = len((board / "results.jsonl").read_text("utf-8").splitlines())
    code = (
        "import os; os.environ.update(MLFLOW_ALLOW_FILE_STORE='true', MLFLOW_DISABLE_TELEMETRY='true'); "
        "from mlflow import MlflowClient; c = MlflowClient('file:run/mlruns'); "
        "e = c.get_experiment_by_name('examples'); r = c.search_runs([e.experiment_id], max_results=1000); "
        "print(len(r), sum('macro_f1' in each.data.metrics for each in r))"
    )
    assert fresh.run("python", "-c", code).stdout.split() == [str(count)] * 2


def test_the_plugin_of_the_guide_works_as_it_is_told(fresh: Fresh, tmp_path: Path) -> None:
    """CONTRIBUTING.md: its two files as they stand, installed, and its commands."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")

    def block(language: str, number: int = 0) -> str:
        return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)[number]

    (tmp_path / "pyproject.toml").write_text(block("toml"), "utf-8")
    (tmp_path / "harness_spread.py").write_text(block("python"), "utf-8")
    assert tomllib.loads(block("toml"))["project"]["entry-points"]["harness"] == {"spread": "harness_spread"}
    fresh.run("python", "-m", "pip", "install", "--quiet", "-e", ".", at=tmp_path)
    shown, _ = (
        fresh.run(*shlex.split(line.removeprefix("$ ")), at=tmp_path)
        for line in block("console", 1).splitlines()
    )
    assert "floor=0.0" in shown.stdout
    assert "spread" in (tmp_path / "runs/spread/results.jsonl").read_text("utf-8")
    fresh.run("python", "-m", "pip", "uninstall", "--quiet", "-y", "harness-spread")


def test_the_commands_that_new_prints_work(fresh: Fresh, tmp_path: Path) -> None:
    told = json.loads(fresh.run("harness", "new", "pooling", "iqr", "--json", at=tmp_path).stdout)
    folder = tmp_path / told["path"]
    assert len(told["next"]) == 5
    for line in told["next"][1:]:
        words = shlex.split(line)
        fresh.run(
            *(["python", "-m", *words] if words[0] in ("pip", "pytest") else words), at=tmp_path / folder
        )
    assert "iqr" in (folder / "runs/iqr/results.jsonl").read_text("utf-8")
    fresh.run("python", "-m", "pip", "uninstall", "--quiet", "-y", "harness-iqr")
