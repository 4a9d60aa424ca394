"""Tasks in, shared inputs and groups out: what was planted, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.data import Examples
from harness.api.tasks import Columns, TaskSpec
from harness.data.cleaning import Hygiene
from harness.data.leaks import Leak, leaks_between
from harness.data.task import TaskData
from harness.storage.hashing import hash_lines

Row = tuple[str, str, str | None]
"""Text, split, group."""


def task(
    name: str,
    rows: Sequence[Row],
    *,
    group: str | None = None,
    language: str = "en",
    trained_on: str | None = None,
) -> TaskData:
    spec = TaskSpec(
        name=name,
        version=1,
        summary="",
        languages=(language,),
        licence="CC0",
        citation="",
        columns=Columns(group=group),
        trained_on=trained_on,
    )
    splits: tuple[Any, ...] = tuple(split for _, split, _ in rows)
    examples = Examples(
        ids=tuple(hash_lines([text, language])[:16] for text, _, _ in rows),
        inputs=tuple(text for text, _, _ in rows),
        labels=tuple("ab"[number % 2] for number in range(len(rows))),
        splits=splits,
        languages=(language,) * len(rows),
        groups=tuple(group for _, _, group in rows),
    )
    return TaskData(spec=spec, examples=examples, classes=("a", "b"), hygiene=Hygiene())


def plain(name: str, **kinds: Any) -> TaskData:
    """A task whose rows no other task has."""
    rows: list[Row] = [(f"{name} {split} {i}", split, None) for split in ("train", "test") for i in range(9)]
    return task(name, rows, **kinds)


def with_rows(data: TaskData, *rows: Row) -> TaskData:
    own = zip(data.examples.inputs, data.examples.splits, data.examples.groups, strict=True)
    return task(
        data.spec.name,
        [*own, *rows],
        group=data.spec.columns.group,
        language=data.spec.languages[0],
        trained_on=data.spec.trained_on,
    )


def test_tasks_that_share_nothing_leak_nothing() -> None:
    assert leaks_between([plain("one"), plain("two")]) == ()


def test_texts_of_two_tasks_that_are_only_near_are_counted_apart() -> None:
    one = with_rows(plain("one"), ("Some words", "train", None), ("other words", "validation", None))
    two = with_rows(plain("two"), ("SOME WORDS", "test", None), ("some words!", "test", None))
    two = with_rows(two, ("Some words", "test", None), ("OTHER words", "train", None))
    (leak,) = leaks_between([one, two])
    assert leak == Leak(trained="one", tested="two", inputs=1, groups=0, near=2)
    assert str(leak).endswith(
        "rows of 'one', and 2 inputs but for case, blanks, final punctuation or look-alikes"
    )


@pytest.mark.parametrize("learnt", ["train", "validation"])
def test_a_planted_text_is_found_in_the_one_direction_it_leaks(learnt: str) -> None:
    one = with_rows(plain("one"), ("planted", learnt, None), ("also", learnt, None))
    two = with_rows(plain("two", language="de"), ("planted", "test", None), ("also", "train", None))
    assert leaks_between([one, two, plain("three")]) == (
        Leak(trained="one", tested="two", inputs=1, groups=0),
    )


def test_a_planted_group_is_found_where_the_same_column_names_it() -> None:
    one = with_rows(plain("one", group="templ_id"), ("x", "train", "7"), ("y", "train", "8"))
    two = with_rows(plain("two", group="templ_id"), ("z", "test", "7"), ("w", "test", "7"))
    other = with_rows(plain("other", group="source"), ("v", "test", "7"))
    assert leaks_between([one, two, other]) == (Leak(trained="one", tested="two", inputs=0, groups=1),)


def test_what_a_task_shares_with_itself_is_no_leak_between_tasks() -> None:
    assert leaks_between([with_rows(plain("one"), ("both", "train", None), ("both", "test", None))]) == ()


def test_rows_learnt_from_another_task_go_by_its_name() -> None:
    source = with_rows(plain("source"), ("planted", "train", None))
    near = with_rows(plain("near", trained_on="source"), ("planted", "train", None))
    far = with_rows(plain("far"), ("planted", "test", None))
    expected = (Leak(trained="source", tested="far", inputs=1, groups=0),)
    assert leaks_between([source, near, far]) == leaks_between([near, far]) == expected


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abcdef"), st.sampled_from(["train", "validation", "test"])), max_size=8
        ),
        min_size=2,
        max_size=5,
    )
)
def test_every_pair_is_counted_as_sets_count_it(tables: list[list[tuple[str, str]]]) -> None:
    tasks = [task(str(number), [(*row, None) for row in rows]) for number, rows in enumerate(tables)]
    expected = {}
    for trained, learnt in enumerate(tables):
        for tested, rows in enumerate(tables):
            shared = {text for text, split in learnt if split != "test"}
            shared &= {text for text, split in rows if split == "test"}
            if trained != tested and shared:
                expected[str(trained), str(tested)] = len(shared)
    assert {(leak.trained, leak.tested): leak.inputs for leak in leaks_between(tasks)} == expected


def test_plan_names_the_tasks_that_leak(
    harness_command: Any, write: Callable[[str, str], Path], toy_task: Path
) -> None:
    rows = [{"text": f"other words {row}", "label": "ab"[row % 2], "split": "train"} for row in range(20)]
    rows += [{"text": f"more words {row}", "label": "ab"[row % 2], "split": "test"} for row in range(9)]
    rows.append({"text": "good fine lovely thing number 13", "label": "a", "split": "test"})
    write("far.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    far = write("far.yaml", "name: far\nsource: {file: far.jsonl}\nlicence: CC0\ncitation: none\n")
    suite = write("suite.yaml", "name: s\ntasks: [toy_task, far]\nrepresentations: [majority]\n")
    arguments = ("plan", suite, "--include", toy_task, "--include", far)
    assert harness_command(*arguments, "--json").rows[0]["leaks"] == [
        {"trained": "toy_task", "tested": "far", "inputs": 1, "groups": 0, "near": 0}
    ]
    told = harness_command(*arguments)
    assert told.code == 0
    assert (
        "leak: 1 inputs and 0 groups that 'far' is tested on stand in the training rows of 'toy_task'"
        in told.out
    )
