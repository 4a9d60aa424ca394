"""What was learnt in, a dictionary and what it is worth out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.api.data import Site
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.fidelity import SLICE, Fit
from harness.training.learners import Started
from harness.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A dictionary, its fit on held-out data, the share of features that never fire there, and what training took."""

    site: Site
    recipe: Recipe
    dictionary: Dictionary
    fit: Fit
    dead: float
    tokens: int
    passes: int
    seconds: float


@torch.no_grad()
def finish(name: str, learnt: Started, l0: int | None) -> Dictionary:
    """The dictionary on raw activations, with values as they are stored (`storable`).

    A threshold that was learnt is kept. Of batchtopk and topk, which learn none, it is one number for all features,
    above which `l0` of them fire per token of the learner's sample, as in BatchTopK's inference (Bussmann et al. 2024,
    §3): the layout has no k, so topk loses its fixed number per token.
    """
    parts, unit = learnt.learner.parts(), learnt.unit
    norm = parts.W_dec.norm(dim=1).clamp(min=1e-8)
    W_enc = storable(parts.W_enc * norm)
    dictionary = Dictionary(
        name=name,
        width=len(norm),
        activation="jumprelu",
        W_enc=W_enc,
        # The mean goes through the rounded encoder, so that what is rounded off meets only what differs from it.
        b_enc=parts.b_enc * norm / unit.scale - unit.mean @ W_enc,
        W_dec=storable(parts.W_dec / norm[:, None]),
        b_dec=parts.b_dec / unit.scale + unit.mean,
        threshold=parts.threshold * norm / unit.scale,
    )
    if l0 is None or bool(parts.threshold.any()):
        return dictionary
    cut = find_threshold(dictionary, learnt.sample, l0)
    return replace(dictionary, threshold=torch.full_like(dictionary.b_enc, cut))  # type: ignore[arg-type]


def storable(matrix: Tensor) -> Tensor:
    """A matrix rounded to what float16 holds."""
    return matrix.half().float().contiguous()


def find_threshold(dictionary: Dictionary, sample: Tensor, l0: int) -> float:
    """The number above which `l0` features fire on a token of `sample` in the mean; zero when fewer ever do."""
    count = l0 * len(sample)
    largest = sample.new_empty(0)
    cut = sample.new_zeros(())
    for _, features in dictionary.slices(sample, SLICE):
        largest = torch.cat([largest, features[features > cut]])
        if len(largest) >= count:
            largest = largest.topk(count, sorted=False).values
            cut = torch.nextafter(largest.min(), cut.new_zeros(()))  # the last of them is to fire too
    return float(cut)


@torch.inference_mode()
def measure_dead(dictionary: Dictionary, x: Tensor) -> float:
    """The share of features that fire on none of `x [tokens, d]`."""
    fired = sum(int((features > 0).any(0).sum()) for _, features in dictionary.slices(x, SLICE))
    return 1 - fired / dictionary.width
