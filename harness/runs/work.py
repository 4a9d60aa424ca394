"""Work of a run that needs no model: probes on matrices that are stored or made from inputs.

What stands here is data, so that it can be done in this process or in a worker process, with equal results.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from scipy import sparse

from harness.api.data import Examples, Partition
from harness.api.errors import ENDS_RUN, UnavailableError, describe
from harness.api.memory import explain, find_memory_error
from harness.probing.probe import Outcome, Rows, Trained, apply, narrow, probe, train
from harness.probing.shared_features import Languages, Sharing
from harness.probing.threads import one_thread
from harness.registry.catalog import Choice
from harness.runs.desk import Desk
from harness.runs.lines import Status
from harness.stats.finite import check_rows
from harness.storage.feature_store import FeatureStore

if TYPE_CHECKING:
    from harness.api.data import Matrix


DrawKey = tuple[str, int, str, str]
"""Regime, seed, languages of training and of test (`harness.data.partitions.Draw.key`)."""

Training = tuple[int, tuple[int, ...], tuple[int, ...], int]
"""Seed, training rows, validation rows, `id` of the labels: cells with equal ones train the same probe."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Result of a cell; `seconds` are those of its own fit and score."""

    outcome: Outcome
    seconds: float
    sharing: Sharing | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Reason why a cell has no result."""

    status: Status
    error: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return the failure that an error, or a lack of memory, is."""
        if find_memory_error(error):
            return cls(status="oom", error=explain(error))
        return cls(status="failed", error=describe(error))


Result = Probed | Failure


@dataclass(frozen=True, kw_only=True, eq=False)
class BundleRows:
    """Examples of a bundle, and its rows by draw, which all its cells share."""

    examples: Examples
    rows: Mapping[DrawKey, Rows]
    key: str = field(default_factory=lambda: uuid4().hex)
    """Name by which another process knows whether it has them."""


@dataclass(frozen=True, kw_only=True)
class StoredMatrix:
    """Matrix `[n_rows, features]` in the feature store; one of `sparse` features is read as CSR."""

    key: str
    n_rows: int
    sparse: bool

    def read(self, store: FeatureStore) -> Matrix:
        """Return the matrix. Raise UnavailableError where the store has lost it."""
        matrix = store.read(self.key, self.n_rows)
        if matrix is None:
            raise UnavailableError(
                "features vanished from the cache while the run was reading them; run again"
            )
        # A shard is dense where that is smaller; what a transform sees must not depend on where shards end.
        return narrow(sparse.csr_array(matrix) if self.sparse else matrix)


@dataclass(frozen=True, kw_only=True)
class InputMatrix:
    """Matrix that a representation makes from the inputs. `tested` are the rows that each training's probes are
    tested on.
    """

    representation: Choice
    tested: Mapping[Training, Set[int]]

    @property
    def depends_on_rows(self) -> bool:
        """True where other training rows make another matrix. Taken as False where nothing is fitted on images, whose
        decoding is expensive.
        """
        spec = self.representation.spec
        return bool(spec.fitted or spec.needs != "images")

    def make(self, inputs: Sequence[object], rows: Rows, training: Training) -> Matrix:
        """Return `[inputs, features]`. Of texts, only rows that are used for training, for selection or for a test are
        read; others count as empty.
        """
        inputs = list(inputs)
        used: Sequence[int] = range(len(inputs))
        if self.representation.spec.needs == "text":
            used = sorted({*self.tested[training], *rows.train.tolist(), *rows.validation.tolist()})
            kept = set(used)
            # A conversation as plain text.
            inputs = [str(one) if row in kept else "" for row, one in enumerate(inputs)]
        with one_thread():
            fitted = self.representation.make().fit([inputs[row] for row in rows.train])
            made: Matrix = fitted.transform(inputs)
        check_rows(made, len(inputs), owner=self.representation.owner, name=rows.name, used=used)
        return made


@dataclass(frozen=True, kw_only=True)
class Job:
    """Probe of one cell. `compared` is its partition where languages are compared."""

    draw: DrawKey
    seed: int
    training: Training
    transform: Choice
    classifier: Choice
    compared: Partition | None = None


