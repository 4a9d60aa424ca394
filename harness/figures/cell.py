"""A probed cell of an image task in, its pictures in the run folder out. One that cannot be drawn ends nothing: why is
said, and an earlier one goes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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

    from harness.api.data import Matrix, Site, Tokens
    from harness.api.protocols import Encoder, ImageModel, LoadedModel

    Array = np.ndarray[Any, Any]

FEATURES = 5
"""So many features of a cell have a sheet, the ones with the largest effect."""

IMAGES = 12
"""So many images stand on a sheet at most."""


class Shown(Protocol):
    """What of a feature that a classifier goes by is said: `harness.probing.attribution.TopFeature`."""

    @property
    def feature(self) -> int:
        """Its number in the representation."""

    @property
    def label(self) -> str:
        """The class that `weight` is for."""

    @property
    def weight(self) -> float:
        """For that class; below zero it speaks against it."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Pictures by their paths in the run folder, and a sentence for each that could not be drawn."""

    paths: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def draw_confusion(
    folder: Path,
    cell_id: str,
    *,
    title: str,
    labels: Sequence[str],
    predictions: Sequence[str],
    classes: Sequence[str],
) -> Drawn:
    """The confusion matrix of a cell's test rows. UnavailableError when the disk refuses."""
    path = place_confusion(folder, cell_id)
    return _draw(
        folder,
        path,
        lambda: confusion_matrix(labels, predictions, classes, title=title),
        name="the confusion matrix",
    )


def draw_sheets(
    folder: Path,
    cell_id: str,
    *,
    title: str,
    model: ImageModel,
    loaded: Callable[[], LoadedModel],
    encoder: Callable[[], Encoder],
    site: Site,
    tokens: Sequence[Tokens],
    matrix: Matrix,
    train: Sequence[int],
    labels: Sequence[str],
    pooling: str,
    used: Sequence[Shown],
    device: str = "cpu",
    batch_size: int | None = None,
) -> Drawn:
    """A contact sheet for each of the first features that a cell's classifier goes by: the training rows where it is
    highest, and how high on each patch. One that is above zero in no training row has none.

    `matrix [examples, features]` is pooled, by `pooling`, at `site` over the content of `tokens`; `labels` are those
    that were learnt, of all examples. `loaded` and `encoder` are asked once at most, where all patches of the images
    are pooled; the model reads each image on any sheet once. UnavailableError when the disk refuses.
    """
    shown = {one.feature: one for one in used[:FEATURES]}
    try:
        highest = find_highest(matrix, train, list(shown))
        rows = sorted({row for found in highest.values() for row, _ in found})
        heats = _read_heats(
            rows, list(shown), model.grid, loaded, encoder, site, tokens, device=device, batch_size=batch_size
        )
    except Exception as error:  # a model or encoder of any plugin may fail in any way
        _keep_sheets(folder, cell_id, ())
        return Drawn(notes=(f"the contact sheets cannot be drawn: {describe(error)}",))

    def draw(place: int, one: Shown) -> Image.Image:
        found = highest[one.feature]
        maps = _maps_of([heats[row][place] for row, _ in found if row in heats])
        tiles = [
            Tile(
                view=_view(model, tokens[row]),
                heat=maps.heats[number] if maps.heats else None,
                caption=(labels[row], f"{write_number(value)} · row {row}"),
            )
            for number, (row, value) in enumerate(found)
        ]
        return contact_sheet(
            tiles, title=title, notes=[_introduce(one, found, len(train), pooling), maps.note]
        )

    drawn = [
        _draw(
            folder,
            place_sheet(folder, cell_id, one.feature),
            partial(draw, place, one),
            name=f"the contact sheet of feature {one.feature}",
        )
        for place, one in enumerate(shown.values())
        if highest[one.feature]
    ]
    paths = tuple(path for one in drawn for path in one.paths)
    _keep_sheets(folder, cell_id, paths)
    return Drawn(paths=paths, notes=tuple(note for one in drawn for note in one.notes))


