"""Dictionaries trained here: a planted one is found again, and what is written is what the harness reads."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

import harness
from harness.api.data import Site, Tokens
from harness.api.errors import UsageError
from harness.models.opened import OpenModel, locate
from harness.training import ARCHITECTURES, TrainingConfig, train
from harness.training.config import read_width
from harness.training.files import name_width
from harness.training.images import read_image_corpus
from harness.training.stream import halve, read_heldout, tokenize_all

HAS_SAE_LENS = importlib.util.find_spec("sae_lens") is not None
WITHOUT = "sae-lens is in the extra [train]"
needs_sae_lens = pytest.mark.skipif(not HAS_SAE_LENS, reason=WITHOUT)

EVERY = [name if name == "tied" else pytest.param(name, marks=needs_sae_lens) for name in ARCHITECTURES]
SITE = Site(kind="resid_post", layer=1)
WORDS = [
    "a",
    "green",
    "old",
    "cat",
    "two",
    "dogs",
    "run",
    "under",
    "over",
    "rivers",
    "because",
    "quickly",
    "and",
    "—",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few thousand tokens of word salad."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rows = [
        {"text": " ".join(draw.choices(WORDS, k=40)), "split": "train" if number % 5 else "validation"}
        for number in range(100)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(
    command: Any, corpus: Path, *more: object, architecture: str = "tied", site: str = "resid_post.1"
) -> Any:
    return command(
        "train-dictionary", "-m", "minigemma-s", "--site", site, "--width", "2x", "--tokens", 4096,
        "--batch-tokens", 128, "--data", corpus, "-o", "out", "--architecture", architecture, "-d", "cpu", *more,
    )  # fmt: skip


def written(folder: str = "out") -> list[Path]:
    return sorted(Path(folder).glob("layer_*/width_*/average_l0_*/params.npz"))


def encode(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Gemma Scope's formula, in numpy."""
    stored = {name: array.astype(np.float64) for name, array in np.load(path).items()}
    pre = x.astype(np.float64) @ stored["W_enc"] + stored["b_enc"]
    return np.maximum(pre, 0) * (pre > stored["threshold"])


# ── what is learnt ───────────────────────────────────────────────────────────────────────────────────────


class Planted:
    """A toy model whose activations are sparse sums of known directions and a mean; every character is a token."""

    name, architecture, n_layers, n_parameters = "planted", "toy", 2, 0

    def __init__(self, *, d: int = 32, features: int = 48, active: int = 3, offset: float = 2.0) -> None:
        draw = torch.Generator().manual_seed(1)
        self.directions = torch.nn.functional.normalize(torch.randn(features, d, generator=draw), dim=1)
        self.mean = offset * torch.randn(d, generator=draw)
        self.active = active

    def width(self, site: Site) -> int:
        return self.directions.shape[1]

    def identity(self, site: Site) -> Mapping[str, Any]:
        return {}

    def tokenize(self, inputs: Sequence[str]) -> list[Tokens]:
        """At most 64 characters, after one that is no content."""
        return [
            Tokens(
                ids=np.array([0, *map(ord, text[:64])], dtype=np.int64),
                content=np.array([False] + [True] * len(text[:64])),
                truncated=len(text) > 64,
            )
            for text in inputs
        ]

    def load(self, sites: Sequence[Site], device: str) -> Planted:
        self.sites = sites
        return self

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        parts = []
        for tokens in batch:
            ids = tokens.ids[tokens.content]
            draw = torch.Generator().manual_seed(int(ids @ np.arange(1, len(ids) + 1)))
            codes = torch.zeros(len(ids), len(self.directions))
            where = torch.rand(codes.shape, generator=draw).topk(self.active, dim=1).indices
            codes.scatter_(1, where, 1 + torch.rand(where.shape, generator=draw))
            parts.append(codes @ self.directions + self.mean)
        return dict.fromkeys(self.sites, torch.cat(parts))


def salad(count: int, seed: int, length: int = 60) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghij klmnop", k=length)) for _ in range(count)]


def recovered(model: Planted, config: TrainingConfig) -> float:
    """Mean over the planted directions of the largest cosine with a row of the decoder."""
    (one,) = train(model, {SITE: config}, inputs=salad(3000, 0), heldout=salad(100, 1))
    assert one.dictionary.W_dec is not None
    assert one.fit.explained_variance > 0.7
    return float((model.directions @ one.dictionary.W_dec.T).max(1).values.mean())


