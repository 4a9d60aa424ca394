"""Representations fitted on activations: against scikit-learn, on training rows alone, kept and found again."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import harness
from harness.features.artifacts import read_fitted, write_fitted
from harness.features.fitting import fit_all
from harness.runs.folder import RunFolder
from harness.storage.feature_store import FeatureStore

TEXTS = [
    f"the {colour} {thing} number {n}"
    for n in range(9)
    for colour in ["red", "blue"]
    for thing in ["door", "car"]
]
SITE = {"model": "minigemma-s", "site": "resid_post.1"}


@cache
def tokens_of(text: str) -> np.ndarray[Any, Any]:
    """The activations of one text, token by token."""
    model, loaded = opened()
    site = harness.Site.parse("resid_post.1")
    activations: np.ndarray[Any, Any] = loaded.forward(model.tokenize([text]))[site].numpy()
    return activations


@cache
def opened() -> Any:
    model = harness.open(device="cpu").registry.choose("models", "minigemma-s").make()
    return model, model.load([harness.Site.parse("resid_post.1")], "cpu")


@pytest.fixture(scope="module")
def activations() -> np.ndarray[Any, Any]:
    return np.concatenate([tokens_of(text) for text in TEXTS])


def features(representation: str) -> np.ndarray[Any, Any]:
    matrix = harness.open(device="cpu").features(TEXTS, **SITE, representation=representation, pooling="mean")
    assert isinstance(matrix, np.ndarray)
    return matrix


def pooled(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The mean over each text's tokens of values `[all tokens, n]`."""
    lengths = [len(tokens_of(text)) for text in TEXTS]
    return np.stack([part.mean(0) for part in np.split(values, np.cumsum(lengths)[:-1])])


def test_pca_is_that_of_scikit_learn(activations: np.ndarray[Any, Any]) -> None:
    got = features("pca[n=5]")
    wanted = pooled(PCA(5, svd_solver="full").fit_transform(activations.astype(np.float64)))
    signs = np.sign((got * wanted).sum(0))
    np.testing.assert_allclose(got, wanted * signs, rtol=1e-3, atol=1e-3)


def test_top_neurons_are_the_coordinates_that_vary_most(activations: np.ndarray[Any, Any]) -> None:
    kept = np.sort(np.argsort(-activations.astype(np.float64).var(0), kind="stable")[:7])
    np.testing.assert_allclose(
        features("top_neurons[k=7]"), pooled(activations[:, kept]), rtol=1e-5, atol=1e-5
    )


def test_a_random_projection_is_linear_and_keeps_norms_on_average(activations: np.ndarray[Any, Any]) -> None:
    hidden, projected = features("hidden"), features("random_projection[n=4096,seed=3]")
    ratio = np.linalg.norm(projected, axis=1) / np.linalg.norm(hidden, axis=1)
    assert projected.shape == (len(TEXTS), 4096) and abs(ratio.mean() - 1) < 0.05
    _, residual, *_ = np.linalg.lstsq(hidden, projected[:, :3], rcond=None)
    assert np.allclose(residual, 0, atol=1e-3)
    assert not np.allclose(projected[:, :2], features("random_projection[n=4096,seed=4]")[:, :2])


def test_without_a_number_they_take_256_or_all_there_are() -> None:
    for representation in ("pca", "top_neurons", "random_projection"):
        assert features(representation).shape == (len(TEXTS), 64)


def test_all_neurons_are_the_hidden_state() -> None:
    np.testing.assert_array_equal(features("top_neurons[k=64]"), features("hidden"))


@pytest.mark.parametrize(
    ("representation", "said"),
    [
        ("pca[n=65]", "pca: 65 is more than the activations' size, 64"),
        ("top_neurons[k=100]", "top_neurons: 100 is more than the activations' size, 64"),
        ("pca[n=0]", "0 is not a positive whole number"),
        ("random_projection[n=2.5]", "2.5 is not a positive whole number"),
    ],
)
def test_numbers_that_cannot_be_are_refused_at_plan_time(
    harness_command: Any, toy_suite: Path, toy_task: Path, representation: str, said: str
) -> None:
    result = harness_command(
        "plan", toy_suite, "--include", toy_task, "--set", f'representations=["{representation}"]'
    )
    assert result.code == 2 and said in result.err


# ── in a run ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fitted_suite(toy_suite: Path) -> Path:
    text = toy_suite.read_text()
    toy_suite.write_text(text.replace("[hidden, majority]", '[hidden, "pca[n=4]", "top_neurons[k=4]"]'))
    return toy_suite


def events(run: Path, name: str) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def test_a_run_fits_in_one_calibration_pass_and_reports_it_apart(
    harness_command: Any, fitted_suite: Path, toy_task: Path, tmp_path: Path
) -> None:
    result = harness_command("run", fitted_suite, "--include", toy_task, "-o", "run", "--json")
    assert result.code == 0, result.err
    (calibrated,) = events(tmp_path / "run", "calibrated")
    records = {record.representation: record for record in RunFolder(tmp_path / "run").records()}
    assert calibrated["examples"] == 28, "the training rows, and no test row"
    assert calibrated["fitted"] == 2 and calibrated["tokens"] > 0
    assert records["pca[n=4]"].cost.tokens == records["hidden"].cost.tokens
    assert result.rows[-1]["tokens"] == records["hidden"].cost.tokens + calibrated["tokens"]
    assert records["pca[n=4]"].width == records["pca[n=4]"].n_features == 4