@dataclass(frozen=True, kw_only=True)
class MatrixWork:
    """Cells of one matrix, ordered by their trainings."""

    bundle: BundleRows
    matrix: StoredMatrix | InputMatrix
    jobs: tuple[Job, ...]

    def after(self, done: int) -> MatrixWork:
        """Return the work without its first cells."""
        return replace(self, jobs=self.jobs[done:])

    def run(self, desk: Desk) -> Iterator[Result]:
        """Yield the result of each cell, in order. Raise only what ends a run.

        The matrix is read once; that of an arm without a model is made once for each training. Cells of one training,
        transform and classifier share the trained probe, whatever they are tested on.
        """
        matrix: Matrix | None = None
        made_for: Training | None = None
        trained: dict[tuple[Training, str, str], Trained] = {}
        languages: Languages | None = None
        again = isinstance(self.matrix, InputMatrix) and self.matrix.depends_on_rows
        for job in self.jobs:
            try:
                own = self.bundle.rows[job.draw]
                if made_for != job.training:
                    trained.clear()
                if matrix is None or (again and made_for != job.training):
                    matrix = self._read(own, job.training, desk.store)
                    languages = self._languages(matrix)
                made_for = job.training
                started = time.perf_counter()
                key = (job.training, job.transform.label, job.classifier.label)
                if key not in trained:
                    trained[key] = train(
                        matrix, own, transform=job.transform, classifier=job.classifier, seed=job.seed
                    )
                outcome = apply(trained[key], matrix, own)
                seconds = time.perf_counter() - started
                effects, sharing = trained[key].effects, None
                if languages and effects is not None and job.compared:
                    sharing = languages.compare(effects, job.compared)
                result: Result = Probed(outcome=outcome, seconds=seconds, sharing=sharing)
            except ENDS_RUN:
                raise
            except Exception as error:  # a transform or classifier of any plugin may fail in any way
                result = Failure.of(error)
            yield result

    def _read(self, rows: Rows, training: Training, store: FeatureStore) -> Matrix:
        if isinstance(self.matrix, StoredMatrix):
            return self.matrix.read(store)
        return self.matrix.make(self.bundle.examples.inputs, rows, training)

    def _languages(self, matrix: Matrix) -> Languages | None:
        """Return what compares languages by the features of a dictionary; None for other representations, all of
        whose features are nonzero on every text.
        """
        is_sparse = isinstance(self.matrix, StoredMatrix) and self.matrix.sparse
        return Languages(matrix, self.bundle.examples) if is_sparse else None


@dataclass(frozen=True, kw_only=True)
class AlignedJob(Job):
    """Cell that trains on another model's features, `source`, to which an alignment maps those it is tested on."""

    source: StoredMatrix
    alignment: Choice

    @property
    def alignment_key(self) -> tuple[str, str, str]:
        """Key that is equal for cells on the same features which share an aligned matrix."""
        return self.source.key, self.alignment.label, str(self.draw)


@dataclass(frozen=True, kw_only=True)
class TransferWork:
    """Transferred cells of one matrix, ordered by their alignment."""

    bundle: BundleRows
    matrix: StoredMatrix
    jobs: tuple[AlignedJob, ...]

    def after(self, done: int) -> TransferWork:
        """Return the work without its first cells."""
        return replace(self, jobs=self.jobs[done:])

    def run(self, desk: Desk) -> Iterator[Result]:
        """Yield the result of each cell, in order. Raise only what ends a run.

        An alignment is fitted on the training rows of each draw, without labels.
        """
        aligned: tuple[Matrix, Rows] | None = None
        made_for: tuple[str, str, str] | None = None
        for job in self.jobs:
            try:
                started = time.perf_counter()
                if aligned is None or made_for != job.alignment_key:
                    aligned = None  # should this one fail, the next cell is not probed on an earlier one
                    aligned, made_for = self._align(job, desk.store), job.alignment_key
                outcome = probe(*aligned, transform=job.transform, classifier=job.classifier, seed=job.seed)
                result: Result = Probed(outcome=outcome, seconds=time.perf_counter() - started)
            except ENDS_RUN:
                raise
            except Exception as error:  # what any plugin offers may fail in any way
                result = Failure.of(error)
            yield result

    def _align(self, job: AlignedJob, store: FeatureStore) -> tuple[Matrix, Rows]:
        """Return the source features with the mapped test rows below them, and the rows for that matrix."""
        rows = self.bundle.rows[job.draw]
        reference, target = job.source.read(store), self.matrix.read(store)
        with one_thread():
            alignment = job.alignment.make().fit(reference[rows.train], target[rows.train])
            mapped = alignment.transform(target[rows.test])
        check_rows(
            mapped,
            len(rows.test),
            columns=reference.shape[1],
            owner=job.alignment.owner,
            name=lambda number: rows.name(rows.test[number]),
        )
        n = reference.shape[0]
        place = np.concatenate([np.arange(n), rows.test])
        test = np.arange(n, len(place))
        ids = [rows.ids[row] for row in place]
        moved = replace(rows, test=test, y=rows.y[place], groups=rows.groups[place], ids=ids)
        return _stack(reference, mapped), moved


Work = MatrixWork | TransferWork


def _stack(upper: Matrix, lower: Matrix) -> Matrix:
    """Return one matrix above another, of the kind (dense or CSR) of the upper one."""
    if isinstance(upper, np.ndarray):
        dense = lower if isinstance(lower, np.ndarray) else lower.toarray()
        return np.concatenate([upper, dense.astype(upper.dtype, copy=False)])
    return sparse.csr_array(sparse.vstack([upper, sparse.csr_array(lower)]))
