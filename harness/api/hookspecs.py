"""Hooks, each with its reference text. A plugin implements those it needs, marked with `harness.hookimpl`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pluggy

from harness.api.events import BatchFinished, BundleFinished, CellFinished, RunFinished, RunStarted, Summary
from harness.api.specs import (
    AlignmentSpec,
    ClassifierSpec,
    CommandSpec,
    DictionaryScoreSpec,
    ExecutorSpec,
    ExplainerSpec,
    ModelSpec,
    PoolingSpec,
    RegimeSpec,
    RepresentationSpec,
    ResultSpec,
    TransformSpec,
)
from harness.api.tasks import TaskSpec

PROJECT = "harness"

# A hook has no body, because pluggy calls its implementations: mypy's complaint of each (empty-body) is left aside.
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Mark a function of a plugin as the implementation of the hook of its name."""


def _former(name: str, now: str) -> DeprecationWarning:
    """Return the warning for a hook's former argument."""
    return DeprecationWarning(f"the argument '{name}' of this hook goes in the next version: take '{now}'")


@hookspec
def harness_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Offer models under names of their own.

    Called once, before the first command does anything. Must not import torch: heavy imports belong into
    `make`. Two specs under one name are an error that names both owners.
    """


@hookspec
def harness_representations() -> Iterable[RepresentationSpec]:  # type: ignore[empty-body]
    """Offer what can be pooled and probed: dictionaries, controls, and arms that read only the input.

    Called once, by the rules of `harness_models`.
    """


@hookspec
def harness_poolings() -> Iterable[PoolingSpec]:  # type: ignore[empty-body]
    """Offer poolings of the tokens of an example. Called once, by the rules of `harness_models`."""


@hookspec
def harness_transforms() -> Iterable[TransformSpec]:  # type: ignore[empty-body]
    """Offer transforms of a pooled matrix. Called once, by the rules of `harness_models`."""


@hookspec
def harness_classifiers() -> Iterable[ClassifierSpec]:  # type: ignore[empty-body]
    """Offer classifiers, with the grid searched on validation. Called once, by the rules of `harness_models`."""


@hookspec
def harness_regimes() -> Iterable[RegimeSpec]:  # type: ignore[empty-body]
    """Offer regimes: changes of the training rows, of their classes or labels, or of the split.

    Called once, by the rules of `harness_models`.
    """


@hookspec
def harness_alignments() -> Iterable[AlignmentSpec]:  # type: ignore[empty-body]
    """Offer alignments of the features of two models, fitted on rows that both have read.

    Called once, by the rules of `harness_models`.
    """


@hookspec
def harness_executors() -> Iterable[ExecutorSpec]:  # type: ignore[empty-body]
    """Offer executors, which run the units of a run: here, in other processes, on other machines.

    Called once, by the rules of `harness_models`.
    """


@hookspec
def harness_explainers() -> Iterable[ExplainerSpec]:  # type: ignore[empty-body]
    """Offer explainers, which put into words where a feature fires, or say from such words where it does.

    Called once, by the rules of `harness_models`.
    """


@hookspec
def harness_tasks() -> Iterable[TaskSpec]:  # type: ignore[empty-body]
    """Offer labelled data, as declarative records. Called once; must read no data."""


@hookspec
def harness_suites() -> Iterable[Path]:  # type: ignore[empty-body]
    """Offer suite files (YAML), which can then be run by their name, the stem of the file. Called once."""


@hookspec
def harness_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Offer commands of the command line, each loaded when it is called.

    Called once, by the rules of `harness_models`. The name of a built-in command cannot be offered.
    """


@hookspec
def harness_results() -> Iterable[ResultSpec]:  # type: ignore[empty-body]
    """Offer the kinds of results that commands of the plugin leave in a folder, each with the page that it is shown on.

    Called once, by the rules of `harness_models`. `harness leaderboard build`, `make` and `check` write and check the
    pages of a folder, and one table of all claims there.
    """


@hookspec
def harness_dictionary_scores() -> Iterable[DictionaryScoreSpec]:  # type: ignore[empty-body]
    """Offer scores of dictionaries, whose reliability `harness check-statistics --dictionaries FOLDER` measures.

    Called once, by the rules of `harness_models`.
    """


@hookspec(firstresult=True)
def harness_resolve_model(ref: str, name: str) -> ModelSpec | None:
    """Return a spec for a model reference that no plugin listed: a folder, or `ORG/REPO[@REVISION]`.

    Called for each such reference of a plan. Return None quickly where `ref` is not yours; the first spec
    returned is taken. `name` is what people call the model, for messages: the name of the offer that stands for `ref`,
    else `ref` itself. It must change no number; an implementation may leave it out.
    """


@hookspec(firstresult=True)
def harness_resolve_representation(ref: str, name: str) -> RepresentationSpec | None:
    """Return a spec for a representation reference that no plugin listed: a folder or file, or
    `ORG/REPO[@REVISION]/FOLDER`. Called like `harness_resolve_model`.
    """


# Before events, observers received internals under these names. Plugins that still ask for them are served, and warned.


@hookspec(warn_on_impl_args={"plan": _former("plan", "event"), "done": _former("done", "event.done")})
def harness_run_started(event: RunStarted, plan: object, done: int) -> None:
    """Observe the start of a run. Observers may show and log, not change; ask for `event` alone."""


@hookspec(warn_on_impl_args={"stats": _former("stats", "event")})
def harness_batch_finished(event: BatchFinished, stats: BatchFinished) -> None:
    """Observe a batch that went through the model; ask for `event` alone."""


@hookspec(warn_on_impl_args={"stats": _former("stats", "event")})
def harness_bundle_finished(event: BundleFinished, stats: BundleFinished) -> None:
    """Observe a bundle whose features are all in the store; ask for `event` alone."""


@hookspec(warn_on_impl_args={"record": _former("record", "event")})
def harness_cell_finished(event: CellFinished, record: object) -> None:
    """Observe the end of a cell, whose record is on disk already; ask for `event` alone."""


@hookspec(warn_on_impl_args={"summary": _former("summary", "event.summary")})
def harness_run_finished(event: RunFinished, summary: Summary) -> None:
    """Observe the end of a run, whose records and leaderboard are on disk; ask for `event` alone."""
