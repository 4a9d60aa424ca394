"""Planning: a suite and the registry's offers become bundles of cells.

Every fault of a suite raises here, before weights are loaded. A task, model or dictionary that is unavailable is left
out by name while something else remains, and so is a representation that does not fit a model which took the place of
the suite's own. A bundle is one model on one task: one forward pass fills all its features,
and its cells are probes on them. Arms of a task that read inputs form a bundle without a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.api.errors import UsageError, did_you_mean
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite, TaskChoice
from harness.data.fuzzy import count_fuzzy_leaks
from harness.data.partitions import find_untested
from harness.data.spellings import describe_alike
from harness.data.splits import SplitLimits
from harness.data.task import TaskData, load_task
from harness.models.opened import (
    OpenModel,
    check_unique,
    describe_flags,
    nothing_available,
    open_available,
    skip_if_unavailable,
)
from harness.planning.arms import Arms, match_suite
from harness.planning.bundles import make_bundles
from harness.planning.cells import Bundle, ModelFeatures, Plan, Transfer
from harness.planning.placements import place_all
from harness.planning.transfers import make_transfers, pair_models
from harness.registry.catalog import Registry
from harness.storage.feature_store import FeatureStore


def make_plan(
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    strict_data: bool = False,
    store: FeatureStore | None = None,
) -> Plan:
    """Resolve every name, parameter, site and dictionary of `suite`, and plan its cells.

    `included` are tasks given as files; they take precedence over registered ones. Raise HarnessError at the first
    fault, and UnavailableError when no model or no bundle is available. With `strict_data`, raise UsageError for an
    image that cannot be decoded; without, such images are left out and counted. Counts of fuzzy leaks are kept in
    `store`.
    """
    left_out: dict[str, str] = {}
    # 1. Resolve names and parameters.
    arms = Arms.choose(suite, registry, left_out)
    specs = _choose_tasks(suite, registry, included)
    # 2. Open the models that are available, without weights.
    models = _open_models(suite, arms, registry, left_out)
    # 3. Drop what matches nothing else in the suite.
    suite, specs, models, arms, notes = match_suite(suite, specs, models, arms, complete=not left_out)
    notes = [*describe_flags(models), *notes]
    # 4. Place the representations at their sites, and pair the models of transfers.
    suite, placed, dropped = place_all(suite, models, arms, registry, left_out)
    notes += dropped
    notes += dict.fromkeys(note for arm in placed for note in arm.general.notes)
    trained_on = {spec.name: find_trained_on(spec, registry, included) for spec, _ in specs}
    pairs = pair_models(suite, models)
    # 5. Load each task, one at a time, and make its bundles and transfers.
    bundles: list[Bundle] = []
    transfers: list[Transfer] = []
    for spec, limit in specs:
        with skip_if_unavailable(spec.name, left_out):
            other = trained_on[spec.name]
            data = load_task(spec, data_dir=data_dir, limit=limit, trained_on=other, strict=strict_data)
            data = count_fuzzy_leaks(data, store) if suite.fuzzy_leaks else data
            made = make_bundles(data, models, placed, arms, left_out)
            bundles += made
            transfers += make_transfers(made, pairs, arms.alignments)
            notes += [f"task '{spec.name}' has {one}" for one in _describe_data(data, arms)]
    # 6. Check that something is left, and that no two cells are the same.
    if not bundles:
        raise nothing_available(left_out)
    plan = Plan(
        suite=suite, bundles=tuple(bundles), transfers=tuple(transfers), left_out=left_out, notes=tuple(notes)
    )
    _check_unique_cells(plan)
    return plan


def choose_task(
    task: TaskChoice, suite: Suite, registry: Registry, included: Sequence[TaskSpec]
) -> tuple[TaskSpec, int | SplitLimits | None]:
    """Return the task that a suite names, with the leaks it removes, and the limit of its rows, if any."""
    limit: int | SplitLimits | None = min(
        (limit for limit in (task.limit, suite.limit) if limit), default=None
    )
    if task.test_limit:
        limit = SplitLimits(test=task.test_limit, others=task.limit, every=suite.limit)
    spec = find_task(task.name, registry, included)
    # What the suite says of all tasks is of those that can be asked it.
    leaks = task.leaks or (suite.leaks if spec.modality == "text" and not spec.keep_leaks else None)
    return (replace(spec, leaks=leaks) if leaks else spec), limit


def find_task(name: str, registry: Registry, included: Sequence[TaskSpec]) -> TaskSpec:
    """Return the task of a name, an included one first. Raise UsageError when there is none."""
    found: TaskSpec | None = next((spec for spec in included if spec.name == name), None)
    return found or registry.get("tasks", name, beside=[spec.name for spec in included]).spec


def _choose_tasks(
    suite: Suite, registry: Registry, included: Sequence[TaskSpec]
) -> list[tuple[TaskSpec, int | SplitLimits | None]]:
    check_unique("task", [task.name for task in suite.tasks])
    check_unique("seed", [str(seed) for seed in suite.seeds])
    return [choose_task(task, suite, registry, included) for task in suite.tasks]


def find_trained_on(spec: TaskSpec, registry: Registry, included: Sequence[TaskSpec] = ()) -> TaskSpec | None:
    """Return the task on whose training rows `spec` trains, if another. Raise UsageError when there is no such task."""
    if spec.trained_on is None:
        return None
    known = [*(one.name for one in included), *registry.names("tasks")]
    if spec.trained_on not in known:
        hint = did_you_mean(spec.trained_on, known, listed_by="harness ls tasks")
        raise UsageError(f"task '{spec.name}' learns from '{spec.trained_on}', which is no task{hint}")
    other = find_task(spec.trained_on, registry, included)
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


def _describe_data(data: TaskData, arms: Arms) -> Iterator[str]:
    """Yield what a user should know of a task's rows before they are used."""
    if any(regime.spec.by_language for regime in arms.regimes):
        yield from find_untested(data.examples)
    if fuzzy := data.hygiene.fuzzy_leaks:
        opposite = data.hygiene.fuzzy_opposite
        yield (
            f"{fuzzy} fuzzy leaks ({opposite} with another label): texts that share four fifths of their sequences "
            f"of 5 characters with one of an earlier split, as rows of one template may too; none is removed"
        )
    for kind, found in (("labels", data.alike_labels), ("groups", data.alike_groups)):
        if found:
            way_out = "; `labels` in its task file makes them one" if kind == "labels" else ""
            yield f"{kind} that differ only by case or blanks, each for itself: {describe_alike(found)}{way_out}"


