"""What each regime by language learns from and tests on: which languages, which rows, and never a test row's twin."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.api.data import Examples, Partition, Split
from harness.api.errors import UnavailableError, UsageError
from harness.data.partitions import make_draws
from harness.data.splits import split_rows
from harness.session import open_registry

REGISTRY = open_registry()
ALL = ("native", "zero_shot", "zero_shot(source=en)", "leave_one_out", "leave_one_out(rows=40)",
       "few_shot(k=2,source=en)", "translations(source=en)", "joint", "joint(rows=40)")  # fmt: skip

Row = tuple[str, str, Split, str | None]
"""Language, label, split, group."""


def examples_of(rows: Sequence[Row]) -> Examples:
    draw = random.Random(0)
    languages, labels, splits, groups = zip(*rows, strict=True)
    return Examples(
        ids=tuple(f"{draw.getrandbits(64):016x}" for _ in rows),
        inputs=tuple(f"text {number}" for number in range(len(rows))),
        labels=labels,
        splits=splits,
        languages=languages,
        groups=groups,
    )


def parallel(items: int = 120, languages: str = "de en fr sw") -> Examples:
    """Every item in every language, one half of them for training, a quarter to choose on, a quarter to test."""
    splits: tuple[Split, ...] = ("train", "validation", "train", "test")
    return examples_of(
        [
            (language, "abc"[item % 3], splits[item % 4], f"item {item}")
            for language in languages.split()
            for item in range(items)
        ]
    )


def own(data: Examples, seed: int = 0) -> Partition:
    rows = split_rows(data, seed)
    train, validation, test = (tuple(rows[split]) for split in ("train", "validation", "test"))
    return Partition(train=train, validation=validation, test=test, labels=data.labels)


def apply(data: Examples, reference: Any, seed: int = 0) -> dict[tuple[str, str], Partition]:
    """The partitions of a regime by the languages of their training and test rows."""
    made = REGISTRY.choose("regimes", reference).make()(data, own(data, seed), seed)
    pairs = {(tongues(data, one.train), tongues(data, one.test)): one for one in made}
    assert len(pairs) == len(made)
    return pairs


def tongues(data: Examples, rows: Iterable[int]) -> str:
    return "+".join(sorted({data.languages[row] for row in rows}))


def test_native_goes_from_each_language_to_itself() -> None:
    data = parallel()
    made = apply(data, "native")
    assert list(made) == [(one, one) for one in ("de", "en", "fr", "sw")]
    rows = own(data)
    for one in ("de", "en", "fr", "sw"):
        for part in ("train", "validation", "test"):
            wanted = tuple(row for row in getattr(rows, part) if data.languages[row] == one)
            assert getattr(made[one, one], part) == wanted


def test_zero_shot_goes_from_each_language_or_from_one_to_every_other() -> None:
    data = parallel()
    made = apply(data, "zero_shot")
    every = ("de", "en", "fr", "sw")
    assert list(made) == [(one, other) for one in every for other in every if one != other]
    from_english = apply(data, "zero_shot(source=en)")
    assert from_english == {pair: one for pair, one in made.items() if pair[0] == "en"}
    assert len({one.train for one in from_english.values()}) == 1  # learnt once, tested on many


def test_leave_one_out_learns_from_all_others() -> None:
    assert list(apply(parallel(), "leave_one_out")) == [
        ("en+fr+sw", "de"), ("de+fr+sw", "en"), ("de+en+sw", "fr"), ("de+en+fr", "sw"),
    ]  # fmt: skip


def test_joint_learns_from_all_and_its_own() -> None:
    made = apply(parallel(), "joint")
    assert list(made) == [("de+en+fr+sw", one) for one in ("de", "en", "fr", "sw")]
    assert len({one.train for one in made.values()}) == 1


@pytest.mark.parametrize("rows", [9, 40, 60, 61, 100])
def test_of_many_rows_no_item_is_taken_twice_before_all_are_taken_once(rows: int) -> None:
    data = parallel()
    for (_, target), made in apply(data, f"leave_one_out(rows={rows})").items():
        assert len(made.train) == rows
        times = Counter(data.groups[row] for row in made.train)
        if rows <= 60:  # as many as there are items in training
            assert set(times.values()) == {1}
        else:
            assert len(times) == 60 and set(times.values()) <= {1, 2}
        labels = Counter(data.labels[row] for row in made.train)
        assert max(labels.values()) - min(labels.values()) <= 1
        languages = Counter(data.languages[row] for row in made.train)
        if rows >= 40:
            assert len(languages) == 3 and target not in languages


def test_of_rows_without_groups_small_languages_give_as_many_as_large_ones() -> None:
    sizes = {"de": 600, "en": 60, "sw": 12}
    data = examples_of(
        [
            (language, "ab"[number % 2], "test" if number % 3 == 2 else "train", None)
            for language, size in sizes.items()
            for number in range(size)
        ]
    )
    made = apply(data, "joint(rows=60)")["de+en+sw", "sw"]
    found = Counter(data.languages[row] for row in made.train)
    there = Counter(data.languages[row] for row in own(data).train)
    assert found["sw"] == there["sw"] and abs(found["de"] - found["en"]) <= 2


def test_a_smaller_draw_is_a_part_of_a_larger_one_and_seeds_draw_others() -> None:
    data = parallel(items=240)
    drawn = {n: apply(data, f"joint(rows={n})")["de+en+fr+sw", "en"] for n in (30, 60)}
    assert set(drawn[30].train) < set(drawn[60].train)
    other = apply(data, "joint(rows=60)", seed=1)["de+en+fr+sw", "en"]
    assert len(set(other.train) & set(drawn[60].train)) < 40


def test_more_rows_than_there_are_means_all() -> None:
    data = parallel()
    assert apply(data, "joint(rows=100000)") == apply(data, "joint")


def test_few_shot_adds_k_rows_of_each_label_and_chooses_on_the_source() -> None:
    data = parallel()
    made = apply(data, "few_shot(k=3,source=en)")
    assert list(made) == [("de+en", "de"), ("en+fr", "fr"), ("en+sw", "sw")]
    native = apply(data, "native")
    for (_, target), one in made.items():
        few = [row for row in one.train if data.languages[row] == target]
        assert Counter(data.labels[row] for row in few) == {"a": 3, "b": 3, "c": 3}
        assert set(one.train) - set(few) == set(native["en", "en"].train)
        assert one.validation == native["en", "en"].validation
    fewer = apply(data, "few_shot(k=1,source=en)")
    assert all(set(fewer[pair].train) < set(made[pair].train) for pair in made)


def test_a_language_with_fewer_than_k_rows_of_a_label_is_no_target_of_few_shot() -> None:
    rows: list[Row] = [("en", "ab"[i % 2], "train" if i < 40 else "test", None) for i in range(60)]
    rows += [("de", "ab"[i % 2], "train" if i < 8 else "test", None) for i in range(20)]
    rows += [("en", "a", "validation", None)]
    data = examples_of(rows)
    assert list(apply(data, "few_shot(k=4,source=en)")) == [("de+en", "de")]
    with pytest.raises(UnavailableError, match="few_shot: no language"):
        apply(data, "few_shot(k=5,source=en)")


def test_translations_are_of_the_sources_own_items() -> None:
    train: list[Row] = [("en", "ab"[i % 2], "train", f"g{i}") for i in range(0, 40)]
    train += [("de", "ab"[i % 2], "train", f"g{i}") for i in range(20, 60)]
    tests: list[Row] = [(one, "ab"[i % 2], "test", f"t{i}") for one in ("de", "en") for i in range(10)]
    chosen: list[Row] = [("en", "a", "validation", "v1"), ("de", "a", "validation", "v1"),
                         ("de", "a", "validation", "v2")]  # fmt: skip
    data = examples_of([*train, *tests, *chosen])
    made = apply(data, "translations(source=en)")
    assert list(made) == [("de", "de")]
    assert {data.groups[row] for row in made["de", "de"].train} == {f"g{i}" for i in range(20, 40)}
    assert {data.groups[row] for row in made["de", "de"].validation} == {"v1"}


def test_translations_need_source_items() -> None:
    data = examples_of(
        [(one, "ab"[i % 2], "train" if i < 10 else "test", None) for one in ("de", "en") for i in range(20)]
    )
    with pytest.raises(UnavailableError, match="the rows in 'en' name no source items"):
        apply(data, "translations(source=en)")


def test_a_language_without_training_rows_is_only_tested_on_and_one_without_test_rows_only_learnt_from() -> (
    None
):
    data = parallel()
    kept = [row for row in range(len(data)) if (data.languages[row], data.splits[row]) not in
            {("sw", "train"), ("fr", "test")}]  # fmt: skip
    data = data.take(kept)
    assert list(apply(data, "native")) == [("de", "de"), ("en", "en")]
    made = apply(data, "zero_shot")
    assert {source for source, _ in made} == {"de", "en", "fr"}
    assert {target for _, target in made} == {"de", "en", "sw"}
    assert list(apply(data, "leave_one_out")) == [("en+fr", "de"), ("de+fr", "en"), ("de+en+fr", "sw")]
    assert list(apply(data, "few_shot(k=1,source=en)")) == [("de+en", "de")]
    assert list(apply(data, "joint")) == [("de+en+fr", one) for one in ("de", "en", "sw")]


@pytest.mark.parametrize(
    "reference", ["zero_shot(source=ti)", "few_shot(k=2,source=ti)", "translations(source=ti)"]
)
def test_a_source_that_is_not_there_is_named_with_those_that_are(reference: str) -> None:
    with pytest.raises(UnavailableError, match="no training rows in 'ti'; there are some in: de, en, fr, sw"):
        apply(parallel(), reference)


@pytest.mark.parametrize("reference", ["zero_shot", "leave_one_out"])
def test_one_language_alone_has_no_other(reference: str) -> None:
    with pytest.raises(UnavailableError):
        apply(parallel(languages="en"), reference)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("few_shot(k=0,source=en)", "k=0"),
        ("few_shot(k=true,source=en)", "k=True"),
        ("leave_one_out(rows=1)", "rows=1"),
        ("joint(rows=-3)", "rows=-3"),
        ("joint(rows=false)", "rows=False"),
        ("zero_shot(source=no)", "in quotation marks if it is 'no'"),
        ("few_shot(k=3)", "needs its parameter 'source'"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(reference: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        REGISTRY.choose("regimes", reference).make()


def test_too_few_rows_for_the_labels_are_refused() -> None:
    with pytest.raises(
        UnavailableError, match="leave_one_out: rows=5 cannot hold each of 3 labels in each of 3 languages"
    ):
        apply(parallel(), "leave_one_out(rows=5)")


@pytest.mark.parametrize("reference", ALL)
def test_the_harness_takes_what_a_regime_makes(reference: str) -> None:
    """Its own checks of pairs, of test rows and of groups."""
    data = parallel(items=480)
    draws = make_draws(data, REGISTRY.choose("regimes", reference), 0)
    assert {draw.test_language for draw in draws} <= {"de", "en", "fr", "sw"}
    assert all(draw.partition.test and draw.partition.train for draw in draws)


ROWS = st.tuples(
    st.sampled_from(["de", "en", "fr"]),
    st.sampled_from("ab"),
    st.sampled_from(["train", "train", "validation", "test"]),
    st.one_of(st.none(), st.integers(0, 12).map(str)),
)


@settings(max_examples=60)
@given(st.lists(ROWS, min_size=30, max_size=120), st.sampled_from(ALL), st.integers(0, 2))
def test_nothing_learnt_shares_a_group_with_what_is_tested(
    rows: list[Row], reference: str, seed: int
) -> None:
    """Even where the splits of the source cut groups in two."""
    data = examples_of(rows)
    parts = {
        split: tuple(i for i, row in enumerate(rows) if row[2] == split)
        for split in ("train", "validation", "test")
    }
    given_rows = Partition(**parts, labels=data.labels)
    regime = REGISTRY.choose("regimes", reference).make()
    try:
        made = regime(data, given_rows, seed)
    except UnavailableError:
        return
    assert made == regime(data, given_rows, seed)
    for one in made:
        tested = {data.groups[row] for row in one.test} - {None}
        assert not tested & {data.groups[row] for row in (*one.train, *one.validation)}
        target = {data.languages[row] for row in one.test}
        assert len(target) == 1
        assert one.test == tuple(row for row in given_rows.test if data.languages[row] in target)
        assert set(one.train) <= set(given_rows.train) and set(one.validation) <= set(given_rows.validation)
        assert len(set(one.train)) == len(one.train) and one.labels == data.labels


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(shuffle: random.Random) -> None:
    data = parallel(items=40)
    order = list(range(len(data)))
    shuffle.shuffle(order)
    mixed = data.take(order)
    for reference in ("leave_one_out(rows=20)", "few_shot(k=2,source=en)"):
        one, other = apply(data, reference), apply(mixed, reference)
        assert list(one) == list(other)
        for pair in one:
            assert {data.ids[row] for row in one[pair].train} == {mixed.ids[row] for row in other[pair].train}


def test_every_regime_says_that_it_goes_by_language() -> None:
    for name in ("native", "zero_shot", "leave_one_out", "few_shot", "translations", "joint"):
        spec = REGISTRY.get("regimes", name).spec
        assert isinstance(spec, harness.RegimeSpec) and spec.by_language and spec.moves_test
        assert spec.natural == ("language" if name == "native" else None)
