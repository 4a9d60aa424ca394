"""Pictures of a run's displayed cells of image tasks. They change no number, and a picture that fails ends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache, partial

from harness.api.errors import UnavailableError
from harness.api.protocols import Encoder, ImageModel, LoadedModel
from harness.features.artifacts import read_fitted
from harness.figures.cell import CellFeatures, Drawn, draw_confusion, draw_sheets, join
from harness.planning.cells import Bundle, Cell, ModelFeatures, Plan
from harness.runs.folder import RunFolder
from harness.runs.layout import place_confusion
from harness.runs.record import Record, read_scored
from harness.storage.feature_store import FeatureStore


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Finished run with what its pictures are drawn from."""

    records: Mapping[str, Record]
    folder: RunFolder
    store: FeatureStore
    device: str
    batch_size: int | None


def illustrate(
    plan: Plan,
    shown: Set[str],
    *,
    folder: RunFolder,
    store: FeatureStore,
    device: str,
    batch_size: int | None,
) -> Drawn:
    """Draw the confusion matrix of every cell of an image task whose id is `shown`, and contact sheets of its most
    influential features if they are a dictionary's. Existing pictures are not drawn again. WriteError if the disk
    refuses.
    """
    records = {record.cell_id: record for record in folder.records() if record.status == "ok"}
    wanted = shown & records.keys()
    run = _Run(records=records, folder=folder, store=store, device=device, batch_size=batch_size)
    return join(
        [
            drawn
            for bundle in plan.bundles
            if bundle.data.spec.modality == "image"
            for drawn in _illustrate_bundle(run, bundle, wanted)
        ]
    )


def _illustrate_bundle(run: _Run, bundle: Bundle, wanted: Set[str]) -> Iterator[Drawn]:
    # The matrix of a cell is drawn last, so a cell that has one has all its pictures.
    cells = [
        cell
        for cell in bundle.cells
        if cell.cell_id in wanted and not place_confusion(run.folder.path, cell.cell_id).is_file()
    ]

    @cache
    def load() -> LoadedModel:
        assert bundle.model
        sites = {cell.features.site for cell in cells if isinstance(cell.features, ModelFeatures)}
        return bundle.model.model.load(sorted(sites), run.device)

    for cell in cells:
        if given := _cell_features(run, bundle, cell, load):
            yield draw_sheets(run.folder.path, cell.cell_id, given)
        predictions = read_scored(run.folder, run.records[cell.cell_id])
        yield draw_confusion(
            run.folder.path,
            cell.cell_id,
            title=_title(run.records[cell.cell_id]),
            labels=list(predictions["label"].astype(str)),
            predictions=list(predictions["prediction"].astype(str)),
            classes=bundle.data.classes,
        )


def _cell_features(
    run: _Run, bundle: Bundle, cell: Cell, load: Callable[[], LoadedModel]
) -> CellFeatures | None:
    """Return the inputs of a cell's contact sheets; None unless its features are a dictionary's and in the store."""
    record, features = run.records[cell.cell_id], cell.features
    if not (record.used and isinstance(features, ModelFeatures) and features.placed.sparse):
        return None
    matrix = run.store.read(features.key, len(bundle.data.examples))
    if matrix is None:
        return None
    model = bundle.model and bundle.model.model
    assert isinstance(model, ImageModel)
    return CellFeatures(
        title=_title(record),
        model=model,
        loaded=load,
        encoder=partial(_encoder, features, run.store, run.device),
        site=features.site,
        tokens=bundle.tokens,
        matrix=matrix,
        train=cell.draw.partition.train,
        labels=cell.draw.partition.labels,
        pooling=features.pooling.label,
        used=record.used,
        device=run.device,
        batch_size=run.batch_size,
    )


def _encoder(features: ModelFeatures, store: FeatureStore, device: str) -> Encoder:
    key, load = features.fitted_key, features.placed.load
    if key and (encoder := read_fitted(store, key, device)):
        return encoder
    if not key and load:
        return load(device)
    raise UnavailableError("what was fitted is no longer in the cache")


def _title(record: Record) -> str:
    parts = (record.task, record.model, record.site, record.representation, record.pooling, record.classifier)
    return " · ".join(part for part in parts if part)
