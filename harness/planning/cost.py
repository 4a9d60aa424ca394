"""Expected cost of a bundle: tokens, bytes on disk and in memory, seconds.

The aim is a factor of two on two CPU cores: the constants are fitted to the published runs of the embedded models
(`leaderboards/`). Those of a GPU are fitted to featurizing at the shapes of Gemma 2 2B, 9B and 27B on one NVIDIA H200
(`tests/benchmarks/results/h200-2026-11-29.json`), and meet its medians within 10 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.api.protocols import PlacedRepresentation
from harness.data.partitions import FOLDS, REPEATS
from harness.features.sampling import GATE_TOKENS
from harness.models.opened import OpenModel, count_layers
from harness.planning.cells import Bundle, Cell, Features, ModelFeatures, Plan

FORWARD_RATES = {"cpu": 1e11, "cuda": 3.3e14}
"""Floating-point operations per second in models, by kind of device; in bfloat16 on a GPU."""

ENCODE_RATES = {"cpu": 1e11, "cuda": 4.3e13}
"""Floating-point operations per second in encoders, which are in float32."""

TOKEN_SECONDS = {"cpu": 7e-6, "cuda": 1e-7}
"""Further seconds per token: norms, activation functions, dispatch."""

POOLED_RATES = {"cpu": 4e9, "cuda": 2.5e10}
"""Values pooled per second, one for each token, feature and pooling."""

BATCH_BYTES = {"cpu": 0, "cuda": 60 * 32768}
"""Bytes on the device while a batch is at work, for each value of one token's activation: 60 for each of a batch's
32,768 tokens, measured on the same H200 (52 to 74).
"""

SHORT_DTYPES = frozenset({"bfloat16", "float16"})
"""Precisions of two bytes a weight; all others have four."""

GATE_PRODUCTS = 10
"""Products with an encoder or a decoder by which the gate measures a dictionary, each on GATE_TOKENS tokens."""

CELL_SECONDS = 0.05
"""Seconds to score a cell, with its resamples, and to write it."""

TWO_CLASSES, MANY_CLASSES = (3.3e-6, 2.7e-8), (2.0e-7, 1.4e-8)
"""Seconds to fit one point of a grid, per training row (and, with many classes, per class): (constant, per feature)."""

COLUMN_SECONDS = 4e-7
"""Seconds to fit one point of a grid on sparse rows, per column (and, with many classes, per class), beside those of
their values: measured on 3,000 rows of 60 to 2,400 values in 16,384 to 1,048,576 columns.
"""

FIT_SECONDS = 0.004
"""Seconds of a fit however few its rows."""

CHARACTERS_PER_FEATURE = 6
"""Characters of text that bring one more word or pair of words, about: most pairs are seen once."""

BYTES_PER_TEXT_FEATURE = 280
"""Memory of a vocabulary for each word or pair of words, measured on TF-IDF of words and pairs."""

TEXT_WIDTH, OTHER_WIDTH = 800, 2
"""Assumed number of features of an arm without a model: fitted on texts, or not."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Expected cost of a bundle: tokens to pool, bytes on disk, bytes in memory, seconds."""

    tokens: int
    disk: int
    memory: int
    seconds: float


def estimate(bundle: Bundle, *, device: str, cached: Callable[[str], bool]) -> Estimate:
    """Return the expected cost of one bundle; `cached` says whether a feature key needs no forward pass."""
    missing = [features for features in bundle.model_features if not cached(features.key)]
    parameters = _parameters(bundle, missing)
    encoded = encoder_size(missing)
    seconds = 0.0
    if missing:
        seconds = forward_seconds(
            positions=bundle.n_positions,
            tokens=bundle.n_tokens,
            parameters=parameters,
            encoded=encoded,
            pooled=sum(features.placed.width for features in missing),
            gated=gated_size(missing),
            device=device,
        )
    return Estimate(
        tokens=bundle.n_tokens if missing else 0,
        disk=sum(stored_bytes(features, bundle) for features in missing),
        memory=forward_memory(bundle, missing, device=device),
        seconds=seconds + probe_seconds(bundle.cells, bundle),
    )


