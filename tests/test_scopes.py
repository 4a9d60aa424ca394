"""Llama Scope and Qwen Scope in, features and sentences out. No library that is installed here writes these files any
more, so the expected features are the formulas of their authors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import harness_saes
import pytest
import torch
from harness_saes.formats import FORMATS
from harness_saes.reading import Reading
from harness_saes.stored import Folder
from hub_stand_in import Hub, follow, go, serving
from safetensors.torch import load_file, save_file

import harness
from harness.dictionaries.dictionary import Dictionary

D_IN, WIDTH = 8, 16
NORM = 6.5
LLAMA: Mapping[str, Any] = {
    "hook_point_in": "blocks.3.hook_resid_post",
    "hook_point_out": "blocks.3.hook_resid_post",
    "d_model": D_IN,
    "d_sae": WIDTH,
    "act_fn": "topk",
    "top_k": 4,
    "jump_relu_threshold": 0.9,
    "norm_activation": "dataset-wise",
    "dataset_average_activation_norm": {"in": NORM, "out": NORM},
    "apply_decoder_bias_to_pre_encoder": False,
    "sparsity_include_decoder_norm": True,
    "use_decoder_bias": True,
}


def place(ref: Path | str, site: str = "resid_post.3", **options: Any) -> harness.PlacedRepresentation:
    """Return the dictionary at a reference, placed as a suite places it."""
    spec = harness_saes.harness_resolve_representation(str(ref)) or harness_saes.resolve_or_refuse(str(ref))
    assert spec is not None
    model: Any = SimpleNamespace(architecture="llama", name="model", width=lambda site: D_IN)
    placed = spec.make(**options).at(model, harness.Site.parse(site))
    assert isinstance(placed, harness.PlacedRepresentation)
    return placed


def load(ref: Path | str, **options: Any) -> Dictionary:
    """Return the whole dictionary at a reference."""
    load_whole = place(ref, **options).load_whole
    assert load_whole is not None
    found = load_whole("cpu")
    assert isinstance(found, Dictionary)
    return found


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ── Llama Scope ──────────────────────────────────────────────────────────────────────────────────────────


def write_llama(folder: Path, config: Mapping[str, Any] = LLAMA, **tensors: torch.Tensor) -> Path:
    """Write a dictionary as Llama Scope has it; return its folder."""
    inside = folder / "checkpoints"
    inside.mkdir(parents=True, exist_ok=True)
    held = {
        "encoder.weight": draw(WIDTH, D_IN, seed=1),
        "encoder.bias": draw(WIDTH, seed=2),
        "decoder.weight": draw(D_IN, WIDTH, seed=3),
        "decoder.bias": draw(D_IN, seed=4),
        **tensors,
    }
    save_file(held, inside / "final.safetensors")
    (folder / "hyperparams.json").write_text(json.dumps(config))
    return folder


def encode_llama(x: torch.Tensor, config: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and reconstruction by what lm-saes does when it loads (`from_config`) and encodes."""
    W, b = draw(WIDTH, D_IN, seed=1), draw(WIDTH, seed=2)
    D, b_dec = draw(D_IN, WIDTH, seed=3), draw(D_IN, seed=4)
    if config["norm_activation"] == "dataset-wise":
        s = math.sqrt(D_IN) / NORM
        b, b_dec = b / s, b_dec / s
    if config["sparsity_include_decoder_norm"]:
        norms = D.norm(dim=0)
        D, W, b = D / norms, W * norms[:, None], b * norms
    if config["norm_activation"] == "token-wise":
        unit = x.norm(dim=1, keepdim=True) / math.sqrt(D_IN)
        x = x / unit
    pre = (x - b_dec if config["apply_decoder_bias_to_pre_encoder"] else x) @ W.T + b
    if config["act_fn"] == "relu":
        f = pre.relu()
    elif config["jump_relu_threshold"]:
        f = torch.where(pre > config["jump_relu_threshold"], pre, 0)
    else:
        kept = pre.relu().topk(config["top_k"], dim=1)
        f = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
    rebuilt = f @ D.T + b_dec
    return f, rebuilt * unit if config["norm_activation"] == "token-wise" else rebuilt


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"jump_relu_threshold": 0.0},
        {"act_fn": "relu", "norm_activation": "token-wise"},
        {"act_fn": "jumprelu", "sparsity_include_decoder_norm": False},
        {"apply_decoder_bias_to_pre_encoder": True},
        {"norm_activation": "inference"},
    ],
    ids=str,
)
def test_llama_scope_gives_what_its_authors_compute(change: Mapping[str, Any], tmp_path: Path) -> None:
    config = {**LLAMA, **change}
    found = load(write_llama(tmp_path / "L3R", config))
    x = draw(5, D_IN, seed=9) * 3
    features, rebuilt = encode_llama(x, config)
    assert bool((features > 0).any())
    torch.testing.assert_close(found.encode(x), features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.rebuild(x, 5)[0], rebuilt, rtol=1e-5, atol=1e-5)


