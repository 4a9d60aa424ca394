"""Hidden states against what should know less: which rows are controls, and the arithmetic of the comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.leaderboard import build
from harness.leaderboard.controls import controls
from harness.records import RunFolder

RANDOM = "minigemma-s[random_weights=0]"


@pytest.fixture
def run(harness_command) -> RunFolder:
    told = harness_command(
        "run", "quickstart", "-t", "quickstart_topic", "-t", "quickstart_roles", "-m", "minigemma-s", "-m", RANDOM,
        "--set", "representations=[hidden, 'random_sae[k=4]', text_length, majority]", "--set", "poolings=[mean]",
        "-L", 300, "-o", "out",
    )  # fmt: skip
    assert told.code == 0, told.err
    return RunFolder(Path("out"))


def test_controls_are_arms_without_a_model_and_the_same_model_otherwise(run):
    board = build([run])
    found = list(controls(board))
    assert {(one.model, one.control) for one in found} == {
        ("minigemma-s", "text_length"), ("minigemma-s", "majority"), ("minigemma-s", RANDOM),
    }  # fmt: skip
    rows = {(row.model, row.representation): row for row in board.rows}
    hidden = rows["minigemma-s", "hidden"]
    for one in found:
        other = rows[RANDOM, "hidden"] if one.control == RANDOM else rows[None, one.control]
        for task, difference in one.differences:
            mine, theirs = (
                next(result.macro_f1.value for result in row.results if result.task == task)
                for row in (hidden, other)
            )
            assert difference.value == pytest.approx(mine - theirs)
            low, high = difference.interval
            assert low <= difference.value <= high
        assert sum(one.count(sign) for sign in (1, 0, -1)) == len(one.differences) == 2
        assert one.least[1].value == min(difference.value for _, difference in one.differences)
        assert one.mean.value == pytest.approx(sum(each.value for _, each in one.differences) / 2)


def test_the_page_shows_them_and_a_board_without_models_does_not(run, harness_command):
    page = Path("out/leaderboard.md").read_text("utf-8")
    section = page.split("## Hidden states against what should know less")[1].split("##")[0]
    assert f"| minigemma-s | {RANDOM} |" in section
    assert f"| {RANDOM} | majority |" not in section
    told = harness_command(
        "run", "quickstart", "-t", "quickstart_topic", "-o", "words",
        "--set", "representations=[tfidf, majority]", "--set", "models=[]",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "should know less" not in Path("words/leaderboard.md").read_text("utf-8")
