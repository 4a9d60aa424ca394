"""`harness power`: what is computed is held against simulated tests, and against the bootstrap of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from harness.planning.power import TestRows, means_over_tasks
from harness.runs.folder import RunFolder
from harness.stats.power import detectable_difference, effective_rows, pooled_rows


def power_of(rows: int, share: float, delta: float, alpha: float, repeats: int = 20_000) -> float:
    """How often McNemar's test finds a true difference."""
    generator = np.random.default_rng(0)
    better, worse, _ = generator.multinomial(
        rows, [(share + delta) / 2, (share - delta) / 2, 1 - share], size=repeats
    ).T
    statistic = (better - worse) / np.sqrt(np.maximum(better + worse, 1))
    return float(np.mean(np.abs(statistic) > norm.ppf(1 - alpha / 2)))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("rows", [300, 1000])
def test_the_computed_difference_is_found_four_times_in_five(rows, share, alpha):
    delta = detectable_difference(rows, share, alpha=alpha)
    assert delta is not None
    # The normal approximation is a little cautious where few rows disagree.
    assert 0.79 < power_of(rows, share, delta, alpha) < 0.84
    assert power_of(rows, share, 0.8 * delta, alpha) < 0.7


def test_the_formula_gives_back_the_number_of_rows():
    for rows, share, alpha, power in ((50, 0.4, 0.05, 0.8), (5000, 0.05, 0.01, 0.9)):
        delta = detectable_difference(rows, share, alpha=alpha, power=power)
        assert delta is not None
        found, wanted = norm.ppf(1 - alpha / 2), norm.ppf(power)
        needed = (found * share**0.5 + wanted * (share - delta**2) ** 0.5) ** 2 / delta**2
        assert needed == pytest.approx(rows)


def test_where_no_difference_is_large_enough_there_is_none():
    assert detectable_difference(60, 0.1) is None
    assert detectable_difference(2, 1.0) is None
    for rows, share in ((10, 0.0), (0, 0.5), (10, 1.1)):
        with pytest.raises(ValueError, match="there is no test"):
            detectable_difference(rows, share)


def test_a_group_counts_as_alike_as_its_rows_are():
    assert effective_rows([None] * 40) == 40
    assert effective_rows(["a"] * 10 + ["b"] * 10, icc=1) == 2
    assert effective_rows(["a"] * 10 + ["b"] * 10, icc=0) == 20
    assert effective_rows(["a"] * 10 + ["b"] * 10, icc=0.5) == pytest.approx(20 / 5.5)
    assert effective_rows(["a", "a", "a", None]) == pytest.approx(16 / 10)


def test_rows_of_groups_are_worth_what_simulated_means_of_them_vary():
    generator = np.random.default_rng(1)
    sizes, icc = np.array([1, 2, 3, 10, 20, 40]), 0.4
    groups = np.repeat(np.arange(len(sizes)), sizes)
    shared = generator.normal(size=(20_000, len(sizes)))[:, groups] * icc**0.5
    rows = shared + generator.normal(size=shared.shape) * (1 - icc) ** 0.5
    worth = effective_rows([str(group) for group in groups], icc=icc)
    assert 1 / rows.mean(axis=1).var() == pytest.approx(worth, rel=0.04)


def test_the_mean_over_tasks_is_worth_what_its_variance_says():
    assert pooled_rows([100, 100]) == pytest.approx(200)
    sizes = [50, 200, 1000]
    assert 1 / pooled_rows(sizes) == pytest.approx(sum(1 / size for size in sizes) / 9)


