"""Numbers in files of strangers are held against limits and the files at hand before anything is made of them."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_open_clip
import numpy as np
import pytest
import torch

import harness
from harness import Site, UnavailableError, UsageError
from harness.models.opened import parse_sites
from harness.registry.catalog import LONGEST
from harness.storage import reading

MODEL = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights" / "minigemma-s"
FEATURES = ("features", "-m", "./model", "--site", "resid_post.1", "--input", "texts.jsonl", "-o", "out.npy")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a small model, and texts to read with it."""
    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n')
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "a million blocks": (
        {"num_hidden_layers": 10**6},
        "its config.json says num_hidden_layers = 1e+06, and at most",
    ),
    "blocks beyond every list": (
        {"num_hidden_layers": 10**15},
        "its config.json says num_hidden_layers = 1e+15",
    ),
    "blocks deep inside": (
        {"text_config": {"a": [{"n_layers": 1e300}]}},
        "its config.json says n_layers = 1e+300",
    ),
    "more blocks than tensors": (
        {"num_hidden_layers": 999, "layer_types": None},
        "its config.json says 999 blocks, and its weights have",
    ),
    "a billion labels": ({"num_labels": 10**9}, "its config.json says num_labels = 1e+09"),
    "a billion heads": ({"num_attention_heads": 10**9}, "its config.json says num_attention_heads = 1e+09"),
    "a billion words": ({"vocab_size": 10**9}, "numbers for what is read here, and its weights hold"),
    "a wide residual stream": ({"hidden_size": 2**20}, "numbers for what is read here, and its weights hold"),
    "no position": (
        {"max_position_embeddings": -1},
        "its config.json says max_position_embeddings = -1, fewer than",
    ),
    "no window": (
        {"sliding_window": None},
        "a Gemma2Model cannot be run as its config.json says: Could not find",
    ),
    "a wide MLP": ({"intermediate_size": 10**8}, "numbers for what is read here, and its weights hold"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_configuration_that_says_more_than_the_weights_hold_is_refused_before_anything_is_built(
    harness_command, model: Path, what: str
) -> None:
    fields, said = CONFIGS[what]
    edit(model / "config.json", **fields)
    if "hidden_size" in fields:  # sites are as wide
        edit(model / "config.json", head_dim=64)
    found = harness_command(*FEATURES)
    assert said in found.err, found
    assert found.code == 3
    assert len(found.said) == 1


NORMALIZERS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "letters that become thousands": (
        [{"type": "Replace", "pattern": {"Regex": "."}, "content": "z" * 60}] * 2,
        "may make 14,400 letters of one",
    ),
    "a pattern that never ends": (
        [{"type": "Replace", "pattern": {"Regex": "(e|e|ee)+(e|e|ee)+(e+)+$"}, "content": "z"}],
        "its tokenizer cannot encode a text: PanicException: Onig",
    ),
}


@pytest.mark.parametrize("what", NORMALIZERS)
def test_a_tokenizer_that_takes_too_much_ends_in_a_sentence(harness_command, model: Path, what: str) -> None:
    steps, said = NORMALIZERS[what]
    (model.parent / "texts.jsonl").write_text(json.dumps({"text": "e" * 40 + "b"}) + "\n")
    edit(model / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": steps})
    found = harness_command(*FEATURES)
    assert said in found.err, found
    assert found.code == 3
    assert found.said[-1].startswith("harness: model './model'")


@pytest.mark.parametrize("fields", [{"vocab_size": 10**9}, {"intermediate_size": 10**9}])
def test_random_weights_beyond_the_memory_of_the_machine_are_refused_before_they_are_drawn(
    harness_command, model: Path, fields: dict[str, int]
) -> None:
    edit(model / "config.json", **fields)
    found = harness_command(*(each.replace("./model", "./model[random_weights=1]") for each in FEATURES))
    assert "the random weights of model './model' take" in found.err, found
    assert found.code == 3
    assert len(found.said) == 1


TOWERS: dict[str, tuple[dict[str, Any], str]] = {
    "a million blocks": ({"layers": 10**6}, r"says layers = 1e\+06"),
    "a wall of pixels": ({"image_size": 10**6}, r"says image_size = 1e\+06"),
    "a patch for each pixel": (
        {"image_size": 10_000, "patch_size": 1},
        "says 100,000,000 patches for an image",
    ),
    "a wide tower": ({"width": 19_968, "mlp_ratio": 10**6}, "the random weights of model"),
}


@pytest.mark.parametrize("what", TOWERS)
def test_a_vision_tower_beyond_every_bound_is_refused_before_it_is_built(tmp_path: Path, what: str) -> None:
    fields, said = TOWERS[what]
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, **fields}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UnavailableError, match=said) as caught:
        opened = harness_open_clip.open_model(str(tmp_path), str(tmp_path), random_weights=1)
        opened.load([Site.parse("vision.resid_post.1")], "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/secret.safetensors", "link.safetensors"])
