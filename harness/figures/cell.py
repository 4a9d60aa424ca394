"""Pictures of a probed cell of an image task, written into the run folder. A picture that fails ends nothing: it is
reported, and an earlier one is removed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import sparse

from harness.api.errors import describe
from harness.figures.confusion import confusion_matrix
from harness.figures.sheet import Tile, contact_sheet, write_number
from harness.runs.layout import place_confusion, place_pictures, place_sheet
from harness.storage.atomic import TEMPORARY, whole_file

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from harness.api.data import Image as DataImage
    from harness.api.data import Matrix, Site, Tokens
    from harness.api.protocols import Encoder, ImageModel, LoadedModel
    from harness.probing.attribution import TopFeature

    Array = np.ndarray[Any, Any]

FEATURES = 5
"""Number of features with a sheet, those with the largest effect."""

IMAGES = 12
"""Maximum number of images on a sheet."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Pictures by their paths in the run folder, and a sentence for each that failed."""

    paths: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def join(drawn: Sequence[Drawn]) -> Drawn:
    """Return several results as one."""
    paths = tuple(path for one in drawn for path in one.paths)
    return Drawn(paths=paths, notes=tuple(note for one in drawn for note in one.notes))


def draw_confusion(
    folder: Path,
    cell_id: str,
    *,
    title: str,
    labels: Sequence[str],
    predictions: Sequence[str],
    classes: Sequence[str],
) -> Drawn:
    """Draw the confusion matrix of a cell's test rows. WriteError if the disk refuses."""
    draw = partial(confusion_matrix, labels, predictions, classes, title=title)
    return _draw(folder, place_confusion(folder, cell_id), draw, name="the confusion matrix")


@dataclass(frozen=True, kw_only=True)
class CellFeatures:
    """Inputs of a cell's contact sheets.

    `matrix [examples, features]` is pooled, by `pooling`, at `site` over the content of `tokens`; `labels` are those
    trained on, of all examples, and `train` the numbers of training rows. `loaded` and `encoder` are called at most
    once, and only if all patches of the images are pooled.
    """

    title: str
    model: ImageModel
    loaded: Callable[[], LoadedModel]
    encoder: Callable[[], Encoder]
    site: Site
    tokens: Sequence[Tokens]
    matrix: Matrix
    train: Sequence[int]
    labels: Sequence[str]
    pooling: str
    used: Sequence[TopFeature]
    device: str = "cpu"
    batch_size: int | None = None


def draw_sheets(folder: Path, cell_id: str, cell: CellFeatures) -> Drawn:
    """Draw a contact sheet for each of the classifier's most influential features: the training rows where it is
    highest, and its activation on each patch. A feature that is above zero in no training row has none. The model reads
    each image on any sheet once. WriteError if the disk refuses.
    """
    shown = {one.feature: one for one in cell.used[:FEATURES]}
    try:
        highest = find_highest(cell.matrix, cell.train, list(shown))
        rows = sorted({row for found in highest.values() for row, _ in found})
        heats = _read_heats(cell, rows, list(shown))
    except Exception as error:  # a model or encoder of any plugin may fail in any way
        _keep_sheets(folder, cell_id, ())
        return Drawn(notes=(f"the contact sheets cannot be drawn: {describe(error)}",))
    drawn = [
        _draw(
            folder,
            place_sheet(folder, cell_id, one.feature),
            partial(
                _sheet, cell, one, highest[one.feature], {row: found[place] for row, found in heats.items()}
            ),
            name=f"the contact sheet of feature {one.feature}",
        )
        for place, one in enumerate(shown.values())
        if highest[one.feature]
    ]
    joined = join(drawn)
    _keep_sheets(folder, cell_id, joined.paths)
    return joined


def _sheet(
    cell: CellFeatures, one: TopFeature, found: Sequence[tuple[int, float]], heats: Mapping[int, Array]
) -> Image.Image:
    """Draw the sheet of a feature: rows with their values, and its activations on patches `[*grid]` by row."""
    maps, note = _maps_of([heats[row] for row, _ in found if row in heats])
    tiles = [
        Tile(
            view=cell.model.view(cast("DataImage", cell.tokens[row].image)),
            heat=maps[number] if maps else None,
            caption=(cell.labels[row], f"{write_number(value)} · row {row}"),
        )
        for number, (row, value) in enumerate(found)
    ]
    return contact_sheet(tiles, title=cell.title, notes=[_introduce(cell, one, found), note])


