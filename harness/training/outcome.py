"""Convert trained parameters to a Dictionary and evaluate it on held-out activations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.api.data import Site
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.fidelity import SLICE, Fit
from harness.features.outliers import NormLimit
from harness.training.config import TrainingConfig
from harness.training.learners import Started


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Trained dictionary with its fit on held-out data, and the cost of training."""

    site: Site
    config: TrainingConfig
    dictionary: Dictionary
    fit: Fit
    tokens: int
    passes: int
    seconds: float
    norm_limit: NormLimit | None = None


@torch.no_grad()
def finish(name: str, trained: Started, l0: int | None) -> Dictionary:
    """Return the dictionary on raw activations, with values as they are stored (`storable`).

    A trained threshold is kept. batchtopk and topk train none; theirs is one number for all features, above which `l0`
    features fire per token of the learner's sample, as in BatchTopK's inference (Bussmann et al. 2024, §3). The layout
    has no k, so topk loses its fixed number per token.
    """
    parts = trained.learner.parts()
    norm = parts.W_dec.norm(dim=1).clamp(min=1e-8)
    W_enc = storable(parts.W_enc * norm)
    dictionary = Dictionary(
        name=name,
        width=len(norm),
        activation="jumprelu",
        W_enc=W_enc,
        # The mean passes the rounded encoder, so that rounding affects only deviations from the mean.
        b_enc=parts.b_enc * norm / trained.scale - trained.mean @ W_enc,
        W_dec=storable(parts.W_dec / norm[:, None]),
        b_dec=parts.b_dec / trained.scale + trained.mean,
        threshold=parts.threshold * norm / trained.scale,
    )
    if l0 is None or bool(parts.threshold.any()):
        return dictionary
    cut = find_threshold(dictionary, trained.sample, l0)
    return replace(dictionary, threshold=torch.full_like(dictionary.b_enc, cut))  # type: ignore[arg-type]


def storable(matrix: Tensor) -> Tensor:
    """Return a matrix rounded to float16 precision, in float32."""
    return matrix.half().float().contiguous()


def find_threshold(dictionary: Dictionary, sample: Tensor, l0: int) -> float:
    """Return the threshold above which `l0` features fire per token of `sample [tokens, d]` on average; 0 if fewer
    ever fire.
    """
    count = l0 * len(sample)
    largest = sample.new_empty(0)
    cut = sample.new_zeros(())
    for _, features in dictionary.slices(sample, SLICE):
        largest = torch.cat([largest, features[features > cut]])
        if len(largest) >= count:
            largest = largest.topk(count, sorted=False).values
            cut = torch.nextafter(largest.min(), cut.new_zeros(()))  # so that the smallest fires too
    return float(cut)
