"""Some training tokens in, what is fitted on activations out: principal components, chosen neurons.

One pass of the model over a sample of training rows serves every representation of a bundle that is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from harness.api import LoadedModel, Located, Site, Tokens
from harness.featurize import check_finite, plan_batches, run_batches
from harness.sample import SAMPLE_TOKENS

if TYPE_CHECKING:
    from harness.dictionary import Dictionary


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
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=batch_size, device=device)

    @torch.inference_mode()
    def work(rows: Sequence[int]) -> list[tuple[int, Mapping[Site, torch.Tensor]]]:
        batch = [tokens[row] for row in rows]
        counts = [int(one.content.sum()) for one in batch]
        activations = model.forward(batch)
        parts = {site: torch.split(activations[site].float(), counts) for site in sites}
        return [(row, {site: parts[site][place] for site in sites}) for place, row in enumerate(rows)]

    by_row = dict(pair for done in run_batches(batches, work) for pair in done)
    sample = {
        site: torch.cat([by_row[row][site] for row in range(len(tokens))])[:SAMPLE_TOKENS] for site in sites
    }
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
        fit: Callable[[torch.Tensor], Dictionary] | None = one.fit
        assert fit is not None
        try:
            fitted[key] = fit(sample[site])
        except Exception as error:  # a representation of any plugin may fail in any way
            broken[key] = error
    return fitted, broken
