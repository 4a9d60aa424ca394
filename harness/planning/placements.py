"""Placements of a suite's representations at the sites of its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.api.data import Site
from harness.api.errors import UsageError
from harness.config.suite import Borrowed, ModelChoice, Reference, Suite
from harness.models.opened import OpenModel, locate, skip_if_unavailable
from harness.planning.arms import Arms
from harness.planning.bundles import PlacedArm
from harness.registry.catalog import Choice, Registry


class PlacedSuite(NamedTuple):
    """Suite whose representations all fit their models, with these placed. `notes` name what was dropped."""

    suite: Suite
    placed: list[PlacedArm]
    notes: list[str]


class _Listed(NamedTuple):
    """Representation of a model, with the list of the suite that holds it and its number there."""

    choice: Choice
    source: Borrowed
    number: int


_Refused = Mapping[tuple[str, Borrowed, int], str]
"""Why a representation does not fit a model, by the model's reference and the representation's place in the suite."""


def place_all(
    suite: Suite, models: Sequence[OpenModel], arms: Arms, registry: Registry, left_out: dict[str, str]
) -> PlacedSuite:
    """Place every representation at every site of its models.

    A representation that does not fit is a fault of a suite that was written for the model. A model given in place of
    the suite's own has borrowed the representations: those that refuse it at any of its sites are dropped, and in the
    suite that is returned each model has those that fit it. Raise UsageError when none does.
    """
    entries = {entry.ref: entry for entry in suite.models}
    placed: list[PlacedArm] = []
    refused: dict[tuple[str, Borrowed, int], str] = {}
    notes: list[str] = []
    for model in models:
        borrowed, reasons, n_unavailable = entries[model.ref].borrowed, [], len(left_out)
        own: list[PlacedArm] = []
        for one in _list(model, arms):
            try:
                own += _place(one.choice, model, registry, left_out)
            except UsageError as error:
                if one.source not in borrowed:
                    raise
                reasons.append(str(error))
                refused[model.ref, one.source, one.number] = str(error)
                notes.append(
                    f"representation '{one.choice.label}' does not fit model '{model.label}', and is left out: {error}"
                )
        if reasons and not own and len(left_out) == n_unavailable:
            raise UsageError(
                f"no representation of suite '{suite.name}' fits model '{model.label}': {reasons[0]}"
            )
        placed += own
    return PlacedSuite(_resolve(suite, refused) if refused else suite, placed, notes)


def _list(model: OpenModel, arms: Arms) -> Iterator[_Listed]:
    for number, choice in enumerate(arms.representations):
        if choice.spec.needs == "tokens":
            yield _Listed(choice, "suite", number)
    for number, choice in enumerate(model.representations):
        yield _Listed(choice, "representations", number)


def _place(
    representation: Choice, model: OpenModel, registry: Registry, left_out: dict[str, str]
) -> list[PlacedArm]:
    """Return a representation placed at every site of a model. Several sites may lead it to the same place; only the
    first of them counts.
    """
    at_sites: dict[Site, PlacedArm] = {}
    for site in model.sites:
        with skip_if_unavailable(f"{representation.label} at {site} of {model.label}", left_out):
            found = locate(representation, model, site, registry)
            arm = PlacedArm(model, representation, found.site or site, found, found)
            at_sites.setdefault(arm.site, arm)
    return [*at_sites.values()]


def _resolve(suite: Suite, refused: _Refused) -> Suite:
    """Return the suite in which each model has the representations that fit it: of the suite's own, those that fit all
    models; the others stand under the models that they fit.
    """
    some = sorted({number for _, source, number in refused if source == "suite"})
    common = tuple(each for number, each in enumerate(suite.representations) if number not in some)
    if not common:  # of which a suite has at least one
        raise UsageError(
            f"no representation of suite '{suite.name}' fits all of its models: {next(iter(refused.values()))}"
        )

    def list_fitting(entry: ModelChoice) -> Iterator[Reference]:
        for number in some:
            if (entry.ref, "suite", number) not in refused:
                yield suite.representations[number]
        for number, reference in enumerate(entry.representations):
            if (entry.ref, "representations", number) not in refused:
                yield reference

    models = tuple(
        entry.model_copy(update={"representations": tuple(list_fitting(entry))}) for entry in suite.models
    )
    return suite.model_copy(update={"models": models, "representations": common})
