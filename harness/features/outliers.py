"""Outlier tokens: few tokens, such as attention sinks, whose norm is many times that of all others.

One of them has more squared error than a thousand others together, so that a dictionary trained on all tokens learns
them first, and an explained variance over all tokens speaks of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from harness.api.data import Site
from harness.api.errors import UsageError

SAMPLE_TOKENS = 8192
"""Number of activations whose median norm is taken."""


@dataclass(kw_only=True)
class NormLimit:
    """Largest norm that is kept at one site, and the counts of tokens that were seen and left out."""

    limit: float
    seen: int = 0
    left_out: int = 0

    def keep(self, activations: Tensor) -> Tensor:
        """Return the rows of `activations [tokens, d]` with a norm of at most the limit, and count the others."""
        kept = activations[self.is_kept(activations)]
        self.seen += len(activations)
        self.left_out += len(activations) - len(kept)
        return kept

    def is_kept(self, activations: Tensor) -> Tensor:
        """Return the mask `[tokens]` of the rows of `activations [tokens, d]` with a norm of at most the limit."""
        kept: Tensor = activations.norm(dim=1) <= self.limit
        return kept


def check_ratio(ratio: float) -> None:
    """Raise UsageError for a ratio to the median that half of all tokens would exceed, or none."""
    if not 1 < ratio < math.inf:
        raise UsageError(f"the largest ratio of norms is {ratio}, which is no number above 1")


def limit_norms(activations: Tensor, ratio: float) -> NormLimit:
    """Return the limit `ratio` × the median norm of `activations [tokens, d]`."""
    return NormLimit(limit=ratio * float(activations.norm(dim=1).median()))


def measure_limits(
    parts: Iterator[Mapping[Site, Tensor]], ratio: float, sites: Sequence[Site]
) -> tuple[Mapping[Site, NormLimit], Iterator[Mapping[Site, Tensor]]]:
    """Return the limit of each site by its first activations, and all parts again."""
    first: list[Mapping[Site, Tensor]] = []
    while sum(len(part[sites[0]]) for part in first) < SAMPLE_TOKENS:
        first.append(next(parts))
    limits = {site: limit_norms(torch.cat([part[site] for part in first]), ratio) for site in sites}
    return limits, chain(first, parts)


def leave_out(
    parts: Iterator[Mapping[Site, Tensor]], limits: Mapping[Site, NormLimit]
) -> Iterator[Mapping[Site, Tensor]]:
    """Yield the parts without outlier tokens; each site loses its own."""
    for part in parts:
        yield {site: limits[site].keep(activations) for site, activations in part.items()}
