"""Execution of one transfer: probes trained on the features of one model and tested on those of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Cell, ModelFeatures, Plan, Transfer, TransferSource
from harness.probing.probe import Rows
from harness.runs.cell_results import CellResults
from harness.runs.context import RunContext, Stopped
from harness.runs.draw_rows import bundle_rows, stored_matrix, training_of
from harness.runs.featurizer import Featurizer, find_fidelity, wanted_features
from harness.runs.pool import Pool
from harness.runs.work import AlignedJob, BundleRows, Failure, Probed, Result, TransferWork


@dataclass(frozen=True, kw_only=True)
class TransferRun:
    """One transfer of a run, with the cells that are pending."""

    context: RunContext
    plan: Plan
    transfer: Transfer
    pool: Pool

    @cached_property
    def results(self) -> CellResults:
        """Writer of the results."""
        return CellResults(context=self.context, plan=self.plan, bundle=self.transfer.target)

    def run(self) -> int:
        """Submit the pending cells. Return the content tokens that went through models: the features of both are in
        the store by now, and only those that were pruned since are made again.
        """
        bundle, cells = self.transfer.target, self.transfer.target.cells
        if not cells:
            return 0
        self.context.folder.add_event("transfer", bundle=self.transfer.name, cells=len(cells))
        sources = {_source(cell).features.key: _source(cell).features for cell in cells}
        tokens = 0
        broken: dict[str, Exception] = {}
        judged: dict[str, Fidelity] = {}
        try:
            rows = bundle_rows(bundle)
            for each, wanted in (
                (self.transfer.source, list(sources.values())),
                (bundle, wanted_features(bundle)),
            ):
                featurizer = Featurizer(context=self.context, bundle=each, prepare=self.pool.finish)
                stats, faults = featurizer.fill(wanted)
                found, measured = featurizer.judge(wanted)
                broken |= faults
                judged |= found
                tokens += stats.tokens + measured
        except ENDS_RUN:
            raise
        except Stopped:
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            if error is self.pool.fault:
                raise
            self._fail(cells, error)
            return tokens
        for features in bundle.model_features:
            good = []
            for cell in (cell for cell in cells if cell.features is features):
                keys = (features.key, _source(cell).features.key)
                fault = next((broken[key] for key in keys if key in broken), None)
                if fault:
                    self._fail([cell], fault)
                else:
                    good.append(cell)
            if good:
                self._probe(good, rows, judged)
        return tokens

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
        self.pool.submit(TransferWork(bundle=rows, matrix=matrix, jobs=jobs), keeps)

    def _keep(self, cell: Cell, rows: Rows, judged: Mapping[str, Fidelity], result: Result) -> None:
        """Keep the result of a cell, with the flags of the source's dictionary."""
        source = find_fidelity(_source(cell).features, judged)
        if isinstance(result, Probed) and source.verdict == "flagged":
            flags = tuple(f"source-fidelity:{rule}" for rule in source.reasons)
            outcome = replace(result.outcome, flags=result.outcome.flags + flags)
            result = replace(result, outcome=outcome)
        self.results.take(cell, rows, find_fidelity(cell.features, judged), result)

    def _fail(self, cells: Sequence[Cell], error: Exception) -> None:
        self.pool.then(partial(self.results.fail, cells, Failure.of(error)))


def _source(cell: Cell) -> TransferSource:
    """Return the training features of a transferred cell."""
    assert cell.source  # every cell of a transfer has one
    return cell.source


def _features(cell: Cell) -> ModelFeatures:
    """Return the features of a transferred cell."""
    assert isinstance(cell.features, ModelFeatures)  # transfers have no others
    return cell.features
