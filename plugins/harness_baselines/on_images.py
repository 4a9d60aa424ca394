"""Representations of images by their pixels alone; no model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL.Image import Resampling

import harness

SHARE = 16
"""Images that a thread takes at a time: one small image takes no longer than to wake a thread."""
MOST_THREADS = 16


class Pixels:
    """Red, green and blue of an image shrunk to `size` × `size` pixels, each the mean of the area it covers, 0 to 1;
    shapes are not kept. What a classifier can tell by colours and coarse outlines.
    """

    def __init__(self, *, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size={size} must be a whole number, at least 1")
        self.size = size

    def fit(self, inputs: Sequence[harness.Image]) -> Pixels:
        """Learns nothing."""
        return self

    def transform(self, inputs: Sequence[harness.Image]) -> Any:
        """`[images, size · size · 3]` in float32: rows of pixels from the top, each pixel's three values together.
        MissingError where an image cannot be decoded.
        """
        rows = np.empty((len(inputs), self.size * self.size * 3), np.float32)

        def fill(start: int) -> None:
            share = slice(start, start + SHARE)
            rows[share] = [self._shrink(image) for image in inputs[share]]

        # Pillow releases the interpreter's lock while it decodes and resizes.
        with ThreadPoolExecutor(min(_count_cores(), MOST_THREADS)) as pool:
            deque(pool.map(fill, range(0, len(inputs), SHARE)), maxlen=0)
        return rows / np.float32(255)

    def _shrink(self, image: harness.Image) -> Any:
        """`[size · size · 3]`, bytes."""
        shrunk = harness.decode_image(image).resize((self.size, self.size), Resampling.BOX)
        return np.asarray(shrunk).ravel()


def _count_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
