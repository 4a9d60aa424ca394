"""Numbers in files of strangers are held against limits and the files at hand before anything is made of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

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
