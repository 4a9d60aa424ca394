"""Power analysis of paired comparisons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from scipy.special import ndtri

POWER, ALPHA = 0.8, 0.05
"""Default probability to find a true difference, and default level of the test."""


def detectable_difference(
    rows: float, disagreement: float, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """Return the smallest true difference in accuracy that a two-sided McNemar test at `alpha` finds with probability
    `power`, for two arms where exactly one is right on a share `disagreement` of `rows` independent rows. None if no
    difference is large enough: it cannot exceed the share.

    n = (z_{1−alpha/2} √d + z_power √(d − δ²))² / δ² (Connor 1987, "Sample size for testing differences in proportions
    for the paired-sample design", Biometrics 43), solved for δ. ValueError for a share outside (0, 1] or no rows.
    """
    if not 0 < disagreement <= 1 or rows <= 0:
        raise ValueError(f"there is no test of {rows} rows of which a share of {disagreement} disagree")
    found, wanted = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    inner = rows - found**2 + wanted**2
    if inner < 0:
        return None
    numerator = math.sqrt(rows) * found + wanted * math.sqrt(inner)
    delta = math.sqrt(disagreement) * numerator / (rows + wanted**2)
    return delta if delta <= disagreement else None


def effective_rows(groups: Iterable[str | None], *, icc: float = 1.0) -> float:
    """Return the number of independent rows with as much information as rows of these groups (None: a group of its
    own), for an intraclass correlation `icc`.
    """
    sizes = Counter(groups)
    alone = sizes.pop(None, 0)
    n = alone + sum(sizes.values())
    return n / (1 + icc * ((alone + sum(size**2 for size in sizes.values())) / n - 1))


def pooled_rows(effective: Sequence[float]) -> float:
    """Return the number of rows of one task with as much information as the unweighted mean over tasks with these
    numbers of rows.
    """
    return len(effective) ** 2 / sum(1 / rows for rows in effective)
