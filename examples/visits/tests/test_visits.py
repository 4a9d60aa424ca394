"""The task by itself; what holds for every task is checked by the harness."""

import csv
from collections import Counter

import harness_visits

(TASK,) = harness_visits.harness_tasks()
with TASK.source.file.open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def test_every_class_has_as_many_rows_in_every_language():
    counts = Counter((row["label"], row["language"]) for row in ROWS)
    assert len(counts) == 2 * len(TASK.languages) and set(counts.values()) == {48}


def test_an_item_has_one_class_and_all_languages():
    for item in {row["item"] for row in ROWS}:
        rows = [row for row in ROWS if row["item"] == item]
        assert len({row["label"] for row in rows}) == 1
        assert {row["language"] for row in rows} == set(TASK.languages)


def test_no_text_stands_there_twice():
    assert len({row["text"] for row in ROWS}) == len(ROWS) == 288
