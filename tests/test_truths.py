"""Simulated arms through the boards' own functions: a line is known by what it would say of a broken one."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.stats import bootstrap as harness_stats
from harness.stats import simulation as truths
from harness.stats.metrics import score
from harness.stats.simulation import DESIGNS, Truth, measure


@pytest.fixture(scope="module")
def few() -> dict[str, Truth]:
    """All lines, by name, from few replicates."""
    return {truth.name: truth for truth in measure(60)}


def test_every_line_has_its_own_name_and_the_replicates_asked_for(few: dict[str, Truth]) -> None:
    assert len(few) == len(measure(1))
    assert {truth.replicates for truth in few.values()} == {60}


def test_the_same_seed_measures_the_same() -> None:
    assert measure(3, seed=5) == measure(3, seed=5) != measure(3, seed=6)


def test_the_interval_of_a_rate_is_that_of_scipy(few: dict[str, Truth]) -> None:
    for truth in few.values():
        if not truth.name.startswith("width"):
            count = round(truth.measured * truth.replicates)
            expected = scipy_stats.binomtest(count, truth.replicates).proportion_ci(0.99, method="exact")
            assert truth.interval == pytest.approx((expected.low, expected.high))


def test_a_line_holds_when_its_interval_meets_what_is_wanted(few: dict[str, Truth]) -> None:
    for truth in few.values():
        if truth.wanted is None:
            assert truth.ok is None
        else:
            low, high = truth.interval
            assert truth.ok == (low <= truth.wanted[1] and high >= truth.wanted[0])


def test_wrong_ways_are_seen_to_be_wrong_from_few_replicates(few: dict[str, Truth]) -> None:
    assert few["family, not adjusted (the wrong way)"].interval[0] > 0.05
    assert few["null, macro-F1: 10% in class 1, predicted 50% and 20%"].interval[0] > 0.05
    assert few["width, unpaired over paired"].interval[0] > 1.2
    assert few["advantage found"].measured > few["advantage found, unpaired"].measured


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_the_populations_scores_are_those_of_very_many_rows(design: truths.Design) -> None:
    large = replace(design, counts=tuple(1000 * count for count in design.counts))
    y = np.repeat(np.arange(len(large.counts)), large.counts)
    scores = np.random.default_rng(0).normal(size=(len(y), len(large.counts)))
    scores[np.arange(len(y)), y] += large.shift
    found = score(y, scores.argmax(axis=1), scores, weights=None)
    expected = truths._population(design)
    assert found.keys() == expected.keys()
    for metric, value in expected.items():
        assert found[metric].value == pytest.approx(value, abs=0.004)


def test_a_test_that_finds_too_much_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        truths, "bootstrap_p_value", lambda differences: float(abs(differences.mean()) < 0.02)
    )
    by_name = {truth.name: truth.ok for truth in measure(60)}
    assert by_name["null, balanced accuracy: 50% in class 1, predicted 50% and 20%"] is False
    assert by_name["family, Holm"] is False


def test_intervals_that_are_too_narrow_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "harness.stats.metrics.percentile_interval", lambda samples: tuple(np.quantile(samples, [0.3, 0.7]))
    )
    share = harness_stats.wilson_interval
    monkeypatch.setattr("harness.stats.metrics.wilson_interval", lambda right, n: share(right, n, level=0.4))
    coverage = [truth for truth in measure(60) if truth.name.startswith("coverage, ") and ":" in truth.name]
    assert len(coverage) == 4 * len(DESIGNS) and not any(truth.ok for truth in coverage)


def test_the_command_prints_a_markdown_table(harness_command: Any, few: dict[str, Truth]) -> None:
    told = harness_command("check-statistics", "--replicates", "3")
    assert (told.code, told.err) == (0, "")
    head, rule, *rows, gap, note = told.out.splitlines()
    assert (gap, note) == (
        "",
        "Every line without a number of groups or rows: 400 test rows; 1000 resamples.",
    )
    assert head.startswith("| line | what | wanted | measured |") and rule.startswith("|---|")
    assert len(rows) == len(few)
    assert all(row.count("|") == head.count("|") for row in rows)


def test_as_json_it_prints_every_line(harness_command: Any, few: dict[str, Truth]) -> None:
    told = harness_command("check-statistics", "--replicates", "3", "--json")
    lines = json.loads(told.out)
    assert [line["name"] for line in lines] == list(few)
    assert set(lines[0]) == {"name", "what", "wanted", "measured", "interval", "replicates", "ok"}


def test_the_command_still_answers_to_its_earlier_name_with_a_line_of_warning(harness_command: Any) -> None:
    told = harness_command("truths", "--replicates", "1")
    assert told.code in (0, 4)  # one replicate shows nothing
    assert told.said[0] == "harness: the command 'truths' is now called 'check-statistics'"
    assert told.out.startswith("| line | what | wanted |")


def test_a_line_that_does_not_hold_ends_in_exit_code_4(
    harness_command: Any, monkeypatch: pytest.MonkeyPatch, few: dict[str, Truth]
) -> None:
    first, *others = few.values()
    broken = replace(first, ok=False, name="null, broken")
    monkeypatch.setattr(truths, "measure", lambda replicates: (broken, *others))
    told = harness_command("check-statistics")
    assert told.code == 4
    assert "do not hold: null, broken" in told.err
    assert "| null, broken |" in told.out


def check_all_hold(truths: Collection[Truth]) -> None:
    """Assert that each line that must hold does, and that what is published of 2000 replicates is what these give."""
    assert [truth for truth in truths if truth.ok is False] == []
    page = (Path(__file__).parents[1] / "leaderboards" / "TRUTHS.md").read_text("utf-8")
    lines = [line.split(" | ") for line in page.splitlines()]
    told = {cells[0].removeprefix("| "): float(cells[3]) for cells in lines if cells[5:6] == ["2000"]}
    assert told.keys() == {truth.name for truth in truths}
    for truth in truths:
        assert truth.interval[0] <= told[truth.name] <= truth.interval[1]


def test_every_line_that_must_hold_does_and_is_what_is_published(few: dict[str, Truth]) -> None:
    check_all_hold(few.values())


@pytest.mark.slow
@pytest.mark.skipif(
    "HARNESS_ALL_TRUTHS" not in os.environ,
    reason="most of a minute of computing: make test-proofs checks it",
)
def test_every_line_of_400_replicates_that_must_hold_does_and_is_what_is_published() -> None:
    check_all_hold(measure(400, seed=1))
