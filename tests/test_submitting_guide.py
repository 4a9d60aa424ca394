"""The guide to submitting, followed to the letter: its suite, its commands, both runs on the board at the end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.leaderboard import check_published, find_published
from harness.leaderboard.published.badge import badge_of

GUIDE = Path(__file__).parents[1] / "docs" / "submitting.md"


def test_a_submission_made_by_the_guide_alone_is_on_the_board(harness_command: Callable[..., Any]) -> None:
    text = GUIDE.read_text("utf-8")
    (suite,) = re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, flags=re.DOTALL)
    Path(suite[0]).write_text(suite[1], "utf-8")
    lines = "".join(re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)).splitlines()
    assert lines and all(line.startswith("$ harness ") for line in lines)
    for line in lines:
        _, _, *words = shlex.split(line)
        done = harness_command(*words)
        assert done.code == 0, f"{line}\n{done.out}\n{done.err}"
    board = Path("leaderboards/tones")
    assert [run.name for run in find_published(board)] == ["mine", "reference"]
    assert [badge_of(run).kind for run in find_published(board)] == ["rerun", "recomputed"]
    page = (board / "leaderboard.md").read_text("utf-8")
    assert "random_sae" in page and "tfidf" in page and check_published(board) == ()
    assert "no fault was found" in Path("summary.md").read_text("utf-8")
