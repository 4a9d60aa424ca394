"""What a classifier's features share between two languages, against plain loops over dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from harness.api.data import Examples, Partition
from harness.probing.shared_features import FIRES_IN, TOP, Languages, measure_sharing, rates, tells

RNG = np.random.default_rng(0)


def bilingual(n: int = 60, width: int = 40) -> tuple[Any, Examples]:
    """Features 0–9 fire in both languages, 10–19 in `de`, 20–29 in `en`, the rest never; feature 3 tells the label."""
    X = np.zeros((2 * n, width))
    labels = ["ab"[row % 2] for row in range(2 * n)]
    languages = ["de"] * n + ["en"] * n
    X[:, :10] = RNG.random((2 * n, 10)) + 0.1
    X[:n, 10:20] = RNG.random((n, 10)) + 0.1
    X[n:, 20:30] = RNG.random((n, 10)) + 0.1
    X[:, 3] += np.array([label == "a" for label in labels]) * 5
    splits = ["test" if row % n >= n - 20 else "train" for row in range(2 * n)]
    examples = Examples(
        ids=tuple(map(str, range(2 * n))),
        inputs=("",) * (2 * n),
        labels=tuple(labels),
        splits=tuple(splits),  # type: ignore[arg-type]
        languages=tuple(languages),
        groups=(None,) * (2 * n),
    )
    return X, examples


def pair(examples: Examples, train: str, test: str) -> Partition:
    rows = range(len(examples))

    def of(language: str, split: str) -> tuple[int, ...]:
        return tuple(
            row for row in rows if (examples.languages[row], examples.splits[row]) == (language, split)
        )

    return Partition(train=of(train, "train"), validation=(), test=of(test, "test"), labels=examples.labels)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_planted_features_are_counted_by_where_they_fire(kind: Any) -> None:
    X, examples = bilingual()
    effects = np.zeros(40)
    effects[[3, 12]] = 3.0, 1.0
    shared = Languages(kind(X), examples).compare(effects, pair(examples, "de", "en"))
    assert shared is not None
    assert (shared.both, shared.only_train, shared.only_test) == (10, 10, 10)
    assert shared.weight == pytest.approx(0.75)
    assert shared.even == pytest.approx(0.75)  # feature 3 fires in every row of both
    assert 0 < (shared.overlap or 0) <= 1


def test_nothing_is_compared_with_itself() -> None:
    X, examples = bilingual()
    assert Languages(X, examples).compare(np.ones(40), pair(examples, "en", "en")) is None


def test_a_language_without_training_rows_has_no_labels_to_tell() -> None:
    X, examples = bilingual()
    only_tested = Examples(
        **{
            **{name: getattr(examples, name) for name in ("ids", "inputs", "labels", "languages", "groups")},
            "splits": tuple(
                "test" if tag == "en" else split
                for tag, split in zip(examples.languages, examples.splits, strict=True)
            ),
        }
    )
    shared = Languages(X, only_tested).compare(np.ones(40), pair(only_tested, "de", "en"))
    assert shared is not None
    assert shared.overlap is None
    assert shared.both == 10


def test_the_labels_of_test_rows_are_never_read() -> None:
    X, examples = bilingual()
    turned = Examples(
        **{
            **{name: getattr(examples, name) for name in ("ids", "inputs", "splits", "languages", "groups")},
            "labels": tuple(
                "b" if split == "test" else label
                for label, split in zip(examples.labels, examples.splits, strict=True)
            ),
        }
    )
    one, two = (
        Languages(X, each).compare(np.ones(40), pair(each, "de", "en")) for each in (examples, turned)
    )
    assert one == two


def test_what_tells_the_label_is_found_as_by_a_plain_loop() -> None:
    X = RNG.random((50, 30)) * (RNG.random((50, 30)) < 0.3)
    labels = RNG.choice(["x", "y", "z"], 50).tolist()
    sizes = []
    for column in X.T:
        gaps = [
            abs(
                column[[one == label for one in labels]].mean()
                - column[[one != label for one in labels]].mean()
            )
            for label in set(labels)
        ]
        sizes.append(max(gaps) / column.std())
    wanted = np.argsort(-np.array(sizes), kind="stable")[:TOP]
    assert tells(X, labels).tolist() == tells(sparse.csr_array(X), labels).tolist() == wanted.tolist()
    assert tells(X, ["x"] * 50).tolist() == []


def test_a_feature_fires_where_it_does_in_more_than_a_hundredth_of_rows() -> None:
    X = np.zeros((200, 3))
    X[:2, 0], X[:3, 1] = 1, -1
    assert FIRES_IN == 0.01
    assert rates(X).tolist() == rates(sparse.csr_array(X)).tolist() == [0.01, 0.015, 0.0]
    found = measure_sharing(np.ones(3), train=rates(X), test=np.ones(3), overlap=None)
    assert (found.both, found.only_test) == (1, 2)


def test_features_count_by_how_evenly_they_fire() -> None:
    train, test = np.array([0.4, 0.2, 0.0, 0.0]), np.array([0.1, 0.2, 0.5, 0.0])
    found = measure_sharing(np.array([2.0, 1.0, 1.0, 0.0]), train=train, test=test, overlap=None)
    assert found.weight == pytest.approx(3 / 4)
    assert found.even == pytest.approx((2 * 0.25 + 1) / 4)


def test_no_effect_is_no_shared_effect() -> None:
    some = np.array([1.0, 0.0])
    found = measure_sharing(np.zeros(2), train=some, test=some, overlap=None)
    assert (found.weight, found.even, found.both) == (0.0, 0.0, 1)
