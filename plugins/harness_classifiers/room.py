"""Refusal of fits that are larger than the memory that is free."""

from __future__ import annotations

BYTES_PER_WEIGHT = {"logreg": 90, "ridge": 25, "nearest_centroid": 25, "linear_sgd": 25}
"""Bytes that a fit takes at its peak for each class and feature, with what is read off its weights; measured.

Newton's method holds about ten vectors of all weights beside its products.
"""


def check_room(name: str, classes: int, features: int) -> None:
    """Raise MemoryError for a fit that needs more than is free: where it only began, the system would end the process.

    `name` is a key of BYTES_PER_WEIGHT. Two classes need the weights of one.
    """
    import psutil

    needed = (1 if classes == 2 else classes) * features * BYTES_PER_WEIGHT[name]
    free = psutil.virtual_memory().available
    if needed > free:
        raise MemoryError(
            f"{name} needs about {needed / 2**30:.1f} GiB for {classes:,} classes × {features:,} features, and "
            f"{free / 2**30:.1f} are free: use a transform that keeps fewer, or another classifier"
        )
