"""What a classifier goes by: weights against scikit-learn, features found by hand, and links to them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from harness_saes.neuronpedia import link
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier

import harness
from harness.api.protocols import LinearClassifier
from harness.models.opened import OpenModel, locate
from harness.probing.attribution import TopFeature, find_effects, find_top_features, snippet
from harness.registry.catalog import Registry

Array = np.ndarray[Any, Any]
KINDS: dict[str, Callable[[Array], Any]] = {"dense": np.asarray, "csr": sparse.csr_array}
LINEAR = ("logreg", "ksparse_logreg(k=4)", "ridge", "nearest_centroid", "linear_sgd")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cpu").registry


def make(registry: Registry, reference: str) -> Any:
    choice = registry.choose("classifiers", reference)
    return choice.make(**({"seed": 0} if choice.takes_seed else {}))


def table(n_classes: int, *, n: int = 200, width: int = 20, seed: int = 0) -> tuple[Array, Array]:
    """Learnable rows, most of them zero."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = random.random((n, width)) * (random.random((n, width)) < 0.1)
    X += random.random((n, 1)) * np.eye(n_classes, width)[y]
    return (40 * X).astype(np.float32), y


def scaled(X: Array) -> Array:
    rows: Array = X / np.sqrt((X.astype(float) ** 2).sum() / len(X))
    return rows


