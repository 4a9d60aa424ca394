"""Images a second from files to pooled rows, decoded ahead of the model and not, and the share of the time in which the
model waited. `make bench`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

import harness
from harness.api.data import Site, Tokens
from harness.api.protocols import LoadedImageModel
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import Reading, featurize, plan_batches
from harness.session import open_registry

IMAGES = 512
SITE = Site(tower="vision", kind="resid_post", layer=2)


class Unprepared:
    """A model that decodes the images of a batch when its turn comes: what there would be without threads."""

    def __init__(self, model: LoadedImageModel) -> None:
        self.model = model

    def forward(self, batch: Sequence[Tokens]) -> Any:
        return self.model.forward(batch)


@pytest.fixture(scope="module")
def read() -> tuple[LoadedImageModel, list[Tokens]]:
    """miniclip, and photographs of 256 × 256 pixels as far as a codec is concerned: smooth, with some noise."""
    random = np.random.default_rng(0)
    images = []
    for _ in range(IMAGES):
        coarse = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((256, 256), 3)
        noisy = np.clip(np.asarray(coarse, dtype=np.int16) + random.integers(-12, 12, (256, 256, 3)), 0, 255)
        file = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(file, "JPEG", quality=90)
        images.append(harness.read_image(file.getvalue()))
    model = open_registry().choose("models", "miniclip").make()
    return model.load([SITE], "cpu"), model.tokenize(images)


@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "in turn"])
def test_images_a_second(benchmark: Any, read: tuple[LoadedImageModel, list[Tokens]], ahead: bool) -> None:
    loaded, tokens = read
    pool = open_registry().choose("poolings", "mean").make()
    encoder = Dictionary(name="hidden", width=128, activation="identity")
    reading = Reading(site=SITE, encoder=encoder, sparse=False, poolings={"mean": pool})
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=None, device="cpu")
    model: Any = loaded if ahead else Unprepared(loaded)

    def run() -> list[Any]:
        return list(featurize(model=model, tokens=tokens, readings=[reading], batches=batches))

    pooled = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    assert sorted(row for one in pooled for row in one.rows) == list(range(IMAGES))
    assert sum(one.waited for one in pooled) == 0 or ahead  # what is decoded in turn is waited for unseen
    seconds = sum(one.seconds for one in pooled)
    benchmark.extra_info["images_per_s"] = round(IMAGES / benchmark.stats.stats.min)
    benchmark.extra_info["waiting_share"] = round(sum(one.waited for one in pooled) / seconds, 3)
