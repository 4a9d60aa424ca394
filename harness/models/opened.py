"""Opened models: references resolved, sites parsed, representations placed at them. No weights are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.api.data import Modality, Site
from harness.api.errors import HarnessError, UnavailableError, UsageError, describe, name_some
from harness.api.memory import explain
from harness.api.names import short_names
from harness.api.protocols import (
    Flagged,
    ImageModel,
    Model,
    Multilingual,
    PlacedRepresentation,
    TokenRepresentation,
)
from harness.api.tasks import TaskSpec
from harness.config.suite import ModelChoice
from harness.data.partitions import Draw
from harness.models.site_names import explain_site, find_site
from harness.registry.catalog import LONGEST, Choice, Registry

if TYPE_CHECKING:
    from harness.dictionaries.dictionary import Dictionary

PRECISION = {"tf32": False, "encode": "float32"}
"""Part of the identity of activations, so its words never change."""

MOST_REFERENCES = 9
"""Representations that may refer to one another in a row, before that counts as a circle."""


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """Opened model of a suite, without weights. `ref` is its reference as the suite writes it."""

    choice: Choice
    model: Model
    sites: tuple[Site, ...]
    ref: str = ""
    shown: str = ""
    """The label as people read it: a folder by its name."""
    representations: tuple[Choice, ...] = ()
    """Representations of this model alone, beside the suite's."""

    @property
    def label(self) -> str:
        """The name of the model in tables."""
        return self.choice.label

    @property
    def published_label(self) -> str:
        """The label in files that others read: a folder of this machine stands there by its name alone."""
        name = self.choice.name
        shown = Path(name).resolve().name if Path(name).is_dir() else name
        return shown + self.label.removeprefix(name)

    @cached_property
    def languages(self) -> Mapping[str, float]:
        """The megabytes of its training text by language; empty where it has no list."""
        return self.model.languages if isinstance(self.model, Multilingual) else {}

    @cached_property
    def is_flagged(self) -> bool:
        """True if the model may have flags of its own. Asked once: Python looks up each member of a protocol."""
        return isinstance(self.model, Flagged)

    @cached_property
    def modality(self) -> Modality:
        """The modality of its inputs."""
        return "image" if isinstance(self.model, ImageModel) else "text"


def count_layers(model: Model, tower: str) -> int:
    """Return the number of blocks of a tower; of the model itself if the tower has no name of its own."""
    towers = model.towers if isinstance(model, ImageModel) else {}
    return towers.get(tower, model.n_layers)


@contextmanager
def skip_if_unavailable(name: str, left_out: dict[str, str]) -> Iterator[None]:
    """Note an UnavailableError of the block in `left_out` under `name`, and go on."""
    try:
        yield
    except UnavailableError as error:
        left_out[name] = explain(error)


@contextmanager
def plugin_errors(sentence: str) -> Iterator[None]:
    """Raise UsageError with `sentence` for an error of a plugin's code; HarnessErrors pass unchanged."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        raise UsageError(f"{sentence}: {describe(error)}") from error


def nothing_available(left_out: Mapping[str, str]) -> UnavailableError:
    """Return the error for a plan of which everything is left out."""
    first, *more = left_out.values()
    return UnavailableError(f"{first} (and {len(more)} more cannot be had)" if more else first)


def choose_all(registry: Registry, kind: str, references: Iterable[Any]) -> tuple[Choice, ...]:
    """Resolve every reference. Raise UsageError for an unknown one."""
    return tuple(registry.choose(kind, reference) for reference in references)


def check_unique(what: str, names: Sequence[str]) -> None:
    """Raise UsageError for a name given twice."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{what} '{name}' is given twice")


def open_available(
    choices: Sequence[ModelChoice], registry: Registry, left_out: dict[str, str]
) -> tuple[OpenModel, ...]:
    """Open every available model. Raise UsageError for one given twice, UnavailableError if none is there."""
    models: list[OpenModel] = []
    for choice in choices:
        with skip_if_unavailable(choice.ref, left_out):
            opened = open_model(choice, registry)
            for site in opened.sites:
                opened.model.identity(site)  # raises where a file of the model is absent
            models.append(opened)
    check_unique("model", [model.label for model in models])
    if not models:
        raise nothing_available(left_out)
    shown = short_names(model.label for model in models)
    return tuple(replace(model, shown=shown[model.label]) for model in models)


