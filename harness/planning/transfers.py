"""Transfers: cells that train on the features of one model and are tested on those of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.api.data import Site
from harness.api.errors import UsageError, did_you_mean
from harness.config.suite import Suite
from harness.models.opened import OpenModel, check_unique
from harness.planning.cells import Bundle, ModelFeatures, Transfer, TransferSource
from harness.registry.catalog import Choice


def pair_models(suite: Suite, models: Sequence[OpenModel]) -> tuple[tuple[str, str], ...]:
    """Return the labels of the source and target model of every transfer whose models are available.

    Raise UsageError for a name that is no model of the suite, for numbers of sites that differ, and for transfers
    without an alignment.
    """
    if bool(suite.transfers) != bool(suite.alignments):
        lacking = "alignments" if suite.transfers else "transfers"
        raise UsageError(
            f"suite '{suite.name}' carries classifiers from model to model, but has no {lacking}"
        )
    refs = [choice.ref for choice in suite.models]
    by_ref = {model.ref: model for model in models}
    pairs = []
    for transfer in suite.transfers:
        for ref in (transfer.source, transfer.target):
            if ref not in refs:
                raise UsageError(f"'{ref}' of a transfer is no model of the suite{did_you_mean(ref, refs)}")
        source, target = by_ref.get(transfer.source), by_ref.get(transfer.target)
        if source is None or target is None:
            continue  # unavailable; the plan lists it where models are opened
        if source is target:
            raise UsageError(f"a transfer goes from '{source.label}' to itself")
        if len(source.sites) != len(target.sites):
            raise UsageError(
                f"a transfer needs as many sites in '{source.label}' as in '{target.label}', which has "
                f"{len(target.sites)} and not {len(source.sites)}: the first goes with the first, and so on"
            )
        pairs.append((source.label, target.label))
    check_unique("transfer", [f"{source} to {target}" for source, target in pairs])
    return tuple(pairs)


def make_transfers(
    bundles: Sequence[Bundle], pairs: Sequence[tuple[str, str]], alignments: Sequence[Choice]
) -> Iterator[Transfer]:
    """Yield the transfers between bundles of one task, for pairs of model labels."""
    by_model = {bundle.model.label: (bundle, bundle.model) for bundle in bundles if bundle.model}
    for labels in pairs:
        if not by_model.keys() >= set(labels):
            continue
        (source, source_model), (target, target_model) = (by_model[label] for label in labels)
        # Sites correspond by their order in the suite, features by site, representation and pooling.
        sites = dict(zip(target_model.sites, source_model.sites, strict=True))
        known = {_place(features, features.site): features for features in source.model_features}
        cells = tuple(
            replace(
                cell,
                source=TransferSource(model=source_model.label, features=known[place], alignment=alignment),
            )
            for cell in target.cells
            if isinstance(cell.features, ModelFeatures)
            and (place := _place(cell.features, sites.get(cell.features.site))) in known
            for alignment in alignments
        )
        if cells:
            yield Transfer(source=source, target=replace(target, cells=cells))


def _place(features: ModelFeatures, site: Site | None) -> tuple[Site | None, str, str]:
    return site, features.representation.label, features.pooling.label
