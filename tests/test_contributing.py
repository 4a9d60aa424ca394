"""The task file of the guide to one's own data is read as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "docs/guides/own-data.md").read_text("utf-8")


def test_the_task_of_the_guide_is_a_task(tmp_path):
    from harness.config.task_file import read_task

    path = tmp_path / "my_task.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)[0], "utf-8")
    task = read_task(path)
    assert (task.name, task.source.file.name) == ("my_task", "data.csv")
