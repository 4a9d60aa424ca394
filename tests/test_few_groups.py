"""Test rows of few groups in; intervals, p-values, ranks and flags that claim no more than these can show."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, chi2, t

from harness.leaderboard import Board, build, compare, write
from harness.leaderboard.analyses.transfer import find_matrices, summarize
from harness.runs.folder import RunFolder
from harness.runs.record import Record
from harness.stats.bootstrap import cluster_weights, percentile_interval
from harness.stats.few_groups import FLAGGED, SHOWN, Support, _draw_student, assess, tabulate
from harness.stats.metrics import score


def same(groups: int, *, classes: int = 2, size: int = 12) -> Support:
    return assess(((size,) * groups,) * classes)


@pytest.mark.parametrize(
    ("groups", "flags", "has_interval"),
    [(1, ("groups:1",), False), (3, ("groups:3",), True), (10, (), True), (30, (), True)],
)
def test_few_groups_are_flagged_and_single_ones_have_no_interval(
    groups: int, flags: tuple[str, ...], has_interval: bool
) -> None:
    support = same(groups)
    assert (support.flags, support.has_interval) == (flags, has_interval)
    if support.coverage is not None:
        assert (FLAGGED <= support.coverage < SHOWN) == bool(flags)


@pytest.mark.parametrize("freedom", [0.7, 1.0, 4.5, 12.0, 310.25])
def test_deviations_are_stretched_by_the_quantiles_of_scipy(freedom: float) -> None:
    drawn = np.random.default_rng(3).random(2000)
    expected = np.sqrt(freedom / chi2.ppf(drawn, freedom))
    assert _draw_student(freedom, 2000, 3).tolist() == expected.tolist()


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_corrected_intervals_hold_the_truth_where_plain_ones_do_not(groups: int) -> None:
    generator, size, rate = np.random.default_rng(groups), 12, 0.7
    rows = np.arange(2 * groups * size) // size
    y, support = rows % 2, same(groups)
    held, alarms = np.zeros(2), np.zeros(2)
    for seed in range(200):
        weights = cluster_weights(y, rows, resamples=400, seed=seed)
        luck = generator.normal(size=(2, 2 * groups))
        right = generator.normal(size=(2, len(y))) + np.repeat(luck, size, axis=1) < 0.5244 * np.sqrt(2)
        samples, value = (right @ weights.T) / len(y), right.mean(axis=1)
        for way, spread in enumerate((support.stretch(samples.T, value, seed=seed).T, samples)):
            low, high = percentile_interval(spread[0])
            held[way] += low <= rate <= high
            low, high = percentile_interval(spread[0] - spread[1])
            alarms[way] += low > 0 or high < 0
    (corrected, plain), (few, many) = held / 200, alarms / 200
    assert corrected > 0.85 and few < 0.1
    assert corrected > plain and few < many


def test_stretched_normal_deviations_are_students() -> None:
    support = same(4, size=1)
    normal = np.random.default_rng(0).normal(size=40_000)
    stretched = support.stretch(normal, 0.0, seed=1) / support.spread
    wanted = t.ppf([0.025, 0.25, 0.975], support.freedom)
    assert np.quantile(stretched, [0.025, 0.25, 0.975]) == pytest.approx(wanted, rel=0.05)
    assert support.spread == pytest.approx(np.sqrt(4 / 3))
    assert np.array_equal(
        support.stretch(normal[:100], 0.0, seed=1), support.stretch(normal, 0.0, seed=1)[:100]
    )


def test_where_every_class_has_thirty_groups_nothing_is_changed() -> None:
    samples = np.random.default_rng(0).normal(size=50)
    assert np.array_equal(same(30).stretch(samples, 0.3, seed=1), samples)


@pytest.mark.parametrize("n", [1, 5, 33])
def test_the_interval_of_a_perfect_score_is_that_of_clopper_and_pearson(n: int) -> None:
    support = assess(((1,) * n,))
    low = np.quantile(support.draw_perfect(200_000, seed=0), 0.025)
    assert low == pytest.approx(binomtest(n, n).proportion_ci(method="exact").low, abs=0.005)


def test_a_perfect_record_has_an_interval_below_one() -> None:
    y = np.repeat([0, 1], 33)
    support = assess(tabulate(y, np.arange(66)))
    weights = cluster_weights(y, np.arange(66), resamples=200, seed=0)
    found = score(y, y, np.eye(2)[y], weights=weights, support=support)
    for metric in ("macro_f1", "balanced_accuracy", "auroc"):
        assert found[metric].value == found[metric].high == 1.0
        assert 0.88 < found[metric].low < 0.96


def test_groups_are_counted_in_the_class_of_most_of_their_rows() -> None:
    labels = np.array([0, 0, 1, 1, 1, 0, 2])
    groups = np.array([0, 0, 0, 1, 1, 3, 4])
    assert tabulate(labels, groups) == ((1,), (1, 3), (2,))


# ── boards ───────────────────────────────────────────────────────────────────────────────────────────────


class Run(RunFolder):
    """A run filled by hand: tasks of two classes with so many test groups in each."""

    def about(self) -> dict[str, Any]:
        return super().about() if self.exists else {"suite": {"name": "tests"}}

    def put(
        self,
        task: str,
        representation: str,
        *,
        groups: tuple[int, ...],
        size: int = 8,
        skill: float = 0.7,
        classes: Sequence[str] = ("a", "b"),
        luck: int = 0,
        constant: bool = False,
        **fields: object,
    ) -> None:
        cell = "-".join([task, representation, *map(str, fields.values())])
        record = Record.model_validate(
            {
                "cell_id": cell,
                "status": "ok",
                "suite": "tests",
                "task": task,
                "task_version": 1,
                "modality": "text",
                "train_language": "en",
                "test_language": "en",
                "model": "mini",
                "model_hash": None,
                "site": "resid_post.2",
                "representation": representation,
                "representation_hash": None,
                "width": 64,
                "pooling": "mean",
                "transform": "none",
                "classifier": "logreg",
                "seed": 0,
                "validation_metrics": {"macro_f1": 0.5},
                "flags": ("groups:9", "kept"),
                **fields,
            }
        )
        (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        self.add(record)
        labels = np.repeat(np.arange(len(groups)), np.array(groups) * size)
        names = np.array(classes)
        right = np.random.default_rng([luck, len(representation)]).random(len(labels)) < skill
        predicted = np.zeros_like(labels) if constant else np.where(right, labels, (labels + 1) % len(groups))
        self.write_predictions(
            cell,
            example_ids=[f"{task}-{row:04}" for row in range(len(labels))],
            groups=[f"g{row // size}" for row in range(len(labels))],
            labels=list(names[labels]),
            predictions=list(names[predicted]),
            scores=np.eye(len(names))[predicted],
            classes=list(classes),
        )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def text(board: Board, folder: Path) -> str:
    write(board, folder)
    return (folder / "leaderboard.md").read_text("utf-8")


def test_a_task_with_one_group_a_class_enters_no_mean_rank_or_adjustment_of_any_row(
    run: Run, tmp_path: Path
) -> None:
    alone = Run(tmp_path / "alone")
    for each in (run, alone):
        for arm, skill in (("hidden", 0.6), ("sae", 0.8)):
            each.put("plain", arm, groups=(40, 40), skill=skill)
    for arm, skill in (("hidden", 0.9), ("sae", 0.1)):
        run.put("single", arm, groups=(1, 1), skill=skill)
    board, without = build([run]), build([alone])
    for row, other in zip(board.rows, without.rows, strict=True):
        assert row.macro_f1 is not None and other.macro_f1 is not None
        assert (row.rank, row.macro_f1.value) == (other.rank, other.macro_f1.value)
        (result,) = row.unsupported
        assert result.macro_f1.interval is None
        assert row.flags == ("kept", "groups:1")
    (sae,) = [row for row in board.rows if row.representation == "sae"]
    assert sae.delta is not None and sae.delta.value > 0
    assert [result.p_value for result in sae.unsupported] == [1.0]
    assert (sae.count("won"), sae.count("tied"), sae.count("lost")) == (1, 0, 0)
    assert (
        sae.results[0].p_value
        == next(row for row in without.rows if row.representation == "sae").results[0].p_value
    )
    page = text(board, tmp_path)
    below = page.partition("## Too few groups for an interval")[2]
    assert "single: 16 test rows, groups:1" in below and below.count("[—]") == 2
    assert "single" not in page.partition("## Task by task")[2].partition("## Too few")[0]


def test_a_board_of_nothing_but_single_groups_shows_scores_and_ranks_nobody(run: Run, tmp_path: Path) -> None:
    for arm in ("hidden", "sae"):
        run.put("single", arm, groups=(1, 1))
    board = build([run])
    assert [(row.rank, row.macro_f1) for row in board.rows] == [(None, None)] * 2
    page = text(board, tmp_path)
    assert "## Task by task" not in page and page.count("[—]") == 2
    tasks = (tmp_path / "leaderboard-tasks.csv").read_text("utf-8").splitlines()
    assert tasks[0].endswith(",outcome,flags") and tasks[1].endswith(",groups:1")


def test_flags_dictionaries_and_choices_of_tasks_with_single_groups_are_on_the_page(
    run: Run, tmp_path: Path
) -> None:
    fitted = {
        "dictionary": "scope/layer_2",
        "fidelity": {"verdict": "flagged", "reasons": {"thresholds": "L0 is 127 of 128"}},
    }
    alone = Run(tmp_path / "alone")
    for each in (run, alone):
        each.put("single", "sae", groups=(1, 1), **fitted, selected_on="folds", flags=("bos", "groups:1"))
    run.put("plain", "sae", groups=(40, 40), flags=())
    for number, (folder, folds) in enumerate(((run, ()), (alone, ("folds:1/1",)))):
        board = build([folder])
        assert board.rows[0].flags == ("bos", *folds, "groups:1")
        page = text(board, tmp_path / str(number))
        assert "flagged: L0 is 127 of 128" in page.partition("## Dictionaries")[2]
    assert "resid_post.2 | mean | none | logreg" in page


def test_classes_with_one_group_among_others_are_kept_and_flagged(run: Run, tmp_path: Path) -> None:
    run.put("some", "hidden", groups=(40, 40, 1), classes=("a", "b", "c"))
    board = build([run])
    assert board.rows[0].flags == ("kept", "single:1/3")
    assert board.rows[0].macro_f1 is not None and board.rows[0].macro_f1.interval is not None
    assert "single:n/m" in text(board, tmp_path)


def test_a_class_without_test_rows_is_flagged_with_the_ceiling(run: Run, tmp_path: Path) -> None:
    run.put("lacking", "hidden", groups=(40,), classes=("a", "b"), skill=1.0)
    board = build([run])
    assert board.rows[0].flags == ("kept", "absent:1/2")
    assert board.rows[0].macro_f1 is not None
    assert board.rows[0].macro_f1.interval is not None and board.rows[0].macro_f1.interval[1] == 0.5
    page = text(board, tmp_path)
    assert "| lacking | 320 | 2 | .333 | .500 | absent:1/2 |" in page and "ceiling" in page


def test_perfect_rows_have_an_interval_and_keep_their_rank(run: Run) -> None:
    run.put("spam", "hidden", groups=(33, 33), size=1, skill=0.8)
    run.put("spam", "sae", groups=(33, 33), size=1, skill=1.0)
    best = build([run]).rows[0]
    assert best.representation == "sae" and best.macro_f1 is not None and best.macro_f1.interval is not None
    low, high = best.macro_f1.interval
    assert 0.88 < low < 0.96 and high == 1.0
    assert (best.rank, best.results[0].verdict) == (1, "won")


def test_a_perfect_and_a_constant_arm_differ_no_more_surely_than_their_rows_can_tell(run: Run) -> None:
    run.put("tiny", "hidden", groups=(4, 3), size=1, skill=1.0)
    run.put("tiny", "constant", groups=(4, 3), size=1, constant=True)
    (constant,) = [row for row in build([run]).rows if row.representation == "constant"]
    (result,) = constant.results
    assert result.delta is not None and result.delta.interval is not None
    low, high = result.delta.interval
    assert low == pytest.approx(result.delta.value) and high > low + 0.2
    assert result.p_value == pytest.approx(0.25)  # three rows differ, all in one direction
    assert result.detectable is not None and result.detectable > 0.2


def test_two_runs_are_not_told_apart_by_single_groups(run: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "other")
    run.put("single", "hidden", groups=(1, 1), skill=0.9)
    other.put("single", "hidden", groups=(1, 1), skill=0.2)
    found = compare(run, other)
    (single,) = found.differences
    assert (single.change.interval, single.p_value, single.adjusted) == (None, 1.0, None)
    assert not found.means and not found.worse(0.0)


def test_pairs_of_languages_with_single_groups_enter_no_mean_of_transfer(run: Run) -> None:
    for train, test, groups in (("en", "en", 40), ("en", "de", 40), ("en", "sw", 1)):
        run.put("topics", "hidden", groups=(groups, groups), train_language=train, test_language=test)
    (matrix,) = find_matrices(build([run])).tasks
    assert {pair.test for pair in matrix.pairs} == {"en", "de", "sw"}
    assert [one.n_languages for one in summarize(matrix)] == [2]


def test_a_run_of_single_groups_says_so_in_its_records(
    harness_command: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [
        {"text": f"{word} {place}", "label": label, "group": f"{label}{place // 6}", "split": split}
        for label, word in (("pos", "lovely day"), ("neg", "awful night"))
        for split, places in (("train", range(24)), ("test", range(24, 30)))
        for place in places
    ]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "one.yaml").write_text(
        "name: one\nversion: 1\nlanguages: [en]\ncolumns: {group: group}\nsource: {file: one.jsonl}\n"
        "licence: CC0\ncitation: the author\n"
    )
    arms = "representations=[tfidf, majority]"
    told = harness_command(
        "run", "quickstart", "-t", "one", "--include", tmp_path / "one.yaml", "--set", arms, "-o", "r"
    )
    assert told.code == 0, told.err
    assert "no task has groups of test rows enough for an interval" in told.out
    for line in Path("r/results.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        assert record["flags"] == ["groups:1"]
        assert all(one["low"] is None for one in record["metrics"].values())
    assert harness_command("validate", "r").code == 0
