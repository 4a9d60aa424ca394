"""A run whose tasks are images in, pictures of the cells that its board goes by out. None of them changes a number, and
none that cannot be drawn ends anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from harness.api.errors import UnavailableError
from harness.api.protocols import Encoder, ImageModel, LoadedModel
from harness.features.artifacts import read_fitted
from harness.figures import Drawn, draw_confusion, draw_sheets, place_confusion
from harness.planning.cells import Bundle, ModelFeatures, Plan
from harness.runs.folder import RunFolder
from harness.runs.record import Record
from harness.storage.feature_store import FeatureStore

if TYPE_CHECKING:
    import pandas as pd


def illustrate(
    plan: Plan,
    shown: Set[str],
    *,
    folder: RunFolder,
    store: FeatureStore,
    device: str,
    batch_size: int | None,
) -> Drawn:
    """The confusion matrix of every cell of an image task whose id is `shown`, and contact sheets of the features
    that its classifier goes by where they are of a dictionary. What is drawn already is not drawn again.
    UnavailableError when the disk refuses.
    """
    records = {record.cell_id: record for record in folder.records() if record.status == "ok"}
    drawn = Drawn()
    for bundle in plan.bundles:
        if bundle.data.spec.modality != "image":
            continue
        cells = [
            cell
            for cell in bundle.cells
            if cell.cell_id in shown
            and cell.cell_id in records
            and not place_confusion(folder.path, cell.cell_id).is_file()
        ]
        for one in _illustrate_bundle(
            replace(bundle, cells=tuple(cells)), records, folder, store, device, batch_size
        ):
            drawn = Drawn(paths=drawn.paths + one.paths, notes=drawn.notes + one.notes)
    return drawn


def _illustrate_bundle(
    bundle: Bundle,
    records: Mapping[str, Record],
    folder: RunFolder,
    store: FeatureStore,
    device: str,
    batch_size: int | None,
) -> list[Drawn]:
    @cache
    def load() -> LoadedModel:
        assert bundle.model
        used = [cell.features for cell in bundle.cells if isinstance(cell.features, ModelFeatures)]
        return bundle.model.model.load(sorted({features.site for features in used}), device)

    drawn = []
    for cell in bundle.cells:
        record = records[cell.cell_id]
        title = _title(record)
        features = cell.features
        model = bundle.model and bundle.model.model
        if record.used and isinstance(features, ModelFeatures) and features.placed.sparse:
            assert isinstance(model, ImageModel)
            matrix = store.read(features.key, len(bundle.data.examples))
            if matrix is not None:
                drawn.append(
                    draw_sheets(
                        folder.path,
                        cell.cell_id,
                        title=title,
                        model=model,
                        loaded=load,
                        encoder=partial(_encoder, features, store, device),
                        site=features.site,
                        tokens=bundle.tokens,
                        matrix=matrix,
                        train=cell.draw.partition.train,
                        labels=cell.draw.partition.labels,
                        pooling=features.pooling.label,
                        used=record.used,
                        device=device,
                        batch_size=batch_size,
                    )
                )
        predictions: pd.DataFrame = folder.predictions(cell.cell_id)
        drawn.append(
            draw_confusion(
                folder.path,
                cell.cell_id,
                title=title,
                labels=list(predictions["label"].astype(str)),
                predictions=list(predictions["prediction"].astype(str)),
                classes=bundle.data.classes,
            )
        )
    return drawn


def _encoder(features: ModelFeatures, store: FeatureStore, device: str) -> Encoder:
    encoder: Encoder | None = None
    if features.fitted_key:
        encoder = read_fitted(store, features.fitted_key, device)
    elif features.placed.load:
        encoder = features.placed.load(device)
    if encoder is None:
        raise UnavailableError("what was fitted is no longer in the cache")
    return encoder


def _title(record: Record) -> str:
    parts = (record.task, record.model, record.site, record.representation, record.pooling, record.classifier)
    return " · ".join(part for part in parts if part)
