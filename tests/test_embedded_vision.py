"""The embedded models that see, as they ship: small, true to their libraries, and plain about what they saw."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import harness_minigemma
import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

import harness
from harness.session import open_registry

WEIGHTS = Path(harness_minigemma.__file__).parent / "weights"
DIGITS = Path(__file__).parents[1] / "tasks" / "harness_vision" / "data" / "digits.parquet"
SEEN = ("eurosat", "omniglot_small")


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return list(pd.read_parquet(DIGITS)["image"][:12])


def features(pictures: list[bytes], **choice: Any) -> Any:
    return harness.open(device="cpu").features([harness.read_image(one) for one in pictures], **choice)


def test_models_and_dictionaries_take_six_megabytes_at_most() -> None:
    folders = [
        WEIGHTS / f"{model}{part}" for model in ("miniclip", "minipaligemma") for part in ("", "-scope")
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000


@pytest.mark.parametrize("name", ["miniclip", "minipaligemma"])
def test_a_model_says_what_it_saw(name: str) -> None:
    model = open_registry().choose("models", name).make()
    assert isinstance(model, harness.ImageModel)
    assert tuple(model.seen_tasks) == SEEN


def test_patches_of_miniclip_are_those_of_open_clip(pictures: list[bytes]) -> None:
    found = features(pictures, model="miniclip", site="vision.resid_post.75%", pooling="mean")
    model, _, transform = open_clip.create_model_and_transforms(
        f"local-dir:{WEIGHTS / 'miniclip'}", precision="fp32"
    )
    pixels = torch.stack([transform(Image.open(io.BytesIO(one)).convert("RGB")) for one in pictures])
    with torch.inference_mode():
        read = model.eval().visual.forward_intermediates(pixels, indices=[2], output_fmt="NLC")
    assert np.allclose(found, read["image_intermediates"][0].mean(1).numpy(), atol=1e-4)


def test_image_tokens_of_minipaligemma_are_those_of_transformers(pictures: list[bytes]) -> None:
    """The language model's weights are minigemma-m's own."""
    found = features(pictures, model="minipaligemma", site="resid_post.50%", pooling="max")
    folder = WEIGHTS / "minipaligemma"
    config = transformers.AutoConfig.from_pretrained(folder)
    config.text_config._attn_implementation = "eager"
    for part in (config, config.text_config, config.vision_config):
        part.dtype = torch.float32
    model = transformers.PaliGemmaForConditionalGeneration._from_config(config, attn_implementation="eager")
    own = {
        f"model.{name.removeprefix('model.')}": one.float()
        for name, one in load_file(folder / "model.safetensors").items()
    }
    language = load_file(WEIGHTS / "minigemma-m" / "model.safetensors")
    own |= {
        f"model.language_model.{name.removeprefix('model.')}": one.float() for name, one in language.items()
    }
    report = model.load_state_dict(own, strict=False)
    assert set(report.missing_keys) <= {"lm_head.weight"}
    assert not report.unexpected_keys
    processor = transformers.AutoProcessor.from_pretrained(folder)
    images = [Image.open(io.BytesIO(one)).convert("RGB") for one in pictures]
    inputs = processor(images=images, text=["<image>"] * len(images), return_tensors="pt")
    with torch.inference_mode():
        states = model.eval()(**{k: v for k, v in inputs.items() if k != "labels"}, output_hidden_states=True)
    mask = inputs["input_ids"] == config.image_token_id
    assert (mask.sum(1) == 64).all()
    wanted = [
        state[one].max(0).values.numpy() for state, one in zip(states.hidden_states[3], mask, strict=True)
    ]
    assert np.allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_dictionaries_serve_where_they_were_trained(pictures: list[bytes]) -> None:
    for model, site in (("miniclip", "vision.resid_post.75%"), ("minipaligemma", "resid_post.50%")):
        found = features(pictures, model=model, site=site, representation=f"{model}-scope", pooling="max")
        assert found.shape == (12, 1024)
        assert found.nnz > 0
