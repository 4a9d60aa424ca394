"""Labelled task as one model reads it, for plugins that probe features of their own making.

Rows are split, and probes chosen, scored and resampled, as in the cells of a run with default choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.data import Examples, Site, Tokens
from harness.api.errors import UsageError
from harness.api.events import Score
from harness.api.protocols import PlacedRepresentation
from harness.api.tasks import TaskSpec
from harness.config.suite import ModelChoice
from harness.data.partitions import make_draws
from harness.data.task import load_task, without
from harness.features.token_sets import TokenSet
from harness.models.opened import OpenModel, locate, open_model
from harness.planning.bundles import tokenize
from harness.planning.plan import find_task, find_trained_on
from harness.probing.probe import Rows, apply, draw_weights, make_rows, order_test, train
from harness.registry.catalog import Registry
from harness.stats.bootstrap import bootstrap_seed

if TYPE_CHECKING:
    import numpy as np

    from harness.api.data import Matrix

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Test result of a probe: metrics by name, the class number predicted for each test row, and for a linear
    classifier the `effects [features]`: largest absolute weight times standard deviation in training.
    """

    metrics: Mapping[str, Score]
    predicted: Array
    effects: Array | None


@dataclass(frozen=True, kw_only=True)
class LabelledTask:
    """Labelled examples of a task as one model reads them at one site, split as a run splits them for seed 0.

    `tokens` are the encoded inputs, in the order of `examples`. Rows in which the model finds no content are left out.
    """

    spec: TaskSpec
    model: OpenModel
    classes: tuple[str, ...]
    examples: Examples = field(repr=False)
    tokens: tuple[Tokens, ...] = field(repr=False)
    rows: Rows = field(repr=False)
    registry: Registry = field(repr=False)

    @property
    def site(self) -> Site:
        """The site at which the model is read."""
        return self.model.sites[0]

    @property
    def y(self) -> Array:
        """Numbers into `classes` of all examples, `[examples]`."""
        return self.rows.y

    @property
    def train(self) -> Array:
        """Row numbers of training."""
        return self.rows.train

    @property
    def test(self) -> Array:
        """Row numbers of test, in the order in which a probe predicts them."""
        return self.rows.test

    @property
    def groups(self) -> Array:
        """Numbers of the groups of all examples, `[examples]`; rows of one group belong on one side of a split."""
        return self.rows.groups

    def place(self, representation: str) -> PlacedRepresentation:
        """Place a representation at the site. Raise UsageError if it does not fit there."""
        return locate(
            self.registry.choose("representations", representation), self.model, self.site, self.registry
        )

    def probe(
        self,
        X: Matrix,
        *,
        train_rows: Array | None = None,
        y: Array | None = None,
        classifier: str = "logreg",
    ) -> Probed:
        """Probe features `X [examples, features]`: choose the classifier's parameters on validation rows, fit on
        training rows, score once on test rows with 95 % intervals.

        `train_rows` are the row numbers to fit on, if not all of training, and `y` the class numbers to fit and score
        on, if not the task's own.
        """
        rows = self.rows
        rows = rows if train_rows is None else replace(rows, train=train_rows)
        rows = rows if y is None else replace(rows, y=y)
        trained = train(
            X,
            rows,
            transform=self.registry.choose("transforms", "none"),
            classifier=self.registry.choose("classifiers", classifier),
            seed=0,
        )
        outcome = apply(trained, X, rows)
        return Probed(metrics=outcome.metrics, predicted=outcome.predicted, effects=trained.effects)


def load_labelled(
    name: str,
    model: ModelChoice,
    registry: Registry,
    included: Sequence[TaskSpec] = (),
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
) -> LabelledTask:
    """Load a task as a model reads it at its one site. Raise UsageError for an unknown name, several sites or inputs of
    another kind, DataError where the data are missing or unfit.
    """
    spec = find_task(name, registry, included)
    opened = open_model(model, registry)
    if len(opened.sites) != 1:
        raise UsageError(f"a task is read at one site, not at {len(opened.sites)}")
    if opened.modality != spec.modality:
        raise UsageError(
            f"task '{spec.name}' holds {spec.modality}s, and model '{opened.label}' reads {opened.modality}s"
        )
    data = load_task(
        spec, data_dir=data_dir, limit=limit, trained_on=find_trained_on(spec, registry, included)
    )
    tokens = tokenize(data, opened, TokenSet.parse("content"), {})
    empty = {row for row, one in enumerate(tokens) if not one.content.any()}
    data = without(data, empty)
    (draw,) = make_draws(data.examples, registry.choose("regimes", "full"), 0)
    test = order_test(data.examples, draw.partition)
    resampling = draw_weights(data.examples, test, seed=bootstrap_seed(spec.name))
    return LabelledTask(
        spec=spec,
        model=opened,
        classes=data.classes,
        examples=data.examples,
        tokens=tuple(one for row, one in enumerate(tokens) if row not in empty),
        rows=make_rows(data.examples, data.classes, draw.partition, test, resampling),
        registry=registry,
    )
