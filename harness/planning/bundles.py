"""Bundles of cells that share one forward pass, with the keys of their features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from harness.api.data import Site, Tokens
from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.protocols import PlacedRepresentation
from harness.data.partitions import Draw, make_draws
from harness.data.task import TaskData, without
from harness.dictionaries.gate import REVISION as GATE_REVISION
from harness.dictionaries.gate import neighbours
from harness.features.sampling import GATE_TOKENS, SAMPLE_TOKENS, sample_rows
from harness.features.token_sets import TokenSet
from harness.models.opened import (
    OpenModel,
    activation_identity,
    bind_to_task,
    count_layers,
    skip_if_unavailable,
)
from harness.planning.arms import Arms, suits_task
from harness.planning.cells import Bundle, Cell, InputFeatures, ModelFeatures
from harness.registry.catalog import Choice
from harness.storage.hashing import IDENTITY_VERSION, hash_json, hash_lines
from harness.storage.parsing import ParseError, parsing

MOST_CELLS = 1_000_000
"""Most cells of one task. The largest suite here has a few thousand; each takes about a kilobyte before it is run."""


class PlacedArm(NamedTuple):
    """Representation placed at one site of one model. `general` is not bound to a task, `placed` may be."""

    model: OpenModel
    representation: Choice
    site: Site
    placed: PlacedRepresentation
    general: PlacedRepresentation

    @property
    def is_measurable(self) -> bool:
        """True where the fidelity gate can measure it, which needs a decoder."""
        return self.placed.load_whole is not None


def make_bundles(
    data: TaskData,
    models: Sequence[OpenModel],
    placed: Sequence[PlacedArm],
    arms: Arms,
    left_out: dict[str, str],
) -> list[Bundle]:
    """Return the bundles of one task: one for arms that read inputs, and one for each model.

    A regime that the task's rows do not allow is noted in `left_out`.
    """
    models = [model for model in models if model.modality == data.spec.modality]
    selected: dict[int, tuple[Tokens, Tokens]] = {}
    tokens = {model.label: tokenize(data, model, arms.token_set, selected) for model in models}
    # A row in which some model finds no content is dropped for every arm: all are compared on the same rows.
    empty = {row for encoded in tokens.values() for row, one in enumerate(encoded) if not one.content.any()}
    data = without(data, empty)
    _check_number(
        data, placed, arms, len(arms.regimes) * len(arms.seeds)
    )  # a regime has a draw a seed, or more
    draws: list[Draw] = []
    for regime in arms.regimes:
        name = data.spec.name if len(arms.regimes) == 1 else f"{data.spec.name} under {regime.label}"
        with skip_if_unavailable(name, left_out):
            draws += [draw for seed in arms.seeds for draw in make_draws(data.examples, regime, seed)]
    if not draws:
        return []
    _check_number(data, placed, arms, len(draws))
    on_inputs = [
        InputFeatures(representation=one, identity=arms.identities[one.label])
        for one in arms.on_inputs
        if suits_task(one, data.spec)
    ]
    bundles = [Bundle(data=data, model=None, tokens=(), features=tuple(on_inputs))]
    for model in models:
        kept = tuple(one for row, one in enumerate(tokens[model.label]) if row not in empty)
        own = [_bind_to_task(arm, data) for arm in placed if arm.model is model]
        bundles.append(_bundle_of_model(data, model, kept, own, arms, draws))
    filled = [replace(one, cells=tuple(_make_cells(one, arms, draws))) for one in bundles]
    # A bundle has no cells where all its dictionaries are left out, or only other models have representations.
    return [one for one in filled if one.cells]


def _check_number(data: TaskData, placed: Sequence[PlacedArm], arms: Arms, draws: int) -> None:
    """Raise UsageError where a task would have more than MOST_CELLS, before one is made."""
    features = len(placed) * len(arms.poolings) + len(arms.on_inputs)
    count = features * len(arms.transforms) * len(arms.classifiers) * draws
    if count > MOST_CELLS:
        raise UsageError(
            f"the suite gives task '{data.spec.name}' {count:,} cells, and at most {MOST_CELLS:,} are planned: name "
            "fewer representations, poolings, transforms, classifiers, regimes or seeds"
        )


def _make_cells(bundle: Bundle, arms: Arms, draws: Sequence[Draw]) -> Iterator[Cell]:
    for each in bundle.features:
        transforms = arms.combined_with(each.representation, "transforms")
        classifiers = arms.combined_with(each.representation, "classifiers")
        for transform, classifier, draw in product(transforms, classifiers, draws):
            yield Cell(data=bundle.data, features=each, transform=transform, classifier=classifier, draw=draw)


def _bundle_of_model(
    data: TaskData,
    model: OpenModel,
    tokens: tuple[Tokens, ...],
    placed: Sequence[PlacedArm],
    arms: Arms,
    draws: Sequence[Draw],
) -> Bundle:
    """Return the bundle of one model, without cells."""
    sample = sample_rows(data.examples, tokens) if any(arm.placed.fit for arm in placed) else ()
    _check_fitted_rows(sample, placed, draws)
    is_gated = any(arm.is_measurable for arm in placed)
    gate_sample = sample_rows(data.examples, tokens, limit=GATE_TOKENS) if is_gated else ()
    bundle = Bundle(
        data=data, model=model, tokens=tokens, sample=sample, gate_sample=gate_sample, features=()
    )
    return replace(bundle, features=tuple(_make_features(bundle, placed, arms)))


def _bind_to_task(arm: PlacedArm, data: TaskData) -> PlacedArm:
    """Return an arm as it is for one task, where it depends on the task's classes."""
    bound = bind_to_task(arm.placed, arm.representation, data.spec, data.classes)
    return arm if bound is arm.placed else arm._replace(placed=bound)