def test_an_index_names_no_weights_outside_its_folder(harness_command, model: Path, name: str) -> None:
    outside = model.parent / "secret.safetensors"
    (model / "model.safetensors").rename(outside)
    (model / "link.safetensors").symlink_to(outside)
    index = {"weight_map": {"model.embed_tokens.weight": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    found = harness_command(*FEATURES)
    assert found.code == 3
    assert len(found.said) == 1
    assert "its model.safetensors.index.json names the file" in found.err
    assert "leads out of its folder" in found.err


# ── dictionaries ─────────────────────────────────────────────────────────────────────────────────────────

ARRAYS = {"W_enc": (64, 32), "W_dec": (32, 64), "b_enc": (32,), "b_dec": (64,), "threshold": (32,)}


def write_npz(
    path: Path, *, says: tuple[int, ...] | None = None, zeros: int = 0, compress: bool = False
) -> None:
    """A dictionary of Gemma Scope; W_enc `says` another shape than it has, or is followed by so many zeros."""
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for key, shape in ARRAYS.items():
            header, data = io.BytesIO(), np.ones(shape, "f4")
            said = says if says and key == "W_enc" else shape
            np.lib.format.write_array_header_1_0(
                header, {"descr": "<f4", "fortran_order": False, "shape": said}
            )
            more = bytes(zeros) if key == "W_enc" else b""
            archive.writestr(f"{key}.npy", header.getvalue() + data.tobytes() + more)


def write_gemma_scope(folder: Path, **how: Any) -> None:
    write_npz(folder / "params.npz", **how)


def write_strided(folder: Path) -> None:
    """A ViT-Prisma state dict of one number that says it is a million squared."""
    one = torch.ones(1)
    tensors = {
        "W_enc": one.expand(10**6, 10**6),
        "b_enc": one,
        "W_dec": one.expand(10**6, 10**6),
        "b_dec": one,
    }
    torch.save(tensors, folder / "weights.pt")
    config = {"hook_point_layer": 1, "layer_subtype": "hook_resid_post", "activation_fn_str": "relu"}
    (folder / "config.json").write_text(json.dumps(config))


def write_bomb(folder: Path) -> None:
    """The same with an entry of zeros that unpacks to far more."""
    write_strided(folder)
    with zipfile.ZipFile(folder / "weights.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(200_000))


def write_saev(folder: Path) -> None:
    header = {"schema": 2, "cfg": {"d_model": 64, "d_sae": 10**12, "activation": {"cls": "Relu"}}}
    (folder / "sae.pt").write_bytes(json.dumps(header).encode() + b"\n")


DICTIONARIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an array that says it is larger": (
        lambda at: write_gemma_scope(at, says=(64, 10**12)),
        "W_enc says that it is [64, 1000000000000] of float32, and holds 8,192 bytes",
    ),
    "an array that says it is smaller": (
        lambda at: write_gemma_scope(at, says=(64, 16)),
        "and holds 8,192 bytes",
    ),
    "an archive of zeros": (
        lambda at: write_gemma_scope(at, zeros=400_000, compress=True),
        "it would unpack to",
    ),
    "a tensor that repeats one number": (
        write_strided,
        "says that it is [1000000, 1000000], and holds 4 bytes",
    ),
    "a state dict of zeros": (write_bomb, "it would unpack to"),
    "a header beyond its file": (write_saev, "its header says 64 × 1,000,000,000,000 weights, more than its"),
}


@pytest.mark.parametrize("what", DICTIONARIES)
def test_a_dictionary_that_says_more_than_its_file_holds_is_refused_before_it_is_unpacked(
    harness_command, model: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    write, said = DICTIONARIES[what]
    monkeypatch.setattr(reading, "HARMLESS", 100_000)
    (model.parent / "sae").mkdir()
    write(model.parent / "sae")
    reference = "./sae" if (model.parent / "sae" / "params.npz").exists() else "./sae[any_site=true]"
    found = harness_command(*FEATURES, "--representation", reference)
    assert said in found.err, found
    assert found.code == 3
    assert len(found.said) == 1


# ── references ───────────────────────────────────────────────────────────────────────────────────────────

LONG = "x" * 200_000
REFERENCES = {
    "a long model": ("models", LONG),
    "a long name on the hub": ("models", f"org/{LONG}"),
    "a long path": ("models", "./" + "a/" * 100_000),
    "a long parameter": ("representations", f"random_sae[k={LONG}]"),
    "a long name with a parameter": ("representations", {"name": LONG, "k": 1}),
    "open brackets": ("poolings", "count(" * 600),
    "blanks before a bracket": ("poolings", "count" + " " * 2_000 + "]"),
    "equals in brackets": ("representations", "./" + "[=" * 2_000),
    "brackets in a path": ("representations", "./" + "[a](a)" * 600 + "["),
    "a deep value": ("poolings", "count(t=" + "[" * 3_000 + ")"),
    "a list in itself": ("poolings", "count(t=&a [*a])"),
}


@pytest.fixture(scope="module")
def registry() -> Any:
    return harness.open(device="cpu").registry


@pytest.mark.parametrize("what", REFERENCES)
def test_a_reference_without_measure_ends_in_a_sentence(registry: Any, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.choose(*REFERENCES[what])
    assert len(str(caught.value)) < 2 * LONGEST + 500
    if what.startswith("a long"):
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("site", [f"resid_post.{LONG}", f"resid_post.[{','.join('1' * 50_000)}]"])
def test_a_site_without_measure_ends_in_a_short_sentence(site: str) -> None:
    with pytest.raises(UsageError, match="letters, and at most") as caught:
        parse_sites(site, lambda tower: 4)
    assert len(str(caught.value)) < 200


def test_a_name_without_measure_is_not_printed_back(harness_command) -> None:
    found = harness_command("show", LONG)
    assert found.code == 2
    assert len(found.said) == 1
    assert "… (200,0" in found.err
    assert len(found.err) < 1_000
