"""`harness report-dictionary`: its numbers against plain numpy and transformers, its files, and its refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse

import harness
from harness.api.data import Tokens
from harness.data.corpus import read_corpus
from harness.dictionaries.dictionary import Dictionary
from harness.dictionary_report.contexts import contexts_of, validate
from harness.dictionary_report.measure import (
    _arm,
    _Candidate,
    _features,
    _find_large_channels,
    _fit_decoder,
    _spare_outliers,
    _split,
)
from harness.features.outliers import NormLimit

WEIGHTS = Path(__file__).parent.parent / "plugins" / "harness_minigemma" / "weights"
SITE = "resid_post.1"


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    topic = Path(harness.__file__).parent.parent / "tasks/harness_quickstart/data/quickstart_topic.jsonl"
    rows = [json.loads(line)["text"] for line in topic.read_text("utf-8").splitlines()]
    path.write_text(
        "".join(json.dumps({"text": text, "split": "validation"}) + "\n" for text in rows[:120]), "utf-8"
    )
    return path


@pytest.fixture(scope="module")
def report_folder(texts, tmp_path_factory) -> Path:
    """Folder in which the command ran once: `out`, and what it printed in `printed.json`."""
    folder = tmp_path_factory.mktemp("report")
    told = subprocess.run(
        [sys.executable, "-m", "harness", "report-dictionary", "minigemma-scope", "-m", "minigemma-s", "--site", SITE,
         "--data", str(texts), "--tokens", "3000", "-d", "cpu", "-o", "out", "--json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    (folder / "printed.json").write_text(told.stdout)
    return folder


@pytest.fixture
def reported(report_folder) -> dict:
    return json.loads((report_folder / "printed.json").read_text())


def test_a_report_says_what_the_gate_says(harness_command, texts, tmp_path, reported):
    assert reported["fidelity"]["verdict"] == "ok"
    (source,) = (WEIGHTS / "minigemma-s-scope/layer_1/width_512").glob("*/params.npz")
    with np.load(source) as arrays:
        np.savez(tmp_path / "params.npz", **{**arrays, "threshold": -np.ones(512, np.float32)})
    told = harness_command(
        "report-dictionary", str(tmp_path), "-m", "minigemma-s", "--site", SITE, "--data", texts,
        "--tokens", 600, "-o", "lost",
    )  # fmt: skip
    assert told.code == 0, told.err
    page = Path("lost/report.md").read_text("utf-8")
    assert "features fire on a token, more than 0.5 of 64 dimensions: thresholds lost?" in page
    assert "tokens: give more with --tokens" in page


def activations(texts: Path, *, half: int) -> tuple[np.ndarray, list]:
    """Block outputs of every other text, as plain transformers gives them, one text at a time, without BOS."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = WEIGHTS / "minigemma-s"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    taken, total = [], 0
    for text in read_corpus([texts], "heldout"):
        if total >= 3000:
            break
        ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :256]
        total += ids.shape[1] - 1
        taken.append(ids)
    parts = []
    for ids in taken[half::2]:
        with torch.inference_mode():
            parts.append(model(input_ids=ids, output_hidden_states=True).hidden_states[2][0, 1:].numpy())
    return np.concatenate(parts).astype(np.float64), taken[half::2]


