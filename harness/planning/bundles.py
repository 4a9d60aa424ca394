"""Bundles of cells that share one forward pass, with the identities of their features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from harness.api.data import Site, Tokens
from harness.api.errors import HarnessError, UnavailableError, UsageError, describe, did_you_mean
from harness.api.protocols import PlacedRepresentation
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite
from harness.data.partitions import Draw, make_draws
from harness.data.task import TaskData, without
from harness.dictionaries.gate import REVISION as GATE_REVISION
from harness.dictionaries.gate import neighbours
from harness.features.sampling import GATE_TOKENS, SAMPLE_TOKENS, sample_rows
from harness.features.token_sets import TokenSet
from harness.models.opened import (
    OpenModel,
    activation_identity,
    check_unique,
    count_layers,
    skip_if_unavailable,
)
from harness.planning.arms import Arms, suits_task
from harness.planning.cells import Bundle, Cell, Features, LearntOn, Transfer
from harness.registry.catalog import Choice, Registry
from harness.storage.hashing import IDENTITY_VERSION, hash_json, hash_lines

PROTOCOL = "fit on train, choose on validation, or on folds of train, by macro_f1, score test once"


DRAW = "every seed but 0 learns from its own part of training"
"""Part of the identity of cells of other seeds."""


PlacedArm = tuple[OpenModel, Choice, Site, PlacedRepresentation]


def make_bundles(
    data: TaskData,
    *,
    models: Sequence[OpenModel],
    located: Sequence[PlacedArm],
    arms: Arms,
    registry: Registry,
    token_set: TokenSet,
    seeds: Sequence[int],
    left_out: dict[str, str],
) -> Iterator[Bundle]:
    """The bundles of one task: one for input-only arms, one for each model; all on the same rows. A regime that the
    task's rows do not allow is left out.
    """
    models = [model for model in models if model.modality == data.spec.modality]
    on_inputs = [choice for choice in arms.on_inputs if suits_task(choice, data.spec)]
    tokens = {model.label: _tokenize(data, model, token_set) for model in models}
    # A row in which some model finds no content is left out for every arm: all are compared on the same rows.
    bare = {row for encoded in tokens.values() for row, one in enumerate(encoded) if not one.content.any()}
    data = without(data, bare)
    fingerprint = data.fingerprint
    inputs_hash = hash_lines(data.examples.ids)
    draws: list[Draw] = []
    for regime in arms.regimes:
        name = data.spec.name if len(arms.regimes) == 1 else f"{data.spec.name} under {regime.label}"
        with skip_if_unavailable(name, left_out):
            draws += [draw for seed in seeds for draw in make_draws(data.examples, regime, seed)]
    if not draws:
        return

    def cells(features: Sequence[Features]) -> tuple[Cell, ...]:
        return tuple(
            _cell(data.spec, fingerprint, each, transform, classifier, draw)
            for each in features
            for transform in _of(each.representation, "transforms", arms.transforms, registry)
            for classifier in _of(each.representation, "classifiers", arms.classifiers, registry)
            for draw in draws
        )

    if on_inputs:
        features = tuple(Features(representation=choice) for choice in on_inputs)
        yield Bundle(data=data, model=None, tokens=(), features=features, cells=cells(features))
    for model in models:
        kept = tuple(one for row, one in enumerate(tokens[model.label]) if row not in bare)
        arms_here = [arm for arm in located if arm[0] is model]
        here = [_for_task(arm, data) for arm in arms_here]
        sample = sample_rows(data.examples, kept) if any(at.fit for *_, at in here) else ()
        _refuse_fitting_on_test(sample, here, draws)
        sample_hash = hash_lines(data.examples.ids[row] for row in sample)
        gated = [site for *_, site, at in here if _is_measurable(at, site)]
        gate_sample = sample_rows(data.examples, kept, limit=GATE_TOKENS) if gated else ()
        gate_hash = hash_lines(data.examples.ids[row] for row in gate_sample)
        features = tuple(
            _gated(
                replace(
                    _features(representation, model, site, at, token_set, pooling, inputs_hash, sample_hash),
                    general=general,
                ),
                model,
                gate_hash,
            )
            for (_, representation, site, at), (*_, general) in zip(here, arms_here, strict=True)
            for pooling in _of(representation, "poolings", arms.poolings, registry)
        )
        if features:  # none where every dictionary was left out, or only other models have representations
            yield Bundle(
                data=data,
                model=model,
                tokens=kept,
                sample=sample,
                gate_sample=gate_sample,
                features=features,
                cells=cells(features),
            )


def _of(representation: Choice, kind: str, suite: Sequence[Choice], registry: Registry) -> tuple[Choice, ...]:
    """What a representation is combined with: the suite's poolings, transforms or classifiers, or its own only one."""
    own = representation.spec.only.get(kind)
    return tuple(suite) if own is None else (registry.choose(kind, own),)


