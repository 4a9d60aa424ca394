"""`harness compare`: paired differences of two runs, by scikit-learn's scores and resamples drawn here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from harness.cli.compare import METRICS
from harness.leaderboard.analyses.comparison import Metric
from harness.runs.folder import RunFolder
from harness.stats.bootstrap import bootstrap_seed, bootstrap_weights
from harness.stats.few_groups import assess, tabulate
from harness.stats.metrics import resampled_macro_f1


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Callable[..., Path]:
    """`finished(key, make)` is the folder of a run with these options and data, made by the first test to ask."""
    folders: dict[tuple[str, ...], Path] = {}

    def find(key: tuple[str, ...], make: Callable[[Path], None]) -> Path:
        if key not in folders:
            folder = tmp_path_factory.mktemp("finished") / "run"
            make(folder)
            folders[key] = folder
        return folders[key]

    return find


@pytest.fixture
def run(harness_command, tmp_path, finished) -> Callable[..., str]:
    """`run("a", …)` puts a run of two noisy tasks with arms that need no model into a folder; its name."""
    for number, name in enumerate(("one", "two")):
        generator = np.random.default_rng(number)
        rows = [
            {
                "text": f"{'warm' if i % 2 else 'cold'} day {i} " + "again " * int(generator.integers(6)),
                "label": "ab"[(i + (generator.random() < 0.3)) % 2],
            }
            for i in range(300)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\nsource: {{file: {name}.jsonl}}\nlicence: CC0\ncitation: none\n"
        )
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "name: s\ntasks: [one, two]\nrepresentations: [tfidf, text_length, majority]\nseeds: 2\n"
    )

    def call(name: str, *more: str) -> str:
        def make(folder: Path) -> None:
            include = ["--include", tmp_path / "one.yaml", "--include", tmp_path / "two.yaml"]
            told = harness_command("run", suite, *include, "-o", folder, "-d", "cpu", *more)
            assert told.code == 0, told.err

        data = tuple((tmp_path / f"{task}.jsonl").read_text() for task in ("one", "two"))
        shutil.copytree(finished((*more, *data), make), tmp_path / name)
        return name

    return call


@pytest.fixture
def compare(harness_command):
    """`harness compare` as JSON."""

    def call(*words: str) -> dict[str, Any]:
        told = harness_command("compare", *words, "--json")
        assert told.code == 0, told.err
        return told.rows[0]

    return call


WEAK = ("--set", "classifiers=[{name: logreg, C: 1.0e-9}]")
STRONG = ("--set", "classifiers=[{name: logreg, C: 1.0}]")


def score_of(folder: str, task: str, representation: str, weights: Any = None) -> Any:
    """Mean over seeds of scikit-learn's macro-F1, of all rows or of each resample."""
    run = RunFolder(Path(folder))
    values = []
    for record in run.records():
        if (record.task, record.representation) == (task, representation):
            frame = run.predictions(record.cell_id).sort_values("example_id")
            args = frame["label"].to_numpy(str), frame["prediction"].to_numpy(str)
            values.append(
                f1_score(*args, average="macro") if weights is None else resampled_f1(*args, weights)
            )
    assert len(values) == 2
    return np.mean(values, axis=0)


def resampled_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the macro-F1 of each resample: the formula, which gives scikit-learn's numbers where it is asked, too."""
    each, weights = [], weights.astype(np.float64)
    for name in ("a", "b"):
        is_one, is_found = labels == name, predicted == name
        each.append(2 * weights @ (is_one & is_found) / (weights @ is_one + weights @ is_found))
    macro = np.mean(each, axis=0)
    for one, found in zip(weights[::50], macro[::50], strict=True):
        assert found == pytest.approx(
            f1_score(labels, predicted, average="macro", sample_weight=one), abs=1e-12
        )
    return macro


def stretched(strata: np.ndarray, samples: np.ndarray, value: float, task: str) -> np.ndarray:
    """Return resampled differences as a board corrects them where a class has fewer than 30 test rows."""
    support = assess(tabulate(strata, np.arange(len(strata))))
    return support.stretch(samples, value, seed=bootstrap_seed(task))