def test_what_was_fitted_is_found_again(
    harness_command: Any, fitted_suite: Path, toy_task: Path, tmp_path: Path, own_cache: Path
) -> None:
    harness_command("run", fitted_suite, "--include", toy_task, "-o", "one")
    kept = sorted(path.name for path in own_cache.glob("fitted/*/*.safetensors"))
    assert len(kept) == 2
    other = ["--set", "poolings=[max]"]
    assert harness_command("run", fitted_suite, "--include", toy_task, "-o", "two", *other).code == 0
    assert not events(tmp_path / "two", "calibrated"), "another pooling needs no other fit"
    for path in own_cache.glob("fitted/*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    other = ["--set", "poolings=[last]"]
    assert harness_command("run", fitted_suite, "--include", toy_task, "-o", "three", *other).code == 0
    assert events(tmp_path / "three", "calibrated"), "a damaged one is fitted anew"
    assert sorted(path.name for path in own_cache.glob("fitted/*/*.safetensors")) == kept


def test_what_another_process_fitted_meanwhile_is_taken_and_not_fitted_beside_it(
    harness_command: Any, fitted_suite: Path, toy_task: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit_beside_another(*given: Any) -> Any:
        made, faults = fit_all(*given)
        for key, dictionary in made.items():
            write_fitted(FeatureStore(own_cache), key, dictionary)
        return {key: replace(one, W_enc=one.W_enc * 2) for key, one in made.items()}, faults

    monkeypatch.setattr("harness.runs.featurizer.fit_all", fit_beside_another)
    assert harness_command("run", fitted_suite, "--include", toy_task, "-o", "one").code == 0
    assert all(len(list(folder.iterdir())) == 1 for folder in own_cache.glob("fitted/*"))


def test_test_rows_change_neither_the_sample_nor_what_is_fitted(
    harness_command: Any, fitted_suite: Path, toy_task: Path, tmp_path: Path, own_cache: Path
) -> None:
    harness_command("run", fitted_suite, "--include", toy_task, "-o", "one")
    kept = sorted(str(path.relative_to(own_cache)) for path in own_cache.glob("fitted/*/*"))
    data = tmp_path / "toy.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row in rows:
        if row["split"] == "test":
            row["text"] += " and something else altogether"
    data.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    assert harness_command("run", fitted_suite, "--include", toy_task, "-o", "two").code == 0
    assert sorted(str(path.relative_to(own_cache)) for path in own_cache.glob("fitted/*/*")) == kept
    assert not events(tmp_path / "two", "calibrated")


def test_too_few_tokens_fail_the_cells_of_pca_alone(
    harness_command: Any, toy_suite: Path, toy_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.features.sampling.SAMPLE_TOKENS", 8)
    monkeypatch.setattr("harness.planning.bundles.SAMPLE_TOKENS", 8)
    monkeypatch.setattr("harness.features.activations.SAMPLE_TOKENS", 8)
    text = toy_suite.read_text()
    toy_suite.write_text(text.replace("[hidden, majority]", "[hidden, pca, top_neurons]"))
    result = harness_command("run", toy_suite, "--include", toy_task, "-o", "run")
    assert result.code == 1
    ends = {record.representation: record for record in RunFolder(tmp_path / "run").records()}
    assert ends["hidden"].status == ends["top_neurons"].status == "ok"
    assert (
        ends["pca"].error is not None
        and "8 training tokens are too few for 64 components" in ends["pca"].error
    )


def test_one_board_holds_what_was_fitted_on_several_tasks(harness_command: Any, tmp_path: Path) -> None:
    result = harness_command(
        "run",
        "quickstart",
        "-L",
        60,
        "-m",
        "minigemma-s",
        "-o",
        "run",
        "--set",
        'representations=[hidden, "pca[n=8]"]',
    )
    assert result.code == 0, result.err
    assert "pca[n=8]" in (tmp_path / "run" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "identity", "input_norm": "layer_norm"},
        {"activation": "topk", "k": 2, "signed": True},
        {"activation": "relu", "input_norm": "constant_norm_rescale"},
    ],
)
def test_a_fitted_dictionary_is_read_back_with_all_its_settings(tmp_path: Path, settings: Any) -> None:
    weights = torch.arange(12.0).reshape(3, 4).sin()
    made = harness.Dictionary(name="fitted", width=4, W_enc=weights, b_enc=torch.zeros(4), **settings)
    store = FeatureStore(tmp_path)
    write_fitted(store, "key", made)
    read = read_fitted(store, "key", "cpu")
    x = torch.arange(15.0).reshape(5, 3).cos()
    assert read is not None
    torch.testing.assert_close(read.encode(x), made.encode(x), rtol=0, atol=0)


NO_DICTIONARY = """
import harness


class Halves:
    def at(self, model, site):
        size = model.width(site)
        about = {"identity": {"halves": 1}, "d_in": size, "width": size, "sparse": False}
        return harness.PlacedRepresentation(**about, fit=lambda x: x / 2)


@harness.hookimpl
def harness_representations():
    return [harness.RepresentationSpec(name="halves", summary="half", needs="tokens", fitted=True, make=Halves)]
"""


def test_what_is_fitted_and_is_no_dictionary_is_named_in_the_failed_cell(
    harness_command: Any, install: Any, toy_suite: Path, toy_task: Path
) -> None:
    install(NO_DICTIONARY)
    given = ["--include", toy_task, "--set", "representations=[hidden, halves]", "-o", "run"]
    result = harness_command("run", toy_suite, *given)
    assert result.code == 1
    assert "what was fitted at 'resid_post.1' is a Tensor, not a harness.Dictionary" in result.err
    assert [r.representation for r in RunFolder(Path("run")).records() if r.status == "ok"] == ["hidden"]
