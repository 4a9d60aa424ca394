"""Files in, examples out: stable ids, exact hygiene, splits that no other row can move, one sentence for bad data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.data import Examples
from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.config.task_file import read_task
from harness.data import sources
from harness.data.cleaning import clean
from harness.data.splits import SplitLimits, split_rows, take_stratified
from harness.data.task import TaskData, load_task
from harness.storage.hashing import hash_lines

SUFFIXES = ("parquet", "csv", "jsonl")


def rows_of(n: int = 60, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Rows of two classes with distinct texts."""
    makers = {"text": lambda i: f"text number {i}", "label": lambda i: "ab"[i % 2], **columns}
    return [{name: make(row) for name, make in makers.items()} for row in range(n)]


def save(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Rows as a file of the kind that its ending says."""
    frame = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def task_file(folder: Path, file: str, columns: str = "{}", languages: str = "[en]") -> TaskSpec:
    """A task as a user writes it."""
    path = folder / "task.yaml"
    path.write_text(
        f"name: toy\nsource: {{file: {file}}}\ncolumns: {columns}\nlicence: CC0\ncitation: none\n"
        f"languages: {languages}\n",
        "utf-8",
    )
    return read_task(path)


def load(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    suffix: str = "jsonl",
    columns: str = "{}",
    languages: str = "[en]",
    limit: int | None = None,
) -> TaskData:
    save(rows, folder / f"data.{suffix}")
    return load_task(task_file(folder, f"data.{suffix}", columns, languages), limit=limit)


def make_examples(
    texts: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[Any] | None = None,
    groups: Sequence[str | None] | None = None,
) -> Examples:
    return Examples(
        ids=tuple(hash_lines([text, "en"])[:16] for text in texts),
        inputs=tuple(texts),
        labels=tuple(labels),
        splits=tuple(splits or ["train"] * len(texts)),
        languages=("en",) * len(texts),
        groups=tuple(groups or [None] * len(texts)),
    )


def split_of(data: TaskData) -> dict[str, str]:
    return dict(zip(data.examples.inputs, data.examples.splits, strict=True))


# ── ids and formats ──────────────────────────────────────────────────────────────────────────────────────


def test_the_file_format_changes_nothing(tmp_path: Path) -> None:
    rows = rows_of(40, split=lambda i: "test" if i % 5 == 0 else "train")
    rows[0]["text"] = 'a "quoted", text\nof two lines, with ümlauts and 漢字'
    loaded = [load(tmp_path, rows, suffix=suffix) for suffix in SUFFIXES]
    assert loaded[0].examples == loaded[1].examples == loaded[2].examples
    assert len({data.fingerprint for data in loaded}) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "text", ["NA", "null", "nan", "None", "007", "1e5", "true", " padded ", "2024-01-01"]
)
def test_a_text_that_looks_like_something_else_stays_text(tmp_path: Path, suffix: str, text: str) -> None:
    rows = rows_of(20, split=lambda i: "test" if i > 12 else "train")
    rows[3]["text"] = text
    data = load(tmp_path, rows, suffix=suffix)
    assert data.hygiene.empty == 0
    assert data.examples.inputs[3] == text
    assert data.examples.ids[3] == hash_lines([text, "en"])[:16]


def test_a_csv_of_numbers_is_text_and_its_labels_keep_their_zeros(tmp_path: Path) -> None:
    numbers = rows_of(40, text=lambda i: f"{i:03d}", label=lambda i: ("01", "NA")[i % 2])
    data = load(tmp_path, numbers, suffix="csv")
    assert set(data.examples.inputs) == {f"{i:03d}" for i in range(40)}
    assert data.classes == ("01", "NA")


def test_number_labels_are_the_same_classes_in_every_format(tmp_path: Path) -> None:
    rows = rows_of(40, label=lambda i: i % 3)
    loaded = [load(tmp_path, rows, suffix=suffix) for suffix in SUFFIXES]
    assert {data.classes for data in loaded} == {("0", "1", "2")}
    assert len({data.fingerprint for data in loaded}) == 1


def test_ids_and_splits_do_not_depend_on_row_order_or_on_other_rows(tmp_path: Path) -> None:
    rows = rows_of(80)
    whole = load(tmp_path, rows)
    turned = load(tmp_path, rows[::-1])
    fewer = load(tmp_path, rows[10:70])
    assert dict(zip(whole.examples.inputs, whole.examples.ids, strict=True)) == dict(
        zip(turned.examples.inputs, turned.examples.ids, strict=True)
    )
    assert split_of(whole) == split_of(turned)
    assert split_of(fewer).items() <= split_of(whole).items()


def test_one_text_in_two_languages_is_two_examples(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{i}", "label": "ab"[i % 2], "lang": lang, "split": "test" if i > 6 else "train"}
        for i in range(10)
        for lang in ("de", "en")
    ]
    data = load(tmp_path, rows, columns="{language: lang}", languages="[de, en]")
    assert len(set(data.examples.ids)) == 20
    assert data.hygiene.duplicates == data.hygiene.leaks == 0


def parallel(n: int, *languages: str) -> list[dict[str, Any]]:
    """`n` items in several languages, with their own text in each."""
    return [
        {
            "text": f"{language} item {i}",
            "label": "ab"[i % 2],
            "lang": language,
            "item": i,
            "split": "test" if i % 4 == 3 else "train",
        }
        for i in range(n)
        for language in languages
    ]


PARALLEL = {"columns": "{language: lang, group: item}", "languages": "[de, en, yo]"}


def test_a_translation_of_a_training_item_is_a_leak_in_any_language(tmp_path: Path) -> None:
    rows = parallel(40, "de", "en")
    rows.append({"text": "yo item 0", "label": "a", "lang": "yo", "item": 0, "split": "test"})
    rows.append(
        {"text": "de item 8", "label": "a", "lang": "yo", "item": 99, "split": "test"}
    )  # as it stands
    data = load(tmp_path, rows, **PARALLEL)
    assert data.hygiene.leaks == 2
    assert set(data.examples.languages) == {"de", "en"}


def test_a_limit_takes_the_same_items_in_every_language(tmp_path: Path) -> None:
    data = load(tmp_path, parallel(80, "de", "en", "yo"), **PARALLEL, limit=60)
    items = {
        language: {
            group
            for group, own in zip(data.examples.groups, data.examples.languages, strict=True)
            if own == language
        }
        for language in ("de", "en", "yo")
    }
    assert items["de"] == items["en"] == items["yo"]
    assert len(items["de"]) == 20


@pytest.mark.parametrize(
    ("language", "said"), [("nl", "'nl'"), (None, "no language"), ("dee", "did you mean 'de'")]
)
def test_a_row_in_a_language_that_the_task_does_not_have_is_named(
    tmp_path: Path, language: str | None, said: str
) -> None:
    rows = parallel(20, "de", "en")
    rows[3]["lang"] = language
    with pytest.raises(UnavailableError, match=said) as caught:
        load(tmp_path, rows, **PARALLEL)
    assert "row 3" in str(caught.value)


def test_texts_are_read_in_normal_form_c_and_counted(tmp_path: Path) -> None:
    rows = rows_of(40)
    rows[2]["text"] = "cafe\u0301 2"
    rows[30]["text"] = "caf\u00e9 30"
    data = load(tmp_path, rows)
    assert data.examples.inputs[2] == "caf\u00e9 2"
    assert data.hygiene.normalised == 1
    rows[30] = {**rows[2], "text": "caf\u00e9 2"}
    assert load(tmp_path, rows).hygiene.duplicates == 1


@pytest.mark.parametrize("text", ["", "  ", "\u200b", "\u200d\ufeff", "\u200e \u200f", "\x00"])
def test_what_nobody_can_see_is_empty(tmp_path: Path, text: str) -> None:
    rows = rows_of(40)
    rows[5]["text"] = text
    assert load(tmp_path, rows).hygiene.empty == 1


@pytest.mark.parametrize(
    "text", ["\u202bשלום עולם\u202c", "می\u200cخواهم", "hello мир 你好", "👩\u200d💻", "क्\u200dष"]
)
def test_scripts_directions_and_joiners_stay_as_they_are(tmp_path: Path, text: str) -> None:
    rows = rows_of(40)
    rows[5]["text"] = text
    data = load(tmp_path, rows)
    assert data.hygiene.empty == 0
    assert text in data.examples.inputs


def test_class_order_does_not_depend_on_row_order(tmp_path: Path) -> None:
    rows = rows_of(60, label=lambda i: ["zebra", "Apfel", "ant"][i % 3])
    assert load(tmp_path, rows).classes == load(tmp_path, rows[::-1]).classes == ("Apfel", "ant", "zebra")


# ── hygiene ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_dirt_is_counted_and_removed_exactly(tmp_path: Path) -> None:
    clean_rows = [
        {"text": f"clean {i}", "label": "ab"[i % 2], "split": split, "group": f"{split}-{i}"}
        for split, n in (("train", 20), ("validation", 6), ("test", 10))
        for i in [len(split) * 100 + j for j in range(n)]
    ]
    dirt = [
        {"text": "", "label": "a", "split": "train", "group": ""},
        {"text": "  \n", "label": "a", "split": "test", "group": ""},
        {"text": "two minds", "label": "a", "split": "train", "group": ""},
        {"text": "two minds", "label": "b", "split": "test", "group": ""},
        {"text": clean_rows[0]["text"], "label": clean_rows[0]["label"], "split": "train", "group": "x"},
        {"text": clean_rows[1]["text"], "label": clean_rows[1]["label"], "split": "test", "group": "y"},
        {"text": clean_rows[2]["text"], "label": clean_rows[2]["label"], "split": "validation", "group": "z"},
        {"text": clean_rows[21]["text"], "label": clean_rows[21]["label"], "split": "test", "group": "w"},
        {"text": "a sibling", "label": "a", "split": "test", "group": clean_rows[3]["group"]},
    ]
    data = load(tmp_path, [*dirt, *clean_rows], columns="{group: group}")
    hygiene = data.hygiene
    assert (hygiene.empty, hygiene.conflicts, hygiene.duplicates, hygiene.leaks) == (2, 2, 1, 4)
    assert Counter(data.examples.splits) == {"train": 20, "validation": 6, "test": 10}
    assert set(data.examples.inputs) == {row["text"] for row in clean_rows}


def test_rows_without_a_group_are_not_each_others_siblings(tmp_path: Path) -> None:
    rows = rows_of(40, group=lambda i: "", split=lambda i: "test" if i % 4 == 0 else "train")
    for suffix in SUFFIXES:
        data = load(tmp_path, rows, suffix=suffix, columns="{group: group}")
        assert data.hygiene.leaks == 0
        assert set(data.examples.groups) == {None}


def test_a_sibling_of_a_dropped_duplicate_is_still_a_leak() -> None:
    given_rows = make_examples(
        ["same", "same", "sibling", "other"],
        ["a", "a", "b", "b"],
        ["train", "train", "test", "test"],
        ["g1", "g2", "g2", "g3"],
    )
    for order in ([0, 1, 2, 3], [1, 0, 2, 3]):
        kept, hygiene = clean(given_rows.take(order))
        assert (hygiene.duplicates, hygiene.leaks) == (1, 1)
        assert set(kept.inputs) == {"same", "other"}


SMALL = st.lists(
    st.tuples(
        st.sampled_from(["", "p", "q", "r", "s", "t", "u"]),
        st.sampled_from("ab"),
        st.sampled_from(["train", "validation", "test"]),
        st.sampled_from([None, "g", "h"]),
    ),
    min_size=1,
    max_size=25,
)


@given(SMALL)
def test_nothing_dirty_survives_and_the_counts_add_up(table: list[tuple[str, str, str, str | None]]) -> None:
    texts, labels, splits, groups = zip(*table, strict=True)
    kept, hygiene = clean(make_examples(texts, labels, splits, groups))
    removed = hygiene.empty + hygiene.conflicts + hygiene.duplicates + hygiene.leaks
    assert len(kept) + removed == len(table)
    assert len(set(kept.ids)) == len(kept)  # no duplicate, and no text in two splits
    assert "" not in kept.inputs
    homes: dict[str, set[str]] = {}
    for group, split in zip(kept.groups, kept.splits, strict=True):
        if group is not None:
            homes.setdefault(group, set()).add(split)
    assert all(len(home) == 1 for home in homes.values())
    assert clean(kept)[0] == kept


# ── splits ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["dev", "val", "valid", "validation"])
def test_official_splits_are_kept_under_any_of_their_names(tmp_path: Path, name: str) -> None:
    rows = rows_of(40, fold=lambda i: "test" if i < 8 else name if i < 16 else "training")
    data = load(tmp_path, rows, columns="{split: fold}")
    assert Counter(data.examples.splits) == {"test": 8, "validation": 8, "train": 24}
    whole = split_rows(data.examples, 0)
    assert {split: len(rows) for split, rows in whole.items()} == {"train": 24, "validation": 8, "test": 8}
    for seed in range(1, 4):
        found = split_rows(data.examples, seed)
        assert (found["validation"], found["test"]) == (whole["validation"], whole["test"])
        assert set(found["train"]) < set(whole["train"])


def test_with_official_validation_every_seed_but_0_learns_from_its_own_85_percent(tmp_path: Path) -> None:
    rows = rows_of(800, fold=lambda i: ("test", "dev", "train", "train")[i % 4])
    examples = load(tmp_path, rows, columns="{split: fold}").examples
    drawn = [split_rows(examples, seed)["train"] for seed in range(4)]
    assert len(drawn[0]) == 400
    assert [len(rows) for rows in drawn[1:]] == pytest.approx([340] * 3, abs=30)
    assert len({tuple(rows) for rows in drawn}) == 4


def test_a_column_called_split_holds_the_splits(tmp_path: Path) -> None:
    data = load(tmp_path, rows_of(40, split=lambda i: "test" if i < 8 else "train"))
    assert split_of(data)["text number 3"] == "test"
    assert Counter(data.examples.splits)["test"] == 8


def test_without_official_splits_about_a_fifth_is_test_and_validation_comes_from_training(
    tmp_path: Path,
) -> None:
    data = load(tmp_path, rows_of(2000))
    found = split_rows(data.examples, 0)
    assert 0.17 < len(found["test"]) / 2000 < 0.23
    assert 0.12 < len(found["validation"]) / (2000 - len(found["test"])) < 0.18
    other = split_rows(data.examples, 1)
    assert other["test"] == found["test"]
    assert other["validation"] != found["validation"]
    assert sorted(other["train"] + other["validation"]) == sorted(found["train"] + found["validation"])


TEXTS = st.lists(st.text("abcdefgh ", min_size=1, max_size=6), min_size=2, max_size=60, unique=True)


def placed(examples: Examples, seed: int) -> dict[str, str]:
    from harness.data.splits import split_examples

    examples, _ = clean(split_examples(examples))
    return {examples.inputs[row]: split for split, rows in split_rows(examples, seed).items() for row in rows}


@settings(max_examples=60)
@given(TEXTS, st.data(), st.integers(0, 3))
def test_no_other_row_can_move_an_example(texts: list[str], draw: st.DataObject, seed: int) -> None:
    filler = [f"filler {i}" for i in range(40)]  # so that either part has rows to hold out
    texts = [text for text in texts if text.strip()]
    some = draw.draw(st.permutations(texts)) if texts else []
    some = some[: draw.draw(st.integers(0, len(some)))]
    whole = placed(make_examples([*texts, *filler], ["a"] * (len(texts) + 40)), seed)
    part = placed(make_examples([*filler, *some], ["a"] * (len(some) + 40)), seed)
    assert part.items() <= whole.items()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=20, max_size=120), st.integers(0, 3))
def test_siblings_of_a_group_never_straddle_splits(groups: list[int], seed: int) -> None:
    filler = [f"f{i}" for i in range(40)]
    names = [*(f"g{group}" for group in groups), *filler]
    examples = make_examples([f"text {i}" for i in range(len(names))], ["a"] * len(names), None, names)
    where = placed(examples, seed)
    homes: dict[str, set[str]] = {}
    for text, group in zip(examples.inputs, names, strict=True):
        homes.setdefault(group, set()).add(where[text])
    assert len(where) == len(names)  # so nothing leaked either
    assert all(len(home) == 1 for home in homes.values())


@given(st.integers(2, 12), st.integers(0, 20))
def test_validation_is_never_empty_however_few_the_rows(n: int, seed: int) -> None:
    texts = [f"{seed} {i}" for i in range(n)]
    examples = make_examples(texts, ["a"] * n)
    try:
        rows = split_rows(examples, seed)
    except UnavailableError as error:  # all of two or three rows may fall below the share
        assert "too few rows" in str(error)
        return
    assert rows["validation"]
    assert rows["train"]


def test_training_rows_of_one_group_cannot_be_split() -> None:
    examples = make_examples(["a", "b", "c"], ["a", "b", "a"], None, ["g"] * 3)
    with pytest.raises(UnavailableError, match="too few rows, or groups"):
        split_rows(examples, 0)


# ── limit ────────────────────────────────────────────────────────────────────────────────────────────────


def stratified_table(n: int = 300) -> Examples:
    labels = ["rare" if i % 50 == 0 else "ab"[i % 2] for i in range(n)]
    splits = [("train", "train", "train", "validation", "test")[i * 7 % 5] for i in range(n)]
    return make_examples([f"row {i}" for i in range(n)], labels, splits)


def test_a_limit_takes_a_share_of_every_split_and_class_and_at_least_one() -> None:
    examples = stratified_table()
    few = take_stratified(examples, 30)
    strata = set(zip(examples.splits, examples.labels, strict=True))
    assert set(zip(few.splits, few.labels, strict=True)) == strata
    assert len(few) <= 30 + len(strata)
    assert take_stratified(examples, 300) is examples


@given(st.integers(1, 300), st.integers(1, 300), st.randoms())
def test_limits_are_nested_and_depend_on_content_alone(one: int, other: int, random: Any) -> None:
    examples = stratified_table()
    order = list(range(len(examples)))
    random.shuffle(order)
    small, large = sorted((one, other))
    fewer, more = take_stratified(examples.take(order), small), take_stratified(examples, large)
    assert set(fewer.ids) <= set(more.ids)
    assert set(fewer.ids) == set(take_stratified(examples, small).ids)


def test_test_rows_and_others_are_limited_apart() -> None:
    examples = stratified_table()
    counts = Counter(examples.splits)
    for test, others in ((10, 40), (10, None), (None, 40), (10_000, 10_000)):
        few = take_stratified(examples, SplitLimits(test=test, others=others))
        kept = Counter(few.splits)
        wanted = {"test": test, "others": others}
        has = {"test": counts["test"], "others": len(examples) - counts["test"]}
        given = {"test": kept["test"], "others": len(few) - kept["test"]}
        for part, limit in wanted.items():
            assert abs(given[part] - min(limit or has[part], has[part])) <= 3
        assert set(few.labels) == set(examples.labels)
        order = {one: place for place, one in enumerate(examples.ids)}
        assert [order[one] for one in few.ids] == sorted(order[one] for one in few.ids)
    fewer = take_stratified(examples, SplitLimits(test=10, others=40, every=20))
    assert len(fewer) <= 24
    assert set(fewer.ids) <= set(take_stratified(examples, SplitLimits(test=10, others=40)).ids)


def test_a_limit_changes_the_fingerprint_and_is_remembered(tmp_path: Path) -> None:
    save(rows_of(60), tmp_path / "data.jsonl")
    spec = task_file(tmp_path, "data.jsonl")
    limited = load_task(spec, limit=20)
    assert limited.limit == 20
    assert limited.fingerprint != load_task(spec).fingerprint


@pytest.mark.parametrize("column", ["ids", "labels", "splits", "groups", "languages"])
def test_the_fingerprint_changes_with_every_column(tmp_path: Path, column: str) -> None:
    data = load(tmp_path, rows_of(20))
    values = list(getattr(data.examples, column))
    values[3] = (
        "test" if column == "splits" and values[3] == "train" else "train" if column == "splits" else "x"
    )
    changed = replace(data, examples=replace(data.examples, **{column: tuple(values)}))
    assert changed.fingerprint != data.fingerprint


# ── bad data: one sentence each ──────────────────────────────────────────────────────────────────────────

GOOD = rows_of(20, split=lambda i: "test" if i > 12 else "train")


def with_row(**changes: Any) -> list[dict[str, Any]]:
    return [*GOOD, {**GOOD[0], "text": "one more", **changes}]


BAD = {
    "no_text_column": ([{"txt": "a", "label": "b"}], "has no column 'text'; it has: label, txt"),
    "no_label_column": ([{"text": "a"}], "has no column 'label'; it has: text"),
    "no_label": (with_row(label=None), "row 20 has no label"),
    "empty_label": (with_row(label=""), "row 20 has no label"),
    "one_class": ([{**row, "label": "a"} for row in GOOD], "has one class only: 'a'"),
    "no_test_rows": ([{**row, "split": "validation"} for row in GOOD], "has no train rows"),
    "test_rows_only": ([{**row, "split": "test"} for row in GOOD], "has no train rows"),
    "label_only_in_test": (with_row(label="c", split="test"), "has the label 'c' outside training only"),
    "unknown_split": (with_row(split="holdout"), "has a split 'holdout', which is none of train"),
    "no_split": (with_row(split=None), "has a split 'None', which is none of train"),
}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("fault", BAD)
def test_bad_data_is_one_sentence(tmp_path: Path, fault: str, suffix: str) -> None:
    rows, message = BAD[fault]
    with pytest.raises(UnavailableError) as caught:
        load(tmp_path, rows, suffix=suffix)
    assert message in str(caught.value)
    assert str(caught.value).startswith("task 'toy' ")
    assert "\n" not in str(caught.value)


def test_all_training_rows_without_a_test_row_is_no_test_rows(tmp_path: Path) -> None:
    rows = [{"text": "only", "label": "a"}, {"text": "two", "label": "b"}]
    with pytest.raises(UnavailableError, match="task 'toy' has"):
        load(tmp_path, rows)


def test_a_nan_label_in_parquet_is_no_label(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": ["a", "b"], "label": pa.array([1.0, float("nan")])})
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(UnavailableError, match="row 1 has no label"):
        load_task(task_file(tmp_path, "data.parquet"))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_number_where_text_should_be_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UnavailableError, match="row 0: the input is int, not text"):
        load(tmp_path, rows_of(20, text=lambda i: i), suffix=suffix)


def test_a_split_column_that_is_not_there_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="has no column 'fold'"):
        load(tmp_path, rows_of(20), columns="{split: fold}")


def break_bytes(path: Path) -> None:
    path.write_bytes(b"text,label\n\xff\xfe\x80broken,a\nfine,b\n")


def truncate(path: Path) -> None:
    pd.DataFrame(rows_of(50)).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])


BROKEN: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "csv_not_utf8": ("data.csv", break_bytes, "cannot be read as csv"),
    "truncated_parquet": ("data.parquet", truncate, "cannot be read as parquet"),
    "jsonl_not_json": ("data.jsonl", lambda path: path.write_text("{'text': 1}\n"), "cannot be read as json"),
    "empty_csv": ("data.csv", lambda path: path.write_text(""), "cannot be read as csv"),
    "csv_with_a_head_only": ("data.csv", lambda path: path.write_text("text,label\n"), "has no rows"),
    "ragged_csv": (
        "data.csv",
        lambda path: path.write_text("text,label\na,b\na,b,c,d\n"),
        "cannot be read as csv",
    ),
    "empty_jsonl": ("data.jsonl", lambda path: path.write_text(""), "task 'toy'"),
    "empty_parquet": ("data.parquet", lambda path: path.write_bytes(b""), "cannot be read as parquet"),
    "parquet_without_rows": (
        "data.parquet",
        lambda path: pd.DataFrame({"text": [], "label": []}).to_parquet(path),
        "task 'toy'",
    ),
    "absent": ("data.csv", lambda path: None, "there is no file"),
    "folder": ("data.csv", lambda path: path.mkdir(), "has no table that is named like a split"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_one_sentence(tmp_path: Path, fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, break_it, message = BROKEN[fault]
    break_it(tmp_path / name)
    with pytest.raises(UnavailableError) as caught:
        load_task(task_file(tmp_path, name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Failed" not in capfd.readouterr().err


def test_an_unknown_file_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.xlsx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"data\.xlsx' is none of \.parquet, \.csv, \.jsonl"):
        load_task(task_file(tmp_path, "data.xlsx"))


# ── where data comes from ────────────────────────────────────────────────────────────────────────────────


def spec_of(source: Any = None, **fields: Any) -> TaskSpec:
    return TaskSpec(
        name="toy",
        version=1,
        summary="",
        source=source,
        languages=("en",),
        licence="CC0",
        citation="",
        **fields,
    )


def test_the_mirror_comes_before_the_hub_and_a_file_before_the_mirror(tmp_path: Path) -> None:
    (tmp_path / "mirror" / "toy").mkdir(parents=True)
    save(rows_of(30), tmp_path / "mirror" / "toy" / "data.parquet")
    own = save(rows_of(20), tmp_path / "own.jsonl")
    spec = spec_of(FileSource(file=own))
    assert len(load_task(spec).examples) == 20
    assert len(load_task(spec, data_dir=tmp_path / "mirror").examples) == 20
    hub = spec_of(HubSource(hub="org/nowhere", revision="0" * 40))
    assert len(load_task(hub, data_dir=tmp_path / "mirror").examples) == 30
    with pytest.raises(UnavailableError, match="org/nowhere"):
        load_task(replace(hub, mirror="elsewhere"), data_dir=tmp_path / "mirror")


def test_a_task_of_the_mirror_alone_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="--data-dir or HARNESS_DATA_DIR"):
        load_task(spec_of())
    with pytest.raises(UnavailableError, match=r"there is no '.*toy/data\.parquet'"):
        load_task(spec_of(), data_dir=tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A dataset as it stands on the hub, in a local folder: three splits, class names in its card."""
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    for split, start, n in (("train", 0, 30), ("validation", 30, 8), ("test", 38, 10)):
        rows = [{"body": f"text {i}", "label": i % 2} for i in range(start, start + n)]
        save(rows, folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: body\n    dtype: string\n  - name: label\n"
        "    dtype:\n      class_label:\n        names:\n          '0': ham\n          '1': spam\n---\n",
        "utf-8",
    )
    return folder


@pytest.fixture(autouse=True)
def _datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")


def hub_spec(folder: Path | str, columns: Columns) -> TaskSpec:
    return spec_of(HubSource(hub=str(folder), revision="0" * 40, columns=columns))


def test_a_hub_dataset_brings_its_splits_and_class_names(hub: Path) -> None:
    data = load_task(hub_spec(hub, Columns(input="body")))
    assert data.classes == ("ham", "spam")
    assert Counter(data.examples.splits) == {"train": 30, "validation": 8, "test": 10}
    assert split_of(data)["text 38"] == "test"
    assert dict(zip(data.examples.inputs, data.examples.labels, strict=True))["text 3"] == "spam"


def test_an_undivided_hub_dataset_is_split_by_hash(hub: Path) -> None:
    data = load_task(hub_spec(hub, Columns(input="body", split=None)))
    assert set(data.examples.splits) == {"train", "test"}
    assert split_of(data).keys() == {f"text {i}" for i in range(48)}


def test_a_hub_task_file_takes_the_official_splits_unasked(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(
        f"name: toy\nsource: {{hub: '{hub}', revision: abc}}\ncolumns: {{input: body}}\n"
        "licence: CC0\ncitation: none\n"
    )
    assert Counter(load_task(read_task(path)).examples.splits)["test"] == 10


def test_a_withheld_label_of_the_hub_is_no_label(hub: Path) -> None:
    withheld = [{"body": f"text {i}", "label": -1} for i in range(38, 48)]
    save(withheld, hub / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(UnavailableError, match="row 38 has no label"):
        load_task(hub_spec(hub, Columns(input="body")))


def test_a_hub_dataset_that_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError) as caught:
        load_task(hub_spec("nobody/no-such-dataset", Columns()))
    error: HarnessError = caught.value
    assert "'nobody/no-such-dataset' cannot be loaded from its local cache (offline)" in str(error)
    assert "--data-dir" in str(error)
    assert error.exit_code == 3


# ── some rows, other spellings, another task's training rows ─────────────────────────────────────────────


def test_a_task_takes_only_the_rows_it_asks_for(tmp_path: Path) -> None:
    rows = rows_of(60, kind=lambda i: "xyz"[i % 3], number=lambda i: i % 2)
    for suffix in SUFFIXES:
        file = save(rows, tmp_path / f"data.{suffix}")
        data = load_task(spec_of(FileSource(file=file), where={"kind": "y"}))
        assert set(data.examples.inputs) == {f"text number {i}" for i in range(1, 60, 3)}
        both = spec_of(FileSource(file=file), where={"kind": "y", "number": "1"})
        with pytest.raises(UnavailableError, match="one class only"):  # odd rows are all of class b
            load_task(both)


def test_rows_that_are_not_there_cannot_be_asked_for(tmp_path: Path) -> None:
    file = FileSource(file=save(rows_of(kind=lambda i: "x"), tmp_path / "data.csv"))
    with pytest.raises(UnavailableError, match="task 'toy' has no rows where kind is 'y'"):
        load_task(spec_of(file, where={"kind": "y"}))
    with pytest.raises(UnavailableError, match=r"task 'toy' has no column 'sort'; it has: kind, label, text"):
        load_task(spec_of(file, where={"sort": "x"}))


def test_a_family_of_tasks_reads_its_file_once_and_sees_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = sources.read_columns
    monkeypatch.setattr(sources, "read_columns", lambda *a, **k: (reads.append(a), read(*a, **k))[1])
    file = save(rows_of(60, kind=lambda i: f"k{i % 5}"), tmp_path / "data.parquet")
    family = [spec_of(FileSource(file=file), where={"kind": f"k{number}"}) for number in range(5)]
    assert {len(load_task(spec).examples) for spec in family} == {12}
    assert len(reads) == 1
    save(rows_of(90, kind=lambda i: f"k{i % 5}"), file)
    assert {len(load_task(spec).examples) for spec in family} == {18}
    assert len(reads) == 2


def test_labels_are_spelled_as_the_task_asks_and_others_stay(tmp_path: Path, hub: Path) -> None:
    file = FileSource(file=save(rows_of(), tmp_path / "data.csv"))
    assert load_task(spec_of(file, labels={"a": "first"})).classes == ("b", "first")
    source = HubSource(
        hub=str(hub), revision="0" * 40, columns=Columns(input="body"), labels={"spam": "junk"}
    )
    spec = spec_of(source, labels={"ham": "not used on the hub"})
    assert load_task(spec).classes == ("ham", "junk")
    assert load_task(replace(spec, source=replace(source, labels=None))).classes == (
        "not used on the hub",
        "spam",
    )


def transfer(tmp_path: Path, own: Sequence[dict[str, Any]], *, group: str | None = "kind") -> TaskData:
    """A task with the rows `own`, learning from 60 rows of another whose groups are in the column `kind`."""
    learnt = rows_of(60, kind=lambda i: f"g{i // 6}", split=lambda i: "test" if i % 24 < 6 else "train")
    source = replace(spec_of(columns=Columns(group="kind"), mirror="source"), name="source")
    target = spec_of(columns=Columns(group=group), mirror="target", trained_on="source")
    for name, rows in (("source", learnt), ("target", own)):
        (tmp_path / name).mkdir(exist_ok=True)
        save(rows, tmp_path / name / "data.parquet")
    return load_task(target, data_dir=tmp_path, trained_on=source)


def test_a_task_that_learns_from_another_is_tested_on_its_own_rows_alone(tmp_path: Path) -> None:
    own = rows_of(30, text=lambda i: f"own text {i}", kind=lambda i: f"h{i}", split=lambda i: "train")
    data = transfer(tmp_path, own)
    rows = split_rows(data.examples, 0)
    assert {data.examples.inputs[row] for row in rows["test"]} == {row["text"] for row in own}
    source = replace(spec_of(columns=Columns(group="kind"), mirror="source"), name="source")
    theirs = load_task(source, data_dir=tmp_path)
    for split in ("train", "validation"):  # carved as the other task carves it: the two are paired
        expected = {theirs.examples.inputs[row] for row in split_rows(theirs.examples, 0)[split]}
        assert {data.examples.inputs[row] for row in rows[split]} == expected
    assert data.hygiene.leaks == 0


def test_a_test_row_that_the_other_task_teaches_is_a_leak(tmp_path: Path) -> None:
    own = rows_of(30, text=lambda i: f"own text {i}", kind=lambda i: f"h{i}")
    own[0]["text"] = "text number 7"  # a training row of the other task
    own[1]["text"] = "text number 4"  # one of its test rows: nothing is learnt from it
    own[2]["kind"] = "g3"  # a group of its training rows
    data = transfer(tmp_path, own)
    assert data.hygiene.leaks == 2
    tested = {data.examples.inputs[row] for row in split_rows(data.examples, 0)["test"]}
    assert tested == {row["text"] for row in own} - {"text number 7", "own text 2"}
    assert "text number 7" in data.examples.inputs  # the training row stays


def test_groups_of_another_column_mean_nothing(tmp_path: Path) -> None:
    own = rows_of(30, text=lambda i: f"own text {i}", source=lambda i: "g3")
    assert transfer(tmp_path, own, group="source").hygiene.leaks == 0


def test_what_is_tested_must_have_been_taught(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="label 'c' outside training only"):
        transfer(tmp_path, rows_of(9, text=lambda i: f"own {i}", label=lambda i: "c", kind=lambda i: "h"))
    with pytest.raises(UnavailableError, match="'toy' learns from 'source', which was not given"):
        load_task(spec_of(trained_on="source"))


def test_a_task_file_says_which_rows_which_labels_and_what_teaches(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: toy\nsource: {file: data.csv}\nlicence: CC0\ncitation: none\n"
        "where: {kind: x}\nlabels: {a: first}\ntrained_on: sms_spam\n"
    )
    spec = read_task(path)
    assert (spec.where, spec.labels, spec.trained_on) == ({"kind": "x"}, {"a": "first"}, "sms_spam")
    path.write_text("name: toy\nsource: {file: data.csv}\nlicence: CC0\ncitation: none\nwhere: kind\n")
    with pytest.raises(UsageError, match=r"line 5: where: "):
        read_task(path)


# ── what another task teaches ────────────────────────────────────────────────────────────────────────────


def taught(tmp_path: Path, *, group: str, limit: int | None = None) -> tuple[TaskData, TaskData]:
    """A source and a target that learns from it; both number their groups from 0, in the columns `a` and `group`."""
    for name, column in (("source", "a"), ("target", group)):
        rows = [
            {
                "text": f"{name} {i}",
                "label": "ab"[i % 2],
                column: i // 2,
                "split": ("train", "test")[i // 2 % 3 == 2],
            }
            for i in range(120)
        ]
        save(rows, tmp_path / f"{name}.jsonl")
    specs = [
        TaskSpec(
            name=name,
            version=1,
            summary="",
            source=FileSource(file=tmp_path / f"{name}.jsonl"),
            languages=("en",),
            licence="CC0",
            citation="none",
            columns=Columns(group=column),
            trained_on="source" if name == "target" else None,
        )
        for name, column in (("source", "a"), ("target", group))
    ]
    return load_task(specs[0], limit=limit), load_task(specs[1], trained_on=specs[0], limit=limit)


def test_groups_of_two_sets_are_the_same_only_where_one_column_names_them(tmp_path: Path) -> None:
    _, apart = taught(tmp_path, group="b")
    assert apart.examples.splits.count("test") == 120
    groups = {
        split: {
            group
            for group, own in zip(apart.examples.groups, apart.examples.splits, strict=True)
            if own == split
        }
        for split in ("train", "test")
    }
    assert not groups["train"] & groups["test"]
    _, alike = taught(tmp_path, group="a")
    assert alike.examples.splits.count("test") == 40
    assert alike.hygiene.leaks == 80


def test_a_limit_leaves_what_is_learnt_as_the_source_itself_learns_it(tmp_path: Path) -> None:
    source, target = taught(tmp_path, group="b", limit=60)
    learnt = [
        {one for one, split in zip(data.examples.ids, data.examples.splits, strict=True) if split == "train"}
        for data in (source, target)
    ]
    assert learnt[0] == learnt[1]
    assert target.examples.splits.count("test") == 60


def test_several_languages_without_a_column_for_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no column says .* columns\.language"):
        load(tmp_path, rows_of(), languages="[de, en]")