def forward_seconds(
    *, positions: int, tokens: int, parameters: float, encoded: int, pooled: int, gated: int = 0, device: str
) -> float:
    """Return the seconds of a forward pass over `positions`, of which `tokens` are encoded and pooled.

    `parameters` are those of the blocks that run, `encoded` the weights of all encoders, `pooled` the columns of all
    feature matrices, `gated` the weights of the encoders that the fidelity gate measures.
    """
    kind = _kind(device)
    seconds = 2 * positions * parameters / FORWARD_RATES[kind] + positions * TOKEN_SECONDS[kind]
    products = 2 * tokens * encoded + 2 * GATE_PRODUCTS * min(tokens, GATE_TOKENS) * gated
    return seconds + products / ENCODE_RATES[kind] + tokens * pooled / POOLED_RATES[kind]


def forward_memory(bundle: Bundle, missing: Sequence[ModelFeatures], *, device: str) -> int:
    """Return the expected bytes on the device of the pass that fills missing features: weights, encoders, a batch."""
    if bundle.model is None or not missing:
        return 0
    return pass_bytes(
        weights=weight_bytes(bundle.model) * _parameters(bundle, missing),
        encoded=encoder_size(missing),
        values=max(features.placed.d_in for features in missing),
        device=device,
    )


def pass_bytes(*, weights: float, encoded: int, values: int, device: str) -> int:
    """Return the bytes on the device of a pass with `weights` bytes of blocks, `encoded` weights of encoders, and
    `values` a token.
    """
    return int(weights + 4 * encoded + BATCH_BYTES[_kind(device)] * values) + (1 << 28)


def weight_bytes(model: OpenModel) -> int:
    """Return the bytes of one weight of a model."""
    return 2 if model.choice.parameters.get("dtype") in SHORT_DTYPES else 4


def _kind(device: str) -> str:
    kind = device.split(":")[0]
    return kind if kind in FORWARD_RATES else "cpu"


def probe_seconds(cells: Sequence[Cell], bundle: Bundle) -> float:
    """Return the seconds to probe cells of a bundle, and to score and write them."""
    return CELL_SECONDS * len(cells) + _training_seconds(cells, bundle)


def stored_bytes(features: ModelFeatures, bundle: Bundle) -> int:
    """Return the bytes of a feature matrix in the store."""
    return 4 * len(bundle.data.examples) * _stored_width(features.placed, bundle)


def matrix_bytes(features: ModelFeatures, rows: int) -> int:
    """Return the expected bytes of a stored matrix in memory: dense, or with a column and a value for each active
    feature of a row of fifty tokens.
    """
    placed = features.placed
    if not placed.sparse:
        return 4 * rows * placed.width
    return 8 * rows * min(placed.width, int(50 * (placed.published_l0 or placed.width / 16)))


def describe_large_fits(plan: Plan, memory: int) -> Iterator[str]:
    """Yield a sentence for each bundle and classifier of which the largest fit is expected to exceed `memory` bytes."""
    for bundle in plan.bundles:
        classes = len(bundle.data.classes)
        n_text = 0
        if any(_is_fitted_on_texts(cell.features) for cell in bundle.cells):
            n_text = sum(len(str(one)) for one in bundle.data.examples.inputs) // CHARACTERS_PER_FEATURE
        told: dict[str, str] = {}
        for cell in sorted(bundle.cells, key=lambda cell: -_columns(cell.features, n_text)):
            columns = _columns(cell.features, n_text)
            needed = (1 if classes == 2 else classes) * columns * cell.classifier.spec.bytes_per_weight
            if _is_fitted_on_texts(cell.features):
                needed += columns * BYTES_PER_TEXT_FEATURE
            if needed > memory:
                told.setdefault(
                    cell.classifier.name,
                    f"'{bundle.name}': {cell.classifier.name} needs about {needed / 2**30:.0f} GiB for {classes:,} "
                    f"classes × {columns:,} features of '{cell.features.representation.label}', more than this "
                    f"machine's {memory / 2**30:.0f}: use a transform that keeps fewer, or another classifier",
                )
        yield from told.values()


