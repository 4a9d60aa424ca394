"""Texts, conversations or images in, one matrix of pooled features out; no task, no store."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.data import Conversation, Image, Site, Tokens
from harness.api.errors import EmptyInputWarning, UsageError
from harness.api.protocols import Encoder, LoadedModel, PlacedRepresentation
from harness.config.suite import ModelChoice
from harness.features.activations import read_sample
from harness.features.featurize import Reading, featurize, plan_batches, stack
from harness.features.sampling import sample_all
from harness.features.token_sets import TokenSet
from harness.models.opened import locate, open_model
from harness.registry.catalog import Registry

if TYPE_CHECKING:
    from harness.api.data import Matrix


def extract(
    inputs: Sequence[str | Conversation | Image],
    *,
    registry: Registry,
    model: ModelChoice,
    representation: str,
    tokens: str | Mapping[str, Any],
    pooling: str,
    device: str,
    batch_size: int | None,
) -> Matrix:
    """Pooled features of `inputs` at the one site of `model`, rows in their order. What is fitted on activations is
    fitted on those of the inputs.
    """
    token_set = TokenSet.parse(tokens)
    choice = registry.choose("representations", representation)
    opened = open_model(model, registry)
    if len(opened.sites) != 1:
        raise UsageError(f"features are made at one site, not at {len(opened.sites)}")
    (site,) = opened.sites
    located = locate(choice, opened, site, registry)
    if located.for_task:
        raise UsageError(f"representation '{choice.label}' needs the classes of a task, and here is none")
    site = located.site or site
    pool = registry.choose("poolings", pooling).make()
    encoded = [token_set.select(one) for one in opened.model.tokenize(inputs)]
    bare = sum(not one.content.any() for one in encoded)
    if bare:
        warnings.warn(
            f"{bare} of {len(inputs)} inputs have no content tokens; their rows are zero",
            EmptyInputWarning,
            stacklevel=2,
        )
    loaded = opened.model.load([site], device)
    encoder = (
        located.load(device) if located.load else _fit(located, loaded, site, encoded, batch_size, device)
    )
    reading = Reading(site=site, encoder=encoder, sparse=located.sparse, poolings={"": pool})
    pooled = list(
        featurize(
            model=loaded,
            tokens=encoded,
            readings=[reading],
            batches=plan_batches([len(one.ids) for one in encoded], batch_size=batch_size, device=device),
        )
    )
    order = np.argsort([row for batch in pooled for row in batch.rows])
    return stack([batch.features[""] for batch in pooled])[order]


def _fit(
    located: PlacedRepresentation,
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
            "no input has content tokens, so there is nothing that a representation could be fitted on"
        )
    return located.fit(read_sample(model, sample, [site], batch_size=batch_size, device=device)[site])