@needs_sae_lens
def test_planted_directions_are_found_by_batchtopk() -> None:
    assert (
        recovered(
            Planted(), TrainingConfig(width=64, l0=3, tokens=100_000, batch_tokens=256, learning_rate=3e-3)
        )
        > 0.9
    )


def test_planted_directions_are_found_by_the_tied_dictionary() -> None:
    config = TrainingConfig(
        architecture="tied", width=64, l1=1.0, tokens=150_000, batch_tokens=256, learning_rate=1e-2
    )
    assert recovered(Planted(offset=0.0), config) > 0.9


def test_other_seeds_learn_otherwise_and_other_sites_do_not_matter() -> None:
    config = TrainingConfig(
        architecture="tied", width=40, l1=0.5, tokens=5000, batch_tokens=100, learning_rate=3e-3
    )
    other = TrainingConfig(
        architecture="tied", width=40, l1=0.5, tokens=5000, batch_tokens=100, learning_rate=3e-3, seed=1
    )
    texts, heldout = salad(50, 0), salad(20, 1)
    site = Site(kind="resid_post", layer=0)
    (alone,) = train(Planted(), {SITE: config}, inputs=texts, heldout=heldout)
    (seeded,) = train(Planted(), {SITE: other}, inputs=texts, heldout=heldout)
    _, beside = train(Planted(), {site: config, SITE: config}, inputs=texts, heldout=heldout)
    assert alone.dictionary.W_enc is not None and beside.dictionary.W_enc is not None
    assert torch.equal(alone.dictionary.W_enc, beside.dictionary.W_enc)
    assert seeded.dictionary.W_enc is not None
    assert not torch.equal(alone.dictionary.W_enc, seeded.dictionary.W_enc)
    assert alone.passes == 2


def test_checkpoints_are_states_on_the_way_and_change_nothing() -> None:
    config = TrainingConfig(
        architecture="tied", width=40, l1=0.5, tokens=5000, batch_tokens=100, learning_rate=3e-3
    )
    texts, heldout = salad(50, 0), salad(20, 1)
    (alone,) = train(Planted(), {SITE: config}, inputs=texts, heldout=heldout)
    states = train(Planted(), {SITE: config}, inputs=texts, heldout=heldout, checkpoints=5)
    assert [one.tokens for one in states] == [1000, 2000, 3000, 4000, 5000]
    assert states[0].fit.explained_variance < states[-1].fit.explained_variance
    assert alone.dictionary.W_enc is not None and states[-1].dictionary.W_enc is not None
    assert torch.equal(alone.dictionary.W_enc, states[-1].dictionary.W_enc)
    with pytest.raises(UsageError, match="50 steps hold no 51 checkpoints"):
        train(Planted(), {SITE: config}, inputs=texts, heldout=heldout, checkpoints=51)


def test_checkpoints_are_written_beside_the_trained_dictionary(harness_command: Any, corpus: Path) -> None:
    assert call(harness_command, corpus, "--checkpoints", 2).code == 0
    assert len(written()) == 1
    assert len(written("out/checkpoints/tokens_2048")) == 1


class WithSinks(Planted):
    """The planted model, in which every `q` is a token of thirty times the norm in one direction, at SITE alone."""

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        ids = np.concatenate([tokens.ids[tokens.content] for tokens in batch])
        activations = super().forward(batch)
        sinks = torch.from_numpy(ids == ord("q"))
        huge = 30 * float(self.mean.norm()) * torch.eye(len(self.mean))[0]
        return {
            site: torch.where(sinks[:, None], huge, values) if site == SITE else values
            for site, values in activations.items()
        }


