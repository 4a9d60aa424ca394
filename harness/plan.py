"""Suite × registry → bundles of cells. Everything that can be wrong is refused here, before a weight is loaded;
what cannot be had (data, a model's files, a dictionary) is left out by name while something else remains.

A bundle is one model on one task: one forward pass fills all its features, and its cells are probes on them.
Input-only arms of a task form a bundle without a model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.api import Located, Model, Partition, Site, TaskSpec, TokenRepresentation, Tokens
from harness.data import TaskData, load_task, without
from harness.errors import HarnessError, MissingError, UsageError, did_you_mean
from harness.gate import REVISION as GATE_REVISION
from harness.gate import neighbours
from harness.identity import IDENTITY_VERSION, hash_json, hash_lines
from harness.partition import make_partition
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
    """A model of the suite, opened: its reference resolved, no weights read."""

    choice: Choice
    model: Model
    sites: tuple[Site, ...]
    representations: tuple[Choice, ...] = ()
    """Those of this model alone, beside the suite's."""

    @property
    def label(self) -> str:
        """How it is written in tables."""
        return self.choice.label


@dataclass(frozen=True, kw_only=True)
class Features:
    """A matrix `[examples, features]` that cells share. Input-only arms have no site, tokens, pooling and key.

    `fitted_key` names what the representation fits on the bundle's sample, where it fits something; `gate_key` what
    the fidelity gate measures of it at `gate_sites`, where there is something to measure.
    """

    representation: Choice
    site: Site | None = None
    located: Located | None = None
    tokens: TokenSet | None = None
    pooling: Choice | None = None
    key: str | None = None
    fitted_key: str | None = None
    gate_key: str | None = None
    gate_sites: tuple[Site, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fully specified evaluation; `cell_id` hashes all that may change its numbers, `protocol_hash` of that what
    pooling, transform, classifier, grid and selection are. `partition` follows from regime and seed.
    """

    cell_id: str
    features: Features
    transform: Choice
    classifier: Choice
    regime: Choice
    seed: int
    protocol_hash: str
    partition: Partition = field(repr=False)


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

    @property
    def n_cut(self) -> int:
        """Inputs longer than the model's maximum length."""
        return sum(tokens.cut for tokens in self.tokens)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a run will do, and by name what cannot be had, and why."""

    suite: Suite
    bundles: tuple[Bundle, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all bundles."""
        return tuple(cell for bundle in self.bundles for cell in bundle.cells)

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
) -> Plan:
    """Resolve every name, parameter, site and dictionary of `suite`; HarnessError at the first that cannot be.

    A task, model or dictionary that only cannot be had here and now is left out; MissingError when that leaves
    nothing, or none of the suite's models. `included` are tasks given as files; they come before registered ones.
    """
    arms = _Arms.choose(suite, registry)
    tokens = TokenSet.parse(suite.tokens)
    specs = _choose_tasks(suite, registry, included)
    needs_model = arms.on_tokens or any(model.representations for model in suite.models)
    if arms.on_tokens and not suite.models:
        raise UsageError(f"suite '{suite.name}' has representations that need a model, but no models")
    left_out: dict[str, str] = {}
    models = _open_present(suite.models, registry, left_out) if needs_model else ()
    located: list[_LocatedArm] = []
    for model in models:
        _check_modality(model, specs)
        for representation in (*arms.on_tokens, *model.representations):
            for site in model.sites:
                with _leaving_out(f"{representation.label} at {site} of {model.label}", left_out):
                    located.append(
                        (model, representation, site, locate(representation, model, site, registry))
                    )
    others = [find_trained_on(spec, registry, included) for spec, _ in specs]
    bundles: list[Bundle] = []
    for (spec, limit), other in zip(specs, others, strict=True):
        with _leaving_out(spec.name, left_out):
            data = load_task(spec, data_dir=data_dir, limit=limit, trained_on=other)
            bundles += tuple(
                _bundles(
                    data,
                    models=models,
                    located=located,
                    arms=arms,
                    token_set=tokens,
                    seeds=suite.seeds,
                    left_out=left_out,
                )
            )
    if not bundles:
        raise _nothing_left(left_out)
    _refuse_twins(bundles)
    return Plan(suite=suite, bundles=tuple(bundles), left_out=left_out)


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
        )
        # Making them now finds values that a factory refuses, while nothing is lost yet.
        for choice in (*arms.poolings, *arms.transforms, *arms.on_inputs, *arms.classifiers, *arms.regimes):
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


def _refuse_twins(bundles: Iterable[Bundle]) -> None:
    """UsageError when two names of the suite stand for one thing: one would hide the other on the board."""
    known: dict[str, str] = {}
    for bundle in bundles:
        for cell in bundle.cells:
            parts = (bundle.model, cell.features.representation, cell.features.pooling, cell.transform)
            label = " ".join(part.label for part in (*parts, cell.classifier, cell.regime) if part)
            if cell.cell_id in known:
                raise UsageError(f"'{known[cell.cell_id]}' and '{label}' are the same; leave one out")
            known[cell.cell_id] = label


