"""Sample units for executors: their work leaves a note of where it was done, and their results are numbers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.api.errors import UnavailableError
from harness.api.executors import Pool, UnitKind
from harness.runs.desk import Desk
from harness.runs.packing import Packer
from harness.runs.units import RunUnit
from harness.storage.feature_store import FeatureStore
from harness.storage.reading import read_description

Peculiarity = Literal["", "unpackable", "unreadable", "deadly"]
"""Peculiarity of work: no other process can be given it, none can read it, or it ends every process but the first."""


UNREADABLE = "this sample cannot be read"
"""Reason that unreadable work gives."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleRows:
    """Rows that the units of a bundle share."""

    key: str
    factor: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleWork:
    """Work with a result for each of `numbers`: the number times the factor of its bundle's rows.

    A line with its key, the number and the process goes to the file `notes`.
    """

    key: str
    bundle: SampleRows
    numbers: tuple[int, ...]
    notes: Path
    peculiarity: Peculiarity = ""
    home: int = field(default_factory=os.getpid)

    def after(self, done: int) -> SampleWork:
        """Return the work without its first results."""
        return replace(self, numbers=self.numbers[done:])

    def run(self, desk: Desk) -> Iterator[int]:
        """Yield the results."""
        for number in self.numbers:
            note(self.notes, f"{self.key} {number} {os.getpid()}")
            if self.peculiarity == "deadly" and os.getpid() != self.home:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number * self.bundle.factor

    def __getstate__(self) -> dict[str, Any]:
        if self.peculiarity == "unpackable":
            raise TypeError("this sample cannot be packed")
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.peculiarity == "unreadable":
            raise UnavailableError(UNREADABLE)


def note(path: Path, line: str) -> None:
    """Add a line to a file, whole, whatever other processes add."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(number, f"{line}\n".encode())
    finally:
        os.close(number)


@dataclass(kw_only=True, eq=False)
class SampleUnit(RunUnit):
    """Unit that says it is of a kind, and runs a model."""

    as_kind: UnitKind = "probe"

    @property
    def kind(self) -> UnitKind:
        """Kind that it says it is of."""
        return self.as_kind

    @property
    def model(self) -> str | None:
        """Label of a model, for a forward pass."""
        return "sample" if self.as_kind == "forward" else None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Result as it was taken: of which unit, its number and value, in which thread, and within which call."""

    key: str
    number: int
    result: Any
    thread: int
    during: str


@dataclass(eq=False)
class Trial:
    """Trial of an executor on sample units in an empty folder."""

    folder: Path
    packer: Packer
    taken: list[Taken] = field(default_factory=list)
    during: str = ""

    @property
    def notes(self) -> Path:
        """File with a line for each result that was worked out."""
        return self.folder / "notes"

    def unit(
        self,
        key: str,
        numbers: tuple[int, ...] = (1, 2),
        *,
        factor: int = 7,
        kind: UnitKind = "probe",
        peculiarity: Peculiarity = "",
        then: Callable[[], None] = lambda: None,
    ) -> SampleUnit:
        """Return a unit of the bundle with this factor; `then` is called with its first result."""
        work: Any = SampleWork(
            key=key,
            bundle=SampleRows(key=f"rows-{factor}", factor=factor),
            numbers=numbers,
            notes=self.notes,
            peculiarity=peculiarity,
        )

        def receive(place: int) -> Callable[[Any], None]:
            def call(result: Any) -> None:
                taken = Taken(
                    key=key,
                    number=numbers[place],
                    result=result,
                    thread=threading.get_ident(),
                    during=self.during,
                )
                self.taken.append(taken)
                if place == 0:
                    then()

            return call

        return SampleUnit(
            work=work,
            deliver=[receive(place) for place in range(len(numbers))],
            key=key,
            name=f"sample {key}",
            memory=1 << 20,
            desk=Desk(store=FeatureStore(self.folder / "store")),
            packer=self.packer,
            warned={"of samples nobody is warned"},
            as_kind=kind,
        )

    def submit(self, pool: Pool, *units: SampleUnit) -> None:
        """Submit units one after the other; those of a result count to the call in which it came."""
        for unit in units:
            with self._calling("submit"):
                pool.submit(unit)

    def finish(self, pool: Pool) -> None:
        """Wait for all units."""
        with self._calling("finish"):
            pool.finish()

    def worked(self) -> list[tuple[str, int, int]]:
        """Return key, number and process of each result that was worked out, in order."""
        if not self.notes.exists():
            return []
        lines = (line.split() for line in read_description(self.notes).decode().splitlines())
        return [(key, int(number), int(process)) for key, number, process in lines]

    @contextmanager
    def _calling(self, name: str) -> Iterator[None]:
        before, self.during = self.during, self.during or name
        try:
            yield
        finally:
            self.during = before
