"""Fit of a dictionary with a decoder to activations.

Explained variance is 1 − residual variance / variance about the mean, over all dimensions. The median over dimensions
is robust to a few dimensions of large variance, and `is_large` says which these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from harness.api.data import Site
from harness.api.protocols import Autoencoder
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.gate import STREAM, Fidelity
from harness.dictionaries.rebuilding import Rebuilt, rebuild_scaled

SLICE = 4096
"""Number of features encoded and decoded at once."""

LARGE = 0.1
"""Share of the variance of all dimensions above which one of them is large."""

READING_STEP = 4
"""Step between the tokens on which the other convention of `b_dec` is measured."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit of a dictionary on `tokens` activations; L0 is the mean number of features that fire on one, `dead` the share
    of features that fire on none (None for an autoencoder that does not count by feature).
    """

    explained_variance: float
    median_explained_variance: float
    l0: float
    tokens: int
    dead: float | None


def explained_variance(lost: Tensor, total: Tensor) -> tuple[float, float]:
    """Return explained variance and its median over dimensions, from residual and total variances `[d]`."""
    moving = total > 0  # a constant dimension has no ratio
    median = (1 - lost[moving] / total[moving]).median() if bool(moving.any()) else torch.zeros(())
    return float(1 - lost.sum() / total.sum().clamp(min=1e-30)), float(median)


def is_large(total: Tensor) -> Tensor:
    """Return the mask `[d]` of dimensions that have more than LARGE of all variance each, from variances `[d]`.

    Explained variance speaks of these first. There are nine at most, and none in activations that spread theirs.
    """
    return total > LARGE * total.sum()


@torch.inference_mode()
def measure_fit(dictionary: Autoencoder, x: Tensor) -> Fit:
    """Return the fit on `x [tokens, d]`, float32. UnavailableError without a decoder."""
    (rebuilt,) = _rebuild(dictionary, x, (1.0,))
    return _fit(x, rebuilt)


def _rebuild(dictionary: Autoencoder, x: Tensor, scales: Sequence[float]) -> list[Rebuilt]:
    """Return what is rebuilt of `x [tokens, d]` times each scale; of an autoencoder that does not count by feature,
    `fired` is empty.
    """
    if isinstance(dictionary, Dictionary):
        return rebuild_scaled(dictionary, x, SLICE, scales)
    found = [dictionary.rebuild(x if scale == 1 else x * scale, SLICE) for scale in scales]
    return [
        Rebuilt(activations=rebuilt, active=active, fired=x.new_zeros(0).bool()) for rebuilt, active in found
    ]


def _fit(x: Tensor, rebuilt: Rebuilt) -> Fit:
    lost = (x - rebuilt.activations).double().square().sum(0)
    total = (x - x.mean(0)).double().square().sum(0)
    variance, median = explained_variance(lost, total)
    return Fit(
        explained_variance=variance,
        median_explained_variance=median,
        l0=rebuilt.active / len(x),
        tokens=len(x),
        dead=1 - float(rebuilt.fired.double().mean()) if len(rebuilt.fired) else None,
    )


def explained_by_chance(l0: float, *, width: int, d_in: int) -> float:
    """Return the explained variance that is expected of `width` random directions in `d_in` dimensions, of which the
    `l0` with the largest products are active on a token and decode it, at the best common scale.

    Products with a token x are normal with standard deviation |x| / √d_in, whatever the distribution of x. With s the
    sum of the squared products of the active ones and q that of their fourth powers, both for |x| = 1, the rebuilt
    vector has s of x in it, and s − q of squared length beside it, so it explains s² / (s² + s − q).
    """
    share = min(l0 / width, 1.0)
    if not 0 < share < 1:
        second, fourth = 1.0, 3.0
    else:
        normal = NormalDist()
        cut = -normal.inv_cdf(share)
        tail = normal.pdf(cut) / share
        second, fourth = 1 + cut * tail, 3 + (cut**3 + 3 * cut) * tail
    s, q = l0 * second / d_in, l0 * fourth / d_in**2
    return s**2 / max(s**2 + s - q, s**2, 1e-30)


@torch.inference_mode()
def measure(
    dictionary: Autoencoder,
    sample: Mapping[Site, Tensor],
    site: Site,
    *,
    content: Tensor,
    published_l0: float | None,
) -> Fidelity:
    """Measure a dictionary at `site` for the gate, on the activations `[tokens, d]` there and, if given, one layer down
    and up. `content [tokens]` is a mask; other pooled positions (BOS, template) are measured separately if there is
    content at all.
    """
    inside = content if bool(content.any()) else torch.ones_like(content)
    x = sample[site][inside]
    rebuilt, halved, doubled = _rebuild(dictionary, x, (1.0, 0.5, 2.0))
    own = _fit(x, rebuilt)

    def variance_at(layer: int) -> float | None:
        other = sample.get(replace(site, layer=layer)) if site.kind == STREAM else None
        return None if other is None else _variance(dictionary, other[inside])

    return Fidelity(
        **vars(own),
        **_measure_reading(dictionary, x, rebuilt.activations, own.explained_variance),
        published_l0=published_l0,
        d_in=x.shape[1],
        width=dictionary.width,
        random=explained_by_chance(own.l0, width=dictionary.width, d_in=x.shape[1]),
        below=variance_at(site.layer - 1),
        above=variance_at(site.layer + 1),
        halved=_explained(halved.activations, x / 2),
        doubled=_explained(doubled.activations, x * 2),
        outside=_variance(dictionary, sample[site][~inside], x.mean(0)) if not bool(inside.all()) else None,
    )


def _measure_reading(dictionary: Autoencoder, x: Tensor, rebuilt: Tensor, own: float) -> dict[str, Any]:
    """Return what the parameters alone tell, and the fit with the other convention of `b_dec`.

    That is measured on every READING_STEP-th token, as the ratio of residuals to those of `rebuilt`: a whole pass would
    cost as much as each of the gate's others.
    """
    if not isinstance(dictionary, Dictionary):
        return {}
    found: dict[str, Any] = {"subtracts": dictionary.subtract is not None}
    if dictionary.threshold is not None:
        found["unbounded"] = float((dictionary.threshold <= 0).double().mean())
    if (other := dictionary.with_other_reading()) is not None:
        some, known = x[::READING_STEP], rebuilt[::READING_STEP]
        otherwise, active = other.rebuild(some, SLICE)
        lost, lost_otherwise = ((some - one).double().square().sum() for one in (known, otherwise))
        ratio = float(lost_otherwise / lost.clamp(min=1e-30))
        found |= {"other_reading": 1 - ratio * (1 - own), "other_l0": active / len(some)}
    return found


def _variance(dictionary: Autoencoder, x: Tensor, centre: Tensor | None = None) -> float:
    """Return explained variance on `x [tokens, d]`, about its mean or `centre`."""
    return _explained(dictionary.rebuild(x, SLICE)[0], x, centre)


def _explained(rebuilt: Tensor, x: Tensor, centre: Tensor | None = None) -> float:
    """Return the variance of `x [tokens, d]` that what is rebuilt explains, about its mean or `centre`."""
    total = (x - (x.mean(0) if centre is None else centre)).double().square().sum().clamp(min=1e-30)
    return float(1 - (x - rebuilt).double().square().sum() / total)
