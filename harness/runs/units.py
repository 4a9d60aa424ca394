"""Units of a run: work with what becomes of its results, as executors are given them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from harness.api.errors import ENDS_RUN, describe
from harness.api.executors import Answer, Packed, UnitKind
from harness.runs.desk import Desk
from harness.runs.forward_work import ForwardWork
from harness.runs.packing import Packer
from harness.runs.work import Failure, Work

Deliver = Callable[[Any], None]
"""Receiver of one result: a FeaturesMade, a Probed or a Failure."""


@dataclass(kw_only=True, eq=False)
class RunUnit:
    """Piece of a run's work; `deliver` receives its results in order. See `harness.Unit`."""

    work: Work | ForwardWork
    deliver: Sequence[Deliver]
    key: str
    name: str
    memory: int
    desk: Desk
    packer: Packer
    warned: set[str]
    """Filled with the first warning of the run, which is the only one."""
    n_taken: int = field(default=0, init=False)

    @property
    def kind(self) -> UnitKind:
        """What the work needs: a device and a model, or neither."""
        return "forward" if isinstance(self.work, ForwardWork) else "probe"

    @property
    def model(self) -> str | None:
        """Label of the model that the work runs."""
        opened = self.work.bundle.model if isinstance(self.work, ForwardWork) else None
        return opened.label if opened else None

    @property
    def n_results(self) -> int:
        """Number of results."""
        return len(self.deliver)

    @property
    def is_done(self) -> bool:
        """True when every result was taken."""
        return self.n_taken == len(self.deliver)

    def run_here(self, why: str = "") -> None:
        """Do what is left in this process; warn of a reason `why` no worker can. Raises what ends the run."""
        if why and not self.warned:
            self.warned.add(why)
            _warn(why)
        if not self.is_done:
            for result in self.work.after(self.n_taken).run(self.desk):
                self._give(result)

    def pack(self, after: int | None = None) -> Packed:
        """Return the work `after` so many results as bytes. Raise NotSharedError where it cannot be packed."""
        return self.packer.pack(self.work, after=self.n_taken if after is None else after)

    def take(self, answer: Answer) -> None:
        """Take the results and events of a worker. Raises what ends the run."""
        is_known = bool(answer.results) and answer.first + len(answer.results) <= self.n_taken
        for event in () if is_known else answer.events:
            self.desk.tell(**event)
        for number, data in enumerate(answer.results, start=answer.first):
            if number != self.n_taken or self.is_done:
                continue  # another worker, or this process, has been there before
            try:
                result = pickle.loads(data)
            except Exception as error:  # values of plugins may be anything
                self.run_here(why=describe(error))
                return
            self._give(result)
        if isinstance(answer.error, ENDS_RUN):
            raise answer.error

    def fail(self, error: str, *, rest: bool = False) -> None:
        """Let the next result, or all of the rest, be a failure with this reason."""
        while not self.is_done:
            self._give(Failure(status="failed", error=error))
            if not rest:
                return

    def _give(self, result: Any) -> None:
        """Deliver the next result. It counts as taken first: what is raised then is no reason to do it again."""
        receive = self.deliver[self.n_taken]
        self.n_taken += 1
        receive(result)


def _warn(why: str) -> None:
    with suppress(UserWarning):  # also where warnings are errors
        warnings.warn(
            f"worker processes cannot be used, so these cells run in this process: {why}", stacklevel=2
        )
