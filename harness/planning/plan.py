"""Suite × registry → bundles of cells. Everything that can be wrong is refused here, before a weight is loaded;
what cannot be had (data, a model's files, a dictionary) is left out by name while something else remains.

A bundle is one model on one task: one forward pass fills all its features, and its cells are probes on them.
Input-only arms of a task form a bundle without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.api.data import Site
from harness.api.errors import UsageError, did_you_mean
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite
from harness.data.partitions import find_untested
from harness.data.task import load_task
from harness.features.token_sets import TokenSet
from harness.models.opened import check_unique, locate, nothing_available, open_available, skip_if_unavailable
from harness.planning.arms import Arms, MatchedSuite
from harness.planning.bundles import PlacedArm, make_bundles, make_transfers, pair_models
from harness.planning.cells import Bundle, Plan, Transfer
from harness.registry.catalog import Registry


def make_plan(
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    strict_data: bool = False,
) -> Plan:
    """Resolve every name, parameter, site and dictionary of `suite`; HarnessError at the first that cannot be.

    A task, model or dictionary that only cannot be had here and now is left out; UnavailableError when that leaves
    nothing, or none of the suite's models. `included` are tasks given as files; they come before registered ones. With
    `strict_data`, UsageError for an image that cannot be decoded, which is else left out and counted.
    """
    arms = Arms.choose(suite, registry)
    tokens = TokenSet.parse(suite.tokens)
    specs = _choose_tasks(suite, registry, included)
    needs_model = arms.on_tokens or any(model.representations for model in suite.models)
    if arms.on_tokens and not suite.models:
        raise UsageError(f"suite '{suite.name}' has representations that need a model, but no models")
    left_out: dict[str, str] = {}
    models = open_available(suite.models, registry, left_out) if needs_model else ()
    matched = MatchedSuite.match(suite, specs, tuple(models), arms, registry, whole=not left_out)
    suite, specs, models, arms = matched.suite, matched.specs, matched.models, matched.arms
    notes = list(matched.notes)
    located: list[PlacedArm] = []
    for model in models:
        for representation in (*arms.on_tokens, *model.representations):
            places: set[Site] = set()
            for site in model.sites:
                with skip_if_unavailable(f"{representation.label} at {site} of {model.label}", left_out):
                    found = locate(representation, model, site, registry)
                    read = found.site or site
                    if read not in places:  # of several sites that lead it to one place, the first
                        located.append((model, representation, read, found))
                    places.add(read)
    others = [find_trained_on(spec, registry, included) for spec, _ in specs]
    pairs = pair_models(suite, models)
    bundles: list[Bundle] = []
    transfers: list[Transfer] = []
    for (spec, limit), other in zip(specs, others, strict=True):
        with skip_if_unavailable(spec.name, left_out):
            data = load_task(spec, data_dir=data_dir, limit=limit, trained_on=other, strict=strict_data)
            made = tuple(
                make_bundles(
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
            transfers += make_transfers(made, pairs, arms)
            if any(regime.spec.by_language for regime in arms.regimes):
                notes += [f"task '{spec.name}' has {one}" for one in find_untested(data.examples)]
    if not bundles:
        raise nothing_available(left_out)
    plan = Plan(
        suite=suite,
        bundles=tuple(bundles),
        transfers=tuple(transfers),
        left_out=left_out,
        notes=tuple(notes),
    )
    _check_unique_cells(plan)
    return plan


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


def _choose_tasks(
    suite: Suite, registry: Registry, included: Sequence[TaskSpec]
) -> list[tuple[TaskSpec, int | None]]:
    check_unique("task file", [spec.name for spec in included])
    check_unique("task", [task.name for task in suite.tasks])
    check_unique("seed", [str(seed) for seed in suite.seeds])
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


def _check_unique_cells(plan: Plan) -> None:
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


# ── models, sites, dictionaries ──────────────────────────────────────────────────────────────────────────


# ── bundles and cells ────────────────────────────────────────────────────────────────────────────────────


# ── from one model to another ────────────────────────────────────────────────────────────────────────────
