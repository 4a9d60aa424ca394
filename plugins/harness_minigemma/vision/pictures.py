"""Training images of 64 by 64 pixels with their facts, from two labelled sets and generated.

Only rows of the split `train` are used for training.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from harness_minigemma.vision.captions import Facts
from harness_minigemma.vision.shapes import PIXELS, draw_image

SETS = ("eurosat", "omniglot_small")
"""Labelled image sets."""
DRAWN = "drawn"
"""Source name of generated images."""
SHARES = {"eurosat": 0.4, "omniglot_small": 0.4, DRAWN: 0.2}
"""Share of each source in a training batch."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Images `[n, 64, 64, 3]` with the facts and the source of each."""

    pixels: NDArray[np.uint8]
    facts: Sequence[Facts]
    sources: Sequence[str]

    def __len__(self) -> int:
        return len(self.facts)


def read_pictures(folder: Path, name: str, splits: Sequence[str]) -> Pictures:
    """Read the images of a set's splits in file order; raise SystemExit if the set is absent."""
    path = folder / name / "data.parquet"
    if not path.exists():
        raise SystemExit(f"there is no {path}; --data-dir must hold {' and '.join(SETS)}")
    rows = [row for row in pq.read_table(path).to_pylist() if row["split"] in splits]
    facts = [
        {"class": row["label"], **({"character": row["character"]} if "character" in row else {})}
        for row in rows
    ]
    pixels = np.stack([shrink(row["image"]) for row in rows])
    return Pictures(pixels=pixels, facts=facts, sources=[name] * len(rows))


def describe_data(folder: Path, name: str, pictures: Pictures) -> dict[str, Any]:
    """Return a set's number of images used, licence, source and attribution, for the card."""
    known = json.loads((folder / name / "info.json").read_text("utf-8"))
    return {
        "images": len(pictures),
        **{field: known[field] for field in ("licence", "source", "attribution")},
    }


def shrink(encoded: bytes) -> NDArray[np.uint8]:
    """Decode an image and resize it as the models' preprocessing does, `[64, 64, 3]`."""
    image = Image.open(BytesIO(encoded)).convert("RGB")
    return np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC))


def draw_pictures(count: int, rng: np.random.Generator) -> Pictures:
    """Generate images."""
    drawn = [draw_image(rng) for _ in range(count)]
    pixels = (
        np.stack([pixels for pixels, _ in drawn]) if drawn else np.empty((0, PIXELS, PIXELS, 3), np.uint8)
    )
    return Pictures(pixels=pixels, facts=[facts for _, facts in drawn], sources=[DRAWN] * count)


def draw_batch(sets: Sequence[Pictures], size: int, rng: np.random.Generator) -> Pictures:
    """Draw a batch from the sets by their shares; generated images fill the rest."""
    parts = []
    for pictures in sets:
        chosen = rng.choice(len(pictures), size=round(size * SHARES[pictures.sources[0]]))
        parts.append(
            Pictures(
                pixels=pictures.pixels[chosen],
                facts=[pictures.facts[index] for index in chosen],
                sources=[pictures.sources[index] for index in chosen],
            )
        )
    parts.append(draw_pictures(size - sum(map(len, parts)), rng))
    return join(parts)


def join(parts: Sequence[Pictures]) -> Pictures:
    """Concatenate pictures."""
    return Pictures(
        pixels=np.concatenate([part.pixels for part in parts]),
        facts=[facts for part in parts for facts in part.facts],
        sources=[source for part in parts for source in part.sources],
    )