def without_constants(scores: Array) -> Array:
    """Scores `[rows, classes]` of which nothing is left that a class has for all rows, or a row for all classes."""
    scores = scores - scores.mean(axis=0)
    return np.asarray(scores - scores.mean(axis=1, keepdims=True))


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", [name for name in LINEAR if name != "linear_sgd"])
def test_weights_give_the_scores_that_a_classifier_predicts(
    registry: Registry, reference: str, kind: str, n_classes: int
) -> None:
    X, y = table(n_classes)
    model = make(registry, reference).fit(KINDS[kind](X), y)
    assert isinstance(model, LinearClassifier)
    assert model.weights.shape == (n_classes, X.shape[1])
    decided, odds = X @ model.weights.T, np.log(model.predict_proba(KINDS[kind](X)).astype(float))
    if n_classes == 2 and reference != "ridge":
        odds = (
            2 * odds
        )  # the log-odds are the decision function of the second, their negative that of the first
    np.testing.assert_allclose(without_constants(decided), without_constants(odds), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("reference", ["logreg", "ridge", "linear_sgd"])
def test_weights_are_scikit_learns_for_rows_as_they_came(
    registry: Registry, reference: str, n_classes: int
) -> None:
    X, y = table(n_classes)
    oracle = {
        "logreg": LogisticRegression(C=10, tol=1e-10, max_iter=9999),
        "ridge": RidgeClassifier(alpha=1.0),
        "linear_sgd": SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0),
    }[reference]
    rows = scaled(X).astype(np.float32) if reference == "linear_sgd" else scaled(X)
    decided = oracle.fit(rows, y).decision_function(rows)
    decided = np.stack([-decided, decided], axis=1) if n_classes == 2 else decided
    scores = X @ make(registry, reference).fit(X, y).weights.T
    constant = (decided - scores).mean(axis=0)
    np.testing.assert_allclose(scores + constant, decided, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_of_logreg_differ_between_classes_as_log_odds_do(registry: Registry, n_classes: int) -> None:
    X, y = table(n_classes)
    oracle = LogisticRegression(C=10, tol=1e-10, max_iter=9999).fit(scaled(X), y)
    odds = oracle.predict_log_proba(scaled(X))
    weights = make(registry, "logreg").fit(X, y).weights
    for one in range(1, n_classes):
        found = X @ (weights[one] if n_classes == 2 else weights[one] - weights[0])
        wanted = odds[:, one] - odds[:, 0]
        np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("reference", LINEAR)
def test_of_two_classes_the_first_has_the_negative_weights_of_the_second(
    registry: Registry, reference: str
) -> None:
    X, y = table(2)
    weights = make(registry, reference).fit(X, y).weights
    np.testing.assert_array_equal(weights[0], -weights[1])
    assert weights[1][1] > 0 > weights[1][0]  # features 0 and 1 are those of classes 0 and 1


def test_a_feature_that_was_not_chosen_has_no_weight(registry: Registry) -> None:
    X, y = table(3)
    weights = make(registry, "ksparse_logreg(k=4)").fit(X, y).weights
    used = np.flatnonzero(weights.any(axis=0))
    assert {0, 1, 2} < set(used)
    assert len(used) == 4


def test_a_tree_has_no_weights(registry: Registry) -> None:
    X, y = table(2)
    assert not isinstance(make(registry, "decision_tree").fit(X, y), LinearClassifier)


# ── features ─────────────────────────────────────────────────────────────────────────────────────────────

POOLED = np.array(
    [  # 0 never varies, 1 is loud and 3 quiet; 2 and 4 are equal
        [9, 0, 1, 0.0, 1, -1],
        [9, 8, 1, 0.1, 1, -2],
        [9, 8, 0, 0.2, 0, -3],
        [9, 0, 0, 0.3, 0, -4],
    ]
)
Y = np.array([0, 1, 0, 1])


def find(weights: Any, pooled: Any = POOLED, **given: Any) -> Any:
    asked = {
        "pooled": pooled,
        "transformed": pooled,
        "chosen": None,
        "y": Y,
        "classes": ("no", "yes"),
        **given,
    }
    effects = find_effects(
        np.asarray(weights),
        pooled=asked["pooled"],
        transformed=asked["transformed"],
        chosen=asked["chosen"],
        n_classes=len(asked["classes"]),
    )
    if effects is None:
        return ()
    return find_top_features(
        effects,
        pooled=asked["pooled"],
        y=asked["y"],
        classes=asked["classes"],
        texts=[str(row) for row in range(asked["pooled"].shape[0])],
    )


def rows(one: TopFeature) -> tuple[int, ...]:
    """Return the rows whose texts a feature of `find` shows, each the number of its row."""
    return tuple(map(int, one.snippets))


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_counts_by_its_weight_times_its_deviation(kind: str) -> None:
    row = np.array([100, 1, -3, 3, -3, 0])
    used = find([-row, row], KINDS[kind](POOLED))
    assert [one.feature for one in used] == [1, 2, 4, 3]  # not 0, however large; of equal ones the lowest
    assert [one.label for one in used] == ["yes", "no", "no", "yes"]
    assert [one.weight for one in used] == [1, 3, 3, 3]
    deviations = POOLED[:, [1, 2, 4, 3]].std(axis=0)
    np.testing.assert_allclose([one.effect for one in used], np.array([1, 3, 3, 3]) * deviations, rtol=1e-12)
    assert used[0].means == {"no": 4, "yes": 4}
    assert used[1].means == {"no": 0.5, "yes": 0.5}
    assert [rows(one) for one in used] == [
        (1, 2),
        (0, 1),
        (0, 1),
        (3, 2, 1),
    ]  # above zero; of equal ones the lowest


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_only_rounding_moves_has_no_effect(kind: str) -> None:
    pooled = np.full((1000, 2), 0.1, dtype=np.float32)
    pooled[::3, 0] = np.nextafter(pooled[0, 0], 1)
    pooled[::2, 1] = 0.1001
    used = find([[-9, -9], [9, 9]], KINDS[kind](pooled), y=np.arange(1000) % 2)
    assert [one.feature for one in used] == [1]


def test_five_features_and_three_rows_are_named_at_most() -> None:
    random = np.random.default_rng(0)
    pooled, row = random.random((50, 30)), random.normal(size=30)
    used = find([-row, row], pooled, y=np.arange(50) % 2)
    by_hand = np.argsort(-np.abs(row) * pooled.std(axis=0))[:5]
    assert [one.feature for one in used] == by_hand.tolist()
    for one in used:
        assert rows(one) == tuple(np.argsort(-pooled[:, one.feature])[:3])


def test_a_feature_that_is_never_above_zero_has_no_rows() -> None:
    row = np.array([0, 0, 0, 0, 0, 1])
    (one,) = find([-row, row])
    assert (one.feature, rows(one), one.means) == (5, (), {"no": -2, "yes": -3})


@pytest.mark.parametrize("kind", KINDS)
def test_features_keep_their_numbers_where_a_transform_keeps_some(kind: str) -> None:
    chosen = np.array([1, 3, 5])
    transformed = (POOLED[:, chosen] > 0.15).astype(np.float32)
    row = np.array([1.0, 2.0, 9.0])
    used = find([-row, row], KINDS[kind](POOLED), transformed=KINDS[kind](transformed), chosen=chosen)
    assert [one.feature for one in used] == [3, 1]
    assert [one.effect for one in used] == [1.0, 0.5]  # of the transformed feature
    np.testing.assert_allclose(list(used[0].means.values()), [0.1, 0.2])  # of the pooled one
    assert rows(used[0]) == (3, 2, 1)


@pytest.mark.parametrize("n_classes", [3, 4, 5])
def test_of_many_classes_a_feature_has_its_own_and_the_rest(n_classes: int) -> None:
    pooled = 3 * np.eye(n_classes)[np.arange(20) % n_classes]
    names = tuple(f"c{number}" for number in range(n_classes))
    weights = np.eye(n_classes)
    weights[2, 0] = -7
    used = find(weights, pooled, y=np.arange(20) % n_classes, classes=names)
    assert (used[0].feature, used[0].label, used[0].weight) == (0, "c2", -7)  # it speaks against c2
    one = next(one for one in used if one.feature == 1)
    assert one.label == "c1"
    if n_classes <= 4:
        assert one.means == {name: 3.0 * (name == "c1") for name in names}
    else:
        assert one.means == {"c1": 3, "rest": 0}


def test_a_class_called_rest_is_not_mistaken_for_the_others() -> None:
    names = ("rest", "b", "c", "d", "e")
    used = find(np.eye(5), np.eye(5), y=np.arange(5), classes=names)
    assert used[0].means == {"rest": 1, "other classes": 0}
    assert used[1].means == {"b": 1, "rest": 0}


@pytest.mark.parametrize("n_classes", [2, 6])
@pytest.mark.parametrize("reference", LINEAR)
def test_csr_and_dense_rows_name_the_same_features(
    registry: Registry, reference: str, n_classes: int
) -> None:
    X, y = table(n_classes)
    weights = make(registry, reference).fit(X, y).weights
    names = tuple("abcdef"[:n_classes])
    dense, csr = (find(weights, kind(X), transformed=kind(X), y=y, classes=names) for kind in KINDS.values())
    assert len(dense) >= 4
    assert [(one.feature, one.label, one.weight, one.means, rows(one)) for one in dense] == [
        (one.feature, one.label, one.weight, one.means, rows(one)) for one in csr
    ]
    np.testing.assert_allclose([one.effect for one in dense], [one.effect for one in csr], rtol=1e-9)
    assert {one.feature for one in dense} & set(range(n_classes))


def test_what_is_no_matrix_of_weights_names_nothing() -> None:
    neighbours = KNeighborsClassifier().fit(POOLED, Y)
    assert isinstance(neighbours, LinearClassifier)  # it has something of that name
    assert find(neighbours.weights) == ()
    assert find(np.ones((2, 3))) == ()
    assert find(np.zeros((2, 6))) == ()
    assert find(np.full((2, 6), np.nan)) == ()
    assert find(np.ones((2, 3)), transformed=POOLED[:, :3]) == ()  # which columns are they?


# ── snippets ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("one  line\r\n\tof\u2028text ", "one line of text"),
        ("nul\x00 bell\x07 \x1b[1mred \x00 end", "nul bell [1mred end"),
        ("right\u202eto\u202c left\ufeff \ud800", "rightto left"),
        ("می\u200cخواهم 👩\u200d👧", "می\u200cخواهم 👩\u200d👧"),
        ("a" * 20, "a" * 20),
        ("a" * 21, "a" * 19 + "…"),
        ("eight words are cut", "eight words are cut"),
        ("eight words are cut at a word", "eight words are cut…"),
        ("eight words are cuts at a word", "eight words are…"),
        ("a " + "b" * 50, "a " + "b" * 17 + "…"),
    ],
)
def test_a_snippet_is_the_beginning_of_a_text_on_one_line(text: str, wanted: str) -> None:
    assert snippet(text, limit=20) == wanted


