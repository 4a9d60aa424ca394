"""Outlier tokens: few tokens, such as attention sinks, whose norm is many times that of all others.

One of them has more squared error than a thousand others together, so that a dictionary trained on all tokens learns
them first, and an explained variance over all tokens speaks of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from harness.api.data import Site

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
        kept = activations[activations.norm(dim=1) <= self.limit]
        self.seen += len(activations)
        self.left_out += len(activations) - len(kept)
        return kept


def measure_limits(
    parts: Iterator[Mapping[Site, Tensor]], ratio: float, sites: Sequence[Site]
) -> tuple[Mapping[Site, NormLimit], Iterator[Mapping[Site, Tensor]]]:
    """Return the limit `ratio` × median norm of each site's first activations, and all parts again."""
    first: list[Mapping[Site, Tensor]] = []
    while sum(len(part[sites[0]]) for part in first) < SAMPLE_TOKENS:
        first.append(next(parts))
    limits = {}
    for site in sites:
        norms = torch.cat([part[site].norm(dim=1) for part in first])
        limits[site] = NormLimit(limit=ratio * float(norms.median()))
    return limits, chain(first, parts)


def leave_out(
    parts: Iterator[Mapping[Site, Tensor]], limits: Mapping[Site, NormLimit]
) -> Iterator[Mapping[Site, Tensor]]:
    """Yield the parts without outlier tokens; each site loses its own."""
    for part in parts:
        yield {site: limits[site].keep(activations) for site, activations in part.items()}
