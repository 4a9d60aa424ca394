"""Image representations that use no model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL.Image import Resampling

import harness

IMAGES_PER_TASK = 16
"""Images given to a thread at a time: one small image takes no longer than waking a thread."""
MAX_THREADS = 16
"""Upper limit of decoding threads."""


class Pixels:
    """RGB values of an image shrunk to `size` × `size` pixels, from 0 to 1.

    Each pixel is the mean of the area it covers; the aspect ratio is not kept.
    """

    def __init__(self, *, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size={size} must be a whole number, at least 1")
        self.size = size

    def fit(self, inputs: Sequence[harness.Image]) -> Pixels:
        """Return self; nothing is fitted."""
        return self

    def transform(self, inputs: Sequence[harness.Image]) -> Any:
        """Return `[images, size · size · 3]` in float32, by row from the top, then by pixel, then RGB.

        Raise UnavailableError if an image cannot be decoded.
        """
        rows = np.empty((len(inputs), self.size * self.size * 3), np.float32)

        def fill(start: int) -> None:
            share = slice(start, start + IMAGES_PER_TASK)
            rows[share] = [self._shrink(image) for image in inputs[share]]

        # Threads suffice: Pillow releases the interpreter's lock while it decodes and resizes.
        with ThreadPoolExecutor(min(_count_cores(), MAX_THREADS)) as pool:
            deque(pool.map(fill, range(0, len(inputs), IMAGES_PER_TASK)), maxlen=0)
        return rows / np.float32(255)

    def _shrink(self, image: harness.Image) -> Any:
        """Return one shrunk image, `[size · size · 3]`, as bytes."""
        shrunk = harness.decode_image(image).resize((self.size, self.size), Resampling.BOX)
        return np.asarray(shrunk).ravel()


def _count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
