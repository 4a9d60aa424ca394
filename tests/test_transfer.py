"""A task that learns from another, by command: what is refused, what is recorded, how the board names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.records import RunFolder

Write = Callable[[str, str], Path]


@pytest.fixture
def far_task(write: Write) -> Callable[..., Path]:
    """`far_task(trained_on="toy_task")`: ten rows in other words, one of which the toy task teaches."""
    rows = [
        {"text": f"{'good lovely' if row % 2 else 'awful nasty'} place {row}", "label": "yn"[row % 2]}
        for row in range(10)
    ]
    rows.append({"text": "good fine lovely thing number 13", "label": "n"})
    write("far.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def put(*, name: str = "far", **fields: str) -> Path:
        more = "".join(f"{field}: {value}\n" for field, value in fields.items())
        return write(
            f"{name}.yaml",
            f"name: {name}\nsource: {{file: far.jsonl}}\nlicence: CC0\ncitation: none\n"
            f"labels: {{y: bad, n: good}}\n{more}",
        )

    return put


@pytest.fixture
def command(harness_command: Any, toy_suite: Path, toy_task: Path) -> Callable[..., Any]:
    def call(verb: str, tasks: Sequence[Path], *words: object) -> Any:
        included = [word for task in (toy_task, *tasks) for word in ("--include", task)]
        return harness_command(verb, toy_suite, *included, "-d", "cpu", "-t", "far", *words)

    return call


def test_its_record_says_what_it_learnt_from_and_the_board_names_both(
    command: Any, far_task: Any, tmp_path: Path
) -> None:
    told = command("run", [far_task(trained_on="toy_task")], "-t", "toy_task", "-o", tmp_path / "run")
    assert told.code == 0, told.err
    records = RunFolder(tmp_path / "run").records()
    near, far = ([one for one in records if one.task == name] for name in ("toy_task", "far"))
    assert {one.trained_on for one in near} == {None}
    assert {one.trained_on for one in far} == {"toy_task"}
    assert {(one.n_train, one.n_validation) for one in far} == {
        (one.n_train, one.n_validation) for one in near
    }
    assert {(one.n_test, one.hygiene.leaks) for one in far} == {(10, 1)}
    assert "far ← toy_task" in (tmp_path / "run" / "leaderboard.md").read_text("utf-8")


def test_a_text_that_was_learnt_leaks_in_whatever_language_it_is_filed(
    command: Any, far_task: Any, tmp_path: Path
) -> None:
    far = far_task(trained_on="toy_task", languages="[de]")
    assert command("run", [far], "-t", "toy_task", "-o", tmp_path / "run").code == 0
    records = RunFolder(tmp_path / "run").records()
    assert {(one.n_test, one.hygiene.leaks) for one in records if one.task == "far"} == {(10, 1)}


def test_the_task_it_learns_from_need_not_be_in_the_suite(command: Any, far_task: Any) -> None:
    told = command("plan", [far_task(trained_on="toy_task")], "--json")
    assert [bundle["bundle"] for bundle in told.rows[0]["bundles"]] == ["far", "far × minigemma-s"]


def test_what_cannot_teach_is_refused_in_one_sentence(command: Any, far_task: Any) -> None:
    told = command("plan", [far_task(trained_on="toy_tusk")])
    assert (told.code, len(told.said)) == (2, 1)
    assert "task 'far' learns from 'toy_tusk', which is no task; did you mean 'toy_task'?" in told.err
    middle = far_task(name="middle", trained_on="toy_task")
    told = command("plan", [far_task(trained_on="middle"), middle])
    assert (told.code, len(told.said)) == (2, 1)
    assert "'far' learns from 'middle', which learns from 'toy_task' and has no training rows" in told.err


def test_show_says_what_it_learns_from(harness_command: Any) -> None:
    told = harness_command("show", "xstest", "--json")
    assert told.rows[0]["trained_on"] == "harmful_requests"
    assert told.rows[0]["labels"] == {"safe": "benign", "unsafe": "harmful"}