def test_outlier_tokens_are_left_out_at_their_site_alone_and_counted() -> None:
    settings = {"architecture": "tied", "width": 40, "l1": 0.5, "batch_tokens": 100, "learning_rate": 3e-3}
    config = TrainingConfig(tokens=20_000, max_norm_ratio=3, **settings)
    texts = [f"{text}q{text[:2]}" for text in salad(400, 0, length=47)]  # one of fifty tokens
    heldout = [f"{text}q" for text in salad(20, 1)]
    other = Site(kind="resid_post", layer=0)
    (alone,) = train(WithSinks(), {SITE: config}, inputs=texts, heldout=heldout)
    beside, with_sinks = train(WithSinks(), {other: config, SITE: config}, inputs=texts, heldout=heldout)
    assert alone.dictionary.W_enc is not None and with_sinks.dictionary.W_enc is not None
    assert torch.equal(alone.dictionary.W_enc, with_sinks.dictionary.W_enc)
    assert alone.norm_limit is not None and beside.norm_limit is not None
    assert beside.norm_limit.left_out == 0
    assert alone.norm_limit.left_out / alone.norm_limit.seen == pytest.approx(1 / 50, abs=0.002)
    assert alone.fit.tokens == 20 * 60  # of 61, the sink is no part of the fit
    everything = TrainingConfig(tokens=20_000, **settings)
    (ruled,) = train(WithSinks(), {SITE: everything}, inputs=texts, heldout=heldout)
    assert ruled.norm_limit is None and ruled.fit.tokens == 20 * 61
    assert alone.fit.median_explained_variance > ruled.fit.median_explained_variance


def test_a_ratio_of_norms_is_above_one() -> None:
    with pytest.raises(UsageError, match=r"ratio of norms is 1\.0, which is no number above 1"):
        TrainingConfig(width=8, l0=2, tokens=5000, learning_rate=1e-3, max_norm_ratio=1.0)


def test_long_texts_are_read_to_their_end() -> None:
    texts = [*salad(5, 0, length=1000), "short"]
    encoded = list(tokenize_all(Planted(), texts))
    assert sum(int(tokens.content.sum()) for tokens in encoded) == 5005
    assert not any(tokens.truncated for tokens in encoded)
    assert "".join(chr(number) for number in encoded[0].ids[1:]) == "short"
    assert halve("one two three four") == ("one two ", "three four")
    assert halve("ab") == ("a", "b")


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("architecture", EVERY)
def test_what_is_written_is_read_back(architecture: str, corpus: Path, harness_command: Any) -> None:
    result = call(harness_command, corpus, "--json", architecture=architecture)
    assert result.code == 0, result.err
    (row,) = result.rows
    (path,) = written()
    assert str(path) == row["path"]
    texts = ["a green house", "two old dogs run", "because"]
    session = harness.open(device="cpu")
    options = {"model": "minigemma-s", "site": "resid_post.1", "pooling": "last"}
    hidden = session.features(texts, **options)
    features = session.features(texts, representation=str(path.parent), **options)
    np.testing.assert_allclose(features.toarray(), encode(path, np.asarray(hidden)), atol=1e-3)
    assert features.nnz

    stored = dict(np.load(path))
    d = hidden.shape[1]
    assert {name: array.shape for name, array in stored.items()} == {
        "W_enc": (d, 2 * d), "W_dec": (2 * d, d), "b_enc": (2 * d,), "b_dec": (d,), "threshold": (2 * d,),
    }  # fmt: skip
    assert stored["W_enc"].dtype == stored["W_dec"].dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(stored["W_dec"].astype(float), axis=1), 1, atol=1e-3)
    assert (stored["threshold"] >= 0).all()
    assert len(set(stored["threshold"])) == 1 or architecture == "jumprelu"
    if architecture == "tied":
        np.testing.assert_allclose(stored["W_enc"], stored["W_dec"].T, rtol=1e-3)

    told = json.loads(path.with_name("training.json").read_text())
    assert told["recipe"]["architecture"] == architecture
    assert (told["model"], told["site"], told["tokens"]) == ("minigemma-s", "resid_post.1", 4096)
    assert told["heldout"]["explained_variance"] == row["explained_variance"]
    assert ("sae-lens" in told["versions"]) == (architecture != "tied")
    assert "/" not in json.dumps(told)


