"""Reliability measured end to end on made-up dictionaries: raw scores, noise, draws, and what cannot be measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.api.errors import DataError
from harness.dictionaries.dictionary import Dictionary
from harness.models.opened import load_decoder
from harness.planning.labelled import LabelledTask
from harness.stats.reliability import noise_over, signal_to_noise
from harness.validation.dictionaries import find_checkpoints, measure_reliability
from harness.validation.page import TOLD_BY_ONE, describe, find_claims, to_markdown
from harness.validation.reliability import (
    EXPLAINED,
    K_SPARSE,
    LEAD,
    Choosing,
    GridPoint,
    Measured,
    Reliability,
    ScoreReliability,
    Step,
    Unmeasured,
    read_shipped,
)
from harness.validation.scores import open_scores
from harness.validation.synthetic import Panel

TINY = Panel(features=24, d=16, width=24, l0=(2,), steps=(4, 10, 20), seeds=(0,), probed=1, rows=150)

PLUGIN = """
import harness

HARNESS_API = 1
ASKED = []

def open_place(task):
    ASKED.append(task.spec.name)
    return lambda dictionary, seed: 10.0 * ("tokens_1000" not in dictionary) + ("seed-1" in dictionary) + 100 * seed

def open_nothing(task):
    raise harness.NotTestableError("it cannot count")

def open_fault(task):
    return lambda dictionary, seed: 1 / 0

def open_word(task):
    return lambda dictionary, seed: "many"

@harness.hookimpl
def harness_dictionary_scores():
    return [
        harness.DictionaryScoreSpec(name="place", summary="Place.", load=open_place, by_task=False),
        harness.DictionaryScoreSpec(name="nothing", summary="Nothing.", load=open_nothing),
        harness.DictionaryScoreSpec(name="fault", summary="Fault.", load=open_fault),
        harness.DictionaryScoreSpec(name="word", summary="Word.", load=open_word),
    ]
