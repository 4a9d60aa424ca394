"""The only place where the stages meet: a plan in; records, predictions and a leaderboard on disk.

Bundle by bundle: fill what the store lacks with one forward pass, then probe cell by cell. What fails is recorded
as failed and ends nothing else; what is finished is never done again.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy import sparse

from harness import leaderboard
from harness.api.errors import MissingError, NothingSelectedError, WriteError, describe
from harness.api.events import BundleFinished, CellFinished, RunFinished, RunStarted, Score, Summary
from harness.api.protocols import LoadedModel
from harness.dictionaries.gate import Judgement, judge, not_measurable
from harness.features.activations import read_sample
from harness.features.artifacts import read_fitted, read_measured, write_fitted, write_measured
from harness.features.cached_model import KeptActivations
from harness.features.featurize import Reading, featurize, halve, plan_batches, typed_memory_errors
from harness.features.fitting import fit_all, measure_all
from harness.figures.illustrate import illustrate
from harness.planning.cells import Bundle, Cell, Features, Plan, Transfer
from harness.probing.probe import (
    Learnt,
    Outcome,
    Rows,
    apply,
    draw_weights,
    learn,
    make_rows,
    narrow,
    order_test,
    probe,
)
from harness.probing.shared_features import Languages
from harness.probing.shared_features import Sharing as Shared
from harness.registry.catalog import Registry
from harness.registry.loading import Fault, notify
from harness.runs.folder import RunFolder
from harness.runs.forward import Meter, Shards, make_readings, read_tokens_of
from harness.runs.make_record import _judge_bare, _record, _source
from harness.runs.record import (
    Record,
    Status,
)
from harness.storage.feature_store import FeatureStore
from harness.storage.hashing import hash_json, hash_lines

if TYPE_CHECKING:
    from harness.api.data import Matrix
    from harness.dictionaries.dictionary import Dictionary

Rerun = Literal["failed", "all", "never"]
"""Which cells that have a record are done anew."""


class _Stopped(Exception):
    """A cell failed, and the run was to end with the first that does."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where and how a plan is run; none of it changes a number."""

    registry: Registry
    store: FeatureStore
    folder: RunFolder
    device: str = "cpu"
    batch_size: int | None = None
    keep_activations: bool = False
    argv: Sequence[str] = field(default_factory=tuple)
    rerun: Rerun = "failed"
    fail_fast: bool = False
    report: Callable[[Fault], None] = lambda fault: None

    def run(self, plan: Plan) -> Summary:
        """Do all of a plan that `rerun` does not count as done. WriteError when results cannot be written,
        MissingError when another process is at work on the folder.
        """
        with self.folder.hold(), self.store.in_use():
            return self._run(plan)

    def _run(self, plan: Plan) -> Summary:
        started = time.perf_counter()
        earlier = self._of_left_out(plan)
        self.folder.start(
            suite=plan.suite.model_dump(mode="json", exclude={"summary"}),
            cells=[*(cell.cell_id for cell in plan.cells), *(record.cell_id for record in earlier)],
            tasks=Counter([*(name for name, _ in _cells_of(plan)), *(r.task for r in earlier)]),
            left_out=plan.left_out,
            argv=self.argv,
            plugins=self.registry.plugins,
            device=self.device,
        )
        done = {record.cell_id for record in self.folder.records() if self._stays(record)}
        event = _run_started(plan, self.folder, done)
        self._tell("run_started", event=event, plan=plan, done=event.done)
        tokens = 0
        status = "finished"
        try:
            for bundle in plan.bundles:
                tokens += self._run_bundle(replace(bundle, cells=_pending(bundle, done)), plan)
            for transfer in plan.transfers:
                pending = replace(transfer.target, cells=_pending(transfer.target, done))
                tokens += self._run_transfer(replace(transfer, target=pending), plan)
        except _Stopped:
            status = "stopped"
        except BaseException as error:
            with suppress(WriteError):  # a full disk has its own sentence already
                self.folder.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        summary = self._summarise(plan, skipped=len(done), tokens=tokens, started=started)
        leaderboard.remove(self.folder.path)  # whatever fails now, an old board must not pass for this run's
        try:
            with suppress(NothingSelectedError):
                board = leaderboard.build([self.folder])
                self._illustrate(plan, board)
                leaderboard.write(board, self.folder.path)
        except BaseException as error:
            with suppress(WriteError):
                self.folder.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        self.folder.finish("failed" if status == "finished" and not summary.is_whole else status)
        self._tell("run_finished", event=RunFinished(summary=summary), summary=summary)
        return summary

    def _illustrate(self, plan: Plan, board: leaderboard.Board) -> None:
        drawn = illustrate(
            plan,
            leaderboard.find_shown(board),
            folder=self.folder,
            store=self.store,
            device=self.device,
            batch_size=self.batch_size,
        )
        for note in drawn.notes:
            self.folder.add_event("not drawn", reason=note)

    def _stays(self, record: Record) -> bool:
        """Whether a cell with this record is not done anew."""
        if self.rerun == "all":
            return False
        return self.folder.is_done(record) or (self.rerun == "never" and record.status != "ok")

    def _of_left_out(self, plan: Plan) -> list[Record]:
        """Good records of earlier passes that the plan lacks because something is missing now; they stay the run's,
        unless their task has other rows now, or their model other weights.
        """
        if not plan.left_out:
            return []
        planned = {cell.cell_id for cell in plan.cells}
        every = (*plan.bundles, *(transfer.target for transfer in plan.transfers))
        arms = {
            (
                bundle.data.spec.name,
                bundle.model and bundle.model.label,
                *_place(cell.features),
                *_source(cell),
            )
            for bundle in every
            for cell in bundle.cells
        }
        rows = {bundle.data.spec.name: bundle.data.fingerprint for bundle in plan.bundles}
        weights = {
            (bundle.model.label, str(site)): hash_json(bundle.model.model.identity(site))
            for bundle in plan.bundles
            if bundle.model
            for site in {features.site for features in bundle.features if features.site}
        }
        return [
            record
            for record in self.folder.records()
            if record.status == "ok"
            and record.cell_id not in planned
            and (
                *(record.task, record.model, record.site, record.representation),
                *(record.learnt_on, record.alignment),
            )
            not in arms
            and rows.get(record.task, record.data) == record.data
            and weights.get((str(record.model), str(record.site)), record.model_hash) == record.model_hash
        ]

    # ── one bundle ───────────────────────────────────────────────────────────────────────────────────

    def _run_bundle(self, bundle: Bundle, plan: Plan) -> int:
        """Featurize and probe what is pending; the content tokens that went through the model."""
        if not bundle.cells:
            return 0
        wanted = _wanted(bundle)
        self.folder.add_event("bundle", bundle=bundle.name, cells=len(bundle.cells))
        try:
            rows = _rows(bundle)
            with typed_memory_errors():
                stats, broken = self._fill(bundle, wanted)
                judged, measured_tokens = self._judge(bundle, wanted)
        except WriteError:  # going on would only lose more
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            self._fail(bundle, plan, error)
            return 0
        stats = replace(stats, calibration_tokens=stats.calibration_tokens + measured_tokens)
        if bundle.model:
            self._tell("bundle_finished", event=stats, stats=stats)
        for features in wanted:
            part = replace(bundle, cells=tuple(cell for cell in bundle.cells if cell.features is features))
            if fault := broken.get(features.key or ""):
                self._fail(part, plan, fault)
            else:
                self._probe(
                    part, features, rows, plan, judged.get(features.gate_key or "", _judge_bare(features))
                )
        return stats.tokens + stats.calibration_tokens

    def _run_transfer(self, transfer: Transfer, plan: Plan) -> int:
        """Learn the pending cells on the features of one model and test them on those of another. Both are in the store
        by now; what was pruned since is made anew.
        """
        bundle, cells = transfer.target, transfer.target.cells
        if not cells:
            return 0
        self.folder.add_event("transfer", bundle=transfer.name, cells=len(cells))
        learnt_on = {cell.learnt_on.features.key: cell.learnt_on.features for cell in cells if cell.learnt_on}
        tokens = 0
        broken: dict[str, Exception] = {}
        judged: dict[str, Judgement] = {}
        try:
            rows = _rows(bundle)
            for each, wanted in ((transfer.source, list(learnt_on.values())), (bundle, _wanted(bundle))):
                with typed_memory_errors():
                    stats, faults = self._fill(each, wanted)
                    found, measured = self._judge(each, wanted)
                broken |= faults
                judged |= found
                tokens += stats.tokens + measured
        except WriteError:  # going on would only lose more
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            self._fail(bundle, plan, error)
            return tokens
        for features in _wanted(bundle):
            judgement = judged.get(features.gate_key or "", _judge_bare(features))
            good = []
            for cell in (cell for cell in cells if cell.features is features):
                read = (features.key or "", _learnt_on(cell).key or "")
                fault = next((broken[key] for key in read if key in broken), None)
                if fault:
                    self._fail(replace(bundle, cells=(cell,)), plan, fault)
                else:
                    good.append(cell)
            self._probe_aligned(replace(bundle, cells=tuple(good)), rows, plan, judgement, judged)
        return tokens

    def _probe_aligned(
        self,
        bundle: Bundle,
        rows: Mapping[_DrawKey, Rows],
        plan: Plan,
        judgement: Judgement,
        judged: Mapping[str, Judgement],
    ) -> None:
        """Probe cells whose training rows are of another model's features; what maps one to the other is fitted on the
        training rows of each draw, without their labels.
        """
        aligned: tuple[Matrix, Rows] | None = None
        made_for: tuple[str, str, str] | None = None
        for cell in sorted(bundle.cells, key=_alignment):
            try:
                own = rows[cell.draw.key]
                started = time.perf_counter()
                if aligned is None or made_for != _alignment(cell):
                    aligned, made_for = self._align(bundle, cell, own), _alignment(cell)
                outcome = probe(
                    *aligned,
                    transform=cell.transform,
                    classifier=cell.classifier,
                    seed=cell.draw.seed,
                )
                seconds = time.perf_counter() - started
                source = judged.get(_learnt_on(cell).gate_key or "")
                if source and source.verdict == "flagged":
                    told = tuple(f"source-fidelity:{rule}" for rule in source.reasons)
                    outcome = replace(outcome, flags=outcome.flags + told)
                self._keep(cell, bundle, plan, own, outcome, seconds, judgement)
            except WriteError:  # going on would only lose more
                raise
            except Exception as error:  # what any plugin offers may fail in any way
                aligned = None
                self._add(_record(cell, bundle, plan, status="failed", error=describe(error)))

    def _align(self, bundle: Bundle, cell: Cell, rows: Rows) -> tuple[Matrix, Rows]:
        """The features a cell is learnt on, and below them those of its test rows mapped to them; and the rows that are
        then to be learnt from and tested on.
        """
        assert cell.learnt_on
        tested = set(cell.draw.partition.test)
        source = self._matrix(bundle, _learnt_on(cell), rows, tested)
        target = self._matrix(bundle, cell.features, rows, tested)
        alignment = cell.learnt_on.alignment.make().fit(source[rows.train], target[rows.train])
        mapped = alignment.transform(target[rows.test])
        n = source.shape[0]
        place = np.concatenate([np.arange(n), rows.test])
        test = np.arange(n, len(place))
        return _stack(source, mapped), replace(rows, test=test, y=rows.y[place], groups=rows.groups[place])

    def _fill(
        self, bundle: Bundle, wanted: Sequence[Features]
    ) -> tuple[BundleFinished, Mapping[str, Exception]]:
        """One forward pass over the rows that the store lacks of any wanted features; the keys of those whose
        dictionary cannot be loaded, and why.
        """
        n_rows = len(bundle.data.examples)
        missing = [one for one in wanted if one.key and not self._stored(one.key, n_rows)]
        meter = Meter(bundle, self.device)
        if not missing or bundle.model is None:
            return meter.stats(), {}
        model = self._open(bundle, missing)
        fitted, broken = self._fit(bundle, missing, model, meter)
        missing = [one for one in missing if one.key not in broken]
        readings, unloadable = make_readings(missing, self.device, fitted)
        broken |= unloadable
        missing = [one for one in missing if one.key not in broken]
        if missing:
            kept = [self.store.rows(one.key, n_rows) for one in missing if one.key]
            batches = self._batches(bundle)
            remaining = [batch for batch in batches if not set(batch) <= set.intersection(*kept)]
            meter.tokens_total = sum(
                int(bundle.tokens[row].content.sum()) for rows in remaining for row in rows
            )
            self.folder.add_event("forward", bundle=bundle.name, batches=len(remaining), of=len(batches))
            resumed = len(remaining) < len(batches)
            read_before = read_tokens_of(model)
            self._forward(bundle, model, readings, batches, remaining, meter)
            meter.read_tokens = read_tokens_of(model) - read_before
            cost = meter.cost(resumed=resumed).model_dump()
            for one in missing:
                assert one.key
                self.store.complete(one.key, {"rows": n_rows, "of": _origin(one, bundle), "cost": cost})
        return meter.stats(), broken

    def _open(self, bundle: Bundle, missing: Sequence[Features]) -> LoadedModel:
        """The bundle's model in memory, as deep as the missing features need it."""
        assert bundle.model
        sites = sorted({one.site for one in missing if one.site})
        if not self.keep_activations:
            return bundle.model.model.load(sites, self.device)
        return KeptActivations(self.store, bundle.model, sites, self.device)

    def _fit(
        self, bundle: Bundle, missing: Sequence[Features], model: LoadedModel, meter: Meter
    ) -> tuple[Mapping[str, Dictionary], dict[str, Exception]]:
        """The dictionaries that missing features fit on the bundle's sample, by fitted key, from the store where
        they are there; and the feature keys of those that cannot be fitted, and why.
        """
        needed = {one.fitted_key: one for one in missing if one.fitted_key}
        stored = {key: read_fitted(self.store, key, self.device) for key in needed}
        fitted = {key: one for key, one in stored.items() if one is not None}
        unfitted = {
            key: (one.site, one.located)
            for key, one in needed.items()
            if key not in fitted and one.site and one.located
        }
        if not unfitted:
            return fitted, {}
        started = time.perf_counter()
        tokens = [bundle.tokens[row] for row in bundle.sample]
        sites = sorted({site for site, _ in unfitted.values()})
        sample = read_sample(model, tokens, sites, batch_size=self.batch_size, device=self.device)
        made, faults = fit_all(unfitted, sample)
        for one in missing:
            if one.key and one.fitted_key in made:  # shards of an earlier fit are not of this one
                self.store.discard(one.key)
        for key, dictionary in made.items():
            write_fitted(self.store, key, dictionary)
            # Should another process have fitted it too, both go on with the same one.
            fitted[key] = read_fitted(self.store, key, self.device) or dictionary
        meter.calibration_tokens = sum(int(one.content.sum()) for one in tokens) - read_tokens_of(model)
        self.folder.add_event(
            "calibrated",
            bundle=bundle.name,
            examples=len(tokens),
            tokens=meter.calibration_tokens,
            fitted=len(made),
            seconds=round(time.perf_counter() - started, 3),
        )
        broken = {one.key: faults[one.fitted_key] for one in missing if one.key and one.fitted_key in faults}
        return fitted, broken

    def _judge(self, bundle: Bundle, wanted: Sequence[Features]) -> tuple[dict[str, Judgement], int]:
        """What the gate says of every dictionary, by key, from what was measured before where it was; and the content
        tokens that went through the model for it.
        """
        keyed = {one.gate_key: one for one in wanted if one.gate_key}
        stored = {key: read_measured(self.store, key) for key in keyed}
        judged = {key: judge(seen) for key, seen in stored.items() if seen is not None}
        pending = {
            key: (one.site, one.located)
            for key, one in keyed.items()
            if key not in judged and one.site and one.located
        }
        if not pending or bundle.model is None:
            return judged, 0
        started = time.perf_counter()
        tokens = [bundle.tokens[row] for row in bundle.gate_sample]
        sites = sorted({site for key in pending for site in keyed[key].gate_sites})
        model = bundle.model.model.load(sites, self.device)
        sample = read_sample(model, tokens, sites, batch_size=self.batch_size, device=self.device)
        measured, faults = measure_all(pending, sample, tokens, self.device)
        for key, seen in measured.items():
            write_measured(self.store, key, seen)
            judged[key] = judge(seen)
        judged |= {key: not_measurable(fault) for key, fault in faults.items()}
        n_tokens = sum(int(one.content.sum()) for one in tokens)
        self.folder.add_event(
            "measured",
            bundle=bundle.name,
            dictionaries=len(measured),
            tokens=n_tokens,
            seconds=round(time.perf_counter() - started, 3),
        )
        return judged, n_tokens

    def _stored(self, key: str, n_rows: int) -> bool:
        return self.store.is_complete(key) and len(self.store.rows(key, n_rows)) == n_rows

    def _batches(self, bundle: Bundle) -> list[list[int]]:
        """The batches of an earlier, unfinished pass over this bundle, else new ones, kept before they run."""
        rows = range(len(bundle.tokens))
        batches = self.store.read_batches(self._batches_key(bundle))
        if batches is None or sorted(row for batch in batches for row in batch) != list(rows):
            lengths = [len(tokens.ids) for tokens in bundle.tokens]
            batches = plan_batches(lengths, batch_size=self.batch_size, device=self.device)
            self.store.write_batches(self._batches_key(bundle), batches)
        return batches

    def _batches_key(self, bundle: Bundle) -> str:
        """Another batch size or device makes other batches, so that `-b` can lead out of a lack of memory."""
        return hash_lines([bundle.key, str(self.batch_size), self.device.split(":")[0]])

    def _forward(
        self,
        bundle: Bundle,
        model: LoadedModel,
        readings: Sequence[Reading],
        batches: list[list[int]],
        remaining: Sequence[list[int]],
        meter: Meter,
    ) -> None:
        shards = Shards(self.store)

        def keep_halved(rows: Sequence[int]) -> None:
            place = batches.index(list(rows))
            batches[place : place + 1] = halve(rows)
            self.store.write_batches(self._batches_key(bundle), batches)
            self.folder.add_event("halved", bundle=bundle.name, examples=len(rows))

        pooled_batches = featurize(
            model=model, tokens=bundle.tokens, readings=readings, batches=remaining, on_halved=keep_halved
        )
        for pooled in pooled_batches:
            meter.add(pooled)
            shards.add(pooled)
            event = meter.progress()
            self._tell("batch_finished", event=event, stats=event)
        shards.flush()

    def _fail(self, bundle: Bundle, plan: Plan, error: Exception) -> None:
        status: Status = "oom" if isinstance(error, MemoryError | torch.OutOfMemoryError) else "failed"
        for cell in bundle.cells:
            self._add(_record(cell, bundle, plan, status=status, error=describe(error)))

    # ── its cells ────────────────────────────────────────────────────────────────────────────────────

    def _probe(
        self,
        bundle: Bundle,
        features: Features,
        rows: Mapping[_DrawKey, Rows],
        plan: Plan,
        judgement: Judgement,
    ) -> None:
        """Probe every pending cell on one matrix, which is read once; that of an arm without a model is made once for
        what is learnt from. What is learnt from the same rows is learnt once, whatever it is tested on.
        """
        matrix: Matrix | None = None
        made_for: _Training | None = None
        learnt: dict[tuple[_Training, str, str], Learnt] = {}
        languages: Languages | None = None
        tested = _tested(bundle)
        for cell in sorted(bundle.cells, key=lambda cell: (_training(cell), cell.draw.key)):
            try:
                own = rows[cell.draw.key]
                training = _training(cell)
                if made_for != training:
                    learnt.clear()
                if matrix is None or (_is_of_rows(features) and made_for != training):
                    matrix = self._matrix(bundle, features, own, tested[training])
                    languages = _languages(matrix, features, bundle)
                made_for = training
                started = time.perf_counter()
                how = (training, cell.transform.label, cell.classifier.label)
                if how not in learnt:
                    learnt[how] = learn(
                        matrix,
                        own,
                        transform=cell.transform,
                        classifier=cell.classifier,
                        seed=cell.draw.seed,
                    )
                outcome = apply(learnt[how], matrix, own)
                seconds = time.perf_counter() - started
                effects, sharing = learnt[how].effects, None
                if languages and effects is not None and cell.draw.regime.spec.by_language:
                    sharing = languages.compare(effects, cell.draw.partition)
                self._keep(cell, bundle, plan, own, outcome, seconds, judgement, sharing)
            except WriteError:  # going on would only lose more
                raise
            except Exception as error:  # a transform or classifier of any plugin may fail in any way
                self._add(_record(cell, bundle, plan, status="failed", error=describe(error)))

    def _matrix(self, bundle: Bundle, features: Features, rows: Rows, tested: Set[int]) -> Matrix:
        """`[examples, features]`, from the store or from the inputs; of these only rows that are learnt from, chosen on
        or `tested` are read, others are taken for empty.
        """
        if features.key is None:
            inputs = list(bundle.data.examples.inputs)
            if features.representation.spec.needs == "text":
                inputs = [str(one) for one in inputs]  # a conversation as plain text
                for row in set(range(len(inputs))).difference(rows.train, rows.validation, tested):
                    inputs[row] = ""
            fitted = features.representation.make().fit([inputs[row] for row in rows.train])
            made: Matrix = fitted.transform(inputs)
            return made
        matrix = self.store.read(features.key, len(bundle.data.examples))
        if matrix is None:
            raise MissingError("features vanished from the cache while the run was reading them; run again")
        # A shard is kept dense where that is smaller; what a transform sees must not depend on where shards end.
        return narrow(sparse.csr_array(matrix) if features.located and features.located.sparse else matrix)

    def _keep(
        self,
        cell: Cell,
        bundle: Bundle,
        plan: Plan,
        rows: Rows,
        outcome: Outcome,
        seconds: float,
        judgement: Judgement,
        sharing: Shared | None = None,
    ) -> None:
        examples = bundle.data.examples
        self.folder.write_predictions(
            cell.cell_id,
            example_ids=[examples.ids[row] for row in rows.test],
            groups=[examples.groups[row] for row in rows.test],
            labels=[examples.labels[row] for row in rows.test],
            predictions=[rows.classes[number] for number in outcome.predicted],
            scores=outcome.scores,
            classes=rows.classes,
        )
        forward = self.store.about(cell.features.key).get("cost", {}) if cell.features.key else {}
        cost = {**forward, "probe_seconds": seconds}
        self._add(
            _record(
                cell,
                bundle,
                plan,
                status="ok",
                rows=rows,
                outcome=outcome,
                cost=cost,
                judgement=judgement,
                sharing=sharing,
            )
        )

    def _add(self, record: Record) -> None:
        self.folder.add(record)
        self._tell("cell_finished", event=_cell_finished(record), record=record)
        if self.fail_fast and record.status != "ok":
            raise _Stopped

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────

    def _summarise(self, plan: Plan, *, skipped: int, tokens: int, started: float) -> Summary:
        records = self.folder.records()
        failed = [record for record in records if record.status != "ok"]
        known = {record.cell_id for record in records}
        return Summary(
            folder=self.folder.path,
            ok=len(records) - len(failed),
            failed=len(failed),
            pending=sum(cell.cell_id not in known for cell in plan.cells),
            flagged=sum(record.fidelity.verdict == "flagged" for record in records),
            errors=dict(Counter(str(record.error) for record in failed).most_common()),
            left_out=plan.left_out,
            skipped=skipped,
            seconds=time.perf_counter() - started,
            tokens=tokens,
        )

    def _tell(self, what: str, **arguments: Any) -> None:
        """Notify observers; beside `event`, `arguments` holds what hooks took before events."""
        notify(self.registry.plugins, f"harness_{what}", self.report, **arguments)


