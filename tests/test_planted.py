"""Tasks whose truth is known: the files hold it exactly, and a board of them says it and claims nothing else."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness_planted import generate
from harness_planted.compose import PATTERNS, SEVEN_LETTERS, WORD, WORDS, compose
from scipy import stats
from sklearn.metrics import f1_score

import harness
from harness.cli import execute
from harness.data.cleaning import Hygiene
from harness.data.task import load_task
from harness.leaderboard import Comparison, compare
from harness.runs.folder import RunFolder
from harness.runs.record import Record
from harness.session import open_registry

NAMES = sorted(generate.TASKS)
NULL = ["planted_random", "planted_leak"]
NOISY = ["planted_noise", "planted_advantage"]


@cache
def registry() -> Any:
    return open_registry()


def rows(name: str) -> pd.DataFrame:
    """A shipped file, with what the truth depends on: whether WORD occurs, how many words and characters."""
    lines = (generate.DATA / f"{name}.jsonl").read_text("utf-8").splitlines()
    table = pd.DataFrame([json.loads(line) for line in lines])
    return table.assign(
        planted=table.text.str.contains(rf"\b{WORD}\b"),
        words=table.text.str.split().str.len(),
        characters=table.text.str.len(),
    )


def least_p_value(table: pd.DataFrame, *, but: set[str]) -> float:
    """Of the words that are neither rare nor `but`, the one that tells most of the label: its p-value, times their
    number (Bonferroni).
    """
    occurs = pd.DataFrame([dict.fromkeys(words, True) for words in table.text.str.findall(r"\w+")])
    occurs = occurs.drop(columns=list(but & set(occurs))).fillna(False)
    occurs = occurs.loc[:, occurs.sum() >= 20]
    p_values = [
        stats.chi2_contingency(pd.crosstab(occurs[word], table.label)).pvalue
        for word in occurs
        if not occurs[word].all()
    ]
    return float(min(p_values) * len(p_values))


def score(truth: pd.Series, rule: pd.Series) -> float:
    return float(f1_score(truth, rule, average="macro"))


# ── the files ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_generator_writes_the_shipped_bytes(tmp_path: Path) -> None:
    generate.write(tmp_path)
    shipped = {path.name: path.read_bytes() for path in generate.DATA.glob("*.jsonl")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == shipped
    assert shipped.keys() == {f"{name}.jsonl" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_half_of_each_split_is_of_either_class_and_only_leaks_have_to_be_cleaned(name: str) -> None:
    data = load_task(registry().get("tasks", name).spec)
    n_train = 1600 if name in NOISY else 800
    assert len(data.classes) == 2
    assert Counter(zip(data.examples.splits, data.examples.labels, strict=True)) == {
        (split, label): size // 2
        for split, size in (("train", n_train), ("test", 400))
        for label in data.classes
    }
    assert data.hygiene == Hygiene(leaks=50 if name == "planted_leak" else 0, near_leaks=0, near_opposite=0)


@pytest.mark.parametrize("sentences", [1, 2, 3])
def test_planting_the_word_changes_one_noun_and_no_length(sentences: int) -> None:
    places = set()
    for number in range(300):
        without, planted = (
            compose("k", str(number), sentences=sentences, planted=one) for one in (False, True)
        )
        assert len(without) == len(planted)
        pairs = list(zip(without.split(), planted.split(), strict=True))
        (place,) = [at for at, (one, other) in enumerate(pairs) if one != other]
        assert pairs[place][0].strip(".,?") in SEVEN_LETTERS.split()
        assert pairs[place][1].strip(".,?") == WORD
        places.add(place)
    assert len(places) > 6 * sentences


def test_words_are_listed_once_and_the_planted_one_is_not_among_them() -> None:
    listed = [word for words in WORDS.values() for word in words.split()]
    assert max(Counter(listed).values()) == 1
    assert not any(WORD in text for text in (*listed, *PATTERNS))
    assert {len(word) for word in SEVEN_LETTERS.split()} == {len(WORD)}


def test_the_label_of_planted_token_is_the_word_and_neither_the_length_nor_other_words() -> None:
    table = rows("planted_token")
    assert (table.planted == (table.label == "with")).all()
    assert (table.text.str.count(WORD) == table.planted).all()
    assert least_p_value(table, but={WORD, *SEVEN_LETTERS.split()}) > 0.05
    for length in ("words", "characters"):
        assert stats.ks_2samp(*(part[length] for _, part in table.groupby("label"))).pvalue > 0.05


@pytest.mark.parametrize("name", NULL)
def test_random_labels_depend_on_no_word_and_on_no_length(name: str) -> None:
    table = rows(name)
    assert not table.planted.any()
    assert least_p_value(table, but=set()) > 0.05
    for length in ("words", "characters"):
        assert stats.ks_2samp(*(part[length] for _, part in table.groupby("label"))).pvalue > 0.05


def test_the_label_of_planted_length_is_the_length_and_its_nouns_are_from_one_pool() -> None:
    table = rows("planted_length")
    for length in ("words", "characters"):
        assert ((table[length] > table[length].median()) == (table.label == "long")).all()
        assert abs(np.corrcoef(np.log(table[length]), table.label == "long")[0, 1]) > 0.8
    nouns = table.assign(noun=table.text.str.findall(r"\w+")).explode("noun")
    nouns = nouns[nouns.noun.isin(WORDS["noun"].split())]
    assert stats.chi2_contingency(pd.crosstab(nouns.noun, nouns.label)).pvalue > 0.05


def test_leaks_are_as_many_of_each_kind_as_the_summary_says() -> None:
    table = rows("planted_leak")
    train, test = (table[table.split == split] for split in ("train", "test"))
    by_text, by_group = test.text.isin(train.text), test.group.isin(train.group)
    counts = Counter(zip(by_text, by_group, strict=True))
    assert counts == {(False, False): 400, (True, False): 30, (False, True): 12, (True, True): 8}
    summary = registry().get("tasks", "planted_leak").spec.summary
    assert "50 further test rows" in summary and "30 by text, 12 by group, 8 by both" in summary
    assert generate.LEAKS == {"text": 30, "group": 12, "both": 8}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_rule_of_the_word_is_right_for_nine_in_ten_under_noise(split: str) -> None:
    table = rows("planted_noise").query("split == @split")
    wrong = table.planted != (table.label == "yes")
    assert (
        wrong.groupby(table.label).mean().tolist()
        == wrong.groupby(table.planted).mean().tolist()
        == [0.1, 0.1]
    )
    assert score(table.label == "yes", table.planted) == pytest.approx(0.9)
    assert least_p_value(table.assign(label=wrong), but={WORD}) > 0.05


@pytest.mark.parametrize("split", ["train", "test"])
def test_word_and_length_agree_with_the_label_of_planted_advantage_independently(split: str) -> None:
    table = rows("planted_advantage").query("split == @split")
    label, is_long = table.label == "yes", table.text.str.count(r"[.?]") == 3
    assert table.words[is_long].min() > table.words[~is_long].max()
    assert score(label, table.planted) == pytest.approx(0.9)
    assert score(label, is_long) == pytest.approx(0.7)
    agree = pd.crosstab([label, table.planted == label], is_long == label) * 200 // label.sum()
    assert agree.to_numpy().tolist() == [[6, 14], [54, 126]] * 2
    best = label.groupby([table.planted, is_long]).transform("mean") > 0.5
    assert (best == table.planted).all()


# ── a representation that must make no difference ────────────────────────────────────────────────────────


def rotation(seed: int, d: int) -> np.ndarray[Any, Any]:
    """`[d, d]`, as the harness gives it."""

    class Model:
        def width(self, site: harness.Site) -> int:
            return d

    chosen = registry().choose("representations", f"random_rotation[seed={seed}]").make()
    located = chosen.at(Model(), harness.Site.parse("resid_post.0"))
    assert (located.d_in, located.width) == (d, d)
    return located.load("cpu").W_enc.numpy()


def test_a_random_rotation_keeps_all_distances_and_depends_on_its_seed_alone() -> None:
    once = rotation(3, 64)
    np.testing.assert_allclose(once.T @ once, np.eye(64), atol=1e-6)
    np.testing.assert_array_equal(once, rotation(3, 64))
    assert np.abs(once - rotation(4, 64)).max() > 0.1


def test_random_rotations_are_uniform_over_the_orthogonal_group() -> None:
    drawn = np.stack([rotation(seed, 3) for seed in range(1000)])
    # Of a uniform unit vector in three dimensions every coordinate is uniform (Archimedes).
    p_values = [
        stats.kstest(drawn[:, i, j], "uniform", args=(-1, 2)).pvalue for i in range(3) for j in range(3)
    ]
    assert min(p_values) * 9 > 0.05
    theirs = stats.ortho_group.rvs(3, size=1000, random_state=0)
    traces = [np.trace(each, axis1=1, axis2=2) for each in (drawn, theirs)]
    assert stats.ks_2samp(*traces).pvalue > 0.05
    assert abs((np.linalg.det(drawn) > 0).mean() - 0.5) < 0.05


# ── the board ────────────────────────────────────────────────────────────────────────────────────────────

SEES_TOKENS = ["hidden", "random_rotation", "minigemma-scope", "random_sae[k=16]", "tfidf"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole suite, run once through the command line."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HARNESS_PLUGINS", "HARNESS_DATA_DIR", "HARNESS_DEBUG"):
            patch.delenv(name, raising=False)
        command = [
            "run",
            "planted",
            "-d",
            "cpu",
            "-o",
            str(folder / "out"),
            "--cache-dir",
            str(folder / "cache"),
        ]
        assert execute(command) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def board(run: Path) -> pd.DataFrame:
    """Scores, intervals and outcomes by task and representation."""
    return pd.read_csv(run / "leaderboard-tasks.csv").set_index(["task", "representation"]).sort_index()


@pytest.fixture(scope="module")
def records(run: Path) -> list[Record]:
    return RunFolder(run).records()


@pytest.fixture(scope="module")
def leads(run: Path) -> Comparison:
    return compare(RunFolder(run), RunFolder(run), baseline="text_length")


@pytest.mark.slow
@pytest.mark.long
def test_all_arms_that_see_tokens_find_the_word_and_no_other_does(board: pd.DataFrame) -> None:
    found = board.loc["planted_token"]
    assert (found.macro_f1[SEES_TOKENS] > 0.95).all()
    assert found.macro_f1_low["text_length"] < 0.5 < found.macro_f1_high["text_length"]
    assert found.macro_f1["majority"] == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NULL)
def test_on_random_labels_nobody_is_ahead(board: pd.DataFrame, records: list[Record], name: str) -> None:
    found = board.loc[name]
    assert set(found.outcome.dropna()) == {"tied"}
    # Accuracy, since a rule that leans to one class has a macro-F1 below a half.
    accuracies = [record.metrics["accuracy"].value for record in records if record.task == name]
    assert len(accuracies) == 2 * (4 * 2 + 3)
    spread = stats.binom(400, 0.5).ppf(1 - 0.01 / len(accuracies) / 2) / 400 - 0.5
    assert max(abs(accuracy - 0.5) for accuracy in accuracies) <= spread


@pytest.mark.slow
@pytest.mark.long
def test_length_is_at_the_top_where_length_is_the_label(board: pd.DataFrame) -> None:
    found = board.loc["planted_length"]
    assert found.macro_f1["text_length"] > 0.99
    assert found.macro_f1["text_length"] >= found.macro_f1.max() - 0.005
    assert (found.macro_f1_low <= found.macro_f1_high["text_length"]).all()
    assert (
        found.macro_f1_low["text_length"] > found.macro_f1_high["tfidf"] > found.macro_f1_low["tfidf"] > 0.5
    )


@pytest.mark.slow
@pytest.mark.long
def test_hygiene_removes_the_planted_leaks_and_nothing_else(run: Path, records: list[Record]) -> None:
    for record in records:
        assert record.n_test == 400
        assert record.hygiene.leaks == (50 if record.task == "planted_leak" else 0)
        assert not (record.hygiene.duplicates or record.hygiene.conflicts or record.hygiene.empty)
        assert record.n_train + record.n_validation == (1600 if record.task in NOISY else 800)
    page = (run / "leaderboard.md").read_text("utf-8")
    assert any("planted_leak" in line and "50" in line for line in page.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISY)
def test_nobody_is_credibly_better_than_the_best_rule_and_dictionaries_come_near_it(
    board: pd.DataFrame, name: str
) -> None:
    found = board.loc[name]
    assert (found.macro_f1_low <= 0.9).all()
    assert (found.macro_f1[SEES_TOKENS] > 0.8).all()
    assert found.macro_f1_high["minigemma-scope"] >= 0.9
    assert (found.macro_f1_high[["text_length", "majority"]] < 0.8).all()


@pytest.mark.slow
@pytest.mark.long
def test_the_lead_of_the_word_over_length_is_found_with_its_sign_and_not_overstated(
    leads: Comparison,
) -> None:
    found = {
        each.arm.representation: each.first
        for each in leads.differences
        if each.arm.task == "planted_advantage"
    }
    for representation in SEES_TOKENS:
        low, _ = found[representation].interval
        assert 0 < low <= 0.2
    for representation in ("minigemma-scope", "random_sae[k=16]"):
        low, high = found[representation].interval
        assert low <= 0.2 <= high


@pytest.mark.slow
@pytest.mark.long
def test_the_best_accuracy_of_length_is_found(board: pd.DataFrame) -> None:
    found = board.loc[("planted_advantage", "text_length")]
    assert found.macro_f1_low <= 0.7 <= found.macro_f1_high
    assert found.macro_f1 == pytest.approx(0.7, abs=0.01)


@pytest.mark.slow
@pytest.mark.long
def test_no_difference_is_claimed_for_rotated_activations(board: pd.DataFrame, run: Path) -> None:
    rotated = board.xs("random_rotation", level="representation")
    assert (rotated.outcome == "tied").all()
    assert (rotated[["delta_vs_hidden", "delta_matched"]].abs() <= 0.005).all(axis=None)
    ranks = pd.read_csv(run / "leaderboard.csv").set_index("representation")
    assert ranks["rank"]["random_rotation"] == ranks["rank"]["hidden"]
    assert abs(ranks.delta_vs_hidden["random_rotation"]) <= 0.002
    assert (ranks.won["random_rotation"], ranks.lost["random_rotation"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.long
def test_rotated_activations_are_the_same_probe_up_to_its_solver(run: Path, records: list[Record]) -> None:
    folder = RunFolder(run)
    cells = {(each.task, each.pooling, each.seed, each.representation): each for each in records}
    compared = [
        (one, cells[*place, "random_rotation"]) for (*place, name), one in cells.items() if name == "hidden"
    ]
    assert len(compared) == len(NAMES) * 2 * 2
    for one, other in compared:
        assert one.classifier_params == other.classifier_params
        mine, theirs = (folder.predictions(each.cell_id) for each in (one, other))
        scores = [name for name in mine if name.startswith("score_")]
        np.testing.assert_allclose(mine[scores], theirs[scores], atol=5e-3)
        assert (mine.prediction.astype(str) != theirs.prediction.astype(str)).sum() <= 2
