"""The data of a first run: the same bytes from the generator, clean, balanced, and roles beyond a bag of words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from harness_quickstart import generate
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from harness.data import Hygiene, TaskData, load_task
from harness.session import open_registry

NAMES = sorted(generate.TASKS)


@pytest.fixture(scope="module")
def tasks() -> dict[str, TaskData]:
    registry = open_registry()
    return {name: load_task(registry.get("tasks", name).spec) for name in NAMES}


def texts(data: TaskData, *splits: str) -> tuple[list[str], list[str]]:
    rows = [row for row, split in enumerate(data.examples.splits) if split in splits]
    return [data.examples.inputs[row] for row in rows], [data.examples.labels[row] for row in rows]


def test_the_generator_writes_the_shipped_bytes(tmp_path: Path) -> None:
    generate.write(tmp_path)
    shipped = {path.name: path.read_bytes() for path in generate.DATA.glob("*.jsonl")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == shipped
    assert shipped.keys() == {f"{name}.jsonl" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_quickstart_data_has_nothing_to_clean(tasks: dict[str, TaskData], name: str) -> None:
    data = tasks[name]
    assert data.hygiene == Hygiene()
    lines = (generate.DATA / f"{name}.jsonl").read_text("utf-8").splitlines()
    assert len(data.examples) == len(lines)
    lowered = Counter(" ".join(text.lower().split()) for text in data.examples.inputs)
    assert max(lowered.values()) == 1  # nor would a looser comparison find a pair


@pytest.mark.parametrize("name", NAMES)
def test_every_split_has_every_class_in_like_shares(tasks: dict[str, TaskData], name: str) -> None:
    data = tasks[name]
    for split in ("train", "validation", "test"):
        counts = Counter(texts(data, split)[1])
        assert set(counts) == set(data.classes)
        assert max(counts.values()) <= 1.5 * min(counts.values())


def test_a_bag_of_words_is_at_chance_on_roles(tasks: dict[str, TaskData]) -> None:
    data = tasks["quickstart_roles"]
    fit, test = texts(data, "train", "validation"), texts(data, "test")
    for vectorizer in (CountVectorizer(), TfidfVectorizer()):
        model = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=2000)).fit(*fit)
        spread = 2 * np.sqrt(0.25 / len(test[0]))
        assert abs(model.score(*test) - 0.5) <= spread


def test_the_rows_of_a_group_of_roles_hold_the_same_words(tasks: dict[str, TaskData]) -> None:
    data = tasks["quickstart_roles"]
    groups: dict[str | None, list[int]] = {}
    for row, group in enumerate(data.examples.groups):
        groups.setdefault(group, []).append(row)
    words = CountVectorizer().build_analyzer()
    for rows in groups.values():
        assert len({tuple(sorted(words(data.examples.inputs[row]))) for row in rows}) == 1
        assert len({data.examples.labels[row] for row in rows}) == 2


@pytest.mark.parametrize("name", ["quickstart_tone", "quickstart_topic"])
def test_words_do_tell_tone_and_topic(tasks: dict[str, TaskData], name: str) -> None:
    fit, test = texts(tasks[name], "train", "validation"), texts(tasks[name], "test")
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0, max_iter=2000)).fit(*fit)
    assert model.score(*test) > 1.3 / len(tasks[name].classes)