def _is_of_rows(features: Features) -> bool:
    """Whether a matrix is made anew for other rows to learn from: of an arm that reads inputs, unless it learns nothing
    of images, whose decoding is dear.
    """
    spec = features.representation.spec
    return features.key is None and (spec.fitted or spec.needs != "images")


def _place(features: Features) -> tuple[str | None, str]:
    return str(features.site) if features.site else None, features.representation.label


def _pending(bundle: Bundle, done: set[str]) -> tuple[Cell, ...]:
    return tuple(cell for cell in bundle.cells if cell.cell_id not in done)


def _wanted(bundle: Bundle) -> list[Features]:
    """The features that pending cells read."""
    return [
        features for features in bundle.features if any(cell.features is features for cell in bundle.cells)
    ]


def _cells_of(plan: Plan) -> Iterator[tuple[str, Cell]]:
    """Every cell of a plan, with the name of its task."""
    for bundle in (*plan.bundles, *(transfer.target for transfer in plan.transfers)):
        yield from ((bundle.data.spec.name, cell) for cell in bundle.cells)


_DrawKey = tuple[str, int, str, str]
_Training = tuple[int, tuple[int, ...], tuple[int, ...], int]
"""Seed, rows to learn from and to choose on, and which labels: cells that have these in common learn the same."""