def test_a_difference_is_that_of_scikit_learn_and_its_interval_is_paired(run, compare):
    a, b = run("a", *WEAK), run("b", *STRONG)
    found = {(each["task"], each["representation"]): each for each in compare(a, b)["differences"]}
    assert len(found) == 6
    for (task, representation), each in found.items():
        one, two = (score_of(folder, task, representation) for folder in (a, b))
        assert each["a"] == pytest.approx(one, abs=1e-12)
        assert each["b"] == pytest.approx(two, abs=1e-12)
        assert each["difference"] == pytest.approx(two - one, abs=1e-12)
        assert each["seeds"] == 2
    each = found["one", "tfidf"]
    record = next(r for r in RunFolder(Path(a)).records() if r.task == "one")
    labels = RunFolder(Path(a)).predictions(record.cell_id).sort_values("example_id")["label"]
    strata = (labels == "b").to_numpy().astype(int)
    weights = bootstrap_weights(strata, resamples=1000, seed=bootstrap_seed("one"))
    samples = score_of(b, "one", "tfidf", weights) - score_of(a, "one", "tfidf", weights)
    samples = stretched(strata, samples, each["difference"], "one")
    assert (each["low"], each["high"]) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])), abs=1e-9)
    assert each["low"] > 0  # a classifier that hardly learns is worse beyond noise


def test_a_run_differs_from_itself_by_nothing(run, compare):
    a = run("a")
    for each in compare(a, a)["differences"]:
        assert (each["difference"], each["low"], each["high"]) == (0, 0, 0)


def test_turning_the_runs_round_turns_the_signs(run, compare):
    a, b = run("a", *WEAK), run("b", *STRONG)
    for one, two in zip(compare(a, b)["differences"], compare(b, a)["differences"], strict=True):
        assert one["difference"] == -two["difference"]
        assert (one["low"], one["high"]) == pytest.approx((-two["high"], -two["low"]), abs=1e-12)


def test_with_a_baseline_leads_are_compared(run, compare):
    a, b = run("a", *WEAK), run("b", *STRONG)
    plain = {(each["task"], each["representation"]): each for each in compare(a, b)["differences"]}
    leads = {
        (e["task"], e["representation"]): e for e in compare(a, b, "--baseline", "text_length")["differences"]
    }
    assert {representation for _, representation in leads} == {"tfidf", "majority"}
    for (task, representation), each in leads.items():
        arm, base = plain[task, representation], plain[task, "text_length"]
        for name in ("a", "b", "difference"):
            assert each[name] == pytest.approx(arm[name] - base[name], abs=1e-12)


def test_hidden_states_are_the_baseline_of_their_own_model(harness_command, toy_suite, toy_task):
    words = ["run", toy_suite, "--include", toy_task, "-d", "cpu"]
    words += ["--set", "representations=[hidden, 'random_sae[width=96,k=8]', majority]"]
    assert harness_command(*words, "-o", "a").code == 0
    assert "random_sae[width=96,k=8]" in harness_command("compare", "a", "a").out
    [each] = harness_command("compare", "a", "a", "--baseline", "hidden", "--json").rows[0]["differences"]
    assert (each["model"], each["representation"]) == ("minigemma-s", "random_sae[width=96,k=8]")
    scores = {
        record.representation: record.metrics["macro_f1"].value for record in RunFolder(Path("a")).records()
    }
    assert each["a"] == pytest.approx(scores["random_sae[width=96,k=8]"] - scores["hidden"], abs=1e-12)


def test_what_only_one_run_has_is_named(run, compare, harness_command):
    a = run("a", "--set", "representations=[tfidf, majority]")
    b = run("b", "-t", "one", "--set", "representations=[tfidf, text_length]")
    found = compare(a, b)
    assert [(each["task"], each["representation"]) for each in found["differences"]] == [("one", "tfidf")]
    assert [(each["task"], each["representation"]) for each in found["only_in_a"]] == [
        ("one", "majority"),
        ("two", "majority"),
        ("two", "tfidf"),
    ]
    assert [(each["task"], each["representation"]) for each in found["only_in_b"]] == [("one", "text_length")]
    told = harness_command("compare", a, b).out
    assert "only in a: two tfidf" in told
    assert "only in b: one text_length" in told


def test_each_run_goes_by_its_own_choice_on_validation(run, compare):
    a = run("a", "--set", "classifiers=[{name: logreg, C: 1.0e-9}, {name: logreg, C: 1.0}]")
    b = run("b", *STRONG)
    [each] = [e for e in compare(a, b)["differences"] if (e["task"], e["representation"]) == ("one", "tfidf")]
    records = [r for r in RunFolder(Path(a)).records() if (r.task, r.representation) == ("one", "tfidf")]
    best = [
        max((r for r in records if r.seed == seed), key=lambda r: r.validation_metrics["macro_f1"])
        for seed in (0, 1)
    ]
    assert each["a"] == pytest.approx(np.mean([r.metrics["macro_f1"].value for r in best]), abs=1e-12)