"""

needs_known_features = pytest.mark.skipif(
    importlib.util.find_spec("sae_lens") is None, reason="models of known features are of the extra [train]"
)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds with two checkpoints each, of random rows: the later ones have twice the features."""
    folder = tmp_path_factory.mktemp("trainings")
    for seed in (0, 1):
        for tokens, place in ((1000, "checkpoints/tokens_1000/layer_1"), (2000, "layer_1")):
            own = folder / f"seed-{seed}" / place
            own.mkdir(parents=True)
            (own / "training.json").write_text(json.dumps({"tokens": tokens, "site": "resid_post.1"}))
            draw = np.random.default_rng(seed)
            rows = draw.normal(size=(8 * tokens // 1000, 64))
            rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            np.savez(
                own / "params.npz",
                W_enc=rows.T, W_dec=rows, b_enc=np.zeros(len(rows), np.float32), b_dec=np.zeros(64, np.float32),
                threshold=np.zeros(len(rows), np.float32),
            )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("plugin")
    (place / "placing.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(place)
        yield harness.open(device="cpu", plugins=["placing", "no:patching", "no:autointerp"])


@pytest.fixture(scope="module")
def task(session: Any) -> LabelledTask:
    return session.load_task("quickstart_tone", model="minigemma-s", site="resid_post.1", limit=60)


@pytest.fixture(scope="module")
def measured(session: Any, task: LabelledTask, trainings: Path) -> Reliability:
    return measure_reliability(
        session.registry, find_checkpoints(trainings), [task, task], rows=60, panel=TINY
    )


@needs_known_features
def test_a_score_of_a_plugin_is_measured_for_each_dictionary_once_where_it_reads_no_rows(
    measured: Reliability, session: Any
) -> None:
    one = measured.find("place")
    assert one.scores == ((0.0, 1.0), (10.0, 11.0))
    assert one.seed_noise == pytest.approx(noise_over(one.scores))
    assert one.data_noise == pytest.approx(100.0)  # seeds 1, 2, 3 add 100 each
    assert one.selection_range is None and one.synthetic == () and one.is_valid is None
    again = signal_to_noise((0.0, 1.0), (10.0, 11.0))
    assert one.run == Measured(value=again.value, low=again.low, high=again.high)
    assert [(step.earlier, step.later) for step in one.steps] == [(1000, 2000)]
    import placing  # type: ignore[import-not-found]  # written above

    assert placing.ASKED == ["quickstart_tone"]


@needs_known_features
def test_a_score_that_says_nothing_here_or_fails_costs_no_other_score(measured: Reliability) -> None:
    assert {(one.name, one.is_testable) for one in measured.unmeasured} == {
        ("nothing", False), ("fault", True), ("word", True),
    }  # fmt: skip
    reasons = {one.name: one.reason for one in measured.unmeasured}
    assert reasons["nothing"] == "it cannot count"
    assert "division by zero" in reasons["fault"] and "'many'" in reasons["word"]
    assert [one.name for one in measured.scores] == [LEAD, "k-sparse lead", EXPLAINED, "place"]
    assert "not testable on this model: it cannot count" in to_markdown(measured)
    assert [claim.reason for claim in find_claims(measured) if claim.measured is None] == ["it cannot count"]


@needs_known_features
def test_raw_scores_of_known_features_are_kept(measured: Reliability) -> None:
    assert [len(row) for row in measured.truth] == [3]
    for name in (LEAD, EXPLAINED):
        assert [len(row) for row in measured.find(name).synthetic] == [3]


def load(task: LabelledTask, folder: Path) -> Dictionary:
    return load_decoder(task.place(str(folder)), str(folder), task.site, "cpu")


def test_explained_variance_and_leads_are_what_they_say(task: LabelledTask, trainings: Path) -> None:
    folder = trainings / "seed-0" / "layer_1"
    scores = open_scores(task, "cpu")
    loaded = task.model.model.load([task.site], "cpu")
    parts = [loaded.forward([one])[task.site].float() for one in task.tokens]
    import torch

    x = torch.cat(parts)
    dictionary = load(task, folder)
    rebuilt = torch.relu(x @ torch.tensor(np.load(folder / "params.npz")["W_enc"]))
    rebuilt = rebuilt @ torch.tensor(np.load(folder / "params.npz")["W_dec"])
    explained = 1 - (x - rebuilt).square().sum() / (x - x.mean(0)).square().sum()
    assert scores[EXPLAINED].measure(str(folder), 0) == pytest.approx(float(explained), abs=1e-5)
    means, hidden = (
        np.stack([rows.double().mean(0).numpy() for rows in found])
        for found in ([dictionary.encode(part) for part in parts], parts)
    )
    wanted = [task.probe(one, classifier="logreg").metrics["macro_f1"].value for one in (means, hidden)]
    assert scores[LEAD].measure(str(folder), 0) == pytest.approx(wanted[0] - wanted[1], abs=1e-9)
    drawn = {scores[EXPLAINED].measure(str(folder), seed) for seed in (0, 1, 2, 1)}
    assert len(drawn) == 3  # rows drawn anew, the same ones for a seed


def point(validation: float, test: float) -> GridPoint:
    return GridPoint(parameters="{}", validation=validation, test=test)


def test_points_are_equal_within_a_standard_error_of_the_best() -> None:
    tried = Choosing(
        representation="hidden", rows=100, points=(point(0.8, 0.5), point(0.761, 0.3), point(0.759, 0.1))
    )
    assert [one.test for one in tried.equal] == [0.5, 0.3]  # .8 · .2 / 100 has the root .04
    assert tried.spread == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-1.0, 2.0, "holds"), (2.0, 3.0, "undecided"), (3.0, 9.0, "does not hold"), (-1.0, 3.0, "undecided")],
)
def test_the_claim_that_a_score_is_coarse_follows_from_the_last_step(
    low: float, high: float, verdict: str
) -> None:
    assert 2 < TOLD_BY_ONE < 3
    found = Measured(value=(low + high) / 2, low=low, high=high)
    result = made_up(ScoreReliability(
        name="s", scores=((0.0, 1.0), (1.0, 2.0)), seed_noise=0.7, data_noise=0.1, selection_range=None, run=found,
        steps=(Step(earlier=1, later=2, signal_to_noise=found),), synthetic=(), validity=None,
    ))  # fmt: skip
    (claim,) = find_claims(result)
    assert (claim.verdict, claim.n) == (verdict, 4)


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [((3, 4), (1, 2), "holds"), ((1, 2), (3, 4), "does not hold"), ((1, 3), (2, 4), "undecided")],
)
def test_k_sparse_probing_is_compared_with_the_best_other_score_of_features(
    own: tuple[int, int], other: tuple[int, int], verdict: str
) -> None:
    def scored(name: str, low: float, high: float) -> ScoreReliability:
        found = Measured(value=(low + high) / 2, low=low, high=high)
        return ScoreReliability(
            name=name, scores=((0.0, 1.0), (1.0, 2.0)), seed_noise=0.7, data_noise=0.1, selection_range=None,
            run=found, steps=(Step(earlier=1, later=2, signal_to_noise=found),), synthetic=(), validity=None,
        )  # fmt: skip

    result = made_up(
        scored(K_SPARSE, *own), scored("s", *other), scored("t", 0, 1), scored(EXPLAINED, 90, 99)
    )
    claim = find_claims(result)[-1]
    assert (claim.verdict, claim.control) == (verdict, "s")
    assert (
        len(find_claims(made_up(scored(K_SPARSE, 1, 2), scored(EXPLAINED, 90, 99)))) == 2
    )  # nothing to compare with


def made_up(*scores: ScoreReliability, unmeasured: tuple[Unmeasured, ...] = ()) -> Reliability:
    return Reliability(
        date="2026-01-01", model="toy", site="resid_post.1", tasks=("t",), rows=9, seeds=2, tokens=(1, 2),
        scores=scores, unmeasured=unmeasured, truth=(), transfers=(), cpu_minutes=1.0,
    )  # fmt: skip


def test_the_page_of_what_is_shipped_names_each_score_and_its_claims(tmp_path: Path) -> None:
    path = tmp_path / "reliability-x.json"
    path.write_text(read_shipped().model_dump_json())
    page = describe([path])
    assert page.markdown.startswith("# Reliability of scores")
    assert all(one.name in page.markdown for one in (*read_shipped().scores, *read_shipped().unmeasured))
    assert all(claim.work == "Chanin 2026" for claim in page.claims) and len(page.claims) > 3
    assert describe([]).claims == ()


@pytest.mark.parametrize("text", ["multilingual_hatecheck", "a:b", "a:b:c:d", "a::c"])
def test_a_transfer_names_a_task_and_two_languages(text: str, harness_command: Any, trainings: Path) -> None:
    told = harness_command(
        "check-statistics", "--dictionaries", trainings, "-m", "minigemma-s", "-t", "quickstart_tone",
        "--transfer", text,
    )  # fmt: skip
    assert told.code == 2 and f"'{text}' is not of the form TASK:FROM:TO" in told.err


def test_a_language_without_rows_is_one_sentence(harness_command: Any, trainings: Path) -> None:
    told = harness_command(
        "check-statistics", "--dictionaries", trainings, "-m", "minigemma-s", "-t", "quickstart_tone", "-L", "40",
        "--transfer", "quickstart_tone:de:xx",
    )  # fmt: skip
    assert told.code == DataError.exit_code and "none to test in 'xx'" in told.err
