"""Toxicity from one set to another: which rows teach, which are tested, the same ones whoever teaches."""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

import pandas as pd
import pytest
import yaml
from harness_text import toxicity

from harness.data.splits import split_rows
from harness.data.task import TaskData, load_task

DATA = Path(os.environ.get("HARNESS_DATA_DIR", "absent"))
TASKS = {task.name: task for task in toxicity.TASKS}
SUITE = Path(toxicity.__file__).parent / "suites" / "transfer.yaml"
here = pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored data")


@pytest.fixture(scope="module")
def data() -> dict[str, TaskData]:
    return {
        name: load_task(task, data_dir=DATA, trained_on=TASKS.get(task.trained_on or ""))
        for name, task in TASKS.items()
    }


def ids_tested(data: TaskData) -> set[str]:
    return {data.examples.ids[row] for row in split_rows(data.examples, 0)["test"]}


def ids_learnt(data: TaskData) -> set[str]:
    rows = split_rows(data.examples, 0)
    return {data.examples.ids[row] for row in (*rows["train"], *rows["validation"])}


def test_there_is_a_task_for_every_set_and_every_ordered_pair_and_the_suite_has_them_all() -> None:
    pairs = {f"toxicity_{target}_by_{source}" for target, source in permutations(toxicity.SETS, 2)}
    assert set(TASKS) == {f"toxicity_{name}" for name in toxicity.SETS} | pairs
    tree = yaml.safe_load(SUITE.read_text("utf-8"))
    names = {task if isinstance(task, str) else task["name"] for task in tree["tasks"]}
    assert {name for name in names if name.startswith("toxicity_")} == {
        name for name in TASKS if not name.startswith("toxicity_madlibs_by")
    }


@here
@pytest.mark.data
def test_all_ask_the_same_question(data: dict[str, TaskData]) -> None:
    assert {one.classes for one in data.values()} == {("not_toxic", "toxic")}
    assert {language for one in data.values() for language in one.examples.languages} == {"en"}


@here
@pytest.mark.data
@pytest.mark.parametrize(("target", "source"), permutations(toxicity.SETS, 2))
def test_a_pair_learns_what_the_source_learns_and_is_tested_on_what_the_target_is(
    target: str, source: str, data: dict[str, TaskData]
) -> None:
    pair = data[f"toxicity_{target}_by_{source}"]
    assert ids_learnt(pair) == ids_learnt(data[f"toxicity_{source}"])
    own = ids_tested(data[f"toxicity_{target}"])
    assert ids_tested(pair) == own if target != "madlibs" else ids_tested(pair) > own
    assert not ids_tested(pair) & ids_learnt(pair)


@here
@pytest.mark.data
def test_madlibs_is_split_by_template_and_english(data: dict[str, TaskData]) -> None:
    examples = data["toxicity_madlibs"].examples
    frame = pd.read_parquet(DATA / "madlibs_toxicity" / "data.parquet")
    assert len(examples) == (frame["lang"] == "en").sum()
    rows = split_rows(examples, 0)
    homes = {examples.groups[row]: split for split, found in rows.items() for row in found}
    assert len(homes) == 6 and set(homes.values()) == {"train", "validation", "test"}
    for split, found in rows.items():
        assert all(homes[examples.groups[row]] == split for row in found)


@here
@pytest.mark.data
def test_the_labels_are_those_of_the_sets(data: dict[str, TaskData]) -> None:
    frame = pd.read_parquet(DATA / "davidson_hate" / "data.parquet")
    toxic = frame["label"].isin(["hate_speech", "offensive_language"]).sum()
    assert data["toxicity_davidson"].examples.labels.count("toxic") == toxic