def _check_fitted_rows(sample: Sequence[int], placed: Sequence[PlacedArm], draws: Sequence[Draw]) -> None:
    """Raise UsageError where a regime tests on rows on which a representation is fitted."""
    for draw in draws:
        if not set(draw.partition.test).isdisjoint(sample):
            names = " and ".join(
                sorted({f"'{arm.representation.label}'" for arm in placed if arm.placed.fit})
            )
            raise UsageError(
                f"regime '{draw.regime.label}' tests on rows that {names} would be fitted on; leave one of the two out"
            )


def tokenize(
    data: TaskData, model: OpenModel, token_set: TokenSet, selected: dict[int, tuple[Tokens, Tokens]]
) -> list[Tokens]:
    """Encode the inputs of a task for a model. Raise UnavailableError when its tokenizer fails.

    Models of one tokenizer may give the same objects, of which `selected` holds, by id, what was selected before.
    """
    said = f"task '{data.spec.name}' cannot be read by model '{model.label}'"
    with parsing(said):  # a tokenizer of any plugin may fail in any way
        try:
            tokens = model.model.tokenize(data.examples.inputs)
        except HarnessError as error:
            raise ParseError(str(error)) from error
    for one in tokens:
        if id(one) not in selected:
            selected[id(one)] = one, token_set.select(one)
    return [selected[id(one)][1] for one in tokens]


def _make_features(bundle: Bundle, placed: Sequence[PlacedArm], arms: Arms) -> Iterator[ModelFeatures]:
    """Yield the features of every arm and pooling, with their keys."""
    # All words of the dictionaries below are hashed into names in the cache, so they keep their spelling.
    ids, mask = bundle.data.examples.ids, arms.token_set.label
    sample, gate_sample = (
        hash_lines(ids[row] for row in rows) for rows in (bundle.sample, bundle.gate_sample)
    )
    inputs = hash_lines(ids)
    for arm in placed:
        identity = dict(arm.placed.identity)
        read = {
            "identity_version": IDENTITY_VERSION,
            **activation_identity(arm.model, arm.site),
            "mask": mask,
        }
        fitted_key = None
        if arm.placed.fit is not None:
            identity["fitted_on"] = {"sample": sample, "tokens": SAMPLE_TOKENS}
            fitted_key = hash_json({**read, "representation": identity})
        gate_key, gate_sites = _gate(arm, mask, gate_sample)
        for pooling in arms.combined_with(arm.representation, "poolings"):
            key = {"inputs": inputs, "representation": identity, "pooling": pooling.identity}
            yield ModelFeatures(
                representation=arm.representation,
                site=arm.site,
                placed=arm.placed,
                general=arm.general,
                tokens=arms.token_set,
                pooling=pooling,
                key=hash_json({**read, **key}),
                fitted_key=fitted_key,
                gate_key=gate_key,
                gate_sites=gate_sites,
            )


def _gate(arm: PlacedArm, mask: str, sample: str) -> tuple[str | None, tuple[Site, ...]]:
    """Return the key of the fidelity gate's measurement of an arm, and the sites that it reads."""
    if not arm.is_measurable:
        return None, ()
    identities: dict[Site, dict[str, Any]] = {}
    for site in neighbours(arm.site, count_layers(arm.model.model, arm.site.tower)):
        with suppress(UnavailableError):  # files of a deeper layer may be absent: only the gate needs them
            identities[site] = activation_identity(arm.model, site)
    key = {
        "gate": GATE_REVISION,
        "site": str(arm.site),
        "activations": list(identities.values()),
        "mask": mask,
        "sample": sample,
        "representation": dict(arm.placed.identity),
    }
    return hash_json(key), tuple(identities)
