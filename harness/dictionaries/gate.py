"""Gate of fidelity: does a dictionary at a site read the activations that it was trained on?

Every rule compares: with the same dictionary one layer off, on scaled activations, on positions outside content, with
the published L0. Only the last resort, the least explained variance, is an absolute threshold. The margins were set on
the embedded family, where right pairings are far from all of them (checked by `tests/test_gate.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.api.data import Site

REVISION = "1"
"""Revision of the measurements and rules; part of keys of measured things."""

LEAST_VARIANCE = 0.5
"""Explained variance below which a dictionary does not fit the activations: a good one explains .4 for a model with
random weights."""

MARGIN = 0.02
"""Margin by which explained variance must be higher elsewhere to flag the site."""

OUTSIDE_MARGIN = 0.05
"""Margin by which explained variance may be lower on BOS and template than on content."""

L0_RATIO = 2.5
"""Maximum factor between L0 and the published one: texts differ in the features they activate."""

Verdict = Literal["ok", "flagged", "not measurable", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Fidelity of one dictionary at one site: what was measured, and the verdict with a sentence for each rule.

    `below` and `above` are explained variances of the same dictionary one layer down and up; `halved` and `doubled`
    those on the site's own activations times ½ and 2; `outside` that on positions that are pooled but are not
    content, about the mean of content. L0 is the mean number of features that fire on a token. A number is None where
    it is unknown; all are where nothing was measured.
    """

    verdict: Verdict = "not measured"
    reasons: Mapping[str, str] = field(default_factory=dict)
    explained_variance: float | None = None
    median_explained_variance: float | None = None
    l0: float | None = None
    published_l0: float | None = None
    below: float | None = None
    above: float | None = None
    halved: float | None = None
    doubled: float | None = None
    outside: float | None = None
    tokens: int = 0


def judge(measured: Fidelity) -> Fidelity:
    """Return the measurement with its verdict: flagged where any rule has a reason."""
    reasons = dict(_reasons(measured))
    return replace(measured, verdict="flagged" if reasons else "ok", reasons=reasons)


def not_measurable(reason: str) -> Fidelity:
    """Return the verdict on a dictionary that cannot be measured."""
    return Fidelity(verdict="not measurable", reasons={"unmeasured": reason})


def neighbours(site: Site, n_layers: int) -> tuple[Site, ...]:
    """Return the site, and those one layer down and up where the model has them."""
    layers = (site.layer - 1, site.layer, site.layer + 1)
    return tuple(replace(site, layer=layer) for layer in layers if 0 <= layer < n_layers)


def _reasons(seen: Fidelity) -> Iterator[tuple[str, str]]:
    """Yield each rule that a measurement breaks, with the reason; nothing about numbers that are unknown."""
    own = seen.explained_variance
    if own is None:
        return
    least = max(own + MARGIN, LEAST_VARIANCE)  # a dictionary that fits nowhere fits no better elsewhere
    if own < LEAST_VARIANCE:
        yield "variance", f"explains {own:.2f} of the variance, less than {LEAST_VARIANCE:.2f}"
    for where, other in (("down", seen.below), ("up", seen.above)):
        if other is not None and other > least:
            yield "layer", f"explains {other:.2f} one layer {where} and {own:.2f} here"
    for how, other in (("halved", seen.halved), ("doubled", seen.doubled)):
        if other is not None and other > least:
            yield "scale", f"explains {other:.2f} of these activations {how} and {own:.2f} as they are"
    l0, published = seen.l0, seen.published_l0
    if l0 is not None and published and not 1 / L0_RATIO <= l0 / published <= L0_RATIO:
        yield "l0", f"{l0:.1f} features fire on a token, {published:g} were published"
    if seen.outside is not None and seen.outside < own - OUTSIDE_MARGIN:
        yield "outside", f"explains {seen.outside:.2f} on BOS or template and {own:.2f} on content"