def _columns(features: Features, n_text: int) -> int:
    """Return the number of columns a classifier gets, given that of all words and pairs of words of the texts."""
    if isinstance(features, ModelFeatures):
        return features.placed.width
    return n_text if _is_fitted_on_texts(features) else OTHER_WIDTH


def _is_fitted_on_texts(features: Features) -> bool:
    spec = features.representation.spec
    return bool(spec.fitted and spec.needs == "text")


def _parameters(bundle: Bundle, missing: Sequence[ModelFeatures]) -> float:
    """Return the parameters of the blocks that must run."""
    if bundle.model is None or not missing:
        return 0.0
    model = bundle.model.model
    sites = {features.site for features in missing}
    deepest = max((site.layer + 1) / count_layers(model, site.tower) for site in sites)
    return model.n_parameters * deepest


def encoder_size(missing: Sequence[ModelFeatures]) -> int:
    """Return the weights of all sparse encoders together, each counted once whatever its poolings."""
    encoders = {(one.site, one.representation.label): one.placed for one in missing}
    return sum(placed.d_in * placed.width for placed in encoders.values() if placed.sparse)


def gated_size(missing: Sequence[ModelFeatures]) -> int:
    """Return the weights of the encoders that the fidelity gate measures, each counted once."""
    return encoder_size([features for features in missing if features.gate_key])


def _training_seconds(cells: Sequence[Cell], bundle: Bundle) -> float:
    """Return the seconds to train the probes of cells; those with the same training rows share one."""
    trained: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        draw, rows = cell.draw, cell.draw.partition
        probe = (id(cell.features), cell.transform.label, cell.classifier.label)
        trained[*probe, draw.seed, rows.train, id(rows.labels)] = cell
    return sum(_fit_seconds(cell, bundle) for cell in trained.values())


def _fit_seconds(cell: Cell, bundle: Bundle) -> float:
    """Return the seconds to fit the whole grid of a cell, on every fold where there are no validation rows."""
    points = math.prod(map(len, cell.classifier.searched.values()))
    classes = len(bundle.data.classes)
    row, value = TWO_CLASSES if classes == 2 else MANY_CLASSES
    n_rows, values = len(cell.draw.partition.train), _values(cell.features, bundle)
    each = n_rows * (row + value * values)
    if isinstance(cell.features, ModelFeatures) and cell.features.placed.sparse:
        each += COLUMN_SECONDS * min(cell.features.placed.width, n_rows * values)
    point = each * (1 if classes == 2 else classes)
    if cell.draw.partition.validation:
        return points * point
    return FOLDS * REPEATS * points * (FIT_SECONDS + point * (1 - 1 / FOLDS)) + point


def _values(features: Features, bundle: Bundle) -> int:
    """Return the values of a row that a classifier reads: all of a dense one, those that are not 0 of a sparse one."""
    if isinstance(features, ModelFeatures):
        placed = features.placed
        return _active(placed, bundle) if placed.sparse else placed.width
    return TEXT_WIDTH if features.representation.spec.fitted else OTHER_WIDTH


def _stored_width(placed: PlacedRepresentation, bundle: Bundle) -> int:
    """Return the values stored for each row: all of a dense row; two for each active feature of a sparse one."""
    return min(placed.width, 2 * _active(placed, bundle)) if placed.sparse else placed.width


def _active(placed: PlacedRepresentation, bundle: Bundle) -> int:
    """Return the features that are active in a row, at most: those of all its tokens."""
    active = (placed.published_l0 or placed.width / 16) * bundle.n_tokens
    return min(placed.width, int(active / max(1, len(bundle.data.examples))))