@given(st.text(), st.integers(2, 90))
def test_a_snippet_is_never_longer_nor_more_than_a_line(text: str, limit: int) -> None:
    short = snippet(text, limit)
    assert len(short) <= limit
    assert len(short.splitlines()) <= 1
    assert short == short.strip()
    short.encode()


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────

SITE = "https://www.neuronpedia.org"


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82", "gemma-2-2b/12-gemmascope-res-16k"),
        (
            "google/gemma-scope-2b-pt-res@main/layer_12/width_1m/average_l0_107",
            "gemma-2-2b/12-gemmascope-res-1m",
        ),
        ("gemma-scope-2b-pt-att/layer_0/width_65k/average_l0_75", "gemma-2-2b/0-gemmascope-att-65k"),
        (
            "google/gemma-scope-9b-pt-mlp/layer_41/width_131k/average_l0_99",
            "gemma-2-9b/41-gemmascope-mlp-131k",
        ),
        (
            "google/gemma-scope-9b-it-res/layer_9/width_16k/average_l0_88",
            "gemma-2-9b-it/9-gemmascope-res-16k",
        ),
        (
            "google/gemma-scope-27b-pt-res/layer_22/width_131k/average_l0_82",
            "gemma-2-27b/22-gemmascope-res-131k",
        ),
        (
            "google/gemma-scope-2-1b-pt/resid_post/layer_13_width_1m_l0_medium",
            "gemma-3-1b/13-gemmascope-2-res-1m",
        ),
        (
            "google/gemma-scope-2-4b-it/resid_post/layer_9_width_65k_l0_medium",
            "gemma-3-4b-it/9-gemmascope-2-res-65k",
        ),
    ],
)
def test_a_published_dictionary_that_is_shown_has_a_link(reference: str, wanted: str) -> None:
    assert link(reference) == f"{SITE}/{wanted}/{{feature}}"


