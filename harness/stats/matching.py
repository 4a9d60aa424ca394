"""Features that match others in mean activation, as placebos of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAREST = 10
"""Features of nearest mean activation of which one is drawn."""


def match_features(
    chosen: Sequence[int], free: NDArray[np.bool_], means: NDArray[np.floating[Any]], *, seed: int
) -> list[int]:
    """Return another feature for each of `chosen`, none twice: a random one of the NEAREST whose mean activation in
    `means [width]` is nearest to its own, of those that are `free [width]`. Fewer where these run out.
    """
    generator = np.random.default_rng(seed)
    free = free.copy()
    found: list[int] = []
    for feature in chosen:
        candidates = np.flatnonzero(free)
        if not len(candidates):
            break
        distances = np.abs(means[candidates] - means[feature])
        found.append(int(generator.choice(candidates[np.argsort(distances, kind="stable")[:NEAREST]])))
        free[found[-1]] = False
    return found
