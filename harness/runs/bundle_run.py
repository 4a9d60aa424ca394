"""Execution of one bundle: features first, by one forward pass, then its cells, one matrix after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Bundle, Cell, Features, InputFeatures, ModelFeatures, Plan
from harness.probing.probe import Rows, Trained, apply, train
from harness.probing.shared_features import Languages
from harness.runs.cell_results import CellResults
from harness.runs.context import RunContext
from harness.runs.draw_rows import DrawKey, Training, rows_by_draw, tested_rows, training_of
from harness.runs.featurizer import Featurizer, find_fidelity, wanted_features

if TYPE_CHECKING:
    from harness.api.data import Matrix


@dataclass(frozen=True, kw_only=True)
class BundleRun:
    """One bundle of a run, with the cells that are pending."""

    context: RunContext
    plan: Plan
    bundle: Bundle

    @cached_property
    def results(self) -> CellResults:
        """The reader and writer of the bundle's cells."""
        return CellResults(context=self.context, plan=self.plan, bundle=self.bundle)

    def run(self) -> int:
        """Fill the features and probe the pending cells. Return the content tokens that went through the model."""
        if not self.bundle.cells:
            return 0
        wanted = wanted_features(self.bundle)
        self.context.folder.add_event("bundle", bundle=self.bundle.name, cells=len(self.bundle.cells))
        featurizer = Featurizer(context=self.context, bundle=self.bundle)
        try:
            rows = rows_by_draw(self.bundle)
            stats, broken = featurizer.fill(wanted)
            judged, measured_tokens = featurizer.judge(wanted)
        except ENDS_RUN:
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            self.results.fail(self.bundle.cells, error)
            return 0
        stats = replace(stats, calibration_tokens=stats.calibration_tokens + measured_tokens)
        if self.bundle.model:
            self.context.notify("bundle_finished", event=stats, stats=stats)
        for features in wanted:
            cells = [cell for cell in self.bundle.cells if cell.features is features]
            if isinstance(features, ModelFeatures) and features.key in broken:
                self.results.fail(cells, broken[features.key])
            else:
                self._probe(cells, features, rows, find_fidelity(features, judged))
        return stats.tokens + stats.calibration_tokens

    def _probe(
        self, cells: Sequence[Cell], features: Features, rows: Mapping[DrawKey, Rows], fidelity: Fidelity
    ) -> None:
        """Probe the pending cells of one matrix.

        The matrix is read once; that of an arm without a model is made once for each training. Cells of one training,
        transform and classifier share the trained probe, whatever they are tested on.
        """
        matrix: Matrix | None = None
        made_for: Training | None = None
        trained: dict[tuple[Training, str, str], Trained] = {}
        languages: Languages | None = None
        tested = tested_rows(self.bundle)
        for cell in sorted(cells, key=lambda cell: (training_of(cell), cell.draw.key)):
            try:
                own, training = rows[cell.draw.key], training_of(cell)
                if made_for != training:
                    trained.clear()
                if matrix is None or (_depends_on_rows(features) and made_for != training):
                    matrix = self.results.matrix(features, own, tested[training])
                    languages = self._languages(matrix, features)
                made_for = training
                started = time.perf_counter()
                probe = (training, cell.transform.label, cell.classifier.label)
                if probe not in trained:
                    trained[probe] = train(
                        matrix, own, transform=cell.transform, classifier=cell.classifier, seed=cell.draw.seed
                    )
                outcome = apply(trained[probe], matrix, own)
                seconds = time.perf_counter() - started
                effects, sharing = trained[probe].effects, None
                if languages and effects is not None and cell.draw.regime.spec.by_language:
                    sharing = languages.compare(effects, cell.draw.partition)
                record = self.results.keep(
                    cell, own, outcome, seconds=seconds, fidelity=fidelity, sharing=sharing
                )
            except ENDS_RUN:
                raise
            except Exception as error:  # a transform or classifier of any plugin may fail in any way
                self.results.fail([cell], error)
            else:
                self.context.announce(record)

    def _languages(self, matrix: Matrix, features: Features) -> Languages | None:
        """Return what compares languages by the features of a dictionary; None for other representations, all of
        whose features are nonzero on every text.
        """
        if isinstance(features, ModelFeatures) and features.placed.sparse:
            return Languages(matrix, self.bundle.data.examples)
        return None


def _depends_on_rows(features: Features) -> bool:
    """Return whether other training rows make another matrix: for arms that read inputs, unless nothing is fitted on
    images, whose decoding is expensive.
    """
    spec = features.representation.spec
    return isinstance(features, InputFeatures) and (spec.fitted or spec.needs != "images")
