"""Data types of a plan: features, cells, bundles and transfers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.api.data import Site, Tokens
from harness.api.protocols import PlacedRepresentation
from harness.config.suite import Suite
from harness.data.partitions import Draw
from harness.data.task import TaskData
from harness.features.token_sets import TokenSet
from harness.models.opened import OpenModel
from harness.registry.catalog import Choice
from harness.storage.hashing import IDENTITY_VERSION, hash_json, hash_lines

# These two sentences are hashed into cell ids; another word in them would rename all cells.
PROTOCOL = "fit on train, choose on validation, or on folds of train, by macro_f1, score test once"
DRAW = "every seed but 0 learns from its own part of training"
"""Part of the identity of cells of other seeds."""


@dataclass(frozen=True, kw_only=True)
class InputFeatures:
    """Matrix `[examples, features]` that a representation makes from the inputs alone; it is not stored. `identity` is
    JSON of everything that may change it.
    """

    representation: Choice
    identity: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelFeatures:
    """Matrix `[examples, features]` pooled from activations at one site of the bundle's model, stored under `key`.

    `placed` is the representation for the bundle's task; `general` the same before it was bound to that task.
    `fitted_key` is the key of the dictionary fitted on the bundle's sample; None where nothing is fitted. `gate_key`
    is the key of the fidelity gate's measurement, which reads `gate_sites`; None where the gate cannot measure.
    """

    representation: Choice
    site: Site
    placed: PlacedRepresentation
    general: PlacedRepresentation
    tokens: TokenSet
    pooling: Choice
    key: str
    fitted_key: str | None
    gate_key: str | None
    gate_sites: tuple[Site, ...]


Features = InputFeatures | ModelFeatures


@dataclass(frozen=True, kw_only=True)
class TransferSource:
    """Training features of a transferred cell: those of another model, and the alignment that maps the cell's own
    features to them.
    """

    model: str
    """Label of the other model."""
    features: ModelFeatures
    alignment: Choice


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fully specified evaluation.

    `draw` holds the training and test rows. A cell with a `source` trains on the source's features, and is tested on
    `features` mapped to them.
    """

    data: TaskData
    features: Features
    transform: Choice
    classifier: Choice
    draw: Draw
    source: TransferSource | None = None

    @cached_property
    def cell_id(self) -> str:
        """The hash of everything that may change the cell's numbers."""
        # Every word below names published cells: another spelling would rename them all.
        spec, features = self.data.spec, self.features
        read = features.key if isinstance(features, ModelFeatures) else dict(features.identity)
        identity: dict[str, Any] = {
            "identity_version": IDENTITY_VERSION,
            "task": {"name": spec.name, "version": spec.version, "data": self.data.fingerprint},
            "features": read,
            "regime": self.draw.regime.identity,
            **self._protocol,
            "seed": self.draw.seed,
        }
        if self.draw.seed:
            identity["draw"] = DRAW
        if self.draw.regime.spec.by_language:
            identity["languages"] = [self.draw.train_language, self.draw.test_language]
        if self.source:
            identity["learnt_on"] = self.source.features.key
            identity["alignment"] = self.source.alignment.identity
        return hash_json(identity)

    @cached_property
    def protocol_hash(self) -> str:
        """The hash of pooling, transform, classifier, grid and selection alone."""
        pooling = self.features.pooling if isinstance(self.features, ModelFeatures) else None
        return hash_protocol(pooling, self.transform, self.classifier)

    @property
    def _protocol(self) -> dict[str, Any]:
        return _describe_protocol(self.transform, self.classifier)


def hash_protocol(pooling: Choice | None, transform: Choice, classifier: Choice) -> str:
    """Return the hash of pooling, transform, classifier, grid and selection. Arms without a model have no pooling."""
    return hash_json({"pooling": pooling and pooling.identity, **_describe_protocol(transform, classifier)})


def _describe_protocol(transform: Choice, classifier: Choice) -> dict[str, Any]:
    return {
        "transform": transform.identity,
        "classifier": {**classifier.identity, "grid": classifier.searched},
        "protocol": PROTOCOL,
    }


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Cells that share one forward pass of `model` over the examples of `data`.

    `tokens` are the encoded examples, with the positions of the suite's token set as content. Representations are
    fitted on the activations of the rows `sample`; the fidelity of dictionaries is measured on the rows `gate_sample`.
    """

    data: TaskData
    model: OpenModel | None
    tokens: tuple[Tokens, ...]
    sample: tuple[int, ...] = ()
    gate_sample: tuple[int, ...] = ()
    features: tuple[Features, ...]
    cells: tuple[Cell, ...] = ()

    @property
    def name(self) -> str:
        """`TASK × MODEL`, as it is displayed."""
        return f"{self.data.spec.name} × {self.model.shown}" if self.model else self.data.spec.name

    @property
    def model_features(self) -> tuple[ModelFeatures, ...]:
        """The features that a forward pass fills; none without a model."""
        return tuple(each for each in self.features if isinstance(each, ModelFeatures))

    @property
    def key(self) -> str:
        """The key of the forward pass that fills all features of the bundle."""
        return hash_lines(sorted(features.key for features in self.model_features))

    @cached_property
    def n_tokens(self) -> int:
        """The number of pooled tokens of all examples."""
        return sum(int(np.count_nonzero(tokens.content)) for tokens in self.tokens)

    @cached_property
    def n_positions(self) -> int:
        """The number of positions that the model runs on, pooled or not; padding is not counted."""
        return sum(len(tokens.ids) for tokens in self.tokens)

    @cached_property
    def n_truncated(self) -> int:
        """The number of inputs longer than the model's maximum length."""
        return sum(tokens.truncated for tokens in self.tokens)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Cells of `target` that train on features of the bundle `source`: two models on the same rows of one task."""

    source: Bundle
    target: Bundle

    @property
    def name(self) -> str:
        """`TASK × MODEL → MODEL`, as it is displayed."""
        return f"{self.source.name} → {self.target.model.shown if self.target.model else 'none'}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All cells of a run.

    `left_out` maps the name of an unavailable task, model or representation to the reason. `notes` report arms that
    suit no task of the suite, or no model given in place of its own, and languages that a task does not have both for
    training and for testing.
    """

    suite: Suite
    bundles: tuple[Bundle, ...]
    transfers: tuple[Transfer, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all bundles and transfers."""
        return tuple(cell for bundle in self.cell_bundles for cell in bundle.cells)

    @property
    def cell_bundles(self) -> tuple[Bundle, ...]:
        """The bundles, then the targets of the transfers: together they hold every cell once."""
        return (*self.bundles, *(transfer.target for transfer in self.transfers))

    @property
    def tasks(self) -> tuple[TaskData, ...]:
        """The data of each task, once."""
        return tuple({bundle.data.spec.name: bundle.data for bundle in self.bundles}.values())