def find_highest(
    matrix: Matrix, train: Sequence[int], features: Sequence[int]
) -> dict[int, list[tuple[int, float]]]:
    """Return for each feature the training rows where it is highest and above zero, with its value, highest first; of
    equal ones the first in `train`.
    """
    taken = matrix[:, list(features)]
    values = np.asarray(taken if isinstance(taken, np.ndarray) else sparse.csr_array(taken).toarray())
    values = values[list(train)]
    found = {}
    for place, feature in enumerate(features):
        order = np.argsort(-values[:, place], kind="stable")[:IMAGES]
        found[feature] = [
            (int(train[row]), float(values[row, place])) for row in order if values[row, place] > 0
        ]
    return found


# ── on each patch ────────────────────────────────────────────────────────────────────────────────────────


def _read_heats(cell: CellFeatures, rows: Sequence[int], features: Sequence[int]) -> Mapping[int, Array]:
    """Return the features on each patch of each row, `[features, *grid]`; {} unless all patches of all rows are
    pooled.
    """
    import torch

    from harness.features.activations import read_all

    grid = cell.model.grid
    patches = [_find_patches(cell.tokens[row], grid) for row in rows]
    if not rows or any(found is None for found in patches):
        return {}
    read = [cell.tokens[row] for row in rows]
    with torch.inference_mode():
        activations = read_all(
            cell.loaded(), read, [cell.site], batch_size=cell.batch_size, device=cell.device
        )[cell.site]
        values = _encode(cell.encoder(), activations, features).cpu().numpy()
    ends = np.cumsum([int(one.content.sum()) for one in read])
    return {
        row: own[found].T.reshape(len(features), *grid)
        for row, found, own in zip(rows, patches, np.split(values, ends[:-1]), strict=True)
    }


def _find_patches(tokens: Tokens, grid: tuple[int, int]) -> Array | None:
    """Return a mask of the patches among the pooled positions, `[pooled]`; None unless all are pooled and fill the
    grid.
    """
    own = tokens.content if tokens.own is None else tokens.own
    if int(own.sum()) != grid[0] * grid[1] or not bool(tokens.content[own].all()):
        return None
    inside: Array = own[tokens.content]
    return inside


def _encode(encoder: Encoder, activations: torch.Tensor, features: Sequence[int]) -> torch.Tensor:
    """Return some features `[tokens, features]` of `activations [tokens, d]`, float32."""
    from harness.dictionaries.decoding import slice_size
    from harness.dictionaries.dictionary import slices_of

    kept = activations.new_zeros((len(activations), len(features))).float()
    for start, values in slices_of(encoder, activations, slice_size(activations)):
        for place, feature in enumerate(features):
            if start <= feature < start + values.shape[1]:
                kept[:, place] = values[:, feature - start]
    return kept


def _maps_of(heats: Sequence[Array]) -> tuple[Sequence[Array], str]:
    """Return the displayed maps and a note: nothing below zero, and no map if all patches are alike."""
    if not heats:
        return (), "What is pooled is not every patch, so there is no map of patches."
    spread = max(float(np.ptp(heat)) for heat in heats)
    if spread <= 1e-5 * max(float(np.abs(heat).max()) for heat in heats):
        return (), "It is the same on every patch of an image, so there is no map of patches."
    note = "Colours: its activation on each patch, on one scale for the sheet."
    if any(bool((heat < 0).any()) for heat in heats):
        note += " Where it is below zero, nothing is shown."
    return [np.maximum(heat, 0.0) for heat in heats], note


def _introduce(cell: CellFeatures, one: TopFeature, found: Sequence[tuple[int, float]]) -> str:
    where = "is highest" if len(found) == IMAGES else "is above zero"
    weight = f"{'+' if one.weight > 0 else ''}{write_number(one.weight)}"
    rows = f"The {len(found)} of {len(cell.train):,} training rows" if len(found) > 1 else "The training row"
    return (
        f"Feature {one.feature}, whose weight for “{one.label}” is {weight}. {rows} in which its {cell.pooling}"
        f" {where}: label, value, number of the row."
    )


# ── on disk ──────────────────────────────────────────────────────────────────────────────────────────────


def _draw(folder: Path, path: Path, draw: Callable[[], Image.Image], *, name: str) -> Drawn:
    try:
        file = io.BytesIO()
        draw().save(file, "PNG")
    except Exception as error:  # a model's view of an image may fail in any way
        path.unlink(missing_ok=True)
        return Drawn(notes=(f"{name} cannot be drawn: {describe(error)}",))
    with whole_file(path) as temporary:
        temporary.write_bytes(file.getvalue())
    return Drawn(paths=(path.relative_to(folder).as_posix(),))


def _keep_sheets(folder: Path, cell_id: str, paths: Sequence[str]) -> None:
    """Remove all other sheets of a cell, and temporary files of interrupted writers."""
    kept = {folder / path for path in paths}
    for pattern in ("feature-*.png", f"{TEMPORARY}*"):
        for path in place_pictures(folder, cell_id).glob(pattern):
            if path not in kept:
                path.unlink(missing_ok=True)