def open_model(wanted: ModelChoice, registry: Registry) -> OpenModel:
    """Open one model. Raise UsageError for a parameter or site that it does not have."""
    fields = ("sites", "representations") if wanted.parameters else ()
    choice = registry.choose("models", {"name": wanted.ref, **wanted.parameters}, beside=fields)
    model: Model = choice.make()
    sites: list[Site] = []
    for text in wanted.sites:
        try:
            sites += parse_sites(text, partial(count_layers, model))
            for site in sites:
                _width(model, site, choice)
        except UsageError as error:
            if said := explain_site(text):
                raise UsageError(f"model '{choice.label}' has no site '{text.strip()}': {said}") from error
            if "sites" in wanted.borrowed:
                raise UsageError(
                    f"{error}; '{text.strip()}' is a site of the suite's first model: choose others, as with "
                    f"--set 'models.0.sites=[resid_post.50%]'"
                ) from error
            raise
    return OpenModel(
        ref=wanted.ref,
        choice=choice,
        shown=short_names([choice.label])[choice.label],
        model=model,
        sites=tuple(dict.fromkeys(sites)),
        representations=choose_all(registry, "representations", wanted.representations),
    )


def _width(model: Model, site: Site, choice: Choice) -> int:
    """Return the size of the activations at a site. Raise UsageError when the model has no such site."""
    n_layers = count_layers(model, site.tower)
    if site.layer >= n_layers:
        raise UsageError(f"model '{choice.label}' has no site '{site}': its layers are 0 to {n_layers - 1}")
    return model.width(site)


def parse_sites(text: str, count: Callable[[str], int]) -> list[Site]:
    """Return the sites of `resid_post.12`, `resid_post.[5,12]`, `resid_post.50%` or `vision.resid_post.50%`.

    `count` returns the number of blocks of a tower by its name, "" for the model itself. P % means the first block
    after which at least P % of all blocks have run. A name of another library that has one reading is its site, so
    that records hold one spelling. Raise UsageError for another form.
    """
    if len(text) > LONGEST:
        raise UsageError(
            f"the site '{text[:60]}…' has {len(text):,} letters, and at most {LONGEST:,} are read"
        )
    if known := find_site(text):
        return [known]
    match = re.fullmatch(r"(?P<kind>[a-z_.]+)\.(?:\[(?P<several>[^\]]+)\]|(?P<one>[^\[\]]+))", text.strip())
    if match is None:
        raise UsageError(f"site '{text}' is not of the form KIND.LAYER, for example resid_post.12")
    layers = (match["several"] or match["one"]).split(",")
    tower, dot, _ = match["kind"].partition(".")
    n_layers = count(tower if dot else "")
    return [Site.parse(f"{match['kind']}.{_layer(layer.strip(), n_layers, text)}") for layer in layers]