def _open_models(
    suite: Suite, arms: Arms, registry: Registry, left_out: dict[str, str]
) -> tuple[OpenModel, ...]:
    """Open the available models. Open none where no representation reads one."""
    if arms.on_tokens and not suite.models:
        raise UsageError(f"suite '{suite.name}' has representations that need a model, but no models")
    if arms.on_tokens or any(model.representations for model in suite.models):
        return open_available(suite.models, registry, left_out)
    return ()


def _check_unique_cells(plan: Plan) -> None:
    """Raise UsageError when two names of a suite mean the same thing: one would hide the other on the board."""
    known: dict[str, str] = {}
    for bundle in plan.cell_bundles:
        for cell in bundle.cells:
            pooling = cell.features.pooling if isinstance(cell.features, ModelFeatures) else None
            parts = (bundle.model, cell.features.representation, pooling, cell.transform)
            more = (cell.classifier, cell.draw.regime, cell.source and cell.source.alignment)
            label = " ".join(part.label for part in (*parts, *more) if part)
            if cell.cell_id in known:
                first = known[cell.cell_id]
                twice = (
                    f"'{label}' is in the suite twice, as under representations and under a model: the two"
                )
                both = twice if first == label else f"'{first}' and '{label}'"
                raise UsageError(f"{both} are the same; leave one out")
            known[cell.cell_id] = label