@pytest.mark.parametrize(
    "reference",
    [
        "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_41",
        "google/gemma-scope-2b-pt-res/layer_12/width_131k/average_l0_67",
        "google/gemma-scope-2b-pt-res/layer_26/width_16k/average_l0_82",
        "google/gemma-scope-2b-it-res/layer_12/width_16k/average_l0_82",
        "someone/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82",
        "mine/layer_12/width_16k/average_l0_82",
        "google/gemma-scope-2-1b-pt/resid_post/layer_13_width_16k_l0_small",
        "google/gemma-scope-2-1b-pt/resid_post/layer_12_width_16k_l0_medium",
        "google/gemma-scope-2-1b-pt/attn_out/layer_13_width_16k_l0_medium",
        "google/gemma-scope-2-1b-it/resid_post/layer_13_width_1m_l0_medium",
        "google/gemma-scope-2-12b-it/resid_post/layer_12_width_16k_l0_medium",
        "google/gemma-scope-2-9b-pt/resid_post/layer_12_width_16k_l0_medium",
    ],
)
def test_another_dictionary_has_none(reference: str) -> None:
    assert link(reference) is None


def published() -> Iterator[tuple[str, str | None]]:
    """Every dictionary of Gemma Scope that SAELens lists, and the id it gives it."""
    found = importlib.util.find_spec("sae_lens")
    if found is None or found.origin is None:
        pytest.skip("sae_lens is not installed")
    table = (Path(found.origin).parent / "pretrained_saes.yaml").read_text()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for name, release in yaml.load(table, Loader=loader).items():
        if re.fullmatch(
            r"gemma-scope-\w+-(pt|it)-(res|mlp|att)-canonical|gemma-scope-2-.*-(res|mlp|att)(-all)?", name
        ):
            for entry in release["saes"]:
                yield f"{release['repo_id']}/{entry['path']}", entry.get("neuronpedia")


def test_links_are_those_of_saelens_and_no_others() -> None:
    ids = dict(published())
    wanted = {name: f"{SITE}/{one}/{{feature}}" if one else None for name, one in ids.items()}
    assert {name: link(name) for name in wanted} == wanted
    assert sum(each is not None for each in wanted.values()) > 500


@dataclass(frozen=True)
class Shape:
    """A model as far as a representation can see it."""

    name: str = "shape"
    architecture: str = "gemma2"
    n_layers: int = 26
    n_parameters: int = 0

    def width(self, site: harness.Site) -> int:
        return 6

    def identity(self, site: harness.Site) -> Mapping[str, Any]:
        return {"kind": "shape"}


@pytest.mark.parametrize(
    ("repository", "l0", "has_link"),
    [("gemma-scope-2b-pt-res", 82, True), ("gemma-scope-2b-pt-res", 41, False), ("mine", 82, False)],
)
def test_a_dictionary_says_where_its_features_are_shown(
    registry: Registry, tmp_path: Path, repository: str, l0: int, has_link: bool
) -> None:
    folder = tmp_path / repository / "layer_12" / "width_16k" / f"average_l0_{l0}"
    folder.mkdir(parents=True)
    vector, matrix = np.zeros(8, dtype=np.float32), np.zeros((6, 8), dtype=np.float32)
    np.savez(folder / "params.npz", W_enc=matrix, b_enc=vector, threshold=vector)
    choice = registry.choose("representations", str(folder))
    opened = OpenModel(choice=choice, model=Shape(), sites=())  # type: ignore[arg-type]
    located = locate(choice, opened, harness.Site.parse("resid_post.12"), registry)
    assert located.link == (f"{SITE}/gemma-2-2b/12-gemmascope-res-16k/{{feature}}" if has_link else None)
    assert "link" not in located.identity
