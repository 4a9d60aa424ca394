"""Pooled features of given texts, conversations or images, without task and store."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.data import Conversation, Image, Site, Tokens
from harness.api.errors import EmptyInputWarning, FlagWarning, UsageError
from harness.api.protocols import LoadedModel
from harness.config.suite import ModelChoice
from harness.features.activations import read_sample
from harness.features.featurize import Reading, featurize, plan_batches, stack
from harness.features.sampling import sample_all
from harness.features.token_sets import TokenSet
from harness.models.opened import describe_flags, locate, open_model
from harness.registry.catalog import Registry

if TYPE_CHECKING:
    import torch

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
    """Return the pooled features `[inputs, features]` at the one site of `model`.

    A representation that is fitted on activations is fitted on those of the inputs. Raise UsageError for several sites,
    and for a representation that depends on a task. Warn of inputs without content tokens, whose rows are zero, and of
    the model's flags, and of what the representation notes.
    """
    # 1. Resolve names.
    token_set = TokenSet.parse(tokens)
    choice = registry.choose("representations", representation)
    opened = open_model(model, registry)
    if len(opened.sites) != 1:
        raise UsageError(f"features are made at one site, not at {len(opened.sites)}")
    placed = locate(choice, opened, opened.sites[0], registry)
    for sentence in (*describe_flags([opened]), *placed.notes):
        warnings.warn(sentence, FlagWarning, stacklevel=2)
    if placed.for_task:
        raise UsageError(f"representation '{choice.label}' needs the classes of a task, and here is none")
    site = placed.site or opened.sites[0]
    pool = registry.choose("poolings", pooling)
    # 2. Encode the inputs.
    encoded = [token_set.select(one) for one in opened.model.tokenize(inputs)]
    if empty := sum(not one.content.any() for one in encoded):
        warnings.warn(
            f"{empty} of {len(inputs)} inputs have no content tokens; their rows are zero",
            EmptyInputWarning,
            stacklevel=2,
        )
    # 3. Run the model and pool.
    loaded = opened.model.load([site], device)
    encoder = placed.load_or_fit(device, lambda: _sample(loaded, site, encoded, batch_size, device))
    reading = Reading(
        site=site,
        encoder=encoder,
        sparse=placed.sparse,
        poolings={"": pool.make()},
        owner=choice.owner,
        owners={"": pool.owner},
    )
    batches = plan_batches([len(one.ids) for one in encoded], batch_size=batch_size, device=device)
    pooled = list(
        featurize(model=loaded, tokens=encoded, readings=[reading], batches=batches, name="input {}".format)
    )
    # Batches hold the longest inputs first: restore the order.
    order = np.argsort([row for batch in pooled for row in batch.rows])
    return stack([batch.features[""] for batch in pooled])[order]


def _sample(
    model: LoadedModel, site: Site, tokens: Sequence[Tokens], batch_size: int | None, device: str
) -> torch.Tensor:
    """Return activations of the inputs themselves to fit on: there is no training split."""
    sample = [tokens[row] for row in sample_all(tokens)]
    if not sample:
        raise UsageError(
            "no input has content tokens, so there is nothing that a representation could be fitted on"
        )
    return read_sample(model, sample, [site], batch_size=batch_size, device=device)[site]
