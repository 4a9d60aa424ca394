"""What is learnt from under each regime: so many rows, of these classes, under these labels; and what is refused."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.api.data import Examples, Partition
from harness.api.errors import UnavailableError, UsageError
from harness.api.specs import RegimeSpec
from harness.data.partitions import LEAST_VALIDATION, count_shared_groups, make_draws
from harness.data.splits import split_rows
from harness.registry.catalog import Choice
from harness.session import open_registry

REGISTRY = open_registry()


def make_partition(examples: Examples, regime: Choice, seed: int) -> Partition:
    """The one partition of a regime that does not go by languages."""
    (draw,) = make_draws(examples, regime, seed)
    return draw.partition


def regime(reference: Any) -> Choice:
    return REGISTRY.choose("regimes", reference)


def examples(n: int = 1200, *, rare: int = 4, groups: bool = False) -> Examples:
    """A quarter of the rows is test; every `rare`-th row is of class c."""
    draw = random.Random(0)
    labels = ["c" if i % rare == 0 else draw.choice("ab") for i in range(n)]
    return Examples(
        ids=tuple(f"{draw.getrandbits(64):016x}" for _ in range(n)),
        inputs=tuple("word " * draw.randint(1, 30) for _ in range(n)),
        labels=tuple(labels),
        splits=tuple("test" if i % 4 == 1 else "train" for i in range(n)),
        languages=("en",) * n,
        groups=tuple(f"g{i // 5}" for i in range(n)) if groups else (None,) * n,
    )


def labels_of(data: Examples, rows: tuple[int, ...]) -> Counter[str]:
    return Counter(data.labels[row] for row in rows)


def test_the_full_regime_is_the_tasks_own_split() -> None:
    data = examples()
    found, splits = make_partition(data, regime("full"), 3), split_rows(data, 3)
    assert (found.train, found.validation, found.test) == tuple(
        tuple(splits[name]) for name in ("train", "validation", "test")
    )
    assert found.labels == data.labels


@pytest.mark.parametrize(("n", "on_folds"), [(300, True), (2000, False)])
def test_few_validation_rows_leave_the_choice_to_folds(n: int, on_folds: bool) -> None:
    found = make_partition(examples(n), regime("full"), 0)
    assert (found.validation == ()) is on_folds
    assert on_folds or len(found.validation) >= LEAST_VALIDATION


@pytest.mark.parametrize("n", [6, 16, 100, 512])
def test_size_takes_exactly_so_many_rows_and_each_class_its_share(n: int) -> None:
    data = examples()
    whole, found = make_partition(data, regime("full"), 0), make_partition(data, regime(f"size(n={n})"), 0)
    assert len(found.train) == n and set(found.train) <= set(whole.train) and found.test == whole.test
    before, after = labels_of(data, whole.train), labels_of(data, found.train)
    for label, count in before.items():
        assert after[label] >= 2 and abs(after[label] - n * count / len(whole.train)) < 2


@settings(max_examples=20)
@given(st.integers(6, 700), st.integers(6, 700), st.integers(0, 3))
def test_a_smaller_size_is_nearly_a_part_of_a_larger_one_of_the_same_seed(a: int, b: int, seed: int) -> None:
    data = examples()
    small, large = (make_partition(data, regime(f"size(n={n})"), seed) for n in sorted((a, b)))
    # Rounding may give a class one row less among more rows in all.
    assert len(set(small.train) - set(large.train)) <= 2


def test_seeds_draw_other_rows() -> None:
    data = examples()
    drawn = [make_partition(data, regime("size(n=64)"), seed).train for seed in (0, 1)]
    assert len(set(drawn[0]) & set(drawn[1])) < 32


def test_validation_rows_shrink_with_training_rows() -> None:
    data = examples(6000)
    whole, half = (make_partition(data, regime(name), 0) for name in ("full", "size(n=1900)"))
    ratio = len(half.train) / len(whole.train)
    assert len(half.validation) == pytest.approx(ratio * len(whole.validation), abs=3)


def test_more_rows_than_there_are_are_missing_in_one_sentence() -> None:
    with pytest.raises(UnavailableError, match="size: 5000 rows of 3 classes cannot be taken from"):
        make_partition(examples(), regime("size(n=5000)"), 0)


def test_imbalance_gives_the_rarest_class_its_share_and_leaves_the_test_alone() -> None:
    data = examples(rare=5)
    whole = make_partition(data, regime("full"), 0)
    found = make_partition(data, regime("imbalance(share=0.05,n=200)"), 0)
    assert labels_of(data, found.train)["c"] == 10 and len(found.train) == 200
    assert found.test == whole.test
    with pytest.raises(UnavailableError, match="imbalance: 360 rows of 'c' are wanted"):
        make_partition(data, regime("imbalance(share=0.9,n=400)"), 0)


def test_the_rarest_class_is_the_same_for_every_seed() -> None:
    data = examples(2000, rare=3)
    alike = replace(data, labels=tuple("ab"[i % 2] for i in range(len(data))))  # of equally many rows
    rare = {
        labels_of(alike, make_partition(alike, regime("imbalance(share=0.1,n=100)"), seed).train)["b"]
        for seed in range(8)
    }
    assert rare == {10}


def test_label_noise_where_one_class_is_left_to_learn_from_is_no_bug() -> None:
    data = examples(40)
    splits = tuple("test" if i < 20 else "train" for i in range(40))
    few = replace(
        data,
        splits=splits,
        labels=tuple("b" if i == 25 else "a" if i >= 20 else "ab"[i % 2] for i in range(40)),
    )
    classes = set()
    for seed in range(8):
        found = make_partition(few, regime("label_noise(rate=0.9)"), seed)
        classes.add(len({few.labels[row] for row in found.train}))
        assert {found.labels[row] for row in found.train} <= {"a", "b"}
        assert any(found.labels[row] != few.labels[row] for row in found.train)
    assert 1 in classes  # in some draw the one row of b is held out


def test_a_representation_is_not_fitted_on_rows_that_a_regime_tests_on(
    harness_command: Any, toy_task: Path, toy_suite: Path
) -> None:
    arms = ("--set", 'representations=["pca[n=4]"]')
    ended = harness_command("run", toy_suite, "--include", toy_task, *arms, "--set", "regimes=[mosaic_split]")
    assert ended.code == 2
    assert "tests on rows that 'pca[n=4]' would be fitted on" in ended.err
    ended = harness_command(
        "run", toy_suite, "--include", toy_task, *arms, "--set", "regimes=[size(n=8)]", "-o", "out"
    )
    assert ended.code == 0
    records = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert all("fitted-on:full" in record["flags"] for record in records)


def test_label_noise_is_where_it_should_be_and_as_often() -> None:
    data = examples(8000)
    found = make_partition(data, regime("label_noise(rate=0.3)"), 0)
    whole = make_partition(data, regime("full"), 0)
    assert (found.train, found.validation, found.test) == (whole.train, whole.validation, whole.test)
    learnt = (*found.train, *found.validation)
    wrong = [row for row in learnt if found.labels[row] != data.labels[row]]
    assert len(wrong) / len(learnt) == pytest.approx(0.3, abs=0.02)
    assert all(found.labels[row] == data.labels[row] for row in found.test)
    instead = Counter(found.labels[row] for row in wrong if data.labels[row] == "c")
    assert instead["a"] == pytest.approx(instead["b"], rel=0.25)


def test_longer_learns_from_short_texts_and_is_tested_on_long_ones_of_every_seed_alike() -> None:
    data = examples()
    one, two = (make_partition(data, regime("longer"), seed) for seed in (0, 1))
    assert one.test == two.test and one.train != two.train
    longest = max(len(data.inputs[row]) for row in one.train)
    assert all(len(data.inputs[row]) > longest for row in one.test)


def test_longer_is_of_no_use_to_images() -> None:
    data = examples()
    pictures = tuple(harness.Image(encoded=b"", id=name, size=(8, 8)) for name in data.ids)
    with pytest.raises(UnavailableError, match="regime 'longer' needs texts"):
        make_partition(replace(data, inputs=pictures), regime("longer"), 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: replace(rows, train=(*rows.train, rows.test[0])), "uses a row twice"),
        (lambda rows: replace(rows, train=(99999,)), "or one that is not there"),
        (lambda rows: replace(rows, train=()), "leaves no row to learn from"),
        (lambda rows: replace(rows, test=rows.test[1:]), "without saying `moves_test`"),
        (lambda rows: replace(rows, labels=tuple("a" for _ in rows.labels)), "changes labels of test rows"),
        (
            lambda rows: replace(
                rows,
                labels=tuple("z" if row in rows.train else label for row, label in enumerate(rows.labels)),
            ),
            "makes up the label 'z'",
        ),
    ],
)
def test_a_regime_that_breaks_the_rules_is_named(change: Callable[[Partition], Partition], told: str) -> None:
    spec = RegimeSpec(name="bad", summary="", make=lambda: lambda examples, rows, seed: change(rows))
    bad = Choice(
        kind="regimes",
        name="bad",
        spec=spec,
        plugin="toy",
        distribution="toy 1",
        parameters={},
        given={},
    )
    with pytest.raises(UsageError, match=rf"regime 'bad' \(toy 1\).*{told}"):
        make_partition(examples(), bad, 0)


@pytest.mark.parametrize(
    "reference", ["size(n=1)", "size(n=yes)", "label_noise(rate=1.5)", "imbalance(share=0,n=9)"]
)
def test_impossible_parameters_end_in_one_sentence(reference: str) -> None:
    with pytest.raises(UsageError, match="must"):
        regime(reference).make()


def test_groups_that_are_learnt_from_and_tested_on_are_counted() -> None:
    data = examples(100, groups=True)
    rows = Partition(train=tuple(range(50)), validation=(), test=(50, 53, 99), labels=data.labels)
    assert count_shared_groups(data, rows) == 0
    assert count_shared_groups(data, replace(rows, train=tuple(range(48)), test=(48, 49, 99))) == 2


def test_a_run_under_regimes_keeps_them_apart(harness_command: Any, toy_task: Path, toy_suite: Path) -> None:
    regimes = 'regimes=[full,{name: size, n: 8},"label_noise(rate=0.25)"]'
    ended = harness_command(
        "run", toy_suite, "--include", toy_task, "-o", "out", "--set", regimes, "--seeds", 2
    )
    assert ended.code == 0, ended.err
    records = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert Counter(record["regime"] for record in records) == {
        "full": 4, "size(n=8)": 4, "label_noise(rate=0.25)": 4,
    }  # fmt: skip
    assert {record["n_train"] for record in records if record["regime"] == "size(n=8)"} == {8}
    assert {record["regime"] for record in records if record["natural"] == "task"} == {"full"}
    assert {record["representation"] for record in records if record["baseline"]} == {"hidden"}
    assert {record["selected_on"] for record in records} == {"folds"}
    assert {record["tried"] for record in records} == {5}
    assert harness_command("validate", "out").code == 0


def test_a_regime_that_a_task_is_too_small_for_is_left_out_by_name(
    harness_command: Any, toy_task: Path, toy_suite: Path
) -> None:
    regimes = "regimes=[full,{name: size, n: 500}]"
    ended = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "--set", regimes)
    assert ended.code == 1
    assert any("left out: size: 500 rows of 2 classes cannot be taken from" in line for line in ended.said)
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 2


def test_regimes_are_listed_and_shown(harness_command: Any) -> None:
    assert {"full", "size", "imbalance", "label_noise", "longer"} <= {
        row["name"] for row in harness_command("ls", "regimes", "--json").rows
    }
    assert "moves_test" in harness_command("show", "longer").out
    assert harness.RegimeSpec is RegimeSpec