def test_runs_on_other_data_are_refused_by_the_name_of_the_task(run, harness_command, tmp_path):
    a = run("a")
    path = tmp_path / "two.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    b = run("b")
    told = harness_command("compare", a, b)
    assert (told.code, len(told.said)) == (2, 1)
    assert "task 'two' has other data in 'b' than in 'a'" in told.err


def test_a_limited_run_has_other_rows_than_a_whole_one(run, harness_command):
    told = harness_command("compare", run("a"), run("b", "-L", "100"))
    assert told.code == 2
    assert "has other data" in told.err


def test_runs_without_anything_in_common_are_refused(run, harness_command):
    told = harness_command("compare", run("a", "-t", "one"), run("b", "-t", "two"))
    assert (told.code, told.said) == (5, ["harness: 'a' and 'b' have no arm in common"])


def test_a_baseline_that_no_arm_has_is_refused(run, harness_command):
    a = run("a")
    told = harness_command("compare", a, a, "--baseline", "hidden")
    assert (told.code, len(told.said)) == (2, 1)
    assert "'hidden'" in told.err


def test_where_no_run_is_the_exit_code_is_3(run, harness_command):
    a = run("a", "-t", "one")
    for words in ([a, "nowhere"], ["nowhere", a]):
        told = harness_command("compare", *words)
        assert (told.code, told.said) == (3, ["harness: there is no run in 'nowhere'"])


# ── other metrics, means over tasks, p-values ────────────────────────────────────────────────────────────


def test_the_command_offers_the_metrics_there_are():
    assert get_args(Metric) == METRICS


ORACLES: dict[str, Callable[[Any], float]] = {
    "accuracy": lambda frame: accuracy_score(frame["label"], frame["prediction"]),
    "balanced_accuracy": lambda frame: balanced_accuracy_score(frame["label"], frame["prediction"]),
    "auroc": lambda frame: roc_auc_score(frame["label"] == "b", frame["score_b"]),
}


def frames_of(folder: str, task: str, representation: str) -> list[Any]:
    run = RunFolder(Path(folder))
    records = [r for r in run.records() if (r.task, r.representation) == (task, representation)]
    return [run.predictions(record.cell_id).sort_values("example_id") for record in records]


def test_every_metric_is_that_of_scikit_learn(run, compare):
    a, b = run("a", *WEAK), run("b", *STRONG)
    for metric, oracle in ORACLES.items():
        found = compare(a, b, "--metric", metric)
        assert (found["metric"], len(found["differences"])) == (metric, 6)
        for each in found["differences"]:
            for name, folder in (("a", a), ("b", b)):
                frames = frames_of(folder, each["task"], each["representation"])
                assert each[name] == pytest.approx(np.mean([oracle(frame) for frame in frames]), abs=1e-12)
            assert each["low"] <= each["difference"] <= each["high"]


def test_a_published_run_has_no_auroc_to_compare(run, harness_command):
    a = run("a")
    assert harness_command("leaderboard", "publish", a, "-o", "boards", "--name", "one").code == 0
    told = harness_command("compare", a, "boards/one.jsonl", "--metric", "auroc")
    assert (told.code, len(told.said)) == (3, 1)
    assert "'boards/one.jsonl' keeps no scores, as published runs do not" in told.err
    for metric in ("macro_f1", "accuracy", "balanced_accuracy"):
        told = harness_command("compare", a, "boards/one.jsonl", "--metric", metric, "--json")
        for each in told.rows[0]["differences"]:
            assert (each["difference"], each["low"], each["high"]) == (0, 0, 0)


def test_p_values_are_adjusted_over_all_single_tasks(run, compare):
    found = compare(run("a", *WEAK), run("b", *STRONG))["differences"]
    adjusted = multipletests([each["p_value"] for each in found], method="holm")[1]
    assert [each["p_holm"] for each in found] == pytest.approx(list(adjusted), abs=1e-12)
    assert all(each["mcnemar"] is None for each in found)
    assert min(each["p_holm"] for each in found) < 0.05


