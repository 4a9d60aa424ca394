"""CONTRIBUTING.md is executed: its plugin is written to disk as it stands, and its commands are run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


def block(language: str, number: int = 0) -> str:
    """The text of a fenced block."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)[number]


@pytest.mark.slow
def test_the_plugin_of_the_guide_works_as_it_is_told(harness_command, install):
    project = tomllib.loads(block("toml"))["project"]
    points = project["entry-points"]["harness"]
    assert list(points.values()) == ["harness_spread"]
    install(block("python"), name=project["name"], module="harness_spread", points="spread = harness_spread")
    commands = [line.removeprefix("$ harness ") for line in block("console", 1).splitlines()]
    told = [harness_command(*shlex.split(command)) for command in commands]
    assert [one.code for one in told] == [0, 0]
    assert "floor=0.0" in told[0].out
    assert (
        "spread"
        in Path("runs/spread/leaderboard.csv").read_text() + Path("runs/spread/results.jsonl").read_text()
    )


def test_the_task_of_the_guide_is_a_task(tmp_path):
    from harness.config.task_file import read_task

    path = tmp_path / "my_task.yaml"
    path.write_text(block("yaml"), "utf-8")
    task = read_task(path)
    assert (task.name, task.source.file.name) == ("my_task", "data.csv")
