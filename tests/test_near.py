"""Texts that are nearly the same in two splits: which, how many, what is removed; counting moves no identity."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.data import Conversation, Examples, Message
from harness.api.errors import UsageError
from harness.api.tasks import Columns, FileSource, TaskSpec
from harness.config.task_file import read_task
from harness.data.cleaning import Hygiene, clean
from harness.data.fuzzy import count_fuzzy_leaks
from harness.data.near import SPLITS, find_near_leaks, input_key, near_key
from harness.data.task import TaskData, load_task
from harness.leaderboard.pages.hygiene_section import FUZZY, NEAR
from harness.runs.folder import RunFolder
from harness.storage.cache import list_entries
from harness.storage.feature_store import FeatureStore
from harness.storage.hashing import hash_lines

SPLIT = st.sampled_from(SPLITS)


def examples_of(rows: Sequence[tuple[Any, str, Any]]) -> Examples:
    """Examples of (input, label, split)."""
    inputs, labels, splits = zip(*rows, strict=True)
    return Examples(
        ids=tuple(hash_lines([repr(one)])[:16] for one in inputs),
        inputs=inputs,
        labels=labels,
        splits=splits,
        languages=("en",) * len(rows),
        groups=(None,) * len(rows),
    )


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Free money now", "FREE MONEY NOW"),
        ("Free money now", "Free money now!!!"),
        ("Free money now", "Free money now …"),
        ("免费的钱", "免费的钱。"),
        ("Free money now", "  Free \t money\u00a0now\n"),
        ("Free money now", "Fr\u200bee mon\u00adey now\ufeff"),
        ("I ❤ it", "I ❤\ufe0f it"),
        ("Free money now", "Ｆｒｅｅ ｍｏｎｅｙ now"),
        ("Free money now", "Frее mоnеy now"),  # Cyrillic е, о
        ("BUY it", "ВUY it"),  # Cyrillic В, of which only the capital looks Latin
        ("free viagra", "free νiagra"),  # Greek ν
        ("NEW car", "ΝEW car"),  # Greek Ν, like another letter than ν
        ("Спасибо", "Cпаcибo"),  # Latin C, c, o
        ("Straße", "STRASSE"),
        ("İstanbul", "i\u0307stanbul"),
        ("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
        ("!?", "! ?" and "!?\u200b"),
    ],
)
def test_texts_are_near_but_for_case_blanks_final_punctuation_and_what_the_eye_does_not_see(text, other):
    assert near_key(text) == near_key(other)
    found = find_near_leaks(examples_of([(text, "a", "train"), (other, "b", "test"), ("else", "a", "test")]))
    assert found == {1: True}


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("free money", "free honey"),
        ("re-sign", "resign"),
        ("ice cream", "icecream"),
        ("is it?", "? is it"),
        ("résumé", "resume"),
        ("сор", "cop"),  # words of one script each
        ("5 > 3", "5 3"),
        ("!", "?"),
    ],
)
def test_texts_that_differ_in_more_are_not_near(text, other):
    assert near_key(text) != near_key(other)
    assert find_near_leaks(examples_of([(text, "a", "train"), (other, "a", "test")])) == {}


ALPHABET = "aAàÀßſﬁｆＡаАВвсСνΝηιİi\u0307 \u00a0\t\u200b\ufe0f.!。'-15½²Ⅷ가각ㄱ"
SOME = st.one_of(
    st.text(st.sampled_from(ALPHABET), max_size=6),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.builds(
        lambda text, times, end: text * times + end,
        *(
            st.text(st.sampled_from(ALPHABET), min_size=1, max_size=4),
            st.integers(20, 120),
            st.text(max_size=2),
        ),
    ),
)
CHANGES: list[Callable[[str], str]] = [
    *(str.upper, str.casefold, str.swapcase, lambda text: f" {text} !"),
    lambda text: text.replace(" ", " \u200b "),
    lambda text: text.replace("a", "ａ").replace("fi", "ﬁ"),
    lambda text: "\ufe0f".join(text),
    lambda text: text.replace("а", "a").replace("С", "C"),
]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(SOME, st.sampled_from("ab"), SPLIT), max_size=8),
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(CHANGES), st.sampled_from("ab"), SPLIT), max_size=8
    ),
)
def test_the_search_finds_what_a_comparison_of_all_keys_finds(rows, copies):
    table = rows + [(change(rows[at][0]), *more) for at, change, *more in copies if at < len(rows)]
    if not table:
        return
    expected = {}
    for row, (text, label, split) in enumerate(table):
        earlier = [one for one in table if SPLITS.index(one[2]) < SPLITS.index(split)]
        labels = {one[1] for one in earlier if near_key(one[0]) == near_key(text)}
        if labels and text not in {one[0] for one in earlier}:
            expected[row] = labels != {label}
    assert find_near_leaks(examples_of(table)) == expected


def test_conversations_are_near_message_by_message():
    def talk(*texts: str) -> Conversation:
        return Conversation(messages=tuple(Message(role="user", content=text) for text in texts))

    rows = [
        (talk("Hi", "you"), "a", "train"),
        (talk("hi!", "YOU"), "a", "test"),
        (talk("hi you"), "a", "test"),
    ]
    assert find_near_leaks(examples_of(rows)) == {1: False}
    assert input_key(rows[0][0]) == ("user", "hi", "user", "you")


def test_near_leaks_are_counted_and_kept_or_removed_and_duplicates_in_training_stay():
    table = examples_of(
        [
            *(("Same", "a", "train"), ("same", "a", "train"), ("other", "b", "train"), ("Same", "a", "test")),
            *(
                ("same.", "b", "validation"),
                ("SAME", "a", "test"),
                ("OTHER", "b", "test"),
                ("new", "b", "test"),
            ),
        ]
    )
    kept, counts = clean(table)
    assert (counts.leaks, counts.near_leaks, counts.near_opposite) == (1, 3, 2)  # validation and train differ
    assert len(kept) == 7
    removed, again = clean(table, leaks="near")
    assert again == counts
    assert removed.inputs == ("Same", "same", "other", "new")
    published, same = clean(table, leaks="kept")
    assert same == counts and published == table


# ── in tasks, suites, records and pages ──────────────────────────────────────────────────────────────────


@pytest.fixture
def near_task(write: Callable[[str, str], Path]) -> Path:
    """A task file of 60 rows; of 20 test rows 3 are near training rows, 1 of them with another label."""
    rows = [
        {
            "text": f"{'good fine lovely' if row % 2 else 'bad awful nasty'} thing number {row}",
            "label": "good" if row % 2 else "bad",
            "split": "test" if row < 20 else "train",
            "group": f"g{row}",
        }
        for row in range(60)
    ]
    for row, twin, label in ((0, 40, "bad"), (1, 41, "good"), (2, 43, "bad")):
        rows[row] |= {"text": rows[twin]["text"].upper() + "!", "label": label}
    write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return write(
        "task.yaml",
        "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\ncolumns: {group: group}\n",
    )


@pytest.fixture
def run(harness_command, write, tmp_path) -> Callable[..., tuple[Any, list[Any]]]:
    """`run("leaks: near", task="{name: toy, limit: 40}")` gives the command's result, and the records of the run."""

    def call(more: str = "", *, task: str = "toy", output: str = "run") -> tuple[Any, list[Any]]:
        write("suite.yaml", f"name: near\ntasks: [{task}]\nrepresentations: [text_length]\n{more}\n")
        said = harness_command("run", "suite.yaml", "--include", "task.yaml", "-o", output, "-d", "cpu")
        return said, RunFolder(tmp_path / output).records() if (tmp_path / output).is_dir() else []

    return call


