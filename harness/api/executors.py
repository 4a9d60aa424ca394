"""Executors: who runs the work of a run, here or elsewhere. The work comes in units, each self-contained, restartable
and idempotent by its key; what becomes of a result is the unit's own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from harness.api.errors import HarnessError

UnitKind = Literal["forward", "probe"]
"""A `forward` unit runs a model over the rows of a task, and fills the feature store. A `probe` unit trains and tests
probes on what lies there, and needs no GPU.
"""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Unit as bytes for another process, of which a `Worker` makes an Answer.

    `shared` holds what many units of a bundle have in common, its rows, under `shared_key`: a worker that was sent the
    same key last needs it not again. Both are empty where there is nothing of the kind.
    """

    body: bytes
    shared_key: str = ""
    shared: Callable[[], bytes] = field(default=bytes, repr=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Words of a worker on a unit: its results in order, of which number `first` is the first one, and events.

    Results are bytes that the unit reads. After an answer that `is_last` nothing more comes: where results are missing
    then, what is left is packed and run again. An `error` says why they have to be missing: a ChangedError or a
    WriteError ends the run, another one says that this worker cannot do the unit.
    """

    first: int = 0
    results: tuple[bytes, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    is_last: bool = True
    error: HarnessError | None = None


class Unit(Protocol):
    """Piece of work of a run, with what is known of it. It keeps count of the results that it has taken."""

    @property
    def key(self) -> str:
        """Identity of the work: units with equal keys have equal results."""

    @property
    def kind(self) -> UnitKind:
        """What it needs: a device and a model, or neither."""

    @property
    def name(self) -> str:
        """Name for people, such as `sms_spam × gemma-2-2b`."""

    @property
    def model(self) -> str | None:
        """Label of the model that it runs: a worker that has it loaded is best. None where it runs none."""

    @property
    def memory(self) -> int:
        """Expected bytes: on the device of a forward unit, in the memory of a probe unit."""

    @property
    def n_results(self) -> int:
        """Number of results: 1 of a forward unit, one for each cell of a probe unit."""

    @property
    def n_taken(self) -> int:
        """Number of results that were taken."""

    @property
    def is_done(self) -> bool:
        """True when every result was taken."""

    def run_here(self, why: str = "") -> None:
        """Do what is left in this process; users are warned of a reason `why` no worker can.

        Raises what ends the run. The results may bring further units, which are submitted before this returns.
        """

    def pack(self, after: int | None = None) -> Packed:
        """Return the work `after` so many results, by default those that were taken, as bytes.

        Raise UnavailableError where it cannot be given to another process.
        """

    def take(self, answer: Answer) -> None:
        """Take the results and events of a worker, in the thread that submitted the unit.

        Results that were taken before are passed over; where one cannot be read, the rest is done here. Raises what
        ends the run, an `error` of the answer that does among it. The results may bring further units.
        """

    def fail(self, error: str, *, rest: bool = False) -> None:
        """Let the next result, or all of the rest, be a failure with this reason."""


@dataclass(frozen=True, kw_only=True)
class WorkerSetting:
    """Setting of a worker, picklable: the location of the feature store, the device, and what makes another process
    like this one: plugins by name (with their distribution), folders of modules, working folder, offline or not.

    `threads` is the number of threads of PyTorch in a forward pass.
    """

    store: str
    device: str
    plugins: tuple[tuple[str, str], ...] = ()
    cache_dir: str | None = None
    path: tuple[str, ...] = ()
    folder: str = ""
    offline: bool = False
    threads: int = 1


class Worker(Protocol):
    """Doer of units in another process, as `harness.open_worker(setting)` returns it."""

    def run(self, body: bytes, shared: bytes | None = None) -> Iterator[Answer]:
        """Yield the answers on one packed unit as they come, the last of them marked. It raises nothing but what is no
        error, such as a user's interruption. `shared` is None where it was sent with the unit before.
        """


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Surroundings of a run, for an executor: the `setting` of its workers, and `tell(event, **fields)`, which writes
    a line into the run's events.
    """

    setting: WorkerSetting
    tell: Callable[..., None] = lambda event, **fields: None


class Pool(Protocol):
    """Runner of units, open for one run."""

    def submit(self, unit: Unit) -> None:
        """Accept a unit. It may be done at once, or later in any order; results are taken in the calling thread, in
        `submit` and in `finish` alone. Raises what ends the run.
        """

    def finish(self) -> None:
        """Wait until every unit is done, those among them that are submitted meanwhile. Raises what ends the run."""


@runtime_checkable
class Executor(Protocol):
    """Maker of pools. It decides where units are run, and in which order; no number may depend on it."""

    def find_device(self, wanted: str) -> str:
        """Return the device of the workers for `auto`, `cpu`, `cuda` or `cuda:N`.

        Raise UsageError for another name and UnavailableError for a device that no worker has.
        """

    def open(self, workplace: Workplace) -> AbstractContextManager[Pool]:
        """Open a pool for the block; its workers end with it, whatever they do."""