def find_highest(
    matrix: Matrix, train: Sequence[int], features: Sequence[int]
) -> dict[int, list[tuple[int, float]]]:
    """For each feature the training rows where it is highest and above zero, highest first, and its value there; of
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


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Heat maps as they are shown, and what is said of them."""

    heats: Sequence[Array]
    note: str


def _read_heats(
    rows: Sequence[int],
    features: Sequence[int],
    grid: tuple[int, int],
    loaded: Callable[[], LoadedModel],
    encoder: Callable[[], Encoder],
    site: Site,
    tokens: Sequence[Tokens],
    *,
    device: str,
    batch_size: int | None,
) -> Mapping[int, Array]:
    """The features on each patch of each row, `[features, *grid]`; {} where not all patches of all rows are pooled."""
    import torch

    from harness.features.activations import read_all

    patches = [_find_patches(tokens[row], grid) for row in rows]
    if not rows or any(found is None for found in patches):
        return {}
    read = [tokens[row] for row in rows]
    with torch.inference_mode():
        activations = read_all(loaded(), read, [site], batch_size=batch_size, device=device)[site]
        values = _encode(encoder(), activations, features).cpu().numpy()
    ends = np.cumsum([int(one.content.sum()) for one in read])
    return {
        row: own[found].T.reshape(len(features), *grid)
        for row, found, own in zip(rows, patches, np.split(values, ends[:-1]), strict=True)
    }


def _find_patches(tokens: Tokens, grid: tuple[int, int]) -> Array | None:
    """Which of the pooled positions are patches, `[pooled]`; None where they are not all pooled, or do not fill the
    grid.
    """
    own = tokens.content if tokens.own is None else tokens.own
    if int(own.sum()) != grid[0] * grid[1] or not bool(tokens.content[own].all()):
        return None
    inside: Array = own[tokens.content]
    return inside


def _encode(encoder: Encoder, activations: torch.Tensor, features: Sequence[int]) -> torch.Tensor:
    """Some features `[tokens, features]` of `activations [tokens, d]`, float32."""
    from harness.dictionaries.dictionary import slices_of
    from harness.features.featurize import SLICE_VALUES

    kept = activations.new_zeros((len(activations), len(features))).float()
    for start, values in slices_of(encoder, activations, max(1, SLICE_VALUES // max(1, len(activations)))):
        for place, feature in enumerate(features):
            if start <= feature < start + values.shape[1]:
                kept[:, place] = values[:, feature - start]
    return kept


def _view(model: ImageModel, tokens: Tokens) -> Image.Image:
    assert tokens.image is not None
    view: Image.Image = model.view(tokens.image)
    return view


def _maps_of(heats: Sequence[Array]) -> _Maps:
    """What of a feature's activations can be shown: nothing below zero, and nothing where all patches are alike."""
    if not heats:
        return _Maps(heats=(), note="What is pooled is not every patch, so there is no map of patches.")
    spread = max(float(np.ptp(heat)) for heat in heats)
    if spread <= 1e-5 * max(float(np.abs(heat).max()) for heat in heats):
        return _Maps(
            heats=(), note="It is the same on every patch of an image, so there is no map of patches."
        )
    note = "Colours: its activation on each patch, on one scale for the sheet."
    if any(bool((heat < 0).any()) for heat in heats):
        note += " Where it is below zero, nothing is shown."
    return _Maps(heats=[np.maximum(heat, 0.0) for heat in heats], note=note)


def _introduce(one: Shown, found: Sequence[tuple[int, float]], n_train: int, pooling: str) -> str:
    where = "is highest" if len(found) == IMAGES else "is above zero"
    weight = f"{'+' if one.weight > 0 else ''}{write_number(one.weight)}"
    rows = f"The {len(found)} of {n_train:,} training rows" if len(found) > 1 else "The training row"
    return (
        f"Feature {one.feature}, whose weight for “{one.label}” is {weight}. {rows} in which its {pooling} {where}:"
        " label, value, number of the row."
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
    """Remove the other sheets of a cell, and what a killed writer left."""
    kept = {folder / path for path in paths}
    for pattern in ("feature-*.png", f"{TEMPORARY}*"):
        for path in place_pictures(folder, cell_id).glob(pattern):
            if path not in kept:
                path.unlink(missing_ok=True)
