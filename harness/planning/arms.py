"""Arms of a suite: its choices with aliases and defaults resolved, matched to its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.api.errors import UsageError
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite
from harness.models.opened import OpenModel, choose_all
from harness.registry.catalog import Choice, Registry


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The suite's choices, with aliases and defaults resolved."""

    on_tokens: tuple[Choice, ...]
    on_inputs: tuple[Choice, ...]
    poolings: tuple[Choice, ...]
    transforms: tuple[Choice, ...]
    classifiers: tuple[Choice, ...]
    regimes: tuple[Choice, ...]
    alignments: tuple[Choice, ...]

    @classmethod
    def choose(cls, suite: Suite, registry: Registry) -> Arms:
        representations = choose_all(registry, "representations", suite.representations)
        arms = cls(
            on_tokens=tuple(choice for choice in representations if choice.spec.needs == "tokens"),
            on_inputs=tuple(choice for choice in representations if choice.spec.needs != "tokens"),
            poolings=choose_all(registry, "poolings", suite.poolings),
            transforms=choose_all(registry, "transforms", suite.transforms),
            classifiers=choose_all(registry, "classifiers", suite.classifiers),
            regimes=choose_all(registry, "regimes", suite.regimes),
            alignments=choose_all(registry, "alignments", suite.alignments),
        )
        # Making them now finds values that a factory refuses, while nothing is lost yet.
        choices = (*arms.poolings, *arms.transforms, *arms.on_inputs, *arms.classifiers, *arms.regimes)
        for choice in (*choices, *arms.alignments):
            try_to_make(choice)
        return arms


def try_to_make(choice: Choice) -> None:
    """HarnessError when its factory refuses its parameters."""
    choice.make(**({"seed": 0} if choice.kind == "classifiers" and choice.takes_seed else {}))


@dataclass(frozen=True, kw_only=True)
class MatchedSuite:
    """A suite without tasks that nothing of it reads, and without models and arms that suit none of its tasks; `notes`
    say which.
    """

    suite: Suite
    specs: list[tuple[TaskSpec, int | None]]
    models: tuple[OpenModel, ...]
    arms: Arms
    notes: tuple[str, ...]

    @classmethod
    def match(
        cls,
        suite: Suite,
        specs: Sequence[tuple[TaskSpec, int | None]],
        models: tuple[OpenModel, ...],
        arms: Arms,
        registry: Registry,
        *,
        whole: bool,
    ) -> MatchedSuite:
        """UsageError where no task is left. Unless the models are `whole`, one that is not here might read a task."""
        readable = {model.modality for model in models}
        unread = [
            spec
            for spec, _ in specs
            if whole
            and (
                spec.modality not in readable
                if models
                else not any(suits_task(a, spec) for a in arms.on_inputs)
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
            return arm.spec.needs == "tokens" or any(suits_task(arm, spec) for spec, _ in specs)

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


def suits_task(arm: Choice, spec: TaskSpec) -> bool:
    """Whether an arm that reads inputs can read those of a task."""
    return arm.spec.needs in ("nothing", {"text": "text", "image": "images"}[spec.modality])
