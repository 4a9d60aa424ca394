"""Measured numbers of a dictionary at a site in, a verdict with its reasons out: does it read what it was trained on?

Every rule compares: with the same dictionary one layer off, on scaled activations, on positions outside content, with
the L0 it was published with; only the last resort, the least explained variance, is a bare threshold. The margins were
set on the embedded family, where right pairings lie far from all of them (`tests/test_gate.py` holds them to it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.api.data import Site

REVISION = "1"
"""Changes when what is measured, or how it is judged, does."""

LEAST_VARIANCE = 0.5
"""Explained variance below which a dictionary is taken not to know the activations: a good one explains .4 of those of
a model with random weights."""

MARGIN = 0.02
"""By so much explained variance must be higher elsewhere before that is held against the site."""

OUTSIDE_MARGIN = 0.05
"""By so much explained variance may be lower on BOS and template than on content."""

L0_RATIO = 2.5
"""L0 may differ from the published one by this factor: texts differ in how much there is to say about a token."""

Verdict = Literal["ok", "flagged", "not measurable", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen of one dictionary at one site.

    `below` and `above` are explained variances of the same dictionary one layer down and up, where there is one;
    `halved` and `doubled` those on the site's own activations times ½ and 2; `outside` that on positions that are
    pooled but are not content, about the mean of content. L0 is the mean number of features that fire on a token.
    """

    explained_variance: float
    median_explained_variance: float
    l0: float
    published_l0: float | None
    below: float | None
    above: float | None
    halved: float
    doubled: float
    outside: float | None
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and, by rule, a sentence for each reason; what was seen, unless nothing could be measured."""

    verdict: Verdict
    reasons: Mapping[str, str] = field(default_factory=dict)
    seen: Measured | None = None


def judge(seen: Measured) -> Judgement:
    """Flagged where any rule has something to say."""
    reasons = dict(_reasons(seen))
    return Judgement(verdict="flagged" if reasons else "ok", reasons=reasons, seen=seen)


def not_measurable(reason: str) -> Judgement:
    """The verdict where there is nothing to measure with."""
    return Judgement(verdict="not measurable", reasons={"unmeasured": reason})


def neighbours(site: Site, n_layers: int) -> tuple[Site, ...]:
    """The site, and those one layer down and up where there are any."""
    layers = (site.layer - 1, site.layer, site.layer + 1)
    return tuple(replace(site, layer=layer) for layer in layers if 0 <= layer < n_layers)


def _reasons(seen: Measured) -> Iterator[tuple[str, str]]:
    own = seen.explained_variance
    least = max(own + MARGIN, LEAST_VARIANCE)  # where it fits nowhere, nowhere is its place
    if own < LEAST_VARIANCE:
        yield "variance", f"explains {own:.2f} of the variance, less than {LEAST_VARIANCE:.2f}"
    for where, other in (("down", seen.below), ("up", seen.above)):
        if other is not None and other > least:
            yield "layer", f"explains {other:.2f} one layer {where} and {own:.2f} here"
    for how, other in (("halved", seen.halved), ("doubled", seen.doubled)):
        if other > least:
            yield "scale", f"explains {other:.2f} of these activations {how} and {own:.2f} as they are"
    if seen.published_l0 and not 1 / L0_RATIO <= seen.l0 / seen.published_l0 <= L0_RATIO:
        yield "l0", f"{seen.l0:.1f} features fire on a token, {seen.published_l0:g} were published"
    if seen.outside is not None and seen.outside < own - OUTSIDE_MARGIN:
        yield "outside", f"explains {seen.outside:.2f} on BOS or template and {own:.2f} on content"
