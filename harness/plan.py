"""Suite × registry → bundles of cells. Everything that can be wrong is refused here, before a weight is loaded;
what cannot be had (data, a model's files, a dictionary) is left out by name while something else remains.

A bundle is one model on one task: one forward pass fills all its features, and its cells are probes on them.
Input-only arms of a task form a bundle without a model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from harness.api import (
    ImageModel,
    Located,
    Modality,
    Model,
    Multilingual,
    Site,
    TaskSpec,
    TokenRepresentation,
    Tokens,
)
from harness.data import TaskData, load_task, without
from harness.errors import HarnessError, MissingError, UsageError, did_you_mean
from harness.gate import REVISION as GATE_REVISION
from harness.gate import neighbours
from harness.identity import IDENTITY_VERSION, hash_json, hash_lines
from harness.partition import Draw, find_untested, make_draws
from harness.plugins import describe
from harness.registry import Choice, Registry
from harness.sample import GATE_TOKENS, SAMPLE_TOKENS, sample_rows
from harness.suite import ModelChoice, Suite
from harness.tokens import TokenSet

PRECISION = {"tf32": False, "encode": "float32"}
PROTOCOL = "fit on train, choose on validation, or on folds of train, by macro_f1, score test once"


DRAW = "every seed but 0 learns from its own part of training"
"""Part of the identity of cells of other seeds."""


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model of the suite, opened: its reference resolved, no weights read. `ref` is how the suite has it."""

    choice: Choice
    model: Model
    sites: tuple[Site, ...]
    ref: str = ""
    representations: tuple[Choice, ...] = ()
    """Those of this model alone, beside the suite's."""

    @property
    def label(self) -> str:
        """How it is written in tables."""
        return self.choice.label

    @property
    def modality(self) -> Modality:
        """What it reads."""
        return "image" if isinstance(self.model, ImageModel) else "text"


def count_layers(model: Model, tower: str) -> int:
    """How many blocks the sites of a tower are counted over; of the model's own sites those of the model."""
    towers = model.towers if isinstance(model, ImageModel) else {}
    return towers.get(tower, model.n_layers)


