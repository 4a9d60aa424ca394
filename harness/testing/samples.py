"""Samples on which offers are tried: small, seeded, and the same in every process."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.data import Examples, Image, Partition, Split

if TYPE_CHECKING:
    import torch
    from scipy import sparse

WIDTH = 6
"""Features of a sample matrix."""

CLASSES = 3

TEXTS = (
    "The parcel came on Monday, and nothing in it was broken.",
    "Nobody answered the phone.",
    "Good.",
    "Il pleut depuis trois jours, et le toit fuit.",
    "Das Fahrrad steht im Keller; der Schlüssel hängt an der Tür.",
    "She counted 17 boxes, 4 crates and 250 bottles before noon!",
    "おはようございます",
    "a b c d e f g",
)
"""Texts of several lengths, scripts and languages."""

EMPTY = ("", " ", "\n\t")
"""Texts without content."""


def tokens(*, sizes: Sequence[int] = (3, 1, 5, 2, 8, 1), width: int = WIDTH) -> tuple[Any, Any]:
    """Return `values [tokens, width]` in float32, some of them zero, and `offsets [examples + 1]`."""
    import torch

    drawn = np.random.default_rng(1).normal(size=(sum(sizes), width)).astype(np.float32)
    drawn[drawn < -0.8] = 0
    return torch.from_numpy(drawn), torch.tensor([0, *np.cumsum(sizes)])


def activations(n: int, width: int) -> torch.Tensor:
    """Return `[n, width]` in float32."""
    import torch

    return torch.from_numpy(np.random.default_rng(2).normal(size=(n, width)).astype(np.float32))


def matrix(rows: int = 60, width: int = WIDTH, *, seed: int = 3) -> np.ndarray[Any, Any]:
    """Return pooled features `[rows, width]` in float32, not negative and about half of them zero.

    The features of row i depend on `labels(rows)[i]`, so that a classifier has something to learn.
    """
    rng = np.random.default_rng(seed)
    classes = labels(rows)
    # Each class is highest in the feature of its number, so that features may also be taken for its scores.
    means = np.random.default_rng(4).normal(size=(CLASSES, width)) * 0.5 + 2 * np.eye(CLASSES, width)
    drawn = means[classes] + rng.normal(size=(rows, width)) * 0.7
    positive: np.ndarray[Any, Any] = np.maximum(drawn, 0).astype(np.float32)
    return positive


def labels(rows: int = 60) -> np.ndarray[Any, Any]:
    """Return class numbers `[rows]`: 0, 1, 2, 0, 1, 2, …"""
    return np.arange(rows) % CLASSES


def csr(values: np.ndarray[Any, Any]) -> sparse.csr_array:
    """Return a matrix as CSR, as the store gives sparse features."""
    from scipy import sparse

    return sparse.csr_array(values)


def images(n: int = 4) -> list[Image]:
    """Return images of several sizes, as bytes of PNG files."""
    from PIL import Image as Pillow

    found = []
    for number in range(n):
        size = (8 + 5 * number, 16)
        pixels = np.random.default_rng(number).integers(0, 255, size=(size[1], size[0], 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Pillow.fromarray(pixels).save(buffer, "PNG")
        name = hashlib.sha256(repr(size).encode() + pixels.tobytes()).hexdigest()
        found.append(Image(encoded=buffer.getvalue(), id=name, size=size))
    return found


def examples(n: int = 120, *, languages: Sequence[str] = ("en",), classes: int = CLASSES) -> Examples:
    """Return `n` examples of each language; those of one number are translations of one another, in one group."""
    numbers = [(number, language) for number in range(n) for language in languages]
    return Examples(
        ids=tuple(f"{number}-{language}" for number, language in numbers),
        inputs=tuple(
            f"item {number} ({language}): {TEXTS[number % len(TEXTS)]}" for number, language in numbers
        ),
        labels=tuple(f"class {number % classes}" for number, _ in numbers),
        splits=tuple(_SPLITS[number // classes % len(_SPLITS)] for number, _ in numbers),
        languages=tuple(language for _, language in numbers),
        groups=tuple(f"group {number}" for number, _ in numbers),
    )


_SPLITS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")


def partition(given: Examples) -> Partition:
    """Return the partition of examples by their own splits."""

    def rows(split: str) -> tuple[int, ...]:
        return tuple(row for row, own in enumerate(given.splits) if own == split)

    return Partition(
        train=rows("train"), validation=rows("validation"), test=rows("test"), labels=given.labels
    )
