"""Every hook, each with its reference text. A plugin implements those it needs, marked with `harness.hookimpl`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pluggy

from harness.api.events import BatchFinished, BundleFinished, CellFinished, RunFinished, RunStarted, Summary
from harness.api.specs import (
    AlignmentSpec,
    ClassifierSpec,
    CommandSpec,
    ModelSpec,
    PoolingSpec,
    RegimeSpec,
    RepresentationSpec,
    TransformSpec,
)
from harness.api.tasks import TaskSpec

PROJECT = "harness"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def _former(name: str, now: str) -> DeprecationWarning:
    """Return the warning for a hook's former argument."""
    return DeprecationWarning(f"the argument '{name}' of this hook goes in the next version: take '{now}'")


@hookspec
def harness_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Models offered under a name of their own.

    Called once, before the first command does anything. Must not import torch: heavy imports belong into
    `make`. Two specs under one name are an error that names both owners.
    """


@hookspec
def harness_representations() -> Iterable[RepresentationSpec]:  # type: ignore[empty-body]
    """What can be pooled and probed: dictionaries, controls, and arms that read only the input.

    Called once; the same rules as for `harness_models`.
    """


@hookspec
def harness_poolings() -> Iterable[PoolingSpec]:  # type: ignore[empty-body]
    """Ways from the tokens of an example to one vector. Called once; the same rules as for `harness_models`."""


@hookspec
def harness_transforms() -> Iterable[TransformSpec]:  # type: ignore[empty-body]
    """Ways from a pooled matrix to another. Called once; the same rules as for `harness_models`."""


@hookspec
def harness_classifiers() -> Iterable[ClassifierSpec]:  # type: ignore[empty-body]
    """Classifiers with the grid searched on validation. Called once; the same rules as for `harness_models`."""


@hookspec
def harness_regimes() -> Iterable[RegimeSpec]:  # type: ignore[empty-body]
    """Ways to change what is learnt from: fewer rows, rarer classes, wrong labels, other splits. Called once; the same
    rules as for `harness_models`.
    """


@hookspec
def harness_alignments() -> Iterable[AlignmentSpec]:  # type: ignore[empty-body]
    """Ways from the features of one model to those of another, learnt on rows that both have read. Called once; the
    same rules as for `harness_models`.
    """


@hookspec
def harness_tasks() -> Iterable[TaskSpec]:  # type: ignore[empty-body]
    """Labelled data, as declarative records. Called once; reads no data."""


@hookspec
def harness_suites() -> Iterable[Path]:  # type: ignore[empty-body]
    """Suite files (YAML) that can then be run by their name, which is the file's stem. Called once."""


@hookspec
def harness_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Commands of the command line, each loaded when it is called. Called once; the same rules as for
    `harness_models`. A command of the harness itself cannot be offered again.
    """


@hookspec(firstresult=True)
def harness_resolve_model(ref: str) -> ModelSpec | None:
    """A spec for a model reference that no plugin listed: a folder, or `ORG/REPO[@REVISION]`.

    Called for each such reference of a plan. Return None quickly where `ref` is not yours; the first spec
    returned is taken.
    """


@hookspec(firstresult=True)
def harness_resolve_representation(ref: str) -> RepresentationSpec | None:
    """A spec for a representation reference that no plugin listed: a folder or file, or
    `ORG/REPO[@REVISION]/FOLDER`. Called like `harness_resolve_model`.
    """


# Before events, observers received internals under these names. Plugins that still ask for them are served, and warned.


@hookspec(warn_on_impl_args={"plan": _former("plan", "event"), "done": _former("done", "event.done")})
def harness_run_started(event: RunStarted, plan: object, done: int) -> None:
    """A run begins. Observers may show and log, not change; ask for `event` alone."""


@hookspec(warn_on_impl_args={"stats": _former("stats", "event")})
def harness_batch_finished(event: BatchFinished, stats: BatchFinished) -> None:
    """One batch went through the model; ask for `event` alone."""


@hookspec(warn_on_impl_args={"stats": _former("stats", "event")})
def harness_bundle_finished(event: BundleFinished, stats: BundleFinished) -> None:
    """All features of one bundle are in the store; ask for `event` alone."""


@hookspec(warn_on_impl_args={"record": _former("record", "event")})
def harness_cell_finished(event: CellFinished, record: object) -> None:
    """One cell has its record, on disk already; ask for `event` alone."""


@hookspec(warn_on_impl_args={"summary": _former("summary", "event.summary")})
def harness_run_finished(event: RunFinished, summary: Summary) -> None:
    """The run has ended, and its records and leaderboard are on disk; ask for `event` alone."""