def _layer(text: str, n_layers: int, site: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    percent = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if percent is None or not 0 < float(percent[1]) <= 100:
        raise UsageError(f"site '{site}': '{text}' is neither a layer nor a depth such as 50%")
    return max(0, math.ceil(float(percent[1]) / 100 * n_layers - 1e-9) - 1)


def locate(representation: Choice, model: OpenModel, site: Site, registry: Registry) -> PlacedRepresentation:
    """Place a representation at one site of one model. Raise UsageError when it does not fit there.

    The revision of the spec that serves there, and the files of its plugin where these count, are part of the identity;
    specs that only refer to it change no number.
    """
    serving = representation
    for _ in range(MOST_REFERENCES):
        found = _at(serving, model, site)
        if isinstance(found, PlacedRepresentation):
            break
        serving = registry.choose("representations", found)
    else:
        raise UsageError(
            f"{representation.owner} stands for another reference, and that for another, without end"
        )
    read = found.site or site
    width = _width(model.model, read, model.choice)
    if found.d_in != width:
        raise UsageError(
            f"representation '{representation.label}' reads activations of size {found.d_in}, but site "
            f"'{read}' of model '{model.label}' has size {width}"
        )
    return replace(found, identity={**found.identity, "revision": serving.spec.revision, **serving.code})


def bind_to_task(
    placed: PlacedRepresentation, representation: Choice, task: TaskSpec, classes: tuple[str, ...]
) -> PlacedRepresentation:
    """Return a placed representation as it is for one task, where it depends on the task's classes."""
    if placed.for_task is None:
        return placed
    with plugin_errors(f"{representation.owner} cannot be made for task '{task.name}'"):
        bound = placed.for_task(task, classes)
    return replace(bound, identity={**placed.identity, **bound.identity})


def _at(choice: Choice, model: OpenModel, site: Site) -> PlacedRepresentation | str | Mapping[str, Any]:
    if choice.spec.needs != "tokens":
        raise UsageError(f"{choice.owner} reads no activations, so it has no place at '{site}'")
    made: TokenRepresentation = choice.make()
    with plugin_errors(f"{choice.owner} cannot be placed at '{site}'"):
        return made.at(model.model, site)


def find_flags(model: OpenModel, site: Site) -> Mapping[str, str]:
    """Return the flags of every result of a model at a site, each with a sentence; mostly none."""
    return cast("Flagged", model.model).flags(site) if model.is_flagged else {}


def describe_flags(models: Iterable[OpenModel]) -> list[str]:
    """Return the sentences of all flags of models at their sites, each once."""
    found = [find_flags(model, site).values() for model in models for site in model.sites]
    return list(dict.fromkeys(sentence for sentences in found for sentence in sentences))


def find_seen(model: OpenModel | None, draw: Draw) -> dict[str, float] | None:
    """Return the megabytes of a model's training text in each language of a draw; None where the model has no list."""
    known = model.languages if model else {}
    tags = {tag for side in (draw.train_language, draw.test_language) for tag in side.split("+")}
    return {tag: _look_up(tag, known) for tag in sorted(tags)} if known else None


def _look_up(tag: str, known: Mapping[str, float]) -> float:
    """Return the number of a tag, else of its language and script without region (`pt` for `pt-MZ`), else 0.

    The script stays: text in another script is no evidence that a model has seen this one.
    """
    if tag in known:
        return float(known[tag])
    parts = [
        part for part in tag.split("-") if not re.fullmatch(r"[A-Za-z]{2}|[0-9]{3}", part) or part == tag[:2]
    ]
    return float(known.get("-".join(parts), 0.0))


def activation_identity(model: OpenModel, site: Site) -> dict[str, Any]:
    """Return JSON of everything that may change the activations of given tokens at a site."""
    return {
        "model": {**model.model.identity(site), "revision": model.choice.spec.revision, **model.choice.code},
        "site": str(site),
        "precision": PRECISION,
    }


def at_served_site(model: OpenModel, representation: Choice, registry: Registry) -> OpenModel:
    """Return the model with the one site of its residual stream at which a representation serves.

    Raise UsageError when there is none, or more than one.
    """
    sites, refusal = [], None
    for site in (Site(kind="resid_post", layer=layer) for layer in range(model.model.n_layers)):
        try:
            locate(representation, model, site, registry)
            sites.append(site)
        except UsageError as error:
            refusal = error
    if not sites and refusal is not None:
        raise refusal
    if len(sites) > 1:
        served = name_some(sites)
        raise UsageError(
            f"representation '{representation.label}' serves at {served}: choose one with --site"
        )
    return replace(model, sites=tuple(sites))


def load_decoder(placed: PlacedRepresentation, reference: str, site: Site, device: str) -> Dictionary:
    """Load a dictionary placed at a site, with the decoder that says what its features write.

    Raise UnavailableError for a representation without one, and UsageError for a dictionary of another site, or one
    whose input is normalised for each token: what its features write does not follow from the features alone.
    """
    from harness.dictionaries.dictionary import Dictionary  # needs torch, which a plan does without

    dictionary = placed.load_whole(device) if placed.load_whole else None
    if not isinstance(dictionary, Dictionary) or dictionary.W_dec is None:
        raise UnavailableError(
            f"representation '{reference}' has no decoder, so what its features write is not known"
        )
    if placed.site not in (None, site):
        raise UsageError(f"representation '{reference}' reads '{placed.site}', and not '{site}'")
    if dictionary.input_norm not in ("none", "centre"):
        raise UsageError(
            f"representation '{reference}' normalises its input ({dictionary.input_norm}), so what its features write "
            "does not follow from the features alone"
        )
    return dictionary