def _for_task(arm: PlacedArm, data: TaskData) -> PlacedArm:
    """An arm as it is for one task, where it depends on the task's classes."""
    model, representation, site, at = arm
    if at.for_task is None:
        return arm
    try:
        found = at.for_task(data.spec, data.classes)
    except HarnessError:
        raise
    except Exception as error:  # a stranger's representation may raise anything
        name = data.spec.name
        raise UsageError(
            f"{representation.owner} cannot be made for task '{name}': {describe(error)}"
        ) from error
    return model, representation, site, replace(found, identity={**at.identity, **found.identity})


def _refuse_fitting_on_test(
    sample: Sequence[int],
    arms: Sequence[PlacedArm],
    draws: Iterable[Draw],
) -> None:
    """UsageError where a regime tests on rows on which a representation is fitted."""
    fitted_on = set(sample)
    for draw in draws:
        if fitted_on & set(draw.partition.test):
            names = " and ".join(sorted({f"'{arm.label}'" for _, arm, _, at in arms if at.fit}))
            raise UsageError(
                f"regime '{draw.regime.label}' tests on rows that {names} would be fitted on; leave one of the two out"
            )


def _tokenize(data: TaskData, model: OpenModel, token_set: TokenSet) -> list[Tokens]:
    """The inputs as the model reads them; what it cannot read is a fault of the data."""
    try:
        tokens = model.model.tokenize(data.examples.inputs)
    except Exception as error:  # a tokenizer of any plugin may fail in any way
        told = str(error) if isinstance(error, HarnessError) else describe(error)
        raise UnavailableError(
            f"task '{data.spec.name}' cannot be read by model '{model.label}': {told}"
        ) from error
    return [token_set.select(one) for one in tokens]


def _features(
    representation: Choice,
    model: OpenModel,
    site: Site,
    at: PlacedRepresentation,
    token_set: TokenSet,
    pooling: Choice,
    inputs_hash: str,
    sample_hash: str,
) -> Features:
    common = {
        "identity_version": IDENTITY_VERSION,
        **activation_identity(model, site),
        "mask": token_set.label,
    }
    representation_identity = dict(at.identity)
    fitted_key = None
    if at.fit is not None:
        representation_identity["fitted_on"] = {"sample": sample_hash, "tokens": SAMPLE_TOKENS}
        fitted_key = hash_json({**common, "representation": representation_identity})
    key = {
        **common,
        "inputs": inputs_hash,
        "representation": representation_identity,
        "pooling": pooling.identity,
    }
    return Features(
        representation=representation,
        site=site,
        located=at,
        tokens=token_set,
        pooling=pooling,
        key=hash_json(key),
        fitted_key=fitted_key,
    )


def _is_measurable(at: PlacedRepresentation, site: Site) -> bool:
    """Off the residual stream neighbouring layers are other things, and tell nothing."""
    return at.load_whole is not None and site.kind == "resid_post"


