"""Reliability of scores: noise is told from signal, and an order from another, on numbers whose truth is known."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

import harness
from harness.api.errors import DataError
from harness.stats.reliability import noise_over, rank_correlation, signal_to_noise
from harness.validation.dictionaries import find_checkpoints
from harness.validation.reliability import LEAD, read_shipped
from harness.validation.synthetic import EXPLAINED, Panel, measure_panel


def test_the_interval_of_a_score_that_is_pure_noise_holds_zero_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    scores = [signal_to_noise(*draw.normal(size=(2, 3))) for _ in range(400)]
    assert abs(np.median([one.value for one in scores])) < 0.2
    held = np.mean([one.lower <= 0 <= one.upper for one in scores])
    assert 0.92 <= held <= 0.98  # .95 ± two and a half standard errors of 400


def test_the_interval_of_a_known_signal_holds_it() -> None:
    draw = np.random.default_rng(0)
    scores = [signal_to_noise(draw.normal(0, 0.1, size=3), draw.normal(0.3, 0.1, size=3)) for _ in range(400)]
    held = np.mean([one.lower <= 3 <= one.upper for one in scores])
    assert 0.92 <= held <= 0.98


def test_signal_is_counted_in_pooled_standard_deviations() -> None:
    found = signal_to_noise([0.0, 0.1, 0.2], [0.5, 0.6, 0.7])
    assert found.value == pytest.approx(5.0)  # .5 over .1
    worse = signal_to_noise([0.5, 0.6, 0.7], [0.0, 0.1, 0.2])
    assert (worse.value, worse.low, worse.high) == pytest.approx((-found.value, -found.upper, -found.lower))
    assert noise_over([[0.0, 0.1, 0.2], [0.5, 0.6, 0.7]]) == pytest.approx(0.1)


@pytest.mark.parametrize("scores", [([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0]), ([1.0, 2.0], [1.0])])
def test_where_there_is_no_noise_nothing_is_divided_by_it(scores: Any) -> None:
    with pytest.raises(ValueError, match="noise"):
        signal_to_noise(*scores)


def test_a_score_that_is_true_recovery_has_a_rank_correlation_of_one() -> None:
    truth = np.random.default_rng(0).uniform(size=30)
    found = rank_correlation(np.exp(truth), truth)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_the_interval_of_a_score_without_relation_to_truth_holds_zero() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(20):
        truth, score = draw.uniform(size=(2, 30))
        found = rank_correlation(score, truth)
        assert found.value == pytest.approx(spearmanr(score, truth).statistic)
        held += found.lower <= 0 <= found.upper
    assert held >= 17  # fewer happen in 3 of 100 such tests where the interval holds 95 %


def test_settings_are_drawn_with_all_of_their_seeds() -> None:
    truth, score = np.random.default_rng(0).uniform(size=(2, 15))
    one, copies = rank_correlation(score, truth), rank_correlation([score, score], [truth, truth])
    assert (copies.value, copies.low, copies.high) == pytest.approx((one.value, one.low, one.high))


def test_ties_rank_as_in_scipy_and_a_constant_has_no_ranks() -> None:
    score, truth = [1, 1, 2, 3, 3], [5, 4, 4, 1, 2]
    assert rank_correlation(score, truth).value == pytest.approx(spearmanr(score, truth).statistic)
    with pytest.raises(ValueError, match="constant"):
        rank_correlation([1, 1, 1], [1, 2, 3])


def test_what_is_shipped_follows_from_the_raw_scores_that_it_holds() -> None:
    shipped = read_shipped()
    assert (len(shipped.tokens), shipped.seeds) == (5, 3)
    for one in shipped.scores:
        again = signal_to_noise(one.scores[0], one.scores[-1])
        assert one.run is not None
        assert (one.run.value, one.run.low, one.run.high) == pytest.approx(
            (again.value, again.low, again.high)
        )
        assert one.seed_noise == pytest.approx(noise_over(one.scores))
        if one.synthetic:
            found = rank_correlation(one.synthetic, shipped.truth)
            assert one.validity is not None
            assert (one.validity.value, one.validity.low, one.validity.high) == pytest.approx(
                (found.value, found.low, found.high)
            )


def test_the_command_prints_each_score_with_its_signal_to_noise(harness_command: Any) -> None:
    told = harness_command("check-statistics", "--dictionaries")
    assert (told.code, told.err) == (0, "")
    shipped = read_shipped()
    for one in shipped.scores:
        (line,) = [line for line in told.out.splitlines() if line.startswith(f"| {one.name} |")]
        assert one.run is not None
        assert f"{one.run.value:.1f}" in line
        assert one.discriminates in line
    assert shipped.model in told.out
    assert shipped.date in told.out


def test_a_folder_without_checkpoints_of_two_seeds_is_one_sentence(
    harness_command: Any, tmp_path: Any
) -> None:
    told = harness_command(
        "check-statistics", "--dictionaries", tmp_path, "-m", "minigemma-s", "-t", "sms_spam"
    )
    assert told.code == 2
    assert "with `harness train-dictionary --checkpoints`" in told.err


def test_a_folder_needs_a_model_and_a_task(harness_command: Any, tmp_path: Any) -> None:
    told = harness_command("check-statistics", "--dictionaries", tmp_path)
    assert (told.code, "needs a model (-m) and a task (-t)" in told.err) == (2, True)


def write_training(folder: Path, tokens: object) -> None:
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"tokens": tokens, "site": "resid_post.2"}))


def test_checkpoints_are_found_by_tokens_and_seed(tmp_path: Path) -> None:
    for seed in ("seed-1", "seed-0"):
        write_training(tmp_path / seed / "layer_2", 2000)
        write_training(tmp_path / seed / "checkpoints" / "tokens_1000" / "layer_2", 1000)
    found = find_checkpoints(tmp_path)
    assert [(one.tokens, one.seed) for one in found] == [(1000, 0), (1000, 1), (2000, 0), (2000, 1)]
    assert found[1].folder == tmp_path / "seed-1" / "checkpoints" / "tokens_1000" / "layer_2"


def test_a_record_of_a_training_that_is_none_is_named(tmp_path: Path) -> None:
    write_training(tmp_path / "seed-0" / "layer_2", "many")
    with pytest.raises(DataError, match=r"training.json' is no record of a training"):
        find_checkpoints(tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("sae_lens") is None, reason="models of known features are of the extra [train]"
)
def test_dictionaries_trained_longer_recover_known_features_better() -> None:
    panel = Panel(features=24, d=16, width=24, l0=(2,), steps=(4, 200), seeds=(0,), probed=1, rows=150)
    found = measure_panel(harness.open(device="cpu").registry, panel)
    ((short, long),) = found.truth
    assert short < 0.75 < long
    assert found.scores[EXPLAINED][0][0] < found.scores[EXPLAINED][0][1]
    assert len(found.scores[LEAD][0]) == 2


@pytest.mark.parametrize(
    "given", [("-m", "minigemma-m"), ("-o", "out.json"), ("--dictionaries", "-t", "sms_spam")]
)
def test_what_is_for_measuring_anew_is_refused_where_nothing_is_measured(
    given: tuple[str, ...], harness_command: Any
) -> None:
    refused = harness_command("check-statistics", *given)
    assert refused.code == 2 and "belong to --dictionaries FOLDER" in refused.err and refused.out == ""
