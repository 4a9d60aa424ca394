"""Gate of fidelity: does a dictionary at a site read the activations that it was trained on?

Most rules compare: with the same dictionary one layer off, on scaled activations, on positions outside content, in the
other convention of `b_dec`, with random directions, with the published L0. Three are bounds: the least explained
variance, the largest L0 of a dictionary without a published one, the most dead features. All were set on the embedded
family, where right pairings are far from all of them (checked by `tests/test_gate.py`), and on published dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.api.data import Site

STREAM = "resid_post"
"""Kind of site whose layers hold the same kind of activations."""

REVISION = "2"
"""Revision of the measurements; part of their keys. Rules are applied whenever these are read."""

LEAST_VARIANCE = 0.5
"""Explained variance below which a dictionary does not fit the activations: a good one explains .4 for a model with
random weights."""

MARGIN = 0.02
"""Margin by which explained variance must be higher elsewhere to flag the site."""

OUTSIDE_MARGIN = 0.05
"""Margin by which explained variance may be lower on BOS and template than on content."""

L0_RATIO = 2.5
"""Maximum factor between L0 and the published one: texts differ in the features they activate."""

LESS_UNEXPLAINED = 0.9
"""Share of the unexplained variance that the other convention of `b_dec`, another layer or another scale must leave at
most to be the likelier one. Conventions of the embedded family: right ones have 1.25 or more, wrong ones .82 or less;
layers of published boards: right ones 1.17 or more. Few attention sinks bring all explained variances so near to 1 that
MARGIN is never reached: of Gemma 3 270M, with 11 of them among 511 tokens, it is .976 and .987 one layer off and .980
and .994 at the right layer, and the share is .83 and .46.
"""

LEAST_MARGIN = 0.001
"""Margin below which a difference of explained variances says nothing, whatever it is a share of."""

MOST_L0 = (1 / 2, 1 / 4)
"""Largest L0 of a dictionary with thresholds, in shares of d_in and of the width: published ones reach .23 and .03, and
.8 or more of d_in where thresholds are lost. Those without (ReLU alone) are published with 2 · d_in."""

MOST_DEAD = 0.9
"""Largest share of features that may be dead where features fire FIRINGS times on average: right pairings have .62 or
less."""

FIRINGS = 10
"""Mean number of firings of a feature above which a dead one says something."""

Verdict = Literal["ok", "flagged", "not measurable", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Fidelity of one dictionary at one site: what was measured, and the verdict.

    A number is None where it is unknown; all are where nothing was measured.
    """

    verdict: Verdict = "not measured"
    """Verdict of all rules together."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Rules that are not met, each with a sentence."""
    explained_variance: float | None = None
    """Explained variance of all content tokens at the dictionary's site."""
    median_explained_variance: float | None = None
    """Median over dimensions of the explained variance."""
    l0: float | None = None
    """Mean number of features that fire on a token."""
    published_l0: float | None = None
    """L0 that the authors of the dictionary published."""
    below: float | None = None
    """Explained variance of the same dictionary one layer down."""
    above: float | None = None
    """Explained variance of the same dictionary one layer up."""
    halved: float | None = None
    """Explained variance on the site's own activations times ½."""
    doubled: float | None = None
    """Explained variance on the site's own activations times 2."""
    outside: float | None = None
    """Explained variance on positions that are pooled but are not content, about the mean of content."""
    tokens: int = 0
    """Tokens that were measured."""
    d_in: int | None = None
    """Dimensions of the activations."""
    width: int | None = None
    """Features of the dictionary."""
    subtracts: bool | None = None
    """True if the dictionary subtracts `b_dec` from its input."""
    other_reading: float | None = None
    """Explained variance in the other convention of `b_dec`: subtracted where the dictionary does not, and not where
    it does.
    """
    other_l0: float | None = None
    """L0 in the other convention of `b_dec`."""
    random: float | None = None
    """Explained variance to be expected of as many random directions at the same L0."""
    dead: float | None = None
    """Share of features that fire on no token."""
    unbounded: float | None = None
    """Share of thresholds that are 0 or less."""


def judge(measured: Fidelity) -> Fidelity:
    """Return the measurement with its verdict: flagged where any rule has a reason."""
    reasons = dict(_reasons(measured))
    return replace(measured, verdict="flagged" if reasons else "ok", reasons=reasons)


def not_measurable(reason: str) -> Fidelity:
    """Return the verdict on a dictionary that cannot be measured."""
    return Fidelity(verdict="not measurable", reasons={"unmeasured": reason})


def neighbours(site: Site, n_layers: int) -> tuple[Site, ...]:
    """Return the site, and those one layer down and up where the model has them. Other kinds of site than the residual
    stream have none to compare with: they hold other activations in each layer.
    """
    if site.kind != STREAM:
        return (site,)
    layers = (site.layer - 1, site.layer, site.layer + 1)
    return tuple(replace(site, layer=layer) for layer in layers if 0 <= layer < n_layers)