@pytest.mark.parametrize("architecture", EVERY)
def test_the_l0_of_the_name_is_measured_on_held_out_text(
    architecture: str, corpus: Path, harness_command: Any
) -> None:
    (row,) = call(harness_command, corpus, "--json", architecture=architecture).rows
    (path,) = written()
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    heldout = [line["text"] for line in lines if line["split"] == "validation"]
    model = harness.open(device="cpu").registry.choose("models", "minigemma-s").make()
    x = read_heldout(model, model.load([SITE], "cpu"), heldout, [SITE], batch_size=None, device="cpu")[
        SITE
    ].numpy()
    features = encode(path, x)
    l0 = (features > 0).sum(1).mean()
    assert l0 == pytest.approx(row["l0"], abs=0.05)
    assert path.parent.name == f"average_l0_{round(float(str(row['l0'])))}"
    assert row["dead"] == pytest.approx((~(features > 0).any(0)).mean(), abs=0.01)
    stored = np.load(path)
    rebuilt = features @ stored["W_dec"] + stored["b_dec"]
    variance = 1 - ((x - rebuilt) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert row["explained_variance"] == pytest.approx(variance, abs=1e-3)
    if architecture in {"batchtopk", "topk"}:
        assert l0 == pytest.approx(x.shape[1] // 6, rel=0.15)


@pytest.mark.parametrize("architecture", EVERY)
def test_the_same_command_writes_the_same_bytes(
    architecture: str, corpus: Path, harness_command: Any
) -> None:
    assert call(harness_command, corpus, architecture=architecture).code == 0
    (path,) = written()
    before = path.read_bytes()
    assert call(harness_command, corpus, "--replace", architecture=architecture).code == 0
    assert path.read_bytes() == before
    assert call(harness_command, corpus, "--replace", "--seed", 1, architecture=architecture).code == 0
    (other,) = written()
    assert other.read_bytes() != before


def test_two_sites_are_trained_in_one_run(corpus: Path, harness_command: Any) -> None:
    result = call(harness_command, corpus, "--site", "resid_post.0", "--l1", 1)
    assert result.code == 0
    assert [path.parts[1] for path in written()] == ["layer_0", "layer_1"]
    assert len([line for line in result.out.splitlines() if "explained variance" in line]) == 2
    for path in written():
        Path("both").mkdir(exist_ok=True)
        path.rename(f"both/{path.parts[1]}.npz")
    assert call(harness_command, corpus, "--l1", 1, "--replace").code == 0
    assert written()[-1].read_bytes() == Path("both/layer_1.npz").read_bytes()


def test_it_is_told_how_far_it_is_and_once_that_texts_are_read_again(
    corpus: Path, harness_command: Any
) -> None:
    said = call(harness_command, corpus, "--tokens", 16384).said
    assert len([line for line in said if "read again" in line]) == 1
    lines = [line for line in said if "tokens," in line]
    assert 15 <= len(lines) <= 20
    assert "16,384 of 16,384 tokens" in lines[-1]
    assert "not explained: resid_post.1 0." in lines[-1]


def test_an_interrupted_training_does_not_promise_to_resume(
    corpus: Path, harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.training.job.train", interrupt)
    result = call(harness_command, corpus)
    assert (result.code, written()) == (130, [])
    assert result.err.strip() == (
        "harness: interrupted; nothing is left half-written, and the same command starts again"
    )


def test_a_dictionary_is_replaced_only_when_asked_to(corpus: Path, harness_command: Any) -> None:
    assert call(harness_command, corpus).code == 0
    before = written()
    result = call(harness_command, corpus)
    assert result.code == 2
    assert len(result.said) == 1 and "--replace" in result.err
    assert call(harness_command, corpus, "--replace", "--l1", 30).code == 0
    after = written()
    assert len(after) == 1 and after != before
    assert call(harness_command, corpus, "--width", "3x").code == 0
    assert len(written()) == 2


def test_a_report_on_a_dictionary_goes_with_it_when_it_is_replaced(
    corpus: Path, harness_command: Any
) -> None:
    assert call(harness_command, corpus).code == 0
    [before] = written()
    before.with_name("report.json").write_text("{}")
    before.with_name("plots").mkdir()
    assert call(harness_command, corpus, "--replace").code == 0
    assert written() == [before]  # of the same L0, so in the same folder
    assert sorted(path.name for path in before.parent.iterdir()) == ["params.npz", "training.json"]


BAD: list[tuple[int, str, list[object]]] = [
    (2, "of the form 1024, 16k or 8x", ["--width", "wide"]),
    (2, "do not fill one batch", ["--tokens", 10]),
    (2, "takes l1, not l0", ["--l0", 5]),
    (2, "takes l0, not l1", ["--architecture", "topk", "--l1", 1]),
    (2, "not between 1 and the width", ["--architecture", "topk", "--l0", 100_000]),
    (2, "the learning rate is", ["--learning-rate", -1]),
    (2, "has no site 'resid_post.99'", ["--site", "resid_post.99"]),
    (2, "are of one layer", ["--site", "mlp_out.1"]),
    (2, "neither auto nor a positive number", ["--batch-size", "none"]),
    (3, "there is no file or folder", ["--data", "nowhere.jsonl"]),
    (3, "nothing can be written", ["-o", "blocked/out"]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words", "arguments"), BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    code: int, words: str, arguments: list[object], corpus: Path, harness_command: Any
) -> None:
    if "topk" in arguments and "--l0" in arguments and not HAS_SAE_LENS:
        pytest.skip(WITHOUT)
    Path("blocked").write_text("a file")
    result = call(harness_command, corpus, *arguments)
    assert result.code == code
    assert len(result.said) == 1 and words in result.err
    assert not written() and not Path("out").exists()


# ── images ───────────────────────────────────────────────────────────────────────────────────────────────

TOWER = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 4, "head_width": 8},
        "text_cfg": {"context_length": 24, "vocab_size": 100, "width": 16, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {},
}
VISION = "vision.resid_post.1"


def picture(number: int) -> bytes:
    """Sixteen patches, each of one colour, with some noise."""
    draw = np.random.default_rng(number)
    colours = draw.integers(0, 256, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
    pixels = np.clip(colours + draw.integers(-20, 20, colours.shape), 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    PIL.Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small OpenCLIP model with random weights, of which no file is needed."""
    folder = tmp_path_factory.mktemp("tower")
    (folder / "open_clip_config.json").write_text(json.dumps(TOWER))
    return f"{folder}[random_weights=1]"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 images of 16 patches, a fifth of them held out, and two broken ones."""
    path = tmp_path_factory.mktemp("images") / "data.parquet"
    rows = [
        {"image": picture(number), "label": "any", "split": "train" if number % 5 else "validation"}
        for number in range(150)
    ]
    broken = [{"image": data, "label": "any", "split": "train"} for data in (b"", rows[0]["image"][:60])]
    pd.DataFrame([*rows, *broken]).to_parquet(path)
    return path


def call_on_images(command: Any, tower: str, images: Path, *more: object) -> Any:
    return command(
        "train-dictionary", "-m", tower, "--site", VISION, "--width", "2x", "--tokens", 4096, "--batch-tokens",
        128, "--data", images, "-o", "out", "--architecture", "tied", "-d", "cpu", *more,
    )  # fmt: skip


def test_a_dictionary_of_images_is_learnt_from_their_patches_and_read_back(
    tower: str, images: Path, harness_command: Any
) -> None:
    result = call_on_images(harness_command, tower, images, "--json")
    assert result.code == 0, result.err
    (row,) = result.rows
    (path,) = written()
    assert path.parts[:3] == ("out", "layer_1", "width_64")
    told = json.loads(path.with_name("training.json").read_text())
    assert told["images"]["count"] == 120 and "texts" not in told
    assert (told["site"], told["tokens"], told["images"]["passes"]) == (VISION, 4096, 3)
    assert str(path.parent) not in json.dumps(told)

    registry = harness.open(device="cpu").registry
    model, site = registry.choose("models", tower).make(), Site.parse(VISION)
    _, heldout = read_image_corpus([images])
    assert len(heldout) == 30
    loaded = model.load([site], "cpu")
    x = read_heldout(model, loaded, heldout, [site], batch_size=7, device="cpu")[site]
    assert x.shape == (30 * 16, 32)
    features = encode(path, x.numpy())
    assert row["l0"] == pytest.approx((features > 0).sum(1).mean(), abs=0.05)
    stored = np.load(path)
    rebuilt = features @ stored["W_dec"] + stored["b_dec"]
    variance = 1 - ((x.numpy() - rebuilt) ** 2).sum() / ((x.numpy() - x.numpy().mean(0)) ** 2).sum()
    assert row["explained_variance"] == pytest.approx(variance, abs=1e-3)
    choice = registry.choose("representations", str(path.parent))
    opened = OpenModel(choice=choice, model=model, sites=())
    located = locate(choice, opened, site, registry)
    assert located.load
    np.testing.assert_allclose(located.load("cpu").encode(x), features, atol=1e-3)
    with pytest.raises(UsageError, match="was trained on layer 1"):
        locate(choice, opened, Site.parse("vision.resid_post.2"), registry)


def test_broken_images_and_reading_again_are_one_line_each(
    tower: str, images: Path, harness_command: Any
) -> None:
    result = call_on_images(harness_command, tower, images)
    assert result.code == 0
    assert [line for line in result.said if "broken" in line] == [
        "harness: 2 of 152 images are broken and left out; of the first, it has no bytes"
    ]
    assert len([line for line in result.said if "read again" in line]) == 1


def test_images_are_read_in_any_order_and_from_any_files_to_the_same_bytes(
    tower: str, images: Path, harness_command: Any
) -> None:
    assert call_on_images(harness_command, tower, images).code == 0
    (path,) = written()
    before = path.read_bytes()
    table = pd.read_parquet(images)
    Path("parts").mkdir()
    for number in range(3):
        table[number::3][::-1].to_parquet(f"parts/{number}.parquet")
    assert call_on_images(harness_command, tower, Path("parts"), "--replace").code == 0
    assert path.read_bytes() == before


def write_pictures(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        (folder / f"{number}.png").write_bytes(picture(number))


def test_folders_called_as_a_split_say_what_is_held_out(tmp_path: Path) -> None:
    parts = {"cats/Train": range(6), "cats/Test": range(6, 9), "dogs/val/train": range(9, 11)}
    for name, numbers in parts.items():
        write_pictures(tmp_path / name, numbers)
    ids = {number: harness.read_image(picture(number)).id for number in range(11)}
    train, heldout = read_image_corpus([tmp_path])
    assert {one.id for one in train} == {ids[number] for number in range(6)}
    assert {one.id for one in heldout} == {ids[number] for number in range(6, 11)}
    # What is above the source says nothing: these go by content.
    write_pictures(tmp_path / "test" / "many", range(100, 200))
    train, heldout = read_image_corpus([tmp_path / "test"])
    assert len(train) > len(heldout) > 0 and len(train) + len(heldout) == 100


def test_a_class_called_as_a_split_holds_nothing_out(tmp_path: Path) -> None:
    write_pictures(tmp_path / "car", range(50))
    write_pictures(tmp_path / "test", range(50, 100))
    train, heldout = read_image_corpus([tmp_path])
    assert 0 < len(heldout) < 15 and len(train) + len(heldout) == 100


def test_a_rows_own_split_counts_for_more_than_that_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    rows = [{"image": picture(number), "split": "train" if number < 4 else None} for number in range(7)]
    pd.DataFrame(rows).to_parquet(tmp_path / "test" / "data.parquet")
    train, heldout = read_image_corpus([tmp_path])
    assert (len(train), len(heldout)) == (4, 3)


def test_data_of_the_other_kind_is_refused_in_one_sentence(
    tower: str, images: Path, corpus: Path, harness_command: Any
) -> None:
    for result, words in (
        (call_on_images(harness_command, tower, corpus), "is none of .parquet, .png"),
        (call(harness_command, images), "has no column 'text'"),
    ):
        assert result.code == 3
        assert len(result.said) == 1 and words in result.err
    assert not Path("out").exists()


def test_texts_without_held_out_ones_are_refused_before_training(harness_command: Any) -> None:
    path = Path("only.jsonl")
    path.write_text('{"text": "all of it", "split": "train"}\n')
    result = call(harness_command, path)
    assert result.code == 3
    assert result.said == [
        "harness: there are no held-out texts in only.jsonl: one in twenty is held out, unless a column 'split' says "
        "which are, and in .txt an empty line ends a text"
    ]


def test_without_sae_lens_only_tied_is_trained(
    corpus: Path, harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    result = call(harness_command, corpus, architecture="batchtopk")
    assert result.code == 3
    assert len(result.said) == 1 and "pip install 'sae-harness[train]'" in result.err
    assert call(harness_command, corpus).code == 0


@pytest.mark.parametrize(
    ("text", "d_in", "width", "name"),
    [("8x", 64, 512, "512"), ("1k", 1, 1024, "1k"), ("16384", 1, 16384, "16k"), ("8x", 384, 3072, "3072"),
     ("1m", 1, 1 << 20, "1m")],
)  # fmt: skip
def test_widths_are_spelled_as_gemma_scope_does(text: str, d_in: int, width: int, name: str) -> None:
    assert read_width(text, d_in) == width
    assert name_width(width) == name


def test_the_earlier_name_of_a_configuration_is_an_alias_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="Recipe is called TrainingConfig"):
        from harness.training import Recipe

    assert Recipe is TrainingConfig
