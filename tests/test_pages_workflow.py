"""The example of a workflow for GitHub Pages can be read, and its steps do what they say on published boards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.registry.commands import COMMANDS

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "examples" / "github-pages" / "leaderboard.yml"
JOBS = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
OWN = [step["run"] for step in JOBS["build"]["steps"] if "harness " in step.get("run", "")]


def test_the_site_that_is_built_is_the_one_that_is_deployed():
    used = {step.get("uses", "").partition("@")[0]: step for job in JOBS.values() for step in job["steps"]}
    assert used["actions/upload-pages-artifact"]["with"]["path"] == "site"
    assert used["actions/deploy-pages"]["id"] == "deployment" and JOBS["deploy"]["needs"] == "build"
    assert {"actions/checkout", "actions/setup-python"} < used.keys()


@pytest.mark.long
def test_the_steps_check_the_boards_and_build_a_site_of_all(tmp_path):
    assert {*re.findall(r"^\s*harness ([a-z-]+)", "\n".join(OWN), re.M)} <= COMMANDS.keys() and len(OWN) == 2
    for name in ("planted", "interpretation"):
        shutil.copytree(ROOT / "leaderboards" / name, tmp_path / "leaderboards" / name)
    # A board below another folder has links to those that the board.yaml there makes with it.
    faults = ROOT / "leaderboards" / "mosaic-faults"
    shutil.copytree(faults / "last", tmp_path / "leaderboards" / "faults" / "last")
    shutil.copy(faults / "board.yaml", tmp_path / "leaderboards" / "faults")
    command = tmp_path / "bin" / "harness"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harness "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    for step in OWN:
        subprocess.run(
            ["bash", "-e", "-c", step], cwd=tmp_path, env=environment, check=True, capture_output=True
        )
    index = (tmp_path / "site/index.html").read_text()
    for name, board in (
        ("planted", "planted"),
        ("interpretation", "interpretation"),
        ("faults-last", "faults/last"),
    ):
        assert f'href="{name}/"' in index and (tmp_path / "site" / name / "index.html").is_file()
        for path in (tmp_path / "leaderboards" / board).iterdir():
            assert (tmp_path / "site" / name / path.name).read_bytes() == path.read_bytes()