def _reasons(seen: Fidelity) -> Iterator[tuple[str, str]]:
    """Yield each rule that a measurement breaks, with the reason; nothing about numbers that are unknown."""
    own = seen.explained_variance
    if own is None:
        return
    yield from _compare_reading(seen, own)
    yield from _compare_places(seen, own)
    yield from _compare_sparsity(seen)
    if seen.outside is not None and seen.outside < own - OUTSIDE_MARGIN:
        yield "outside", f"explains {seen.outside:.2f} on BOS or template and {own:.2f} on content"


def _compare_reading(seen: Fidelity, own: float) -> Iterator[tuple[str, str]]:
    """Yield the rules about explained variance at the site itself."""
    if own < LEAST_VARIANCE:
        yield "variance", f"explains {own:.2f} of the variance, less than {LEAST_VARIANCE:.2f}"
    elif seen.random is not None and own < seen.random and seen.l0 is not None:
        yield (
            "random",
            f"explains {own:.2f} with {seen.l0:.1f} features active, and as many random directions would "
            f"explain {seen.random:.2f}",
        )
    other = seen.other_reading
    # Where another layer or scale explains more than the other convention does, that is the likelier cause.
    elsewhere = max(one or 0.0 for one in (seen.below, seen.above, seen.halved, seen.doubled))
    least = max(LEAST_VARIANCE, elsewhere)
    if other is not None and other >= least and 1 - other < LESS_UNEXPLAINED * (1 - own):
        how, wanted = ("without", "x") if seen.subtracts else ("with", "x − b_dec")
        yield (
            "b_dec",
            f"explains {other:.3f} {how} b_dec subtracted from the input and {own:.3f} as it is read: saved for "
            f"{wanted}?",
        )


def _compare_places(seen: Fidelity, own: float) -> Iterator[tuple[str, str]]:
    """Yield the rules about explained variance one layer off, and on scaled activations."""
    for where, other in (("down", seen.below), ("up", seen.above)):
        if other is not None and _fits_better(other, own):
            digits = _digits(other, own)
            yield (
                "layer",
                f"explains {other:.{digits}f} one layer {where} and {own:.{digits}f} here: wrong site?",
            )
    for how, other in (("halved", seen.halved), ("doubled", seen.doubled)):
        if other is not None and _fits_better(other, own):
            digits = _digits(other, own)
            yield (
                "scale",
                f"explains {other:.{digits}f} of these activations {how} and {own:.{digits}f} as they are",
            )


def _fits_better(other: float, own: float) -> bool:
    """Return True if a dictionary clearly explains more elsewhere, absolutely or of what it leaves unexplained."""
    if other <= LEAST_VARIANCE:  # a dictionary that fits nowhere fits no better elsewhere
        return False
    return other > own + MARGIN or (other > own + LEAST_MARGIN and 1 - other < LESS_UNEXPLAINED * (1 - own))


def _digits(other: float, own: float) -> int:
    """Return the number of decimals that tell two explained variances apart."""
    return 2 if other > own + MARGIN else 3


def _compare_sparsity(seen: Fidelity) -> Iterator[tuple[str, str]]:
    """Yield the rules about how many features fire on a token, and how many never do."""
    l0, published = seen.l0, seen.published_l0
    if l0 is None:
        return
    if published and not 1 / L0_RATIO <= l0 / published <= L0_RATIO:
        yield "l0", f"{l0:.1f} features fire on a token, {published:g} were published"
    if (reason := _doubt_thresholds(seen, l0)) is not None:
        yield "thresholds", f"{reason}: thresholds lost?"
    if (
        seen.dead is not None
        and seen.dead > MOST_DEAD
        and seen.width
        and l0 * seen.tokens >= FIRINGS * seen.width
    ):
        yield "dead", f"{seen.dead:.0%} of features fire on none of {seen.tokens:,} tokens"


def _doubt_thresholds(seen: Fidelity, l0: float) -> str | None:
    """Return why thresholds seem lost; None where they do not, or the activation rule has none."""
    if seen.unbounded is None or not seen.d_in or not seen.width:
        return None
    if seen.published_l0:  # a dense dictionary that was published as one has lost nothing
        is_dense = l0 > L0_RATIO * seen.published_l0 and seen.unbounded > 0.5
        return f"{seen.unbounded:.0%} of thresholds are 0 or less" if is_dense else None
    for most, of in zip(MOST_L0, (seen.d_in, seen.width), strict=True):
        if l0 > most * of:
            what = "dimensions" if of == seen.d_in else "features"
            return f"{l0:.1f} features fire on a token, more than {most:g} of {of:,} {what}"
    return None