def _check_modality(model: OpenModel, specs: Iterable[tuple[TaskSpec, int | None]]) -> None:
    for spec, _ in specs:
        if spec.modality != model.choice.spec.modality:
            raise UsageError(
                f"task '{spec.name}' holds {spec.modality}s, but model '{model.label}' reads "
                f"{model.choice.spec.modality}s"
            )


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
    sites = [site for text in wanted.sites for site in parse_sites(text, model.n_layers)]
    for site in sites:
        _width(model, site, choice)
    return OpenModel(
        choice=choice,
        model=model,
        sites=tuple(dict.fromkeys(sites)),
        representations=_choose_all(registry, "representations", wanted.representations),
    )


def _width(model: Model, site: Site, choice: Choice) -> int:
    if site.layer >= model.n_layers:
        raise UsageError(
            f"model '{choice.label}' has no site '{site}': its layers are 0 to {model.n_layers - 1}"
        )
    return model.width(site)


def parse_sites(text: str, n_layers: int) -> list[Site]:
    """`resid_post.12`, `resid_post.[5,12]` or `resid_post.50%` as sites of a model with `n_layers` blocks.

    P % means the block after which at least P % of all blocks have run.
    """
    match = re.fullmatch(r"(?P<kind>[a-z_.]+)\.(?:\[(?P<several>[^\]]+)\]|(?P<one>[^\[\]]+))", text.strip())
    if match is None:
        raise UsageError(f"site '{text}' is not of the form KIND.LAYER, for example resid_post.12")
    layers = (match["several"] or match["one"]).split(",")
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
    width = _width(model.model, site, model.choice)
    if found.d_in != width:
        raise UsageError(
            f"representation '{representation.label}' reads activations of size {found.d_in}, but site "
            f"'{site}' of model '{model.label}' has size {width}"
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
    token_set: TokenSet,
    seeds: Sequence[int],
    left_out: dict[str, str],
) -> Iterator[Bundle]:
    """The bundles of one task: one for input-only arms, one for each model; all on the same rows. A regime that the
    task's rows do not allow is left out.
    """
    tokens = {model.label: _tokenize(data, model, token_set) for model in models}
    # A row in which some model finds no content is left out for every arm: all are compared on the same rows.
    bare = {row for encoded in tokens.values() for row, one in enumerate(encoded) if not one.content.any()}
    data = without(data, bare)
    fingerprint = data.fingerprint
    inputs_hash = hash_lines(data.examples.ids)
    partitions: list[tuple[Choice, int, Partition]] = []
    for regime in arms.regimes:
        name = data.spec.name if len(arms.regimes) == 1 else f"{data.spec.name} under {regime.label}"
        with _leaving_out(name, left_out):
            partitions += [(regime, seed, make_partition(data.examples, regime, seed)) for seed in seeds]
    if not partitions:
        return

    def cells(features: Sequence[Features], model: OpenModel | None) -> tuple[Cell, ...]:
        return tuple(
            _cell(data.spec, fingerprint, model, each, transform, classifier, regime, seed, partition)
            for each in features
            for transform in arms.transforms
            for classifier in arms.classifiers
            for regime, seed, partition in partitions
        )

    if arms.on_inputs:
        features = tuple(Features(representation=choice) for choice in arms.on_inputs)
        yield Bundle(data=data, model=None, tokens=(), features=features, cells=cells(features, None))
    for model in models:
        kept = tuple(one for row, one in enumerate(tokens[model.label]) if row not in bare)
        here = [arm for arm in located if arm[0] is model]
        sample = sample_rows(data.examples, kept) if any(at.fit for *_, at in here) else ()
        _refuse_fitting_on_test(sample, here, partitions)
        sample_hash = hash_lines(data.examples.ids[row] for row in sample)
        gated = [site for *_, site, at in here if _is_measurable(at, site)]
        gate_sample = sample_rows(data.examples, kept, limit=GATE_TOKENS) if gated else ()
        gate_hash = hash_lines(data.examples.ids[row] for row in gate_sample)
        features = tuple(
            _gated(
                _features(representation, model, site, at, token_set, pooling, inputs_hash, sample_hash),
                model,
                gate_hash,
            )
            for _, representation, site, at in here
            for pooling in arms.poolings
        )
        if features:  # none where every dictionary was left out, or only other models have representations
            yield Bundle(
                data=data,
                model=model,
                tokens=kept,
                sample=sample,
                gate_sample=gate_sample,
                features=features,
                cells=cells(features, model),
            )


def _refuse_fitting_on_test(
    sample: Sequence[int],
    arms: Sequence[_LocatedArm],
    partitions: Iterable[tuple[Choice, int, Partition]],
) -> None:
    """UsageError where a regime tests on rows on which a representation is fitted."""
    fitted_on = set(sample)
    for regime, _, partition in partitions:
        if fitted_on & set(partition.test):
            names = " and ".join(sorted({f"'{arm.label}'" for _, arm, _, at in arms if at.fit}))
            raise UsageError(
                f"regime '{regime.label}' tests on rows that {names} would be fitted on; leave one of the two out"
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
    for site in neighbours(features.site, model.model.n_layers):
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
    model: OpenModel | None,
    features: Features,
    transform: Choice,
    classifier: Choice,
    regime: Choice,
    seed: int,
    partition: Partition,
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
        "regime": regime.identity,
        **protocol,
        "seed": seed,
        **({"draw": DRAW} if seed else {}),
    }
    return Cell(
        cell_id=hash_json(identity),
        features=features,
        transform=transform,
        classifier=classifier,
        regime=regime,
        seed=seed,
        partition=partition,
        protocol_hash=hash_json(
            {"pooling": features.pooling.identity if features.pooling else None, **protocol}
        ),
    )
