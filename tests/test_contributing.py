"""CONTRIBUTING.md is executed: its task is read here, and its plugin is installed and run by `make test-examples`."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


def block(language: str, number: int = 0) -> str:
    """The text of a fenced block."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)[number]


def test_the_task_of_the_guide_is_a_task(tmp_path):
    from harness.config.task_file import read_task

    path = tmp_path / "my_task.yaml"
    path.write_text(block("yaml"), "utf-8")
    task = read_task(path)
    assert (task.name, task.source.file.name) == ("my_task", "data.csv")