@pytest.fixture
def suite(tmp_path: Path) -> list[object]:
    """A suite of two tasks, one of them in groups of four, as words of the command line."""
    generator = np.random.default_rng(5)
    for name in ("plain", "grouped"):
        rows = [
            {
                "text": f"{'warm' if i % 2 else 'cold'} day {i} " + "again " * int(generator.integers(6)),
                "label": "ab"[(i + (generator.random() < 0.3)) % 2],
                "split": "test" if i < 200 else "train",
                "family": str(i // 4),
            }
            for i in range(300)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = "columns: {group: family}\n" if name == "grouped" else ""
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\nsource: {{file: {name}.jsonl}}\nlicence: CC0\ncitation: none\n{columns}"
        )
    (tmp_path / "suite.yaml").write_text(
        "name: s\ntasks: [plain, grouped]\nmodels: [{ref: no-such-org/none}]\n"
        "representations: [tfidf, text_length, majority]\n"
    )
    include = [word for name in ("plain", "grouped") for word in ("--include", tmp_path / f"{name}.yaml")]
    return [tmp_path / "suite.yaml", *include]


def test_a_suite_is_told_from_its_data_alone(harness_command, suite):
    told = harness_command("power", *suite, "--json")
    assert told.code == 0, told.err
    [facts] = told.rows
    plain, grouped = facts["tasks"]
    assert (plain["rows"], plain["classes"], plain["groups"], plain["effective"]) == (200, 2, 200, 200)
    assert (grouped["rows"], grouped["groups"], grouped["effective"]) == (200, 50, 50)
    assert plain["detectable"]["0.2"] == detectable_difference(200, 0.2)
    assert plain["detectable_holm"]["0.2"] == detectable_difference(200, 0.2, alpha=0.025)
    [mean] = facts["means"]
    assert mean["effective"] == pytest.approx(pooled_rows([200, 50]))
    assert mean["detectable"]["0.3"] == detectable_difference(mean["effective"], 0.3)
    loose = harness_command("power", *suite, "--icc", "0", "--json").rows[0]["tasks"][1]
    assert loose["effective"] == 200
    out = harness_command("power", *suite, "--set", "regimes=[full, 'size(n=40)']").out
    assert [line.split()[:2] for line in out.splitlines() if "size" in line] == [
        ["plain", "size(n=40)"],
        ["grouped", "size(n=40)"],
        ["mean", "over"],
    ]
    assert "at .05/4, Holm's worst" in out


def test_a_task_that_cannot_be_had_is_left_out_by_name(harness_command, suite, tmp_path):
    (tmp_path / "plain.jsonl").unlink()
    told = harness_command("power", *suite)
    assert (told.code, len(told.said)) == (3, 1)
    assert "left out: task 'plain'" in told.err
    assert "grouped" in told.out


def hits_of(task: str, one: str, two: str) -> tuple[Any, Any, Any]:
    """Labels of the test rows, and which of them each arm has right."""
    run = RunFolder(Path("out"))
    frames: dict[str, Any] = {
        record.representation: run.predictions(record.cell_id)
        for record in run.records()
        if record.task == task
    }
    one_right, two_right = (
        (frames[name]["label"] == frames[name]["prediction"]).to_numpy() for name in (one, two)
    )
    return frames[one]["label"].to_numpy(), one_right, two_right


def test_what_a_run_observed_stands_beside_what_is_computed(harness_command, suite, tmp_path):
    told = harness_command("run", *suite, "-o", "out", "-d", "cpu")
    assert told.code == 0, told.err
    words = [*suite, "--run", "out", "--baseline", "text_length"]
    observed = harness_command("power", *words, "--json").rows[0]["observed"]
    assert len(observed) == 4
    for each in observed:
        arm = each["arm"]
        labels, own, base = hits_of(arm["task"], arm["representation"], "text_length")
        share = float(np.mean(own != base))
        assert each["disagreement"] == pytest.approx(share, abs=1e-12)
        worth = 200 if arm["task"] == "plain" else 50
        assert each["computed"] == (detectable_difference(worth, share) if share else None)
        if arm["task"] == "plain":  # by the variance within labels, as resamples keep their counts
            gain = own.astype(float) - base
            within = sum(np.sum(labels == name) * gain[labels == name].var() for name in ("a", "b"))
            wanted = (norm.ppf(0.975) + norm.ppf(0.8)) * within**0.5 / len(labels)
            assert each["bootstrap"] == pytest.approx(wanted, rel=0.1)
    assert "observed, medians over arms" in harness_command("power", *words).out


def test_a_run_of_other_rows_or_without_the_baseline_is_refused(harness_command, suite, tmp_path):
    assert harness_command("run", *suite, "-o", "out", "-d", "cpu").code == 0
    told = harness_command("power", *suite, "--run", "out")
    assert (told.code, len(told.said)) == (2, 1)
    assert "'hidden'" in told.err
    told = harness_command("power", *suite, "-L", "100", "--run", "out", "--baseline", "majority")
    assert told.code == 2
    assert "has 200 test rows in 'out'" in told.err
    assert harness_command("power", *suite, "--run", "nowhere").code == 3


@pytest.fixture
def parallel(tmp_path: Path) -> list[object]:
    """A task whose 150 items stand in three languages, a third of them in the test of German only."""
    rows = [
        {
            "text": f"{language} {'warm' if i % 2 else 'cold'} day {i}",
            "label": "ab"[i % 2],
            "split": "test" if i < (60 if language == "de" else 40) else "train" if i >= 60 else "validation",
            "language": language,
            "item": str(i),
        }
        for language in ("de", "en", "fr")
        for i in range(150)
        if not (language != "de" and 40 <= i < 60)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "days.yaml").write_text(
        "name: days\nsource: {file: rows.jsonl}\nlicence: CC0\ncitation: none\n"
        "columns: {group: item, language: language}\nlanguages: [de, en, fr]\n"
    )
    (tmp_path / "suite.yaml").write_text(
        "name: s\ntasks: [days]\nrepresentations: [tfidf, majority]\nregimes: [native, zero_shot]\n"
    )
    return [tmp_path / "suite.yaml", "--include", tmp_path / "days.yaml"]


def test_regimes_by_language_are_told_pair_by_pair(harness_command, parallel, monkeypatch):
    told = harness_command("power", *parallel, "--json")
    assert told.code == 0, told.err
    [facts] = told.rows
    found = {
        (each["regime"], each["train_language"], each["test_language"]): each["rows"]
        for each in facts["tasks"]
    }
    sizes = {"de": 60, "en": 40, "fr": 40}
    assert found == {
        ("native" if train == test else "zero_shot", train, test): sizes[test]
        for train in sizes
        for test in sizes
    }
    assert facts["means"] == []
    lines = [line.split() for line in harness_command("power", *parallel).out.splitlines()]
    assert ["days", "zero_shot", "en→de", "60"] in [line[:4] for line in lines]
    monkeypatch.setattr("harness.cli.power.IN_TEXT", 5)
    out = harness_command("power", *parallel).out
    assert "de→en, the least of 6" in out and "en→de" not in out


def test_a_run_by_language_is_set_beside_its_pairs(harness_command, parallel):
    assert harness_command("run", *parallel, "-o", "out", "-d", "cpu").code == 0
    words = [*parallel, "--run", "out", "--baseline", "majority"]
    observed = harness_command("power", *words, "--json").rows[0]["observed"]
    assert len(observed) == 9
    assert {each["rows"] for each in observed if each["test_language"] == "de"} == {60}


def test_pairs_of_a_task_count_in_the_mean_as_the_one_that_tells_least():
    def rows(task: str, test: str, n: int) -> TestRows:
        return TestRows(
            task=task,
            regime="native",
            train_language=test,
            test_language=test,
            rows=n,
            classes=2,
            groups=n,
            effective=n,
        )

    counted = [rows("x", "en", 100), rows("x", "de", 60), rows("y", "en", 80)]
    assert means_over_tasks(counted) == {"native": pooled_rows([60, 80])}
