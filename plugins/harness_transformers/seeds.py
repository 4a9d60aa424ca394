"""Seed of the random weights of an untrained model."""

from __future__ import annotations

from typing import Any

from harness import UsageError

MAX_SEED = 2**53 - 1
"""Largest seed: JSON holds no larger number exactly."""


def check_seed(name: str, seed: Any) -> None:
    """Raise UsageError unless `seed` is None or a whole number that JSON can hold exactly."""
    if seed is not None and (
        isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED
    ):
        raise UsageError(
            f"model '{name}' takes random_weights, a seed, from 0 to {MAX_SEED} or none at all, not {seed!r}"
        )