def _training(cell: Cell) -> _Training:
    partition = cell.draw.partition
    return cell.draw.seed, partition.train, partition.validation, id(partition.labels)


def _tested(bundle: Bundle) -> Mapping[_Training, Set[int]]:
    """All rows that what is learnt from certain rows is tested on."""
    rows: dict[_Training, set[int]] = defaultdict(set)
    for cell in bundle.cells:
        rows[_training(cell)].update(cell.draw.partition.test)
    return rows


def _rows(bundle: Bundle) -> Mapping[_DrawKey, Rows]:
    """The rows of every draw; those with the same test rows share their bootstrap weights."""
    examples = bundle.data.examples
    seed = leaderboard.bootstrap_seed(bundle.data.spec.name)
    weights: dict[tuple[int, ...], Any] = {}
    rows: dict[_DrawKey, Rows] = {}
    for cell in bundle.cells:
        draw = cell.draw
        if draw.key not in rows:
            test = order_test(examples, draw.partition)
            if test not in weights:
                weights[test] = draw_weights(examples, test, seed=seed)
            rows[draw.key] = make_rows(examples, bundle.data.classes, draw.partition, test, weights[test])
    return rows


def _languages(matrix: Matrix, features: Features, bundle: Bundle) -> Languages | None:
    """For what dictionaries share between languages; None for what is no dictionary, all of which always fires."""
    if features.located and features.located.sparse:
        return Languages(matrix, bundle.data.examples)
    return None