def test_accuracy_has_the_exact_test_of_mcnemar(run, compare):
    a, b = run("a", *WEAK), run("b", *STRONG)
    found = compare(a, b, "--metric", "accuracy")["differences"]
    for each in found:
        pairs = zip(*(frames_of(one, each["task"], each["representation"]) for one in (a, b)), strict=True)
        hits = [[(frame["label"] == frame["prediction"]).to_numpy() for frame in pair] for pair in pairs]
        tables = [np.histogram2d(*pair, bins=2, range=[[0, 1]] * 2)[0] for pair in hits]
        expected = max(mcnemar(table, exact=True).pvalue for table in tables)
        assert each["mcnemar"] == pytest.approx(min(1.0, expected), abs=1e-9)
    adjusted = multipletests([each["mcnemar"] for each in found], method="holm")[1]
    assert [each["mcnemar_holm"] for each in found] == pytest.approx(list(adjusted), abs=1e-12)
    leads = compare(a, b, "--metric", "accuracy", "--baseline", "text_length")["differences"]
    assert all(each["mcnemar"] is None for each in leads)  # a lead is no accuracy
    assert compare(a, a, "--metric", "accuracy")["differences"][0]["mcnemar"] == 1


def resampled_score_of(folder: str, task: str, weights: Any) -> Any:
    """Mean over seeds of the macro-F1 of TF-IDF in each resample."""
    pairs = [
        (frame["label"] == "b", frame["prediction"] == "b") for frame in frames_of(folder, task, "tfidf")
    ]
    return np.mean(
        [
            resampled_macro_f1(
                y.to_numpy().astype(int), p.to_numpy().astype(int), n_classes=2, weights=weights
            )
            for y, p in pairs
        ],
        axis=0,
    )


def test_the_mean_over_tasks_is_paired_and_has_an_interval(run, compare, harness_command):
    a, b = run("a", *WEAK), run("b", *STRONG)
    found = compare(a, b)
    means = {each["representation"]: each for each in found["means"]}
    assert set(means) == {"tfidf", "text_length", "majority"}
    samples = []
    for task in ("one", "two"):
        [frame, *_] = frames_of(a, task, "tfidf")
        strata = (frame["label"] == "b").to_numpy().astype(int)
        weights = bootstrap_weights(strata, resamples=1000, seed=bootstrap_seed(task))
        change = resampled_score_of(b, task, weights) - resampled_score_of(a, task, weights)
        single = next(
            one["difference"]
            for one in found["differences"]
            if (one["task"], one["representation"]) == (task, "tfidf")
        )
        samples.append(stretched(strata, change, single, task))
    each = means["tfidf"]
    singles = [one["difference"] for one in found["differences"] if one["representation"] == "tfidf"]
    assert (each["task"], each["tasks"], each["p_holm"]) == ("all tasks", 2, None)
    assert each["difference"] == pytest.approx(np.mean(singles), abs=1e-12)
    wanted = tuple(np.quantile(np.mean(samples, axis=0), [0.025, 0.975]))
    assert (each["low"], each["high"]) == pytest.approx(wanted, abs=1e-9)
    assert sum("all tasks (2)" in line for line in harness_command("compare", a, b).out.splitlines()) == 3


def test_an_arm_with_one_task_has_no_mean(run, compare):
    a = run("a", "-t", "one")
    assert compare(a, a)["means"] == []


# ── a gate ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_regression_beyond_noise_is_exit_code_4_after_the_table(run, harness_command, compare):
    a, b = run("a", *STRONG), run("b", *WEAK)
    worst = min(compare(a, b)["means"], key=lambda each: each["difference"])
    assert worst["high"] < -0.02
    told = harness_command("compare", a, b, "--fail-on-regression", "0.02")
    assert told.code == 4
    assert "all tasks (2)" in told.out
    [sentence] = told.said
    assert "'all tasks tfidf' is worse by more than 0.02 macro_f1: " in sentence
    assert f"{worst['difference']:+.4f} [{worst['low']:+.4f}, {worst['high']:+.4f}]" in sentence
    told = harness_command("compare", a, b, "--fail-on-regression", "0.02", "--json")
    assert (told.code, len(told.rows[0]["means"])) == (4, 3)


@pytest.mark.parametrize("beside", [-1e-6, 1e-6])
def test_the_whole_interval_must_lie_below(run, harness_command, compare, beside):
    a, b = run("a", "-t", "one", *STRONG), run("b", "-t", "one", *WEAK)
    high = min(each["high"] for each in compare(a, b)["differences"])
    told = harness_command("compare", a, b, "--fail-on-regression", -high + beside)
    assert told.code == (4 if beside < 0 else 0)


def test_what_is_better_or_the_same_is_no_regression(run, harness_command):
    a, b = run("a", *WEAK), run("b", *STRONG)
    for words in ((a, b), (a, a)):
        told = harness_command("compare", *words, "--fail-on-regression", "0")
        assert (told.code, told.said) == (0, [])
    assert harness_command("compare", a, b, "--fail-on-regression", "-1").code == 2
