"""Rows of a bundle's draws, the training that cells share, and the matrices that they read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import replace

from harness.api.data import Image
from harness.planning.cells import Bundle, Cell, ModelFeatures
from harness.probing.probe import Resampling, Rows, draw_weights, make_rows, order_test
from harness.runs.work import BundleRows, DrawKey, StoredMatrix, Training
from harness.stats.bootstrap import bootstrap_seed


def training_of(cell: Cell) -> Training:
    """Return the part of a cell that decides the training of its probe, beside features, transform and classifier."""
    partition = cell.draw.partition
    return cell.draw.seed, partition.train, partition.validation, id(partition.labels)


def tested_rows(bundle: Bundle) -> Mapping[Training, Set[int]]:
    """Return, for each training, all rows on which its probes are tested."""
    rows: dict[Training, set[int]] = defaultdict(set)
    for cell in bundle.cells:
        rows[training_of(cell)].update(cell.draw.partition.test)
    return rows


def stored_matrix(features: ModelFeatures, bundle: Bundle) -> StoredMatrix:
    """Return where the features of a bundle are stored."""
    return StoredMatrix(key=features.key, n_rows=len(bundle.data.examples), sparse=features.placed.sparse)


def bundle_rows(bundle: Bundle) -> BundleRows:
    """Return what all cells of a bundle share. Images are left out where a model has read them already."""
    examples = bundle.data.examples
    if bundle.model and isinstance(examples.inputs[0], Image):
        examples = replace(examples, inputs=())
    return BundleRows(examples=examples, rows=rows_by_draw(bundle))


def rows_by_draw(bundle: Bundle) -> Mapping[DrawKey, Rows]:
    """Return the rows of every draw of a bundle; draws with the same test rows share their resampling."""
    examples = bundle.data.examples
    seed = bootstrap_seed(bundle.data.spec.name)
    drawn: dict[tuple[int, ...], Resampling] = {}
    rows: dict[DrawKey, Rows] = {}
    for cell in bundle.cells:
        draw = cell.draw
        if draw.key in rows:
            continue
        test = order_test(examples, draw.partition)
        if test not in drawn:
            drawn[test] = draw_weights(examples, test, seed=seed)
        rows[draw.key] = make_rows(examples, bundle.data.classes, draw.partition, test, drawn[test])
    return rows