def _learnt_on(cell: Cell) -> Features:
    """The features of another model that a cell of a transfer is learnt on."""
    assert cell.learnt_on
    return cell.learnt_on.features


def _alignment(cell: Cell) -> tuple[str, str, str]:
    """Cells that have this in common, on the same features, are probed on the same aligned matrix."""
    assert cell.learnt_on
    return str(cell.learnt_on.features.key), cell.learnt_on.alignment.label, str(cell.draw.key)


def _stack(upper: Matrix, lower: Matrix) -> Matrix:
    """One matrix above another, of the kind of the upper one."""
    if isinstance(upper, np.ndarray):
        dense = lower if isinstance(lower, np.ndarray) else lower.toarray()
        return np.concatenate([upper, dense.astype(upper.dtype, copy=False)])
    return sparse.csr_array(sparse.vstack([upper, sparse.csr_array(lower)]))


def _origin(features: Features, bundle: Bundle) -> dict[str, str]:
    """What features were made from, for people who look at the cache."""
    parts = {
        "task": bundle.data.spec.name,
        "model": bundle.model.label if bundle.model else None,
        "site": features.site,
        "representation": features.representation.label,
        "pooling": features.pooling.label if features.pooling else None,
    }
    return {name: str(part) for name, part in parts.items() if part}


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────


