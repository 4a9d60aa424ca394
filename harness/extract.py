"""Texts or conversations in, one matrix of pooled features out; no task, no store."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api import Conversation
from harness.errors import UsageError
from harness.featurize import Reading, featurize, plan_batches, stack
from harness.plan import locate, open_model
from harness.registry import Registry
from harness.suite import ModelChoice
from harness.tokens import TokenSet

if TYPE_CHECKING:
    from harness.api import Matrix


def extract(
    inputs: Sequence[str | Conversation],
    *,
    registry: Registry,
    model: ModelChoice,
    representation: str,
    tokens: str | Mapping[str, Any],
    pooling: str,
    device: str,
    batch_size: int | None,
) -> Matrix:
    """Pooled features of `inputs` at the one site of `model`, rows in their order."""
    token_set = TokenSet.parse(tokens)
    choice = registry.choose("representations", representation)
    opened = open_model(model, registry)
    if len(opened.sites) != 1:
        raise UsageError(f"features are made at one site, not at {len(opened.sites)}")
    (site,) = opened.sites
    located = locate(choice, opened, site, registry)
    pool = registry.choose("poolings", pooling).make()
    encoded = [token_set.select(one) for one in opened.model.tokenize(inputs)]
    bare = sum(not one.content.any() for one in encoded)
    if bare:
        warnings.warn(
            f"{bare} of {len(inputs)} texts have no content tokens; their rows are zero", stacklevel=2
        )
    reading = Reading(site=site, encoder=located.load(device), sparse=located.sparse, poolings={"": pool})
    pooled = list(
        featurize(
            model=opened.model.load([site], device),
            tokens=encoded,
            readings=[reading],
            batches=plan_batches([len(one.ids) for one in encoded], batch_size=batch_size, device=device),
        )
    )
    order = np.argsort([row for batch in pooled for row in batch.rows])
    return stack([batch.features[""] for batch in pooled])[order]
