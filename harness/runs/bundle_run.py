"""Execution of one bundle: a forward pass fills its features, then its cells are probed, matrix by matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Bundle, Cell, Features, ModelFeatures, Plan
from harness.runs.cell_results import CellResults
from harness.runs.context import RunContext
from harness.runs.draw_rows import bundle_rows, stored_matrix, tested_rows, training_of
from harness.runs.features_made import find_fidelity, wanted_features
from harness.runs.forward_work import FeaturesMade
from harness.runs.submitting import Submitting
from harness.runs.work import BundleRows, Failure, InputMatrix, Job, MatrixWork, StoredMatrix


@dataclass(frozen=True, kw_only=True)
class BundleRun:
    """One bundle of a run, with the cells that are pending. `count` receives the tokens that went through its model."""

    context: RunContext
    plan: Plan
    bundle: Bundle
    submitting: Submitting
    count: Callable[[int], None]

    @cached_property
    def results(self) -> CellResults:
        """Writer of the results."""
        return CellResults(context=self.context, plan=self.plan, bundle=self.bundle)

    def start(self) -> None:
        """Submit the forward pass of the bundle, whose end submits the probes; without a model, the probes."""
        if not self.bundle.cells:
            return
        self.context.folder.add_event("bundle", bundle=self.bundle.name, cells=len(self.bundle.cells))
        wanted = wanted_features(self.bundle)
        if self.bundle.model:
            self.submitting.forward(self.bundle, wanted, self._take)
        else:
            self._probe_all(wanted, FeaturesMade.none(self.bundle.name))

    def _take(self, made: FeaturesMade | Failure) -> None:
        """Submit the probes of features that were made."""
        if isinstance(made, Failure):
            self.results.fail(self.bundle.cells, made)
            return
        self.count(made.stats.tokens + made.stats.calibration_tokens)
        self.context.notify("bundle_finished", event=made.stats, stats=made.stats)
        self._probe_all(wanted_features(self.bundle), made)

    def _probe_all(self, wanted: Sequence[Features], made: FeaturesMade) -> None:
        try:
            rows = bundle_rows(self.bundle)
        except ENDS_RUN:
            raise
        except Exception as error:  # labels of a regime of any plugin may be anything
            self.results.fail(self.bundle.cells, Failure.of(error))
            return
        for features in wanted:
            cells = [cell for cell in self.bundle.cells if cell.features is features]
            if isinstance(features, ModelFeatures) and features.key in made.broken:
                self.results.fail(cells, made.broken[features.key])
            else:
                self._probe(cells, features, rows, find_fidelity(features, made.judged))

    def _probe(self, cells: Sequence[Cell], features: Features, rows: BundleRows, fidelity: Fidelity) -> None:
        """Submit the pending cells of one matrix."""
        ordered = sorted(cells, key=lambda cell: (training_of(cell), cell.draw.key))
        jobs = tuple(
            Job(
                draw=cell.draw.key,
                seed=cell.draw.seed,
                training=training_of(cell),
                transform=cell.transform,
                classifier=cell.classifier,
                compared=cell.draw.partition if cell.draw.regime.spec.by_language else None,
            )
            for cell in ordered
        )
        matrix: StoredMatrix | InputMatrix
        if isinstance(features, ModelFeatures):
            matrix = stored_matrix(features, self.bundle)
        else:
            matrix = InputMatrix(representation=features.representation, tested=tested_rows(self.bundle))
        keeps = [partial(self.results.take, cell, rows.rows[cell.draw.key], fidelity) for cell in ordered]
        self.submitting.probe(MatrixWork(bundle=rows, matrix=matrix, jobs=jobs), ordered, keeps, self.bundle)
