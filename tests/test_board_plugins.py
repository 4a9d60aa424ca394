"""Plugins behind a board: its runs, files and page say their versions, interfaces and whether they were checked."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.leaderboard import build, find_results
from harness.leaderboard.files import render
from harness.leaderboard.published.store import PublishedRun
from harness.leaderboard.submissions.files import check_form
from harness.registry.checked import Checked, read_checked, write_checked
from harness.registry.loading import Plugin, find_candidates, load_plugins

PLUGIN = """
import harness


def make():
    from sklearn.naive_bayes import GaussianNB
    return GaussianNB()


@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="{0}", summary="naive Bayes", make=make)]
"""
SUITE = """
name: toys
tasks: [toy_task]
models: []
representations: [text_length]
classifiers: [bayes, loose, nearest_centroid]
"""
CHECKED = Checked(harness="0.1.0", interface=1, day="2026-12-02", passed=43, failed=0, skipped=0)


def load(name: str) -> Plugin:
    (plugin,) = load_plugins(find_candidates(only={name})).loaded
    return plugin


@pytest.fixture
def finished(harness_command, install, tmp_path, monkeypatch, toy_task) -> Path:
    """A run with a classifier of a checked distribution, one of a loose module, and one of the harness."""
    install("HARNESS_API = 1\n" + PLUGIN.format("bayes"), name="bayes-kit", points="bayes = bayes_kit_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "loose_behind_a_board.py").write_text(PLUGIN.format("loose"), "utf-8")
    write_checked(load("bayes"), CHECKED)
    (tmp_path / "suite.yaml").write_text(SUITE, "utf-8")
    words = ("run", "suite.yaml", "--include", toy_task, "-d", "cpu", "-o", "run")
    run = harness_command("-p", "loose_behind_a_board", *words)
    assert run.code == 0, run.err
    return tmp_path / "run"


def read_data(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="board">(.*?)</script>', html, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


def read_plugins(html: str, table: str) -> set[str]:
    (found,) = (one for one in read_data(html)["tables"] if one["name"] == table)
    values = found["values"]["plugins"]
    return {line for at in values["at"] for line in values["texts"][at].splitlines()}


def test_a_run_records_the_interface_and_the_check_of_each_plugin(finished):
    facts = json.loads((finished / "env.json").read_text("utf-8"))
    assert facts["interfaces"].keys() == facts["plugins"].keys()
    assert (facts["interfaces"]["bayes"], facts["interfaces"]["loose_behind_a_board"]) == (1, None)
    checked = read_checked(load("bayes"))
    assert checked and checked.files and facts["checks"] == {"bayes": asdict(checked)}


def test_each_row_of_the_page_and_of_the_json_says_what_stands_behind_it(finished):
    html = (finished / "leaderboard.html").read_text("utf-8")
    said = "checked 2026-12-02 by harness 0.1.0: 43 passed"
    lines = read_plugins(html, "results")
    (own,) = (line for line in lines if line.startswith("bayes-kit 1.0@"))
    assert own.endswith(f" (bayes): interface 1, {said}")
    assert "sae-harness 0.1.0 (baselines, poolings, regimes): interface 1, not checked" in lines
    assert read_plugins(html, "rows") <= lines
    assert f"bayes (bayes-kit 1.0; interface 1, {said})" in html
    assert re.search(
        r"loose_behind_a_board \(loose_behind_a_board@[0-9a-f]{12}; interface not declared, not checked\)",
        html,
    )
    told = json.loads((finished / "leaderboard.json").read_text("utf-8"))
    for row in told["rows"]:
        behind = {one["plugin"]: one for one in told["plugins"][row["plugins"]]}
        assert {"baselines", "poolings", "regimes"} <= behind.keys()
        assert behind["baselines"]["interface"] == "1" and behind["baselines"]["checked"] == "not checked"


def test_a_published_run_carries_them_and_its_board_says_the_same(finished, harness_command, tmp_path):
    words = ("-p", "loose_behind_a_board", "leaderboard", "publish", finished, "-o", tmp_path / "board")
    published = harness_command(*words, "--include", tmp_path / "toy_task.yaml")
    assert published.code == 0, published.err
    (path,) = (tmp_path / "board").glob("*.env.json")
    facts, before = (
        json.loads(path.read_text("utf-8")),
        json.loads((finished / "env.json").read_text("utf-8")),
    )
    assert (facts["interfaces"], facts["checks"]) == (before["interfaces"], before["checks"])
    (run,) = find_results(tmp_path / "board")
    assert isinstance(run, PublishedRun) and list(check_form(run)) == []
    html = (tmp_path / "board" / "leaderboard.html").read_text("utf-8")
    assert read_plugins(html, "results") == read_plugins(
        (finished / "leaderboard.html").read_text("utf-8"), "results"
    )
    assert harness_command("leaderboard", "check", tmp_path / "board").code == 0


def test_a_run_that_recorded_nothing_is_said_to_have_recorded_nothing(finished):
    facts = json.loads((finished / "env.json").read_text("utf-8"))
    del facts["interfaces"], facts["checks"]
    (finished / "env.json").write_text(json.dumps(facts), "utf-8")
    texts = render(build(find_results(finished)))
    lines = read_plugins(texts["leaderboard.html"], "results")
    assert lines and all(line.endswith(": interface and check not recorded") for line in lines)
    told = json.loads(texts["leaderboard.json"])
    found = {(one["interface"], one["checked"]) for each in told["plugins"] for one in each}
    assert found == {("not recorded", "not recorded")}


def test_what_another_start_of_a_run_recorded_is_not_said_of_earlier_cells(finished):
    facts = json.loads((finished / "env.json").read_text("utf-8"))
    facts["plugins"]["bayes"] = "bayes-kit 2.0"
    facts["checks"]["poolings"] = {**facts["checks"]["bayes"], "failed": 1}
    (finished / "env.json").write_text(json.dumps(facts), "utf-8")
    lines = read_plugins(render(build(find_results(finished)))["leaderboard.html"], "results")
    (own,) = (line for line in lines if line.startswith("bayes-kit 1.0@"))
    assert own.endswith(" (bayes): interface and check not recorded")
    assert any(line.startswith("sae-harness 0.1.0 (poolings): ") and "1 failed" in line for line in lines)


def test_a_check_of_other_files_is_none(finished):
    facts = json.loads((finished / "env.json").read_text("utf-8"))
    facts["checks"]["bayes"]["files"] = "0" * 12
    (finished / "env.json").write_text(json.dumps(facts), "utf-8")
    lines = read_plugins(render(build(find_results(finished)))["leaderboard.html"], "results")
    (own,) = (line for line in lines if line.startswith("bayes-kit 1.0@"))
    assert own.endswith(" (bayes): interface 1, not checked")


@pytest.mark.parametrize(
    ("key", "value"),
    [("interfaces", ["x"]), ("interfaces", {"bayes": "one"}), ("checks", {"bayes": {"day": 1}})],
)
def test_facts_of_another_form_are_one_sentence(key, value, finished, harness_command):
    facts = json.loads((finished / "env.json").read_text("utf-8"))
    (finished / "env.json").write_text(json.dumps({**facts, key: value}), "utf-8")
    told = harness_command("leaderboard", "build", finished, "-o", "built")
    assert told.code == 3
    (line,) = told.said
    assert "does not say of its plugins what it should" in line
