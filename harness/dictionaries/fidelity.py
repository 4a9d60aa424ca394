"""Fit of a dictionary with a decoder to activations.

Explained variance is 1 − residual variance / variance about the mean, over all dimensions. The median over dimensions
is robust to a few dimensions of large variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from harness.api.data import Site
from harness.api.protocols import Autoencoder
from harness.dictionaries.gate import Fidelity

SLICE = 4096
"""Number of features encoded and decoded at once."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit of a dictionary on `tokens` activations; L0 is the mean number of features that fire on one."""

    explained_variance: float
    median_explained_variance: float
    l0: float
    tokens: int


def explained_variance(lost: Tensor, total: Tensor) -> tuple[float, float]:
    """Return explained variance and its median over dimensions, from residual and total variances `[d]`."""
    moving = total > 0  # a constant dimension has no ratio
    median = (1 - lost[moving] / total[moving]).median() if bool(moving.any()) else torch.zeros(())
    return float(1 - lost.sum() / total.sum().clamp(min=1e-30)), float(median)


@torch.inference_mode()
def measure_fit(dictionary: Autoencoder, x: Tensor) -> Fit:
    """Return the fit on `x [tokens, d]`, float32. UnavailableError without a decoder."""
    rebuilt, active = dictionary.rebuild(x, SLICE)
    lost = (x - rebuilt).double().square().sum(0)
    total = (x - x.mean(0)).double().square().sum(0)
    variance, median = explained_variance(lost, total)
    l0 = active / len(x)
    return Fit(explained_variance=variance, median_explained_variance=median, l0=l0, tokens=len(x))


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
    own = measure_fit(dictionary, x)

    def variance(layer: int) -> float | None:
        other = sample.get(replace(site, layer=layer))
        return None if other is None else measure_fit(dictionary, other[inside]).explained_variance

    return Fidelity(
        **asdict(own),
        published_l0=published_l0,
        below=variance(site.layer - 1),
        above=variance(site.layer + 1),
        halved=measure_fit(dictionary, x / 2).explained_variance,
        doubled=measure_fit(dictionary, x * 2).explained_variance,
        outside=_variance_outside(dictionary, sample[site][~inside], x.mean(0)),
    )


def _variance_outside(dictionary: Autoencoder, x: Tensor, centre: Tensor) -> float | None:
    if not len(x):
        return None
    rebuilt, _ = dictionary.rebuild(x, SLICE)
    total = (x - centre).double().square().sum().clamp(min=1e-30)
    return float(1 - (x - rebuilt).double().square().sum() / total)
