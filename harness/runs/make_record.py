"""Construction of a cell's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from harness.api.protocols import ImageModel
from harness.api.tasks import HubSource, TaskSpec
from harness.dictionaries.gate import Fidelity
from harness.models.opened import OpenModel, find_flags, find_seen
from harness.planning.cells import Bundle, Cell, Features, InputFeatures, ModelFeatures, Plan
from harness.probing.probe import Outcome, Rows
from harness.probing.shared_features import Sharing
from harness.runs.lines import Status
from harness.runs.record import Cost, Record, hash_predictions
from harness.storage.hashing import hash_json


def source_labels(cell: Cell) -> tuple[str | None, str | None]:
    """Return the labels of the other model and of the alignment of a transferred cell; None of other cells."""
    return (cell.source.model, cell.source.alignment.label) if cell.source else (None, None)


def make_record(
    cell: Cell,
    bundle: Bundle,
    plan: Plan,
    *,
    status: Status,
    error: str | None = None,
    rows: Rows | None = None,
    outcome: Outcome | None = None,
    cost: Mapping[str, Any] | None = None,
    fidelity: Fidelity | None = None,
    sharing: Sharing | None = None,
) -> Record:
    """Return the record of a cell that ended well, with `rows` and `outcome`, or of one that did not."""
    draw, fidelity = cell.draw, fidelity or Fidelity()
    source, alignment = source_labels(cell)
    return Record(
        cell_id=cell.cell_id,
        status=status,
        error=error,
        suite=plan.suite.name,
        **_describe_task(bundle),
        train_language=draw.train_language,
        test_language=draw.test_language,
        seen=find_seen(bundle.model, draw),
        **_describe_features(cell.features, bundle.model),
        transform=cell.transform.label,
        classifier=cell.classifier.label,
        regime=draw.regime.label,
        natural=draw.regime.spec.natural,
        learnt_on=source,  # the file's word for the source of a transfer
        alignment=alignment,
        protocol_hash=cell.protocol_hash,
        seed=draw.seed,
        **(_describe_scores(cell, bundle, rows, outcome) if rows is not None and outcome else {}),
        sharing=sharing,
        fidelity=fidelity,
        cost=Cost(**(cost or {})),
        flags=(
            *_flags(cell, bundle, plan, fidelity),
            *(_flag_rows(rows) if rows is not None else ()),
            *(outcome.flags if outcome else ()),
        ),
        origins=_origins(cell, bundle),
    )


def _describe_task(bundle: Bundle) -> dict[str, Any]:
    spec = bundle.data.spec
    return {
        "data": bundle.data.fingerprint,
        "task": spec.name,
        "task_version": spec.version,
        "trained_on": spec.trained_on,
        "modality": spec.modality,
        "hygiene": replace(bundle.data.hygiene, cut=bundle.n_truncated),
    }


def _describe_features(features: Features, model: OpenModel | None) -> dict[str, Any]:
    spec = features.representation.spec
    described: dict[str, Any] = {
        **dict.fromkeys(("model", "model_hash", "toy", "site", "tokens", "dictionary", "width", "pooling")),
        "representation": features.representation.label,
        "representation_hash": hash_json(
            features.identity if isinstance(features, InputFeatures) else features.general.identity
        ),
        "baseline": spec.baseline,
        "control": spec.control,
        "only": tuple(sorted(spec.only)),
    }
    if model and isinstance(features, ModelFeatures):
        described |= {
            "model": model.label,
            "model_hash": hash_json(model.model.identity(features.site)),
            "toy": model.choice.spec.toy,
            "site": str(features.site),
            "tokens": features.tokens.label,
            "dictionary": features.placed.reference,
            "width": features.general.width or None,  # 0 where it differs from task to task
            "pooling": features.pooling.label,
        }
    return described


def _describe_scores(cell: Cell, bundle: Bundle, rows: Rows, outcome: Outcome) -> dict[str, Any]:
    examples = bundle.data.examples
    link = cell.features.placed.link if isinstance(cell.features, ModelFeatures) else None
    return {
        "classifier_params": dict(outcome.parameters),
        "metrics": outcome.metrics,
        "validation_metrics": outcome.validation,
        "n_train": len(rows.train),
        "n_validation": len(rows.validation),
        "n_test": len(rows.test),
        "n_features": outcome.n_features,
        "selected_on": outcome.selected_on,
        "tried": outcome.tried,
        "used": tuple(
            replace(one, link=link.format(feature=one.feature) if link else None) for one in outcome.used
        ),
        "predictions_hash": hash_predictions(
            [examples.ids[row] for row in rows.test],
            [examples.labels[row] for row in rows.test],
            [rows.classes[number] for number in outcome.predicted],
        ),
    }


def _flags(cell: Cell, bundle: Bundle, plan: Plan, fidelity: Fidelity) -> Iterator[str]:
    """Yield what a board must say beside the scores of a cell, whatever its probe does."""
    data, model = bundle.data, bundle.model
    placed = cell.features.placed if isinstance(cell.features, ModelFeatures) else None
    yield from placed.flags if placed else ()
    yield from _model_flags(cell, model, plan)
    if plan.suite.limit is not None:
        yield "limited"
    if data.spec.keep_leaks and data.hygiene.leaks:
        yield f"leaks:{data.hygiene.leaks}"
    if data.hygiene.near_leaks and data.spec.leaks != "near":
        yield f"near-leaks:{data.hygiene.near_leaks}"
    if data.hygiene.drawn_from and any(
        task.is_limited for task in plan.suite.tasks if task.name == data.spec.name
    ):
        yield f"subset:{data.hygiene.drawn}/{data.hygiene.drawn_from}"
    for kind, alike in (("labels", data.alike_labels), ("groups", data.alike_groups)):
        if alike:
            yield f"alike-{kind}:{sum(map(len, alike))}"
    if placed and placed.fit and cell.draw.regime.spec.natural != "task":
        yield "fitted-on:full"  # on a sample of all training rows, whatever the regime leaves of them
    if cell.draw.shared_groups:
        yield f"shared-groups:{cell.draw.shared_groups}"
    read_by = cast("ImageModel", model.model) if model and model.modality == "image" else None
    if read_by and (seen := _name_seen(data.spec, read_by)):
        yield f"model-trained-on:{seen}"
    if fidelity.verdict == "flagged":
        yield from (f"fidelity:{rule}" for rule in fidelity.reasons)


def _flag_rows(rows: Rows) -> Iterator[str]:
    """Yield the flags of test rows: too few groups, and classes without any row."""
    yield from rows.support.flags if rows.support else ()
    if absent := len(rows.classes) - len(np.unique(rows.y[rows.test])):
        yield f"absent:{absent}/{len(rows.classes)}"


def _model_flags(cell: Cell, model: OpenModel | None, plan: Plan) -> Iterator[str]:
    """Yield the flags of a cell's model, and those of the model of a transfer's source after `source-`."""
    if model and isinstance(cell.features, ModelFeatures):
        yield from find_flags(model, cell.features.site)
    if source := cell.source:
        others = (bundle.model for bundle in plan.bundles if bundle.model)
        other = next((one for one in others if one.label == source.model), None)
        yield from (f"source-{flag}" for flag in (find_flags(other, source.features.site) if other else ()))


def _name_seen(spec: TaskSpec, model: ImageModel) -> str | None:
    """Return the name under which a model was trained on the training rows of a task; None where it was not."""
    hub = spec.source.hub if isinstance(spec.source, HubSource) else None
    return next(
        (name for name in (spec.name, spec.mirror, spec.trained_on, hub) if name in model.seen_tasks), None
    )


def _origins(cell: Cell, bundle: Bundle) -> dict[str, str]:
    """Return the plugin and the distribution that supplied each part."""
    choices = {
        "model": bundle.model.choice if bundle.model else None,
        "representation": cell.features.representation,
        "pooling": cell.features.pooling if isinstance(cell.features, ModelFeatures) else None,
        "transform": cell.transform,
        "classifier": cell.classifier,
        "regime": cell.draw.regime,
        "alignment": cell.source.alignment if cell.source else None,
    }
    return {kind: f"{choice.plugin} {choice.provenance}" for kind, choice in choices.items() if choice}