def test_explained_variance_l0_and_frequencies_are_those_of_numpy_on_plain_transformers(
    report_folder, reported, texts
):
    (path,) = (WEIGHTS / "minigemma-s-scope" / "layer_1" / "width_512").glob("*/params.npz")
    with np.load(path) as arrays:
        W_enc, W_dec, b_enc, b_dec, threshold = (
            arrays[name].astype(np.float64) for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
        )
    fires = []
    for half in (0, 1):
        x, _ = activations(texts, half=half)
        before = x @ W_enc + b_enc
        features = np.maximum(before, 0) * (before > threshold)
        fires.append(features > 0)
    own = reported["arms"][0]
    left = x - features @ W_dec - b_dec
    centred = x - x.mean(0)
    assert own["explained_variance"] == pytest.approx(1 - (left**2).sum() / (centred**2).sum(), abs=2e-4)
    assert own["l0"] == pytest.approx(fires[1].sum(1).mean(), abs=0.02)
    everywhere = np.concatenate(fires)
    assert reported["tokens"] == len(everywhere)
    assert reported["dead"] == pytest.approx((~everywhere.any(0)).mean(), abs=4e-3)
    with (report_folder / "out" / "frequencies.csv").open() as file:
        found = [float(row["frequency"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(found, everywhere.mean(0), atol=2e-3)


def test_outliers_are_left_out_of_every_figure_but_that_of_all_tokens(harness_command, texts):
    told = harness_command(
        "report-dictionary", "minigemma-scope", "-m", str(WEIGHTS / "minigemma-s"), "--site", SITE, "--data", texts,
        "--tokens", 3000, "-o", "out", "--max-norm-ratio", 1.2, "--loss-tokens", 200, "--json",
    )  # fmt: skip
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert found["model"] == "minigemma-s"  # a folder of this machine by its name alone
    (path,) = (WEIGHTS / "minigemma-s-scope" / "layer_1" / "width_512").glob("*/params.npz")
    with np.load(path) as arrays:
        W_enc, W_dec, b_enc, b_dec, threshold = (
            arrays[name].astype(np.float64) for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
        )
    (first, _), (x, _) = (activations(texts, half=half) for half in (0, 1))
    limit = 1.2 * np.median(np.linalg.norm(first, axis=1))
    kept = np.linalg.norm(x, axis=1) <= limit
    before = x @ W_enc + b_enc
    features = np.maximum(before, 0) * (before > threshold)
    left = x - features @ W_dec - b_dec

    def explained(rows: np.ndarray) -> float:
        return 1 - (left[rows] ** 2).sum() / ((x[rows] - x[rows].mean(0)) ** 2).sum()

    assert 0 < found["loss_tokens"] < 500  # whole texts, of at most 255 tokens
    own, outliers = found["arms"][0], found["outliers"]
    assert outliers["limit"] == pytest.approx(limit, rel=1e-4)
    assert 0 < outliers["tokens"] < found["tokens"]
    assert outliers["tokens"] + found["tokens"] == len(first) + len(x)
    assert own["l0"] == pytest.approx((features[kept] > 0).sum(1).mean(), abs=0.02)
    assert own["explained_variance"] == pytest.approx(explained(kept), abs=5e-4)
    assert own["all_tokens_explained_variance"] == pytest.approx(explained(kept | True), abs=5e-4)
    distances = ((x - x[kept].mean(0)) ** 2).sum(1)
    assert outliers["variance_share"] == pytest.approx(distances[~kept].sum() / distances.sum(), abs=5e-3)
    page = Path("out/report.md").read_text("utf-8")
    assert f"{outliers['tokens']:,} of {len(first) + len(x):,} tokens are left out, for a norm above" in page
    assert "all tokens" in page


def test_spared_outliers_keep_their_own_activations():
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    spliced = _spare_outliers(lambda rows: rows * 0, NormLimit(limit=4.0))(x)
    assert spliced.tolist() == [[3.0, 4.0], [0.0, 0.0]]


def test_a_channel_with_most_of_the_variance_is_named_and_left_out_of_one_figure():
    x = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    x[:, 7] *= 30
    text = _split((), x, None)
    (channel,) = _find_large_channels(text)
    assert channel.number == 7
    assert channel.variance_share == pytest.approx(float(x[:, 7].var() / x.var(0).sum()), abs=1e-3)
    mean = x.mean(0)

    def rebuild(rows: torch.Tensor) -> torch.Tensor:
        """The large channel as it is, a tenth of what all others have."""
        rebuilt = mean + 0.1 * (rows - mean)
        rebuilt[:, 7] = rows[:, 7]
        return rebuilt

    features = sparse.csc_array(np.ones((500, 2)))
    found = _arm("x", _Candidate(features=(features, features), rebuild=rebuild), text, {})
    assert found.explained_variance == pytest.approx(0.98, abs=0.01)
    assert found.small_channels_explained_variance == pytest.approx(1 - 0.9**2, abs=1e-4)
    assert found.median_explained_variance == pytest.approx(1 - 0.9**2, abs=1e-4)
    assert (found.dead, found.all_tokens_explained_variance) == (0.0, None)


def test_losses_of_the_bounds_are_those_of_the_model(reported, texts):
    from transformers import AutoModelForCausalLM

    folder = WEIGHTS / "minigemma-s"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    losses = []
    for ids in activations(texts, half=1)[1]:
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none"))
    arms = {arm["name"]: arm for arm in reported["arms"]}
    assert arms["identity"]["loss"] == pytest.approx(float(torch.cat(losses).mean()), abs=1e-4)
    assert (arms["identity"]["recovered"], arms["mean"]["recovered"]) == (1.0, 0.0)
    assert arms["identity"]["loss"] < arms["dictionary"]["loss"] < arms["mean"]["loss"]
    assert 0.5 < arms["dictionary"]["recovered"] < 1


def test_every_arm_stands_at_the_dictionary_s_l0(reported):
    own = reported["arms"][0]
    l0 = round(own["l0"])
    arms = {arm["name"]: arm for arm in reported["arms"]}
    at_most = {f"nmf[k={l0}]", f"kmeans[k={l0}]"}  # a token may have fewer features above zero
    exact = {
        f"pca[n={l0}]", f"top_neurons[k={l0}]", f"neurons[k={l0}]", f"ica[k={l0}]", f"random_sae[width=512,k={l0}]",
    }  # fmt: skip
    assert set(arms) == {"dictionary", *exact, *at_most, "identity", "mean"}
    for name in exact | at_most:
        wanted = pytest.approx(l0, abs=0.05) if name in exact else pytest.approx(l0, rel=0.25)
        assert arms[name]["l0"] == wanted
        assert arms[name]["explained_variance"] < own["explained_variance"]
    assert arms[f"pca[n={l0}]"]["explained_variance"] > arms[f"top_neurons[k={l0}]"]["explained_variance"]


def test_the_folder_holds_a_page_numbers_and_a_picture(report_folder, reported):
    folder = report_folder / "out"
    assert sorted(path.name for path in folder.iterdir()) == [
        "frequencies.csv", "frequencies.png", "report.json", "report.md",
    ]  # fmt: skip
    assert json.loads((folder / "report.json").read_text()) == reported
    with Image.open(folder / "frequencies.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    page = (folder / "report.md").read_text()
    for word in ("explained variance", "loss recovered", "frequencies.png", "validated", "dead"):
        assert word in page
    assert str(WEIGHTS) not in page


def test_the_site_may_be_left_out_where_there_is_one(harness_command, texts):
    (folder,) = (WEIGHTS / "minigemma-s-scope" / "layer_2" / "width_512").glob("average_l0_*")
    told = harness_command(
        "report-dictionary", folder, "-m", "minigemma-s", "--data", texts, "--tokens", 1000, "--json"
    )
    assert told.code == 0, told.err
    assert json.loads(told.out)["site"] == "resid_post.2"
    told = harness_command("report-dictionary", "minigemma-scope", "-m", "minigemma-s", "--data", texts)
    assert told.code == 2
    assert told.said == [
        "harness: representation 'minigemma-scope' serves at resid_post.0, resid_post.1, resid_post.2: "
        "choose one with --site"
    ]


def test_without_data_the_texts_that_plugins_ship_are_read(harness_command):
    told = harness_command(
        "report-dictionary",
        "minigemma-scope",
        "-m",
        "minigemma-s",
        "--site",
        SITE,
        "--tokens",
        1000,
        "--json",
    )
    assert told.code == 0, told.err
    assert json.loads(told.out)["tokens"] >= 1000


@pytest.mark.parametrize(
    ("representation", "more", "code", "sentence"),
    [
        ("hidden", (), 3, "representation 'hidden' has no decoder, so there is nothing to report on"),
        ("random_sae", (), 3, "representation 'random_sae' has no decoder, so there is nothing to report on"),
        ("minigemma-scop", (), 2, "there is no representation 'minigemma-scop'; did you mean 'minigemma-scope'?"),
        ("minigemma-scope", ("--data", "nowhere.jsonl"), 3, "nowhere.jsonl"),
        ("minigemma-scope", ("--site", "resid_post.3"), 2, "resid_post.3"),
        ("minigemma-scope", ("--site", "resid_post.9"), 2, "its layers are 0 to 3"),
        ("minigemma-scope", ("--max-norm-ratio", 1), 2, "ratio of norms is 1.0, which is no number above 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_reported_on_is_one_sentence(harness_command, representation, more, code, sentence):
    site = () if "--site" in more else ("--site", SITE)
    told = harness_command("report-dictionary", representation, "-m", "minigemma-s", *site, *more)
    assert told.code == code
    sentences = [line for line in told.said if line.startswith("harness: ")]
    assert len(sentences) == 1
    assert sentence in sentences[0]
    assert not Path("report").exists()


def test_a_decoder_by_least_squares_is_that_of_numpy():
    generator = torch.Generator().manual_seed(0)
    encoder = Dictionary(
        name="toy",
        width=6,
        activation="relu",
        W_enc=torch.randn(4, 6, generator=generator),
        b_enc=torch.zeros(6),
    )
    x = torch.randn(300, 4, generator=generator) + 2
    features = _features(encoder, x)
    rebuilt = _fit_decoder(encoder, features, x)(x).double().numpy()
    columns = np.column_stack([features.toarray(), np.ones(300)]).astype(np.float64)
    wanted, *_ = np.linalg.lstsq(columns, x.double().numpy(), rcond=None)
    np.testing.assert_allclose(rebuilt, columns @ wanted, atol=1e-3)


def test_a_feature_with_a_mean_far_above_its_spread_has_its_best_decoder_too():
    """Sums of its squares in float32 are wrong by more than its variance."""
    generator = torch.Generator().manual_seed(0)
    encoder = Dictionary(
        name="toy", width=1, activation="relu", W_enc=torch.eye(3)[:, :1].contiguous(), b_enc=torch.zeros(1)
    )
    x = torch.randn(4000, 3, generator=generator)
    x[:, 1] = 2 * x[:, 0] + 0.1 * x[:, 1]
    x[:, 0] += 3000
    rebuilt = _fit_decoder(encoder, _features(encoder, x), x)(x).double().numpy()
    columns = np.column_stack([x[:, 0].numpy(), np.ones(4000)]).astype(np.float64)
    wanted, *_ = np.linalg.lstsq(columns, x.double().numpy(), rcond=None)
    np.testing.assert_allclose(rebuilt, columns @ wanted, atol=1e-2)


def test_as_many_features_as_tokens_have_no_decoder():
    encoder = Dictionary(
        name="toy", width=8, activation="relu", W_enc=torch.eye(8), b_enc=torch.full((8,), 5.0)
    )
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(harness.UsageError, match="8 features cannot be fitted on 8 tokens: give more"):
        _fit_decoder(encoder, _features(encoder, x), x)


# ── contexts ─────────────────────────────────────────────────────────────────────────────────────────────


def test_contexts_are_of_content_tokens_alone():
    one = Tokens(ids=np.array([2, 7, 8, 9]), content=np.array([False, True, True, True]))
    other = Tokens(ids=np.array([2, 5]), content=np.array([False, True]))
    found = contexts_of([one, other])
    assert {kind: column.tolist() for kind, column in found.items()} == {
        "token": [7, 8, 9, 5], "after": [2, 7, 8, 2], "place": [0, 1, 2, 0],
    }  # fmt: skip


def planted(seed: int) -> tuple[sparse.csc_array, dict[str, np.ndarray]]:
    """Features of 4,000 tokens: one fires on token 3, one after token 5, one at random, one hardly ever."""
    random = np.random.default_rng(seed)
    token = random.integers(0, 20, 4000)
    contexts = {"token": token, "after": np.roll(token, 1), "place": random.integers(0, 50, 4000)}
    noise = random.random(4000) < 0.05
    columns = [
        (contexts["token"] == 3) * (1 + random.random(4000)),
        (contexts["after"] == 5) * (1 + random.random(4000)),
        noise * random.random(4000),
        (np.arange(4000) < 3) * 1.0,
    ]
    return sparse.csc_array(np.column_stack(columns)), contexts


def test_planted_readings_are_found_and_hold_in_other_text():
    (first, contexts), (second, other) = planted(0), planted(1)
    found = validate(first, second, contexts, other)
    assert found.features == 3
    assert found.kinds == {"token": 1, "after": 1, "place": 0}
    assert (found.with_reading, found.holding, found.validated) == (2 / 3, 1.0, 2 / 3)
    assert (found.precision, found.unseen_precision) == (1.0, 1.0)


def test_a_reading_of_one_text_alone_does_not_hold():
    (first, contexts), (second, other) = planted(0), planted(1)
    other = {**other, "token": (other["token"] + 1) % 20}
    found = validate(first, second, contexts, other)
    assert found.with_reading == 2 / 3
    assert found.holding == 0.5
    assert found.validated == 1 / 3


def test_no_feature_with_enough_activations_is_no_division_by_zero():
    empty = sparse.csc_array((10, 3))
    contexts = {kind: np.zeros(10, np.int64) for kind in ("token", "after", "place")}
    assert validate(empty, empty, contexts, contexts).validated == 0.0
