"""Construction of a cell's record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.api.names import FULL
from harness.api.protocols import ImageModel, PlacedRepresentation
from harness.api.tasks import HubSource, TaskSpec
from harness.data.partitions import count_shared_groups
from harness.dictionaries.gate import Judgement
from harness.models.opened import find_seen
from harness.planning.cells import Bundle, Cell, Plan
from harness.probing.attribution import snippet
from harness.probing.probe import (
    Outcome,
    Rows,
)
from harness.probing.shared_features import Sharing as Shared
from harness.runs.record import (
    Cost,
    Fidelity,
    HygieneCounts,
    Metric,
    Record,
    Sharing,
    Status,
    Used,
    hash_predictions,
)
from harness.storage.hashing import hash_json


def source_labels(cell: Cell) -> tuple[str | None, str | None]:
    """The other model that a cell is learnt on, and what maps its own features to those; None where there is none."""
    return (cell.learnt_on.model, cell.learnt_on.alignment.label) if cell.learnt_on else (None, None)


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
    judgement: Judgement | None = None,
    sharing: Shared | None = None,
) -> Record:
    features, spec, model = cell.features, bundle.data.spec, bundle.model
    draw = cell.draw
    located, general = features.located, features.general
    measured: dict[str, Any] = {}
    if rows is not None and outcome is not None:
        measured = {
            "classifier_params": dict(outcome.parameters),
            "metrics": {name: Metric(**asdict(value)) for name, value in outcome.metrics.items()},
            "validation_metrics": dict(outcome.validation),
            "n_train": len(rows.train),
            "n_validation": len(rows.validation),
            "n_test": len(rows.test),
            "n_features": outcome.n_features,
            "selected_on": outcome.selected_on,
            "tried": outcome.tried,
            "used": _used(outcome, bundle, located),
            "sharing": Sharing(**asdict(sharing)) if sharing else None,
            "predictions_hash": hash_predictions(
                [bundle.data.examples.ids[row] for row in rows.test],
                [bundle.data.examples.labels[row] for row in rows.test],
                [rows.classes[number] for number in outcome.predicted],
            ),
        }
    fidelity = _fidelity(judgement)
    flags = (located.flags if located else ()) + (("limited",) if plan.suite.limit is not None else ())
    if spec.keep_leaks and bundle.data.hygiene.leaks:
        flags += (f"leaks:{bundle.data.hygiene.leaks}",)
    if located and located.fit and draw.regime.label != FULL:
        flags += ("fitted-on:full",)  # on a sample of all training rows, whatever the regime leaves of them
    if shared := count_shared_groups(bundle.data.examples, draw.partition):
        flags += (f"shared-groups:{shared}",)
    if model and isinstance(model.model, ImageModel) and (seen := _seen(spec, model.model)):
        flags += (f"model-trained-on:{seen}",)
    if fidelity.verdict == "flagged":
        flags += tuple(f"fidelity:{rule}" for rule in fidelity.reasons)
    return Record(
        cell_id=cell.cell_id,
        data=bundle.data.fingerprint,
        status=status,
        error=error,
        suite=plan.suite.name,
        task=spec.name,
        task_version=spec.version,
        trained_on=spec.trained_on,
        modality=spec.modality,
        train_language=draw.train_language,
        test_language=draw.test_language,
        seen=find_seen(model, draw),
        model=model.label if model else None,
        model_hash=hash_json(model.model.identity(features.site)) if model and features.site else None,
        site=str(features.site) if features.site else None,
        tokens=features.tokens.label if features.tokens else None,
        representation=features.representation.label,
        representation_hash=hash_json(general.identity if general else features.representation.identity),
        dictionary=located.reference if located else None,
        width=(general.width or None) if general else None,  # 0 where it differs from task to task
        pooling=features.pooling.label if features.pooling else None,
        transform=cell.transform.label,
        classifier=cell.classifier.label,
        regime=draw.regime.label,
        learnt_on=source_labels(cell)[0],
        alignment=source_labels(cell)[1],
        control=features.representation.spec.control,
        only=tuple(sorted(features.representation.spec.only)),
        protocol_hash=cell.protocol_hash,
        seed=draw.seed,
        hygiene=HygieneCounts(**asdict(bundle.data.hygiene), cut=bundle.n_cut),
        fidelity=fidelity,
        cost=Cost(**(cost or {})),
        flags=flags + (outcome.flags if outcome else ()),
        origins=_origins(cell, bundle),
        **measured,
    )


def _seen(spec: TaskSpec, model: ImageModel) -> str | None:
    """Under what name a model says that it was trained on the rows that a task learns from."""
    names = (
        spec.name,
        spec.mirror,
        spec.trained_on,
        spec.source.hub if isinstance(spec.source, HubSource) else None,
    )
    return next((name for name in names if name in model.seen_tasks), None)


def _used(outcome: Outcome, bundle: Bundle, located: PlacedRepresentation | None) -> tuple[Used, ...]:
    inputs = bundle.data.examples.inputs
    images = bundle.data.spec.modality == "image"
    return tuple(
        Used(
            feature=one.feature,
            label=one.label,
            weight=one.weight,
            effect=one.effect,
            means=dict(one.means),
            snippets=() if images else tuple(snippet(str(inputs[row])) for row in one.rows),
            link=located.link.format(feature=one.feature) if located and located.link else None,
        )
        for one in outcome.used
    )


def _fidelity(judgement: Judgement | None) -> Fidelity:
    if judgement is None:
        return Fidelity()
    seen = asdict(judgement.seen) if judgement.seen else {}
    return Fidelity(verdict=judgement.verdict, reasons=dict(judgement.reasons), **seen)


def _origins(cell: Cell, bundle: Bundle) -> dict[str, str]:
    """Which plugin of which distribution supplied each part."""
    choices = {
        "model": bundle.model.choice if bundle.model else None,
        "representation": cell.features.representation,
        "pooling": cell.features.pooling,
        "transform": cell.transform,
        "classifier": cell.classifier,
        "regime": cell.draw.regime,
        "alignment": cell.learnt_on.alignment if cell.learnt_on else None,
    }
    return {kind: f"{choice.plugin} {choice.distribution}" for kind, choice in choices.items() if choice}
