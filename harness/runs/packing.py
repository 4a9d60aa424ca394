"""Packing of work for another process: offers of plugins go by name, and rows that much work shares go apart."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

from harness.api.data import Examples, Site
from harness.api.errors import HarnessError, UnavailableError, describe
from harness.api.executors import Packed
from harness.api.protocols import PlacedRepresentation
from harness.api.specs import Spec
from harness.api.tasks import TaskSpec
from harness.models.opened import OpenModel
from harness.registry.catalog import Choice
from harness.registry.loading import Plugin, Plugins, offer_name
from harness.runs.forward_work import ForwardWork
from harness.runs.packed_tokens import PackedTokens
from harness.runs.work import BundleRows, Work
from harness.storage.hashing import hash_json


class NotSharedError(UnavailableError):
    """Work that cannot be given to another process; the message says why."""


@dataclass(frozen=True)
class OfferName:
    """Name of what a plugin offers, and of the code that stands behind it."""

    plugin: str
    distribution: str
    digest: str
    kind: str
    offer: str


@dataclass(frozen=True)
class ChoiceName:
    """Reference to an offer that a plugin made of it when asked, with the hash of its identity."""

    kind: str
    name: str
    given: tuple[tuple[str, Any], ...]
    identity: str


@dataclass(frozen=True)
class ModelName:
    """Opened model by its reference. `identity` is the hash of its activations' identity at each of its sites."""

    choice: ChoiceName
    ref: str
    shown: str
    sites: tuple[Site, ...]
    identity: str


@dataclass(frozen=True)
class PlacedName:
    """Placed representation by its reference and place, bound to the classes of a task where it depends on them."""

    representation: ChoiceName
    model: ModelName
    site: Site
    identity: str
    task: TaskSpec | None = None
    classes: tuple[str, ...] = ()


def name_choice(choice: Choice) -> ChoiceName:
    """Return the name by which another process finds the same choice."""
    given = {key: value for key, value in choice.given.items() if key not in choice.implied}
    return ChoiceName(choice.kind, choice.name, tuple(given.items()), hash_json(choice.identity))


def name_model(model: OpenModel) -> ModelName:
    """Return the name by which another process opens the same model."""
    return ModelName(name_choice(model.choice), model.ref, model.shown, model.sites, hash_identities(model))


def hash_identities(model: OpenModel) -> str:
    """Return the hash of the identities of a model at its sites: of its files and parameters."""
    return hash_json({str(site): dict(model.model.identity(site)) for site in model.sites})


class Packer:
    """Packer of work, which names what the loaded plugins offer."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def pack(self, work: Work | ForwardWork, *, after: int = 0) -> Packed:
        """Return work `after` so many results as bytes.

        Raise NotSharedError for what has no name by which another process could find it.
        """
        if isinstance(work, ForwardWork):
            tokens = PackedTokens.of(work.bundle.tokens)
            return Packed(body=self._dump((0, _without_inputs(work), tokens), _placed_names(work)))
        rows = work.bundle
        body = self._dump((after, work.after(after), None), {}, apart=rows)
        return Packed(body=body, shared_key=rows.key, shared=partial(self._dump, rows, {}))

    def _dump(self, value: Any, placed: Mapping[int, PlacedName], apart: BundleRows | None = None) -> bytes:
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.offers, pickler.placed, pickler.apart = self._offers, placed, apart
        try:
            pickler.dump(value)
        except HarnessError:
            raise
        except Exception as error:  # parameters and inputs may be anything
            raise NotSharedError(describe(error)) from error
        return buffer.getvalue()

    @cached_property
    def _offers(self) -> Mapping[int, OfferName]:
        """The name of everything that the plugins offer, by its `id`."""
        return {
            id(spec): OfferName(plugin.name, plugin.distribution, digest(plugin), kind, offer_name(spec))
            for plugin in self._plugins.loaded
            for kind, specs in plugin.offers.items()
            for spec in specs
        }


def digest(plugin: Plugin) -> str:
    """Return the hash of a plugin's files, where they are a part of identities."""
    return plugin.source.digest if plugin.source and plugin.source.files else ""


class _Pickler(pickle.Pickler):
    offers: Mapping[int, OfferName]
    placed: Mapping[int, PlacedName]
    apart: BundleRows | None

    def persistent_id(self, value: Any) -> Any:
        if value is self.apart and value is not None:
            return "rows"
        if isinstance(value, OpenModel):
            return name_model(value)
        if isinstance(value, PlacedRepresentation):
            return self.placed[id(value)]
        if isinstance(value, Choice) and id(value.spec) not in self.offers and value.kind in _RESOLVED:
            return name_choice(value)
        if not isinstance(value, Spec):
            return None
        if id(value) not in self.offers:
            raise NotSharedError(f"'{value.name}' is offered by no plugin")
        return self.offers[id(value)]


_RESOLVED = ("models", "representations")
"""Kinds of which plugins make offers when they are asked for a reference, or change those of another."""


def _without_inputs(work: ForwardWork) -> ForwardWork:
    """Return work without its tokens, and without the texts, images and labels behind them, which it does not read."""
    data = work.bundle.data
    names = (one.name for one in fields(Examples))
    examples = replace(data.examples, **{name: () for name in names if name != "ids"})
    batches = work.plan_batches()  # a worker takes these, whatever it would plan itself
    bundle = replace(work.bundle, data=replace(data, examples=examples), tokens=())
    return replace(work, batches=batches, bundle=bundle)


def _placed_names(work: ForwardWork) -> dict[int, PlacedName]:
    """Return the names of all placed representations of a bundle, by their `id`."""
    assert work.bundle.model  # without one there is nothing to forward
    model, data = name_model(work.bundle.model), work.bundle.data
    names: dict[int, PlacedName] = {}
    for each in work.bundle.model_features:
        choice = name_choice(each.representation)
        for placed in (each.general, each.placed):
            name = PlacedName(choice, model, each.site, hash_json(placed.identity))
            if each.placed is not each.general and placed is each.placed:
                name = replace(name, task=data.spec, classes=data.classes)
            names[id(placed)] = name
    return names
