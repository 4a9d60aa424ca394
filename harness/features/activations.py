"""Activations of a sample of a task's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.api.data import Site, Tokens
from harness.api.protocols import LoadedModel
from harness.features.featurize import check_finite, plan_batches, run_batches
from harness.features.prefetch import ImagePrefetcher, run_forward
from harness.features.sampling import SAMPLE_TOKENS


def read_sample(
    model: LoadedModel,
    tokens: Sequence[Tokens],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Mapping[Site, torch.Tensor]:
    """Return the activations of `read_all`, but of the first SAMPLE_TOKENS content tokens only."""
    found = read_all(model, tokens, sites, batch_size=batch_size, device=device)
    return {site: activations[:SAMPLE_TOKENS] for site, activations in found.items()}


def read_all(
    model: LoadedModel,
    tokens: Sequence[Tokens],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Mapping[Site, torch.Tensor]:
    """Return activations `[content tokens, width]` at each site, float32, on the device, in the order of `tokens`."""
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=batch_size, device=device)

    with ImagePrefetcher(model, tokens, batches) as images:

        @torch.inference_mode()
        def work(rows: Sequence[int]) -> list[tuple[int, Mapping[Site, torch.Tensor]]]:
            batch = [tokens[row] for row in rows]
            counts = [int(one.content.sum()) for one in batch]
            activations = run_forward(model, batch, images.take(rows))
            parts = {site: torch.split(activations[site].float(), counts) for site in sites}
            return [(row, {site: parts[site][place] for site in sites}) for place, row in enumerate(rows)]

        by_row = dict(pair for done in run_batches(batches, work) for pair in done)
    sample = {site: torch.cat([by_row[row][site] for row in range(len(tokens))]) for site in sites}
    for site, activations in sample.items():
        check_finite(activations, site)
    return sample


def take_content(tokens: Iterable[Tokens], limit: int) -> Iterator[Tokens]:
    """Yield inputs until they hold `limit` content tokens together."""
    total = 0
    for one in tokens:
        yield one
        total += int(one.content.sum())
        if total >= limit:
            return


def is_model_content(one: Tokens) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a mask over the pooled positions, `[content tokens]`: those that the model itself calls content."""
    inside: np.ndarray[Any, np.dtype[np.bool_]] = (one.content if one.own is None else one.own)[one.content]
    return inside