@dataclass(frozen=True, kw_only=True)
class Features:
    """A matrix `[examples, features]` that cells share. Input-only arms have no site, tokens, pooling and key.

    `fitted_key` names what the representation fits on the bundle's sample, where it fits something; `gate_key` what
    the fidelity gate measures of it at `gate_sites`, where there is something to measure. `general` is what it is on
    every task, where `located` is what it is on this one alone.
    """

    representation: Choice
    site: Site | None = None
    located: Located | None = None
    general: Located | None = None
    tokens: TokenSet | None = None
    pooling: Choice | None = None
    key: str | None = None
    fitted_key: str | None = None
    gate_key: str | None = None
    gate_sites: tuple[Site, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LearntOn:
    """Features of another model, known by its label, that a cell is learnt on; and what maps its own to them."""

    model: str
    features: Features
    alignment: Choice


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fully specified evaluation; `cell_id` hashes all that may change its numbers, `protocol_hash` of that what
    pooling, transform, classifier, grid and selection are. `draw` says which rows are learnt from and tested on.
    `learnt_on` is what it is learnt on in place of `features`, which are mapped to it for the test.
    """

    cell_id: str
    features: Features
    transform: Choice
    classifier: Choice
    draw: Draw
    protocol_hash: str
    learnt_on: LearntOn | None = None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Cells that share one forward pass of `model` over the examples of `data`. The content of `tokens` is what the
    suite's token set takes; `sample` are the rows on whose activations representations are fitted, `gate_sample` those
    on which the fidelity of dictionaries is measured.
    """

    data: TaskData
    model: OpenModel | None
    tokens: tuple[Tokens, ...]
    sample: tuple[int, ...] = ()
    gate_sample: tuple[int, ...] = ()
    features: tuple[Features, ...]
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """`task × model`, for people."""
        return f"{self.data.spec.name} × {self.model.label}" if self.model else self.data.spec.name

    @property
    def key(self) -> str:
        """Names the forward pass that fills all features of the bundle."""
        return hash_lines(sorted(features.key or "" for features in self.features))

    @property
    def n_tokens(self) -> int:
        """Pooled tokens of all examples."""
        return sum(int(tokens.content.sum()) for tokens in self.tokens)

    @property
    def n_positions(self) -> int:
        """Real positions of all examples: what the model runs on, whatever is pooled of it."""
        return sum(len(tokens.ids) for tokens in self.tokens)

    @cached_property
    def n_cut(self) -> int:
        """Inputs longer than the model's maximum length."""
        return sum(tokens.cut for tokens in self.tokens)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Cells that are learnt on features of the bundle `source` and tested on those of `target`: two models on the same
    rows of one task. `target` holds these cells.
    """

    source: Bundle
    target: Bundle

    @property
    def name(self) -> str:
        """`task × model → model`, for people."""
        assert self.source.model and self.target.model
        return f"{self.source.name} → {self.target.model.label}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a run will do, and by name what cannot be had, and why; `notes` are of what suits no task of the suite,
    and of languages that a task does not have on both sides.
    """

    suite: Suite
    bundles: tuple[Bundle, ...]
    transfers: tuple[Transfer, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all bundles and transfers."""
        every = (*self.bundles, *(transfer.target for transfer in self.transfers))
        return tuple(cell for bundle in every for cell in bundle.cells)

    @property
    def tasks(self) -> tuple[TaskData, ...]:
        """The examples of each task, once."""
        return tuple({bundle.data.spec.name: bundle.data for bundle in self.bundles}.values())


def make_plan(
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    strict_data: bool = False,
) -> Plan:
    """Resolve every name, parameter, site and dictionary of `suite`; HarnessError at the first that cannot be.

    A task, model or dictionary that only cannot be had here and now is left out; MissingError when that leaves
    nothing, or none of the suite's models. `included` are tasks given as files; they come before registered ones. With
    `strict_data`, UsageError for an image that cannot be decoded, which is else left out and counted.
    """
    arms = _Arms.choose(suite, registry)
    tokens = TokenSet.parse(suite.tokens)
    specs = _choose_tasks(suite, registry, included)
    needs_model = arms.on_tokens or any(model.representations for model in suite.models)
    if arms.on_tokens and not suite.models:
        raise UsageError(f"suite '{suite.name}' has representations that need a model, but no models")
    left_out: dict[str, str] = {}
    models = _open_present(suite.models, registry, left_out) if needs_model else ()
    matched = _Matched.match(suite, specs, tuple(models), arms, registry, whole=not left_out)
    suite, specs, models, arms = matched.suite, matched.specs, matched.models, matched.arms
    notes = list(matched.notes)
    located: list[_LocatedArm] = []
    for model in models:
        for representation in (*arms.on_tokens, *model.representations):
            places: set[Site] = set()
            for site in model.sites:
                with _leaving_out(f"{representation.label} at {site} of {model.label}", left_out):
                    found = locate(representation, model, site, registry)
                    read = found.site or site
                    if read not in places:  # of several sites that lead it to one place, the first
                        located.append((model, representation, read, found))
                    places.add(read)
    others = [find_trained_on(spec, registry, included) for spec, _ in specs]
    pairs = _pair_models(suite, models)
    bundles: list[Bundle] = []
    transfers: list[Transfer] = []
    for (spec, limit), other in zip(specs, others, strict=True):
        with _leaving_out(spec.name, left_out):
            data = load_task(spec, data_dir=data_dir, limit=limit, trained_on=other, strict=strict_data)
            made = tuple(
                _bundles(
                    data,
                    models=models,
                    located=located,
                    arms=arms,
                    registry=registry,
                    token_set=tokens,
                    seeds=suite.seeds,
                    left_out=left_out,
                )
            )
            bundles += made
            transfers += _transfers(made, pairs, arms)
            if any(regime.spec.by_language for regime in arms.regimes):
                notes += [f"task '{spec.name}' has {one}" for one in find_untested(data.examples)]
    if not bundles:
        raise _nothing_left(left_out)
    plan = Plan(
        suite=suite,
        bundles=tuple(bundles),
        transfers=tuple(transfers),
        left_out=left_out,
        notes=tuple(notes),
    )
    _refuse_twins(plan)
    return plan


@contextmanager
def _leaving_out(name: str, left_out: dict[str, str]) -> Iterator[None]:
    """What the block finds missing is noted under `name`, and ends nothing."""
    try:
        yield
    except MissingError as error:
        left_out[name] = str(error)


def _nothing_left(left_out: Mapping[str, str]) -> MissingError:
    first, *more = left_out.values()
    return MissingError(f"{first} (and {len(more)} more cannot be had)" if more else first)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Arms:
    """The suite's choices, with aliases and defaults resolved."""

    on_tokens: tuple[Choice, ...]
    on_inputs: tuple[Choice, ...]
    poolings: tuple[Choice, ...]
    transforms: tuple[Choice, ...]
    classifiers: tuple[Choice, ...]
    regimes: tuple[Choice, ...]
    alignments: tuple[Choice, ...]

    @classmethod
    def choose(cls, suite: Suite, registry: Registry) -> _Arms:
        representations = _choose_all(registry, "representations", suite.representations)
        arms = cls(
            on_tokens=tuple(choice for choice in representations if choice.spec.needs == "tokens"),
            on_inputs=tuple(choice for choice in representations if choice.spec.needs != "tokens"),
            poolings=_choose_all(registry, "poolings", suite.poolings),
            transforms=_choose_all(registry, "transforms", suite.transforms),
            classifiers=_choose_all(registry, "classifiers", suite.classifiers),
            regimes=_choose_all(registry, "regimes", suite.regimes),
            alignments=_choose_all(registry, "alignments", suite.alignments),
        )
        # Making them now finds values that a factory refuses, while nothing is lost yet.
        choices = (*arms.poolings, *arms.transforms, *arms.on_inputs, *arms.classifiers, *arms.regimes)
        for choice in (*choices, *arms.alignments):
            try_to_make(choice)
        return arms


def try_to_make(choice: Choice) -> None:
    """HarnessError when its factory refuses its parameters."""
    choice.make(**({"seed": 0} if choice.kind == "classifiers" and choice.takes_seed else {}))


def _choose_all(registry: Registry, kind: str, references: Iterable[Any]) -> tuple[Choice, ...]:
    return tuple(registry.choose(kind, reference) for reference in references)


def _choose_tasks(
    suite: Suite, registry: Registry, included: Sequence[TaskSpec]
) -> list[tuple[TaskSpec, int | None]]:
    _refuse_repeats("task file", [spec.name for spec in included])
    _refuse_repeats("task", [task.name for task in suite.tasks])
    _refuse_repeats("seed", [str(seed) for seed in suite.seeds])
    by_name = {spec.name: spec for spec in included}
    return [
        (
            by_name.get(task.name) or registry.get("tasks", task.name).spec,
            min((limit for limit in (task.limit, suite.limit) if limit), default=None),
        )
        for task in suite.tasks
    ]


def find_trained_on(spec: TaskSpec, registry: Registry, included: Sequence[TaskSpec] = ()) -> TaskSpec | None:
    """The task whose rows `spec` learns from, if it learns from another; UsageError when that cannot be."""
    if spec.trained_on is None:
        return None
    by_name = {one.name: one for one in included}
    if spec.trained_on not in by_name and spec.trained_on not in registry.names("tasks"):
        hint = did_you_mean(spec.trained_on, [*by_name, *registry.names("tasks")])
        raise UsageError(f"task '{spec.name}' learns from '{spec.trained_on}', which is no task{hint}")
    other: TaskSpec = by_name.get(spec.trained_on) or registry.get("tasks", spec.trained_on).spec
    if other.trained_on is not None:
        raise UsageError(
            f"task '{spec.name}' learns from '{other.name}', which learns from '{other.trained_on}' and has no "
            f"training rows of its own"
        )
    if other.modality != spec.modality:
        raise UsageError(
            f"task '{spec.name}' holds {spec.modality}s, but '{other.name}', which it learns from, holds "
            f"{other.modality}s"
        )
    return other


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    """UsageError for a name given twice: which of the two was meant cannot be known."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{what} '{name}' is given twice")


def _refuse_twins(plan: Plan) -> None:
    """UsageError when two names of the suite stand for one thing: one would hide the other on the board."""
    known: dict[str, str] = {}
    for bundle in (*plan.bundles, *(transfer.target for transfer in plan.transfers)):
        for cell in bundle.cells:
            parts = (bundle.model, cell.features.representation, cell.features.pooling, cell.transform)
            alignment = cell.learnt_on.alignment if cell.learnt_on else None
            more = (cell.classifier, cell.draw.regime, alignment)
            label = " ".join(part.label for part in (*parts, *more) if part)
            if cell.cell_id in known:
                raise UsageError(f"'{known[cell.cell_id]}' and '{label}' are the same; leave one out")
            known[cell.cell_id] = label


@dataclass(frozen=True, kw_only=True)
class _Matched:
    """A suite without tasks that nothing of it reads, and without models and arms that suit none of its tasks; `notes`
    say which.
    """

    suite: Suite
    specs: list[tuple[TaskSpec, int | None]]
    models: tuple[OpenModel, ...]
    arms: _Arms
    notes: tuple[str, ...]

    @classmethod
    def match(
        cls,
        suite: Suite,
        specs: Sequence[tuple[TaskSpec, int | None]],
        models: tuple[OpenModel, ...],
        arms: _Arms,
        registry: Registry,
        *,
        whole: bool,
    ) -> _Matched:
        """UsageError where no task is left. Unless the models are `whole`, one that is not here might read a task."""
        readable = {model.modality for model in models}
        unread = [
            spec
            for spec, _ in specs
            if whole
            and (
                spec.modality not in readable if models else not any(_suits(a, spec) for a in arms.on_inputs)
            )
        ]
        reader = "model" if models else "representation"
        said = [
            f"task '{one.name}' holds {one.modality}s, but no {reader} of the suite reads {one.modality}s"
            for one in unread
        ]
        if len(unread) == len(specs):
            raise UsageError(said[0])
        specs = [(spec, limit) for spec, limit in specs if spec not in unread]
        held = {spec.modality for spec, _ in specs}

        def is_kept(arm: Choice) -> bool:
            return arm.spec.needs == "tokens" or any(_suits(arm, spec) for spec, _ in specs)

        strange = [model for model in models if model.modality not in held]
        unsuited = [arm for arm in arms.on_inputs if not is_kept(arm)]
        said += [f"model '{one.label}' reads {one.modality}s, and no task holds any" for one in strange]
        said += [
            f"representation '{arm.label}' reads {arm.spec.needs}, and no task holds any" for arm in unsuited
        ]
        names, refs = {spec.name for spec in unread}, {model.ref for model in strange}
        representations = suite.representations
        update = {
            "tasks": tuple(task for task in suite.tasks if task.name not in names),
            "models": tuple(model for model in suite.models if model.ref not in refs),
            "representations": tuple(
                one for one in representations if is_kept(registry.choose("representations", one))
            ),
        }
        return cls(
            suite=suite.model_copy(update=update) if said else suite,
            specs=specs,
            models=tuple(model for model in models if model not in strange),
            arms=replace(arms, on_inputs=tuple(arm for arm in arms.on_inputs if arm not in unsuited)),
            notes=tuple(said),
        )


def _suits(arm: Choice, spec: TaskSpec) -> bool:
    """Whether an arm that reads inputs can read those of a task."""
    return arm.spec.needs in ("nothing", {"text": "text", "image": "images"}[spec.modality])


# ── models, sites, dictionaries ──────────────────────────────────────────────────────────────────────────


def _open_present(
    choices: Sequence[ModelChoice], registry: Registry, left_out: dict[str, str]
) -> tuple[OpenModel, ...]:
    """Open every model that is there; UsageError for one that stands twice, MissingError when none is there."""
    models: list[OpenModel] = []
    for choice in choices:
        with _leaving_out(choice.ref, left_out):
            opened = open_model(choice, registry)
            for site in opened.sites:
                opened.model.identity(site)  # needs every file that the model will be read from
            models.append(opened)
    _refuse_repeats("model", [model.label for model in models])
    if not models:
        raise _nothing_left(left_out)
    return tuple(models)


def open_model(wanted: ModelChoice, registry: Registry) -> OpenModel:
    """Open one model; UsageError for a parameter or site it does not have."""
    choice = registry.choose("models", {"name": wanted.ref, **wanted.parameters})
    model: Model = choice.make()
    sites = [site for text in wanted.sites for site in parse_sites(text, partial(count_layers, model))]
    for site in sites:
        _width(model, site, choice)
    return OpenModel(
        ref=wanted.ref,
        choice=choice,
        model=model,
        sites=tuple(dict.fromkeys(sites)),
        representations=_choose_all(registry, "representations", wanted.representations),
    )


def _width(model: Model, site: Site, choice: Choice) -> int:
    n_layers = count_layers(model, site.tower)
    if site.layer >= n_layers:
        raise UsageError(f"model '{choice.label}' has no site '{site}': its layers are 0 to {n_layers - 1}")
    return model.width(site)


def parse_sites(text: str, count: Callable[[str], int]) -> list[Site]:
    """`resid_post.12`, `resid_post.[5,12]` or `resid_post.50%` as sites, `vision.resid_post.50%` as one of a vision
    tower; `count` gives the number of blocks of a tower by its name, "" for the model itself.

    P % means the block after which at least P % of all blocks have run.
    """
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


def locate(representation: Choice, model: OpenModel, site: Site, registry: Registry) -> Located:
    """`representation` at one site of one model; UsageError when it does not fit there. The revision of the
    spec that serves there becomes part of the identity; those that only point to it change no number.
    """
    serving = representation
    found = _at(serving, model, site)
    for _ in range(8):
        if isinstance(found, Located):
            break
        serving = registry.choose("representations", found)
        found = _at(serving, model, site)
    if not isinstance(found, Located):
        raise UsageError(
            f"{representation.owner} stands for another reference, and that for another, without end"
        )
    place = found.site or site
    width = _width(model.model, place, model.choice)
    if found.d_in != width:
        raise UsageError(
            f"representation '{representation.label}' reads activations of size {found.d_in}, but site "
            f"'{place}' of model '{model.label}' has size {width}"
        )
    return replace(found, identity={**found.identity, "revision": serving.spec.revision})


def _at(choice: Choice, model: OpenModel, site: Site) -> Located | str | Mapping[str, Any]:
    if choice.spec.needs != "tokens":
        raise UsageError(f"{choice.owner} reads no activations, so it has no place at '{site}'")
    made: TokenRepresentation = choice.make()
    try:
        return made.at(model.model, site)
    except HarnessError:
        raise
    except Exception as error:  # a stranger's representation may raise anything
        raise UsageError(f"{choice.owner} cannot be placed at '{site}': {describe(error)}") from error


# ── bundles and cells ────────────────────────────────────────────────────────────────────────────────────

_LocatedArm = tuple[OpenModel, Choice, Site, Located]


def _bundles(
    data: TaskData,
    *,
    models: Sequence[OpenModel],
    located: Sequence[_LocatedArm],
    arms: _Arms,
    registry: Registry,
    token_set: TokenSet,
    seeds: Sequence[int],
    left_out: dict[str, str],
) -> Iterator[Bundle]:
    """The bundles of one task: one for input-only arms, one for each model; all on the same rows. A regime that the
    task's rows do not allow is left out.
    """
    models = [model for model in models if model.modality == data.spec.modality]
    on_inputs = [choice for choice in arms.on_inputs if _suits(choice, data.spec)]
    tokens = {model.label: _tokenize(data, model, token_set) for model in models}
    # A row in which some model finds no content is left out for every arm: all are compared on the same rows.
    bare = {row for encoded in tokens.values() for row, one in enumerate(encoded) if not one.content.any()}
    data = without(data, bare)
    fingerprint = data.fingerprint
    inputs_hash = hash_lines(data.examples.ids)
    draws: list[Draw] = []
    for regime in arms.regimes:
        name = data.spec.name if len(arms.regimes) == 1 else f"{data.spec.name} under {regime.label}"
        with _leaving_out(name, left_out):
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


def _for_task(arm: _LocatedArm, data: TaskData) -> _LocatedArm:
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
    arms: Sequence[_LocatedArm],
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
        raise MissingError(
            f"task '{data.spec.name}' cannot be read by model '{model.label}': {told}"
        ) from error
    return [token_set.select(one) for one in tokens]


def _features(
    representation: Choice,
    model: OpenModel,
    site: Site,
    at: Located,
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


def _is_measurable(at: Located, site: Site) -> bool:
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
            MissingError
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


def find_seen(model: OpenModel | None, draw: Draw) -> dict[str, float] | None:
    """Megabytes of a model's training text in each language of a draw; None where it does not say."""
    if model is None or not isinstance(model.model, Multilingual):
        return None
    known = model.model.languages
    tags = {tag for side in (draw.train_language, draw.test_language) for tag in side.split("+")}
    return {tag: _look_up(tag, known) for tag in sorted(tags)} if known else None


def _look_up(tag: str, known: Mapping[str, float]) -> float:
    """The number of a tag, else of the same language and script wherever it is spoken (`pt-MZ`: `pt`), else 0. Another
    script is another thing to read.
    """
    if tag in known:
        return float(known[tag])
    parts = [
        part for part in tag.split("-") if not re.fullmatch(r"[A-Za-z]{2}|[0-9]{3}", part) or part == tag[:2]
    ]
    return float(known.get("-".join(parts), 0.0))


def activation_identity(model: OpenModel, site: Site) -> dict[str, Any]:
    """JSON of all that may change the activations of given tokens at a site."""
    return {
        "model": {**model.model.identity(site), "revision": model.choice.spec.revision},
        "site": str(site),
        "precision": PRECISION,
    }


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


# ── from one model to another ────────────────────────────────────────────────────────────────────────────


def _pair_models(suite: Suite, models: Sequence[OpenModel]) -> tuple[tuple[str, str], ...]:
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
    _refuse_repeats("transfer", [f"{source} to {target}" for source, target in pairs])
    return tuple(pairs)


def _transfers(
    bundles: Sequence[Bundle], pairs: Sequence[tuple[str, str]], arms: _Arms
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