def _gated(features: Features, model: OpenModel, sample_hash: str) -> Features:
    """The features with what the gate is to measure of them, if anything."""
    assert features.site and features.located and features.tokens
    if not _is_measurable(features.located, features.site):
        return features
    identities: dict[Site, dict[str, Any]] = {}
    for site in neighbours(features.site, count_layers(model.model, features.site.tower)):
        with suppress(
            UnavailableError
        ):  # of a deeper layer the files may not be here, and nothing else needs them
            identities[site] = activation_identity(model, site)
    key = {
        "gate": GATE_REVISION,
        "site": str(features.site),
        "activations": list(identities.values()),
        "mask": features.tokens.label,
        "sample": sample_hash,
        "representation": dict(features.located.identity),
    }
    return replace(features, gate_key=hash_json(key), gate_sites=tuple(identities))


def _cell(
    spec: TaskSpec,
    fingerprint: str,
    features: Features,
    transform: Choice,
    classifier: Choice,
    draw: Draw,
    learnt_on: LearntOn | None = None,
) -> Cell:
    grid = {key: list(values) for key, values in classifier.spec.grid.items() if key not in classifier.given}
    protocol = {
        "transform": transform.identity,
        "classifier": {**classifier.identity, "grid": grid},
        "protocol": PROTOCOL,
    }
    identity: dict[str, Any] = {
        "identity_version": IDENTITY_VERSION,
        "task": {"name": spec.name, "version": spec.version, "data": fingerprint},
        "features": features.key or features.representation.identity,
        "regime": draw.regime.identity,
        **protocol,
        "seed": draw.seed,
        **({"draw": DRAW} if draw.seed else {}),
    }
    if draw.regime.spec.by_language:
        identity["languages"] = [draw.train_language, draw.test_language]
    if learnt_on:
        identity |= {"learnt_on": learnt_on.features.key, "alignment": learnt_on.alignment.identity}
    return Cell(
        cell_id=hash_json(identity),
        features=features,
        transform=transform,
        classifier=classifier,
        draw=draw,
        learnt_on=learnt_on,
        protocol_hash=hash_json(
            {"pooling": features.pooling.identity if features.pooling else None, **protocol}
        ),
    )


def pair_models(suite: Suite, models: Sequence[OpenModel]) -> tuple[tuple[str, str], ...]:
    """The labels of the models that classifiers are carried from and to; UsageError for what is no model of the suite,
    for sites that do not correspond, and for transfers without an alignment.
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
            continue  # not here; what is left out is said where models are opened
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
    bundles: Sequence[Bundle], pairs: Sequence[tuple[str, str]], arms: Arms
) -> Iterator[Transfer]:
    """Of the bundles of one task, those between two models that classifiers are carried between."""
    by_model = {bundle.model.label: bundle for bundle in bundles if bundle.model}
    for source, target in ((by_model.get(one), by_model.get(other)) for one, other in pairs):
        if source is None or target is None or source.model is None or target.model is None:
            continue
        sites = dict(zip(target.model.sites, source.model.sites, strict=True))
        known = {_kind(features): features for features in source.features}
        cells = tuple(
            _cell(
                target.data.spec,
                target.data.fingerprint,
                cell.features,
                cell.transform,
                cell.classifier,
                cell.draw,
                learnt_on=LearntOn(model=source.model.label, features=known[kind], alignment=alignment),
            )
            for cell in target.cells
            if cell.features.site in sites
            and (kind := (sites[cell.features.site], *_kind(cell.features)[1:])) in known
            for alignment in arms.alignments
        )
        if cells:
            yield Transfer(source=source, target=replace(target, cells=cells))


def _kind(features: Features) -> tuple[Site | None, str, str]:
    """What features of two models have in common where they correspond, beside their site."""
    assert features.pooling
    return features.site, features.representation.label, features.pooling.label
