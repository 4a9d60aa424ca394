"""Some training tokens in, what is learnt from their activations out: principal components, chosen neurons, and how
well dictionaries fit.

One pass of the model over a sample of training rows serves every representation of a bundle that is fitted; another,
over fewer rows and one layer deeper, all that the fidelity gate asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.ahead import Ahead, run_forward
from harness.api import Autoencoder, LoadedModel, Located, Site, Tokens
from harness.dictionary import Dictionary
from harness.errors import HarnessError, UsageError
from harness.featurize import check_finite, plan_batches, run_batches, typed_memory_errors
from harness.fidelity import measure
from harness.gate import Measured
from harness.plugins import describe
from harness.sample import SAMPLE_TOKENS


def read_sample(
    model: LoadedModel,
    tokens: Sequence[Tokens],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Mapping[Site, torch.Tensor]:
    """Activations `[at most SAMPLE_TOKENS, width]` of the content tokens at each site, float32, on the device,
    in the order of `tokens`.
    """
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
    """Activations `[content tokens, width]` of all tokens at each site, float32, on the device, in their order."""
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=batch_size, device=device)

    with Ahead(model, tokens, batches) as ahead:

        @torch.inference_mode()
        def work(rows: Sequence[int]) -> list[tuple[int, Mapping[Site, torch.Tensor]]]:
            batch = [tokens[row] for row in rows]
            counts = [int(one.content.sum()) for one in batch]
            activations = run_forward(model, batch, ahead.take(rows))
            parts = {site: torch.split(activations[site].float(), counts) for site in sites}
            return [(row, {site: parts[site][place] for site in sites}) for place, row in enumerate(rows)]

        by_row = dict(pair for done in run_batches(batches, work) for pair in done)
    sample = {site: torch.cat([by_row[row][site] for row in range(len(tokens))]) for site in sites}
    for site, activations in sample.items():
        check_finite(activations, site)
    return sample


def fit_all(
    located: Mapping[str, tuple[Site, Located]], sample: Mapping[Site, torch.Tensor]
) -> tuple[dict[str, Dictionary], dict[str, Exception]]:
    """What each representation makes of the sample at its site, and why where it cannot; both by key."""
    fitted: dict[str, Dictionary] = {}
    broken: dict[str, Exception] = {}
    for key, (site, one) in located.items():
        fit: Callable[[torch.Tensor], Autoencoder] | None = one.fit
        assert fit is not None
        try:
            with typed_memory_errors():
                made = fit(sample[site])
            if not isinstance(made, Dictionary):  # nothing else can be stored for the next shards and runs
                raise UsageError(
                    f"what was fitted at '{site}' is a {type(made).__name__}, not a harness.Dictionary"
                )
            fitted[key] = made
        except Exception as error:  # a representation of any plugin may fail in any way
            broken[key] = error
    return fitted, broken


def measure_all(
    located: Mapping[str, tuple[Site, Located]],
    sample: Mapping[Site, torch.Tensor],
    tokens: Sequence[Tokens],
    device: str,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """How each dictionary fits the sample at its site, and why where that cannot be measured; both by key. `tokens`
    are those of the sample.
    """
    seen: dict[str, Measured] = {}
    broken: dict[str, str] = {}
    content = torch.cat([torch.from_numpy(_is_own(one)) for one in tokens]).to(device)
    for key, (site, one) in located.items():
        assert one.load_whole is not None
        try:
            seen[key] = measure(
                one.load_whole(device),
                sample,
                site,
                content=content[: len(sample[site])],
                published_l0=one.published_l0,
            )
        except Exception as error:  # a loader of any plugin may fail in any way
            broken[key] = str(error) if isinstance(error, HarnessError) else describe(error)
    return seen, broken


def _is_own(one: Tokens) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of each position that is pooled, whether the model itself calls it content."""
    inside: np.ndarray[Any, np.dtype[np.bool_]] = (one.content if one.own is None else one.own)[one.content]
    return inside
