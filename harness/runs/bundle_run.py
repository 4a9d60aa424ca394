"""Execution of one bundle: features first, by one forward pass, then its cells, matrix by matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Bundle, Cell, Features, ModelFeatures, Plan
from harness.runs.cell_results import CellResults
from harness.runs.context import RunContext, Stopped
from harness.runs.draw_rows import bundle_rows, stored_matrix, tested_rows, training_of
from harness.runs.featurizer import Featurizer, find_fidelity, wanted_features
from harness.runs.pool import Pool
from harness.runs.work import BundleRows, Failure, InputMatrix, Job, MatrixWork, StoredMatrix


@dataclass(frozen=True, kw_only=True)
class BundleRun:
    """One bundle of a run, with the cells that are pending."""

    context: RunContext
    plan: Plan
    bundle: Bundle
    pool: Pool

    @cached_property
    def results(self) -> CellResults:
        """Writer of the results."""
        return CellResults(context=self.context, plan=self.plan, bundle=self.bundle)

    def run(self) -> int:
        """Fill the features and submit the pending cells. Return the content tokens that went through the model."""
        if not self.bundle.cells:
            return 0
        wanted = wanted_features(self.bundle)
        self.context.folder.add_event("bundle", bundle=self.bundle.name, cells=len(self.bundle.cells))
        featurizer = Featurizer(context=self.context, bundle=self.bundle, prepare=self.pool.finish)
        try:
            rows = bundle_rows(self.bundle)
            stats, broken = featurizer.fill(wanted)
            judged, measured_tokens = featurizer.judge(wanted)
        except ENDS_RUN:
            raise
        except Stopped:
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            if error is self.pool.fault:
                raise
            self._fail(self.bundle.cells, error)
            return 0
        stats = replace(stats, calibration_tokens=stats.calibration_tokens + measured_tokens)
        if self.bundle.model:
            self.pool.then(partial(self.context.notify, "bundle_finished", event=stats, stats=stats))
        for features in wanted:
            cells = [cell for cell in self.bundle.cells if cell.features is features]
            if isinstance(features, ModelFeatures) and features.key in broken:
                self._fail(cells, broken[features.key])
            else:
                self._probe(cells, features, rows, find_fidelity(features, judged))
        return stats.tokens + stats.calibration_tokens

    def _fail(self, cells: Sequence[Cell], error: Exception) -> None:
        self.pool.then(partial(self.results.fail, cells, Failure.of(error)))

    def _probe(self, cells: Sequence[Cell], features: Features, rows: BundleRows, fidelity: Fidelity) -> None:
        """Let the pending cells of one matrix be probed."""
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
        self.pool.submit(MatrixWork(bundle=rows, matrix=matrix, jobs=jobs), keeps)