def test_near_leaks_stand_in_the_record_as_a_flag_and_on_the_page(near_task, run, tmp_path):
    said, (record,) = run()
    assert said.code == 0
    assert (record.hygiene.near_leaks, record.hygiene.near_opposite, record.n_test) == (3, 1, 20)
    assert "near-leaks:3" in record.flags and record.hygiene.fuzzy_leaks is None
    page = (tmp_path / "run" / "leaderboard.md").read_text("utf-8")
    assert NEAR in page and FUZZY not in page
    assert "| toy | 0 | 0 | 3 (1) | 0 | 0 | 0 |" in page


@pytest.mark.parametrize("where", ["suite", "task of the suite", "task file"])
def test_a_suite_or_a_task_may_have_near_leaks_removed(near_task, run, where):
    if where == "task file":
        near_task.write_text(near_task.read_text() + "leaks: near\n")
    more = "leaks: near" if where == "suite" else ""
    _, (record,) = run(more, task="{name: toy, leaks: near}" if where == "task of the suite" else "toy")
    assert (record.hygiene.near_leaks, record.n_test) == (3, 17)
    assert not any(flag.startswith("near-leaks") for flag in record.flags)


def test_validate_notes_the_near_leaks_that_a_suite_keeps_and_names_the_way_out(
    near_task, harness_command, write
):
    for more, kept in (("", True), ("leaks: near\n", False)):
        write("suite.yaml", f"name: near\ntasks: [toy]\nrepresentations: [text_length]\n{more}")
        told = harness_command("validate", "suite.yaml", "--include", near_task)
        assert ("keeps 3 near leaks, 1 of them with another label" in told.out) == kept
        assert ("'leaks: near' removes them" in told.out) == kept
        assert ("removed: 3 near leaks" in told.out) != kept