def _run_started(plan: Plan, folder: RunFolder, done: Set[str]) -> RunStarted:
    bundles = (*plan.bundles, *(transfer.target for transfer in plan.transfers))
    cells = [cell for bundle in bundles for cell in bundle.cells]
    return RunStarted(
        suite=plan.suite.name,
        folder=folder.path,
        n_cells=len(plan.cells),
        done=sum(cell.cell_id in done for cell in plan.cells),
        tasks=tuple(dict.fromkeys(bundle.data.spec.name for bundle in bundles)),
        models=tuple(dict.fromkeys(bundle.model.label for bundle in bundles if bundle.model)),
        representations=tuple(dict.fromkeys(cell.features.representation.label for cell in cells)),
        left_out=plan.left_out,
    )


def _cell_finished(record: Record) -> CellFinished:
    shared = {name: getattr(record, name) for name in _SHARED}
    metrics = {
        name: Score(value=metric.value, low=metric.low, high=metric.high)
        for name, metric in record.metrics.items()
    }
    return CellFinished(**shared, source_model=record.learnt_on, metrics=metrics)


_SHARED = {one.name for one in fields(CellFinished)} - {"source_model", "metrics"}
"""Fields that an event of a cell has in common with its record."""

# ── records ──────────────────────────────────────────────────────────────────────────────────────────────
