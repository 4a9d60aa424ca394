"""Execution of one transfer: probes trained on the features of one model and tested on those of another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from harness.api.errors import ENDS_RUN
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Cell, Plan, Transfer, TransferSource
from harness.probing.probe import Rows, probe
from harness.probing.threads import one_thread
from harness.runs.cell_results import CellResults
from harness.runs.context import RunContext
from harness.runs.draw_rows import DrawKey, rows_by_draw
from harness.runs.featurizer import Featurizer, find_fidelity, wanted_features
from harness.stats.finite import check_rows

if TYPE_CHECKING:
    from harness.api.data import Matrix


@dataclass(frozen=True, kw_only=True)
class TransferRun:
    """One transfer of a run, with the cells that are pending."""

    context: RunContext
    plan: Plan
    transfer: Transfer

    @cached_property
    def results(self) -> CellResults:
        """The reader and writer of the transfer's cells."""
        return CellResults(context=self.context, plan=self.plan, bundle=self.transfer.target)

    def run(self) -> int:
        """Probe the pending cells. Return the content tokens that went through models: the features of both are in
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
            rows = rows_by_draw(bundle)
            for each, wanted in (
                (self.transfer.source, list(sources.values())),
                (bundle, wanted_features(bundle)),
            ):
                featurizer = Featurizer(context=self.context, bundle=each)
                stats, faults = featurizer.fill(wanted)
                found, measured = featurizer.judge(wanted)
                broken |= faults
                judged |= found
                tokens += stats.tokens + measured
        except ENDS_RUN:
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            self.results.fail(cells, error)
            return tokens
        for features in bundle.model_features:
            good = []
            for cell in (cell for cell in cells if cell.features is features):
                keys = (features.key, _source(cell).features.key)
                fault = next((broken[key] for key in keys if key in broken), None)
                if fault:
                    self.results.fail([cell], fault)
                else:
                    good.append(cell)
            self._probe(good, rows, find_fidelity(features, judged), judged)
        return tokens

    def _probe(
        self,
        cells: Sequence[Cell],
        rows: Mapping[DrawKey, Rows],
        fidelity: Fidelity,
        judged: Mapping[str, Fidelity],
    ) -> None:
        """Probe cells of one matrix; the alignment is fitted on the training rows of each draw, without labels."""
        aligned: tuple[Matrix, Rows] | None = None
        made_for: tuple[str, str, str] | None = None
        for cell in sorted(cells, key=_alignment_key):
            try:
                own = rows[cell.draw.key]
                started = time.perf_counter()
                if aligned is None or made_for != _alignment_key(cell):
                    aligned, made_for = self._align(cell, own), _alignment_key(cell)
                outcome = probe(
                    *aligned, transform=cell.transform, classifier=cell.classifier, seed=cell.draw.seed
                )
                seconds = time.perf_counter() - started
                source = find_fidelity(_source(cell).features, judged)
                if source.verdict == "flagged":
                    flags = tuple(f"source-fidelity:{rule}" for rule in source.reasons)
                    outcome = replace(outcome, flags=outcome.flags + flags)
                record = self.results.keep(cell, own, outcome, seconds=seconds, fidelity=fidelity)
            except ENDS_RUN:
                raise
            except Exception as error:  # what any plugin offers may fail in any way
                aligned = None
                self.results.fail([cell], error)
            else:
                self.context.announce(record)

    def _align(self, cell: Cell, rows: Rows) -> tuple[Matrix, Rows]:
        """Return the source features with the mapped test rows below them, and the rows for that matrix."""
        source = _source(cell)
        tested = set(cell.draw.partition.test)
        reference = self.results.matrix(source.features, rows, tested)
        target = self.results.matrix(cell.features, rows, tested)
        with one_thread():
            alignment = source.alignment.make().fit(reference[rows.train], target[rows.train])
            mapped = alignment.transform(target[rows.test])
        check_rows(
            mapped,
            len(rows.test),
            columns=reference.shape[1],
            owner=source.alignment.owner,
            name=lambda number: rows.name(rows.test[number]),
        )
        n = reference.shape[0]
        place = np.concatenate([np.arange(n), rows.test])
        test = np.arange(n, len(place))
        ids = [rows.ids[row] for row in place]
        moved = replace(rows, test=test, y=rows.y[place], groups=rows.groups[place], ids=ids)
        return _stack(reference, mapped), moved


def _source(cell: Cell) -> TransferSource:
    """Return the training features of a transferred cell."""
    assert cell.source  # every cell of a transfer has one
    return cell.source


def _alignment_key(cell: Cell) -> tuple[str, str, str]:
    """Return what cells on the same features have in common where they share an aligned matrix."""
    source = _source(cell)
    return source.features.key, source.alignment.label, str(cell.draw.key)


def _stack(upper: Matrix, lower: Matrix) -> Matrix:
    """Return one matrix above another, of the kind (dense or CSR) of the upper one."""
    if isinstance(upper, np.ndarray):
        dense = lower if isinstance(lower, np.ndarray) else lower.toarray()
        return np.concatenate([upper, dense.astype(upper.dtype, copy=False)])
    return sparse.csr_array(sparse.vstack([upper, sparse.csr_array(lower)]))
