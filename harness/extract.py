"""Texts in, one matrix of pooled features out; no task, no store."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.api import Encoder, LoadedModel, Located, Site, Tokens
from harness.calibrate import read_sample
from harness.errors import UsageError
from harness.featurize import Reading, featurize, plan_batches, stack
from harness.plan import locate, open_model
from harness.registry import Registry
from harness.sample import sample_all
from harness.suite import ModelChoice

if TYPE_CHECKING:
    from harness.api import Matrix


def extract(
    texts: Sequence[str],
    *,
    registry: Registry,
    model: ModelChoice,
    representation: str,
    pooling: str,
    device: str,
    batch_size: int | None,
) -> Matrix:
    """Pooled features of `texts` at the one site of `model`, rows in the order of the texts. What is fitted on
    activations is fitted on those of the texts.
    """
    choice = registry.choose("representations", representation)
    opened = open_model(model, registry)
    if len(opened.sites) != 1:
        raise UsageError(f"features are made at one site, not at {len(opened.sites)}")
    (site,) = opened.sites
    located = locate(choice, opened, site, registry)
    pool = registry.choose("poolings", pooling).make()
    tokens = opened.model.tokenize(texts)
    bare = sum(not one.content.any() for one in tokens)
    if bare:
        warnings.warn(
            f"{bare} of {len(texts)} texts have no content tokens; their rows are zero", stacklevel=2
        )
    loaded = opened.model.load([site], device)
    encoder = (
        located.load(device) if located.load else _fit(located, loaded, site, tokens, batch_size, device)
    )
    reading = Reading(site=site, encoder=encoder, sparse=located.sparse, poolings={"": pool})
    pooled = list(
        featurize(
            model=loaded,
            tokens=tokens,
            readings=[reading],
            batches=plan_batches([len(one.ids) for one in tokens], batch_size=batch_size, device=device),
        )
    )
    order = np.argsort([row for batch in pooled for row in batch.rows])
    return stack([batch.features[""] for batch in pooled])[order]


def _fit(
    located: Located,
    model: LoadedModel,
    site: Site,
    tokens: Sequence[Tokens],
    batch_size: int | None,
    device: str,
) -> Encoder:
    """What a representation fits on the texts themselves: here is no training split."""
    assert located.fit is not None
    sample = [tokens[row] for row in sample_all(tokens)]
    if not sample:
        raise UsageError(
            "no text has content tokens, so there is nothing that a representation could be fitted on"
        )
    return located.fit(read_sample(model, sample, [site], batch_size=batch_size, device=device)[site])
