"""Arms of a suite: its choices with aliases and defaults resolved, matched to its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from harness.api.errors import UsageError
from harness.api.protocols import IdentifiedRepresentation
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite
from harness.data.splits import SplitLimits
from harness.features.token_sets import TokenSet
from harness.models.opened import OpenModel, choose_all, plugin_errors, skip_if_unavailable
from harness.registry.catalog import Choice, Registry


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Choices of a suite, with aliases and defaults resolved.

    `identities` holds, by label, what may change the features of each representation that reads inputs and is
    available.
    """

    registry: Registry
    token_set: TokenSet
    seeds: tuple[int, ...]
    representations: tuple[Choice, ...]
    poolings: tuple[Choice, ...]
    transforms: tuple[Choice, ...]
    classifiers: tuple[Choice, ...]
    regimes: tuple[Choice, ...]
    alignments: tuple[Choice, ...]
    identities: Mapping[str, Mapping[str, Any]]

    @classmethod
    def choose(cls, suite: Suite, registry: Registry, left_out: dict[str, str]) -> Arms:
        """Resolve the choices of a suite. Raise HarnessError for an unknown name or a refused parameter.

        A representation that reads inputs and is unavailable, as without its package, is noted in `left_out`.
        """
        kinds = ("representations", "poolings", "transforms", "classifiers", "regimes", "alignments")
        chosen = {kind: choose_all(registry, kind, getattr(suite, kind)) for kind in kinds}
        tokens = TokenSet.parse(suite.tokens)
        # A factory may refuse a value: call each now, before any work that the error would waste.
        for kind in ("poolings", "transforms", "classifiers", "regimes", "alignments"):
            for choice in chosen[kind]:
                try_to_make(choice)
        identities: dict[str, Mapping[str, Any]] = {}
        for choice in chosen["representations"]:
            if choice.spec.needs != "tokens":
                with skip_if_unavailable(choice.label, left_out):
                    identities[choice.label] = identify(choice)
        return cls(registry=registry, token_set=tokens, seeds=suite.seeds, identities=identities, **chosen)

    @property
    def on_tokens(self) -> tuple[Choice, ...]:
        """The representations that read a model's activations."""
        return tuple(choice for choice in self.representations if choice.spec.needs == "tokens")

    @property
    def on_inputs(self) -> tuple[Choice, ...]:
        """The available representations that read inputs and no model."""
        return tuple(
            choice
            for choice in self.representations
            if choice.spec.needs != "tokens" and choice.label in self.identities
        )

    def combined_with(
        self, representation: Choice, kind: Literal["poolings", "transforms", "classifiers"]
    ) -> tuple[Choice, ...]:
        """Return the suite's choices of a kind, or the only one that the representation allows."""
        only = representation.spec.only.get(kind)
        every: tuple[Choice, ...] = getattr(self, kind)
        return every if only is None else (self.registry.choose(kind, only),)


def try_to_make(choice: Choice) -> None:
    """Raise HarnessError when a factory refuses its parameters."""
    choice.make(**({"seed": 0} if choice.kind == "classifiers" and choice.takes_seed else {}))


def identify(choice: Choice) -> Mapping[str, Any]:
    """Return JSON of everything that may change the features of a representation that reads inputs.

    Raise HarnessError when it refuses its parameters, and UnavailableError when it is unavailable.
    """
    made = choice.make()
    if not isinstance(made, IdentifiedRepresentation):
        return choice.identity
    with plugin_errors(f"{choice.owner} cannot be identified"):
        own = dict(made.identity())
    return {**{key: value for key, value in choice.identity.items() if key != "parameters"}, "own": own}


class MatchedSuite(NamedTuple):
    """Suite without tasks that nothing in it reads, and without models and arms that suit none of its tasks. `notes`
    name what was dropped.
    """

    suite: Suite
    specs: list[tuple[TaskSpec, int | SplitLimits | None]]
    models: tuple[OpenModel, ...]
    arms: Arms
    notes: list[str]


def match_suite(
    suite: Suite,
    specs: Sequence[tuple[TaskSpec, int | SplitLimits | None]],
    models: tuple[OpenModel, ...],
    arms: Arms,
    *,
    complete: bool,
) -> MatchedSuite:
    """Drop from a suite the tasks, models and arms that match nothing else in it.

    Unless `models` are `complete`, all tasks stay: a model that is unavailable now might read them. Raise UsageError
    when no task is left.
    """
    modalities = {model.modality for model in models}

    def is_read(spec: TaskSpec) -> bool:
        return spec.modality in modalities if models else any(suits_task(one, spec) for one in arms.on_inputs)

    unread = [spec for spec, _ in specs if complete and not is_read(spec)]
    reader = "model" if models else "representation"
    notes = [
        f"task '{one.name}' holds {one.modality}s, but no {reader} of the suite reads {one.modality}s"
        for one in unread
    ]
    if len(unread) == len(specs):
        raise UsageError(notes[0])
    kept = [(spec, limit) for spec, limit in specs if spec not in unread]
    held = {spec.modality for spec, _ in kept}
    strange = [model for model in models if model.modality not in held]
    unsuited = [arm for arm in arms.on_inputs if not any(suits_task(arm, spec) for spec, _ in kept)]
    notes += [f"model '{one.label}' reads {one.modality}s, and no task holds any" for one in strange]
    notes += [
        f"representation '{one.label}' reads {one.spec.needs}, and no task holds any" for one in unsuited
    ]
    pairs = zip(suite.representations, arms.representations, strict=True)
    update = {
        "tasks": tuple(one for one in suite.tasks if one.name not in {spec.name for spec in unread}),
        "models": tuple(one for one in suite.models if one.ref not in {model.ref for model in strange}),
        "representations": tuple(reference for reference, choice in pairs if choice not in unsuited),
    }
    suited = tuple(choice for choice in arms.representations if choice not in unsuited)
    models = tuple(model for model in models if model not in strange)
    suite = suite.model_copy(update=update) if notes else suite
    return MatchedSuite(suite, kept, models, replace(arms, representations=suited), notes)


def suits_task(arm: Choice, spec: TaskSpec) -> bool:
    """Return whether an arm that reads inputs can read those of a task."""
    return arm.spec.needs in ("nothing", {"text": "text", "image": "images"}[spec.modality])