def test_llama_scope_says_where_it_was_trained_and_with_how_many_features(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "L3R")
    placed = place(folder)
    assert (placed.d_in, placed.width, placed.published_l0) == (D_IN, WIDTH, 4.0)
    with pytest.raises(harness.UsageError, match=r"was trained on 'resid_post.3', not on 'resid_post.2'"):
        place(folder, "resid_post.2")
    bare = placed.load("cpu")
    assert isinstance(bare, Dictionary)
    assert bare.W_dec is None


def test_the_one_for_a_site_is_found_in_a_repository(tmp_path: Path) -> None:
    for layer in (1, 3):
        hook = f"blocks.{layer}.hook_mlp_out"
        write_llama(tmp_path / f"L{layer}M-8x", {**LLAMA, "hook_point_in": hook, "hook_point_out": hook})
    assert place(tmp_path, "mlp_out.3").reference.endswith("L3M-8x/checkpoints")
    with pytest.raises(harness.UsageError, match=r"none of them for 'mlp_out.2': name one of"):
        place(tmp_path, "mlp_out.2")


def test_llama_scope_r1_keeps_its_scale_and_thresholds_among_the_tensors(tmp_path: Path) -> None:
    """Features stay in scaled units; a feature is active by its product with the norm of its row."""
    hook = "blocks.3.hook_resid_post"
    W, b, D, b_dec = draw(WIDTH, D_IN), draw(WIDTH), draw(D_IN, WIDTH), draw(D_IN)
    log_thresholds = draw(WIDTH, seed=5) - 1
    held = {
        "encoder.weight": W,
        "encoder.bias": b,
        "decoder.weight": D,
        "decoder.bias": b_dec,
        "log_jumprelu_threshold": log_thresholds,
        f"dataset_average_activation_norm.{hook}": torch.tensor(NORM),
    }
    save_file(held, tmp_path / "sae_weights.safetensors")
    config = {
        "sae_type": "sae",
        "hook_point_in": hook,
        "hook_point_out": hook,
        "d_model": D_IN,
        "expansion_factor": WIDTH // D_IN,
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    x, s = draw(5, D_IN, seed=9) * 3, math.sqrt(D_IN) / NORM
    pre = x * s @ W.T + b
    features = torch.where(pre * D.norm(dim=0) > log_thresholds.exp(), pre, 0)
    found = load(tmp_path)
    torch.testing.assert_close(found.encode(x), features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.rebuild(x, 5)[0], (features @ D.T + b_dec) / s, rtol=1e-5, atol=1e-5)

    del held[f"dataset_average_activation_norm.{hook}"]
    save_file(held, tmp_path / "sae_weights.safetensors")
    with pytest.raises(harness.UnavailableError, match="add dataset_average_activation_norm to its config"):
        load(tmp_path)
    found = Folder(str(tmp_path), FORMATS, reading=Reading(), options={"published_scale": s})
    whole = found.at(SimpleNamespace(architecture="llama"), harness.Site.parse("resid_post.3"))
    torch.testing.assert_close(whole.load("cpu").encode(x), features, rtol=1e-5, atol=1e-5)
    (tmp_path / "config.json").write_text(json.dumps({**config, "dataset_average_activation_norm": NORM}))
    torch.testing.assert_close(load(tmp_path).encode(x), features, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["checkpoints/final.pt", "checkpoints/pruned.pt", "sae_weights.pt"])
def test_a_state_dict_of_openmoss_beside_its_version_is_the_same_dictionary(
    name: str, tmp_path: Path
) -> None:
    folder = write_llama(tmp_path / "L3R")
    wanted, x = load(folder), draw(5, D_IN, seed=9) * 3
    held = load_file(folder / "checkpoints" / "final.safetensors")
    (folder / "checkpoints" / "final.safetensors").unlink()
    torch.save({"sae": held, "version": "2.0.0"}, folder / name)
    for ref in (folder, folder / name):
        found = load(ref)
        torch.testing.assert_close(found.encode(x), wanted.encode(x))
        torch.testing.assert_close(found.rebuild(x, 5)[0], wanted.rebuild(x, 5)[0])


def test_thresholds_of_the_newer_form_are_not_passed_over_for_a_config_of_the_older(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "X", {**LLAMA, "act_fn": "jumprelu"}, log_jumprelu_threshold=draw(WIDTH))
    with pytest.raises(harness.UnavailableError, match=r"holds log_jumprelu_threshold, .* has no sae_type"):
        load(folder)


REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a transcoder": ({"hook_point_out": "blocks.3.hook_mlp_out"}, "is a transcoder, which predicts"),
    "a crosscoder": ({"sae_type": "crosscoder"}, "is a crosscoder, which predicts"),
    "a CLT": ({"sae_type": "clt"}, "is a cross-layer transcoder, which predicts"),
    "Lorsa": ({"sae_type": "lorsa"}, "is a Lorsa"),
    "a gated encoder": ({"use_glu_encoder": True}, "use_glu_encoder = True, which is not read"),
    "BatchTopK": ({"act_fn": "batchtopk"}, "depend on the other tokens of a batch"),
    "another function": ({"act_fn": "gelu"}, "act_fn = gelu, which is not read: read are relu"),
    "another norm": ({"norm_activation": "batch-wise"}, "norm_activation = batch-wise, which is not read"),
    "a norm that is a list": ({"norm_activation": []}, "norm_activation = .., which is not read"),
    "a negative threshold": ({"jump_relu_threshold": -1}, "jump_relu_threshold = -1, which is not read"),
    "two norms": (
        {"dataset_average_activation_norm": {"in": 1, "out": 2}},
        "the same for input and output",
    ),
    "a norm of nothing": ({"dataset_average_activation_norm": {"in": 0}}, "is 0, which is no norm"),
    "a norm in words": ({"dataset_average_activation_norm": "abc"}, "is abc, which is no norm"),
    "k in words": ({"jump_relu_threshold": 0, "top_k": "abc"}, "top_k = abc, where a size"),
    "k of null": ({"jump_relu_threshold": 0, "top_k": None}, "top_k = None, where a size"),
    "a huge k": ({"jump_relu_threshold": 0, "top_k": 1 << 80}, "where a size is wanted"),
    "more than all features": ({"jump_relu_threshold": 0, "top_k": 17}, "k=17 is not between 1 and 16"),
    "a flag in words": ({"sparsity_include_decoder_norm": "no"}, "where a true or false"),
    "a size in words": ({"d_model": "8"}, "d_model = 8, where a size"),
    "another size": ({"d_sae": 32}, "says d_sae = 32, and its weights have 16"),
    "a threshold of NaN": ({"jump_relu_threshold": math.nan}, "jump_relu_threshold = nan, where a number"),
    "a hook that is no site": (
        {"hook_point_in": "blocks.3.hook_q", "hook_point_out": None},
        "'blocks.3.hook_q'",
    ),
    "a hook that is a list": ({"hook_point_in": [1], "hook_point_out": [1]}, r"trained on '\[1\]', not on"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_of_openmoss_is_one_sentence(name: str, tmp_path: Path) -> None:
    change, wanted = REFUSED[name]
    with pytest.raises((harness.UsageError, harness.UnavailableError), match=wanted):
        load(write_llama(tmp_path / "X", {**LLAMA, **change}))


@pytest.mark.parametrize(
    ("tensors", "wanted"),
    [
        ({"encoder.weight": torch.zeros(WIDTH)}, "encoder.weight is .16., which is no matrix"),
        ({"decoder.weight": torch.zeros(4, WIDTH)}, "so it is a transcoder"),
        ({"encoder.bias": torch.zeros(3)}, r"encoder.bias is \[3\], not \[16\]: fetch"),
        ({"decoder.weight": torch.zeros(D_IN, 4)}, r"decoder.weight is \[8, 4\], not \[8, 16\]"),
        ({"encoder.weight": torch.zeros(WIDTH, D_IN, dtype=torch.int8)}, "holds I8, not floats"),
        ({"encoder.bias": torch.full((WIDTH,), math.inf)}, "b_enc holds values that are not finite"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_broken_weights_of_openmoss_are_one_sentence(
    tensors: dict[str, torch.Tensor], wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(harness.HarnessError, match=wanted):
        load(write_llama(tmp_path / "X", LLAMA, **tensors))


# ── Qwen Scope ───────────────────────────────────────────────────────────────────────────────────────────

REPOSITORY = "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3"


def write_qwen(folder: Path, layer: int = 3, **changes: Any) -> Path:
    """Write the dictionary of one layer as Qwen Scope has it; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        "W_enc": draw(WIDTH, D_IN, seed=layer),
        "W_dec": draw(D_IN, WIDTH, seed=2),
        "b_enc": draw(WIDTH, seed=3),
        "b_dec": draw(D_IN, seed=4),
        **changes,
    }
    torch.save(held, folder / f"layer{layer}.sae.pt")
    return folder


def test_qwen_scope_keeps_the_k_largest(tmp_path: Path) -> None:
    folder = write_qwen(tmp_path / REPOSITORY)
    x = draw(5, D_IN, seed=9)
    pre = x @ draw(WIDTH, D_IN, seed=3).T + draw(WIDTH, seed=3)
    top = pre.topk(3, dim=1)
    features = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    for ref in (folder, folder / "layer3.sae.pt"):
        found = load(ref)
        torch.testing.assert_close(found.encode(x), features, rtol=1e-5, atol=1e-5)
        rebuilt = features @ draw(D_IN, WIDTH, seed=2).T + draw(D_IN, seed=4)
        torch.testing.assert_close(found.rebuild(x, 5)[0], rebuilt, rtol=1e-5, atol=1e-5)


def test_qwen_scope_takes_k_from_the_name_or_as_an_option(tmp_path: Path) -> None:
    assert load(write_qwen(tmp_path / REPOSITORY)).k == 3
    other = write_qwen(tmp_path / "mine")
    assert load(other, k=5).k == 5
    with pytest.raises(
        harness.UsageError, match="nothing says how many features of a token stay: keep the name"
    ):
        load(other)
    for k in (0, 17, True):
        with pytest.raises(harness.UsageError, match=f"k={k} is none from 1 to 16"):
            load(other, k=k)
    named, asked = place(tmp_path / REPOSITORY), place(other, k=3)
    assert named.identity == asked.identity


def test_the_layer_of_qwen_scope_is_that_of_the_site(tmp_path: Path) -> None:
    for layer in (1, 11, 3):
        write_qwen(tmp_path / REPOSITORY, layer)
    one, three = (place(tmp_path / REPOSITORY, f"resid_post.{layer}") for layer in (1, 3))
    assert one.identity != three.identity
    with pytest.raises(
        harness.UsageError, match=r"none of them for 'resid_post.2': name one of layer1\.sae\.pt"
    ):
        place(tmp_path / REPOSITORY, "resid_post.2")


def test_broken_files_of_qwen_scope_are_one_sentence(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (tmp_path / "marker",)

    write_qwen(tmp_path / REPOSITORY, W_enc=Payload())
    with pytest.raises(harness.UnavailableError, match="Python objects in it could run code"):
        load(tmp_path / REPOSITORY)
    assert not (tmp_path / "marker").exists()
    write_qwen(tmp_path / REPOSITORY, W_dec=torch.zeros(5, WIDTH))
    with pytest.raises(harness.UsageError, match="so it is a transcoder"):
        load(tmp_path / REPOSITORY)
    write_qwen(tmp_path / REPOSITORY, b_enc=torch.full((WIDTH,), math.nan))
    with pytest.raises(harness.UnavailableError, match="b_enc holds values that are not finite"):
        load(tmp_path / REPOSITORY)


# ── the hub ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve an empty hub."""
    with serving(tmp_path / "hub", monkeypatch) as served:
        yield served


def test_from_the_hub_only_the_files_of_one_dictionary_are_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layer in (1, 3):
        hook = f"blocks.{layer}.hook_resid_post"
        config = {**LLAMA, "hook_point_in": hook, "hook_point_out": hook}
        write_llama(tmp_path / f"llama/Llama3_1-8B-Base-L{layer}R-8x", config)
        write_qwen(tmp_path / "qwen", layer)
    hub.add("fnlp/Llama3_1-8B-Base-LXR-8x", tmp_path / "llama")
    hub.add(f"Qwen/{REPOSITORY}", tmp_path / "qwen")
    x = draw(3, D_IN)
    for ref, folder, options in (
        ("fnlp/Llama3_1-8B-Base-LXR-8x", tmp_path / "llama/Llama3_1-8B-Base-L3R-8x", {}),
        (f"Qwen/{REPOSITORY}", tmp_path / "qwen", {"k": 3}),
    ):
        placed = place(f"{ref}@{hub.commit(ref)}")
        found = placed.load("cpu")
        assert placed.identity == place(folder, **options).identity
        torch.testing.assert_close(found.encode(x), load(folder, **options).encode(x))
        go(monkeypatch, offline=True)
        assert place(f"{ref}@{hub.commit(ref)}").identity == placed.identity
        go(monkeypatch, offline=False)
    weights = {path for path in hub.asked if "/resolve/" in path and path.endswith((".pt", ".safetensors"))}
    assert {path.rpartition("/")[2] for path in weights} == {"layer3.sae.pt", "final.safetensors"}
    assert not any("L1R" in path for path in weights)
    with pytest.raises(harness.UsageError, match=r"none of them for 'resid_post.2': name one of layer1"):
        place(f"Qwen/{REPOSITORY}", "resid_post.2")


def test_offline_the_commands_that_are_named_lead_to_the_dictionary(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_llama(tmp_path / "llama/Llama3_1-8B-Base-L3R-8x")
    hub.add("fnlp/Llama3_1-8B-Base-LXR-8x", tmp_path / "llama")
    write_qwen(tmp_path / "qwen")
    hub.add(f"Qwen/{REPOSITORY}", tmp_path / "qwen")
    for ref in (
        "fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L3R-8x/checkpoints/final.safetensors",
        f"Qwen/{REPOSITORY}/layer3.sae.pt",
    ):
        placed, told = follow(partial(place, ref), monkeypatch)
        assert told and placed.width == WIDTH