def test_removal_makes_other_data_and_counting_the_same(near_task, run):
    plain, near = (run(more, output=more or "plain")[1][0] for more in ("", "leaks: near"))
    spec = read_task(near_task)
    assert load_task(spec).fingerprint == load_task(replace(spec, leaks="exact")).fingerprint == plain.data
    assert plain.cell_id != near.cell_id and plain.data != near.data


def test_removed_near_leaks_are_named_where_no_test_row_is_left(tmp_path):
    rows = [
        {"text": f"{word} {i}", "label": "ab"[i % 2], "split": split}
        for i in range(9)
        for word, split in SAME
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_of(FileSource(file=tmp_path / "data.jsonl"))
    assert load_task(spec).hygiene.near_leaks == 9
    with pytest.raises(Exception, match="no test rows left; removed were 9 near leaks"):
        load_task(replace(spec, leaks="near"))


SAME = (("word", "train"), ("Word", "test"))


def spec_of(source: Any, **more: Any) -> TaskSpec:
    about = {"version": 1, "summary": "", "languages": ("en",), "licence": "CC0", "citation": ""}
    return TaskSpec(**{"name": "toy", **about, "source": source, **more})


def test_a_test_row_near_one_of_the_task_that_is_learnt_from_is_counted_and_removed_by_choice(tmp_path):
    for name, texts in (
        ("there", [f"text {i}" for i in range(40)]),
        ("here", ["TEXT 3", *map(str, range(9))]),
    ):
        rows = [{"text": text, "label": "ab"[i % 2], "split": "train"} for i, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    there = spec_of(FileSource(file=tmp_path / "there.jsonl"), name="there", columns=Columns(split=None))
    here = spec_of(FileSource(file=tmp_path / "here.jsonl"), trained_on="there")
    assert "text 3" in load_task(here, trained_on=there).examples.inputs  # it is a training row there
    for leaks, tested in (("exact", 10), ("near", 9)):
        data = load_task(replace(here, leaks=leaks), trained_on=there)
        assert (data.hygiene.near_leaks, data.hygiene.near_opposite) == (1, 1)
        assert data.examples.splits.count("test") == tested


@pytest.mark.parametrize("kept", [{"modality": "image"}, {"keep_leaks": True}])
def test_a_task_that_cannot_lose_its_near_leaks_says_so(kept):
    with pytest.raises(UsageError, match="it cannot have 'leaks: near'"):
        load_task(spec_of(None, leaks="near", **kept))


# ── a task's own limit, spellings of labels and groups ───────────────────────────────────────────────────


def test_the_limit_of_a_task_is_told_on_its_rows_and_is_part_of_the_datas_identity(near_task, run, tmp_path):
    _, (whole,) = run(output="whole")
    _, (part,) = run(task="{name: toy, limit: 30}", output="part")
    assert (whole.hygiene.drawn, whole.hygiene.drawn_from) == (None, None)
    assert (part.hygiene.drawn, part.hygiene.drawn_from) == (30, 60)
    assert "subset:30/60" in part.flags and not any("subset" in flag for flag in whole.flags)
    assert part.data != whole.data and part.cell_id != whole.cell_id
    assert "30 of 60" in (tmp_path / "part" / "leaderboard.md").read_text("utf-8")


def test_labels_and_groups_that_differ_by_case_or_blanks_are_told_and_stay_apart(near_task, run, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    for row in rows[30:34]:
        row["label"] = row["label"].capitalize()
    rows[40] |= {"label": "good ", "group": "G50 "}
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said, (record,) = run()
    assert "alike-labels:5" in record.flags and "alike-groups:2" in record.flags
    notes = [line for line in said.said if line.startswith("note: task 'toy' has")]
    assert notes == [
        "note: task 'toy' has labels that differ only by case or blanks, each for itself: 'Bad' (2 rows), 'bad' "
        "(27 rows); 'Good' (2 rows), 'good' (28 rows), 'good ' (1 rows); `labels` in its task file makes them one",
        "note: task 'toy' has groups that differ only by case or blanks, each for itself: 'G50 ' (1 rows), 'g50' "
        "(1 rows)",
    ]


# ── fuzzy leaks ──────────────────────────────────────────────────────────────────────────────────────────

LONG = "the quick brown fox jumps over the lazy dog and runs away from the old farm"


def jaccard(one: str, other: str) -> float:
    first, second = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (one, other))
    return len(first & second) / len(first | second)


def fuzzy_of(
    rows: Sequence[tuple[str, str, Any]], store: FeatureStore | None = None
) -> tuple[int | None, int | None]:
    data = TaskData(spec=spec_of(None), examples=examples_of(rows), classes=("a", "b"), hygiene=Hygiene())
    found = count_fuzzy_leaks(data, store).hygiene
    return found.fuzzy_leaks, found.fuzzy_opposite


@pytest.mark.parametrize(
    ("text", "label", "counts"),
    [
        (LONG.replace("fox", "cat"), "a", (1, 0)),
        (LONG.replace("fox", "cat"), "b", (1, 1)),
        (LONG.replace("fox", "cat").replace("dog", "pig"), "a", (0, 0)),  # an index of .75
        (LONG.upper(), "a", (0, 0)),  # near, and counted as that
        (LONG, "a", (0, 0)),  # exact
    ],
)
def test_a_fuzzy_leak_has_a_jaccard_index_of_four_fifths_with_a_text_of_an_earlier_split(text, label, counts):
    assert (jaccard(text, LONG) >= 0.8) == (counts[0] > 0 or text == LONG)
    assert fuzzy_of([(LONG, "a", "train"), (text, label, "test"), (text[:39], label, "test")]) == counts


def test_fuzzy_leaks_are_those_of_a_comparison_of_all_pairs():
    rng = random.Random(0)
    words = [f"word{number}" for number in range(40)]
    rows = []
    for number in range(240):
        text = rng.choices(words, k=12) if number % 3 == 0 else list(rows[-(number % 3)][0].split())
        text[rng.randrange(12)] = rng.choice(words)
        rows.append((" ".join(text), rng.choice("ab"), rng.choice(SPLITS)))
    alike, opposite = set(), set()
    for number, (text, label, split) in enumerate(rows):
        earlier = [row for row in rows if SPLITS.index(row[2]) < SPLITS.index(split)]
        twins = [row for row in earlier if jaccard(row[0], text) >= 0.8]
        if twins and all(row[0] != text for row in earlier):
            alike.add(number)
            opposite |= {number} if any(row[1] != label for row in twins) else set()
    assert 20 < len(alike) < 200 and 0 < len(opposite) < len(alike)
    assert fuzzy_of(rows) == (len(alike), len(opposite))


def test_fuzzy_leaks_are_counted_once_for_the_same_contents(tmp_path, monkeypatch):
    store, rows = FeatureStore(tmp_path), [(LONG, "a", "train"), (LONG.replace("fox", "cat"), "a", "test")]
    assert fuzzy_of(rows, store) == (1, 0)
    monkeypatch.setattr("harness.data.fuzzy._count", lambda texts: (7, 7))
    assert fuzzy_of(rows[::-1], store) == (1, 0)
    assert fuzzy_of([rows[0], (rows[1][0], "b", "test")], store) == (7, 7)
    assert [entry.kind for entry in list_entries(tmp_path)] == ["leaks", "leaks"]


def test_fuzzy_leaks_are_an_option_that_is_noted_recorded_explained_and_moves_no_identity(
    near_task, run, tmp_path
):
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    rows[30] |= {"text": LONG, "label": "good"}
    rows[3] |= {"text": LONG.replace("fox", "cat"), "label": "good"}
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (plain,), (said, (record,)) = run(output="plain")[1], run("fuzzy_leaks: true")
    assert "task 'toy' has 1 fuzzy leaks (0 with another label)" in said.err
    assert (record.hygiene.fuzzy_leaks, record.hygiene.fuzzy_opposite) == (1, 0)
    assert (plain.cell_id, plain.hygiene.fuzzy_leaks) == (record.cell_id, None)
    assert FUZZY in (tmp_path / "run" / "leaderboard.md").read_text("utf-8")


def test_without_datasketch_fuzzy_leaks_end_in_the_command_that_installs_it(near_task, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    said, _ = run("fuzzy_leaks: true")
    assert said.code == 3 and "pip install 'sae-harness[fuzzy]'" in said.err
