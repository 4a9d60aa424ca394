"""Execution of one transfer: probes trained on the features of one model and tested on those of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Cell, Features, ModelFeatures, Plan, Transfer, TransferSource
from harness.probing.probe import Rows
from harness.runs.cell_results import CellResults
from harness.runs.context import RunContext
from harness.runs.draw_rows import bundle_rows, stored_matrix, training_of
from harness.runs.features_made import find_fidelity, wanted_features
from harness.runs.forward_work import FeaturesMade
from harness.runs.submitting import Submitting
from harness.runs.work import AlignedJob, BundleRows, Failure, Probed, Result, TransferWork


@dataclass(frozen=True, kw_only=True)
class TransferRun:
    """One transfer of a run, with the cells that are pending. `count` receives the tokens that went through models."""

    context: RunContext
    plan: Plan
    transfer: Transfer
    submitting: Submitting
    count: Callable[[int], None]
    made: list[FeaturesMade | Failure] = field(default_factory=list)
    """Results of the two forward passes so far."""

    @cached_property
    def results(self) -> CellResults:
        """Writer of the results."""
        return CellResults(context=self.context, plan=self.plan, bundle=self.transfer.target)

    def start(self) -> None:
        """Submit the forward passes of both bundles, whose end submits the probes: the features of both are in the
        store by now, and only those that were pruned since are made again.
        """
        bundle, cells = self.transfer.target, self.transfer.target.cells
        if not cells:
            return
        self.context.folder.add_event("transfer", bundle=self.transfer.name, cells=len(cells))
        sources: list[Features] = [
            *{_source(cell).features.key: _source(cell).features for cell in cells}.values()
        ]
        self.submitting.forward(self.transfer.source, sources, self._take)
        self.submitting.forward(bundle, wanted_features(bundle), self._take)

    def _take(self, made: FeaturesMade | Failure) -> None:
        """Submit the probes once the features of both models are made."""
        self.made.append(made)
        if len(self.made) < 2:
            return
        found = [one for one in self.made if isinstance(one, FeaturesMade)]
        self.count(sum(one.stats.tokens + one.stats.calibration_tokens for one in found))
        failures = [one for one in self.made if isinstance(one, Failure)]
        if failures:
            self.results.fail(self.transfer.target.cells, failures[0])
            return
        try:
            rows = bundle_rows(self.transfer.target)
        except ENDS_RUN:
            raise
        except Exception as error:  # labels of a regime of any plugin may be anything
            self.results.fail(self.transfer.target.cells, Failure.of(error))
            return
        broken = {key: failure for one in found for key, failure in one.broken.items()}
        judged = {key: fidelity for one in found for key, fidelity in one.judged.items()}
        self._probe_all(rows, broken, judged)

    def _probe_all(
        self, rows: BundleRows, broken: Mapping[str, Failure], judged: Mapping[str, Fidelity]
    ) -> None:
        for features in self.transfer.target.model_features:
            good = []
            for cell in (cell for cell in self.transfer.target.cells if cell.features is features):
                keys = (features.key, _source(cell).features.key)
                fault = next((broken[key] for key in keys if key in broken), None)
                if fault:
                    self.results.fail([cell], fault)
                else:
                    good.append(cell)
            if good:
                self._probe(good, rows, judged)

    def _probe(self, cells: Sequence[Cell], rows: BundleRows, judged: Mapping[str, Fidelity]) -> None:
        """Let cells of one matrix be probed."""
        bundle, other = self.transfer.target, self.transfer.source
        pairs = [
            (
                cell,
                AlignedJob(
                    draw=cell.draw.key,
                    seed=cell.draw.seed,
                    training=training_of(cell),
                    transform=cell.transform,
                    classifier=cell.classifier,
                    source=stored_matrix(_source(cell).features, other),
                    alignment=_source(cell).alignment,
                ),
            )
            for cell in cells
        ]
        pairs.sort(key=lambda pair: pair[1].alignment_key)
        jobs = tuple(job for _, job in pairs)
        keeps = [partial(self._keep, cell, rows.rows[cell.draw.key], judged) for cell, _ in pairs]
        matrix = stored_matrix(_features(cells[0]), bundle)
        work = TransferWork(bundle=rows, matrix=matrix, jobs=jobs)
        self.submitting.probe(work, [cell for cell, _ in pairs], keeps, bundle)

    def _keep(self, cell: Cell, rows: Rows, judged: Mapping[str, Fidelity], result: Result) -> None:
        """Keep the result of a cell, with the flags of the source's dictionary."""
        source = find_fidelity(_source(cell).features, judged)
        if isinstance(result, Probed) and source.verdict == "flagged":
            flags = tuple(f"source-fidelity:{rule}" for rule in source.reasons)
            outcome = replace(result.outcome, flags=result.outcome.flags + flags)
            result = replace(result, outcome=outcome)
        self.results.take(cell, rows, find_fidelity(cell.features, judged), result)


def _source(cell: Cell) -> TransferSource:
    """Return the training features of a transferred cell."""
    assert cell.source  # every cell of a transfer has one
    return cell.source


def _features(cell: Cell) -> ModelFeatures:
    """Return the features of a transferred cell."""
    assert isinstance(cell.features, ModelFeatures)  # transfers have no others
    return cell.features
