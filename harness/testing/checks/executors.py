"""Checks of executors, on sample units that note where they were done."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError, UsageError, WriteError, describe
from harness.api.executors import Executor, Pool, WorkerSetting, Workplace
from harness.runs.packing import Packer
from harness.runs.work import Failure
from harness.testing.check import CheckFailed, NotApplicable, Subject, check, fail_unless
from harness.testing.exercises import exercise
from harness.testing.units import UNREADABLE, Peculiarity, SampleUnit, Trial

NUMBERS: Mapping[str, tuple[int, ...]] = {"a": (1,), "b": (2, 3, 4), "c": (5, 6), "d": (7,)}
"""Units by their keys, with the numbers of their results."""

LINGERING_S = 5.0
"""Seconds in which processes that were ended have to be gone."""

_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "loky.backend.resource_tracker")
"""Processes of libraries that wait without work until this one ends."""


def _begin(subject: Subject) -> Trial:
    folder = Path(tempfile.mkdtemp(dir=subject.folder))
    return Trial(folder, Packer(subject.registry.plugins))


@contextmanager
def _open(subject: Subject, trial: Trial) -> Iterator[Pool]:
    """Open a pool of the executor, made anew, as a run on the CPU does."""
    registry, executor = subject.registry, subject.make()
    setting = WorkerSetting(
        store=str(trial.folder / "store"),
        device=executor.find_device("cpu"),
        plugins=tuple((plugin.name, plugin.distribution) for plugin in registry.plugins.loaded),
        cache_dir=str(registry.cache_dir) if registry.cache_dir else None,
        path=tuple(entry or str(Path.cwd()) for entry in sys.path),
        folder=str(Path.cwd()),
        offline=True,
    )
    with executor.open(Workplace(setting=setting)) as pool:
        yield pool


def _samples(trial: Trial) -> list[SampleUnit]:
    """Return forward units and probe units of one bundle."""
    return [
        trial.unit(key, numbers, kind="forward" if key == "a" else "probe")
        for key, numbers in NUMBERS.items()
    ]


def _run(subject: Subject) -> Trial:
    """Run the samples."""
    trial = _begin(subject)
    with _open(subject, trial) as pool:
        trial.submit(pool, *_samples(trial))
        trial.finish(pool)
    return trial


@exercise("executors")
def results(subject: Subject) -> list[Any]:
    """Return the results of the samples."""
    found = sorted((one.key, one.number, one.result) for one in _run(subject).taken)
    return [result for _, _, result in found]


@check("executors", requires=())
def contract(subject: Subject) -> None:
    """It opens a pool for a block, in which every unit that was submitted is done when `finish` returns, with the
    results that it has in this process.
    """
    made = subject.make()
    fail_unless(
        isinstance(made, Executor), f"it makes {type(made).__name__}, which has no find_device and open"
    )
    there, here = _begin(subject), _begin(subject)
    for unit in _samples(here):
        unit.run_here()
    with _open(subject, there) as pool:
        units = _samples(there)
        there.submit(pool, *units)
        there.finish(pool)
        for unit in units:
            fail_unless(
                unit.is_done,
                f"finish returns when {unit.n_taken} of {unit.n_results} results of a unit were taken",
            )
    wanted = {(one.key, one.number): one.result for one in here.taken}
    for one in there.taken:
        fail_unless(
            one.result == wanted[one.key, one.number],
            f"a result is {_say(one.result)}, and {wanted[one.key, one.number]} in this process",
        )


def _say(result: Any) -> str:
    return f"a failure ({result.error})" if isinstance(result, Failure) else repr(result)


@check("executors")
def once(subject: Subject) -> None:
    """The work of every unit is done once where no process dies."""
    counts = Counter((key, number) for key, number, _ in _run(subject).worked())
    (key, number), most = max(counts.items(), key=lambda item: item[1])
    fail_unless(most == 1, f"result {number} of unit '{key}' is worked out {most} times")


@check("executors")
def thread(subject: Subject) -> None:
    """Results are taken in the thread that submits, within `submit` and `finish` alone."""
    for one in _run(subject).taken:
        fail_unless(one.thread == threading.get_ident(), "a result is taken in another thread")
        fail_unless(one.during, "a result is taken outside submit and finish")


@check("executors")
def rows(subject: Subject) -> None:
    """Units of several bundles in turn are done on the rows of their own bundle."""
    trial = _begin(subject)
    factors = (2, 3, 2, 5, 3, 2)
    with _open(subject, trial) as pool:
        trial.submit(pool, *(trial.unit(f"u{n}", (1,), factor=factor) for n, factor in enumerate(factors)))
        trial.finish(pool)
    for one in trial.taken:
        wanted = factors[int(one.key[1:])]
        fail_unless(one.result == wanted, f"a result on rows of {wanted} is {_say(one.result)}")


@check("executors")
def further(subject: Subject) -> None:
    """Units that a result submits, and those that their results submit, are done before `finish` returns."""
    trial = _begin(subject)
    with _open(subject, trial) as pool:
        last = trial.unit("last")
        second = trial.unit("second", then=lambda: trial.submit(pool, last))
        trial.submit(pool, trial.unit("first", then=lambda: trial.submit(pool, second)))
        trial.finish(pool)
        for unit in (second, last):
            fail_unless(
                unit.is_done,
                f"the {unit.key} of three units, submitted by one another's results, is not done",
            )


@check("executors")
def ends(subject: Subject) -> None:
    """An error that ends the run leaves `submit` or `finish` as it is, and no result is taken after it."""
    trial = _begin(subject)
    error = WriteError("the disk of this sample is full")
    after: list[int] = []

    def end() -> None:
        after.append(len(trial.taken))
        raise error

    try:
        with _open(subject, trial) as pool:
            trial.submit(pool, trial.unit("a", (1, 2, 3), then=end), trial.unit("b"), trial.unit("c"))
            trial.finish(pool)
    except WriteError as found:
        fail_unless(found is error, f"in its place comes {describe(found)}")
    except Exception as found:
        fail_unless(False, f"in its place comes {describe(found)}")
    else:
        fail_unless(False, "it is lost")
    fail_unless(len(trial.taken) == after[0], f"{len(trial.taken) - after[0]} results are taken after it")


@check("executors")
def here(subject: Subject) -> None:
    """A unit that cannot be packed is done in this process, and all others are done too."""
    trial = _begin(subject)
    with _open(subject, trial) as pool:
        _run_peculiar(trial, pool, "unpackable")
    _check_all_done(trial, "cannot be packed")


@check("executors")
def unread(subject: Subject) -> None:
    """A unit that no worker can read is done in this process, or ends the run with the reason."""
    trial = _begin(subject)
    try:
        with _open(subject, trial) as pool:
            _run_peculiar(trial, pool, "unreadable")
    except HarnessError as error:
        fail_unless(UNREADABLE in str(error), f"it ends the run, and says why not: {error}")
        return
    _check_all_done(trial, "no worker can read")


def _run_peculiar(trial: Trial, pool: Pool, peculiarity: Peculiarity) -> None:
    trial.submit(pool, *(trial.unit(key, peculiarity=peculiarity if key == "b" else "") for key in "abc"))
    trial.finish(pool)


def _check_all_done(trial: Trial, what: str) -> None:
    for key in "abc":
        found = [one.result for one in trial.taken if one.key == key]
        fail_unless(
            found == [7, 14],
            f"the results of a unit {'that' if key == 'b' else 'beside one that'} {what} are "
            f"{', '.join(map(_say, found)) or 'missing'}, not 7, 14",
        )


@check("executors")
def deaths(subject: Subject) -> None:
    """A unit with which every process dies fails with a reason, and no other unit does."""
    if {process for _, _, process in _run(subject).worked()} == {os.getpid()}:
        raise NotApplicable("all units are done in this process")
    trial = _begin(subject)
    with _open(subject, trial) as pool:
        units = [trial.unit(key, peculiarity="deadly" if key == "b" else "") for key in "abcd"]
        trial.submit(pool, *units)
        trial.finish(pool)
    for unit in units:
        found = [one.result for one in trial.taken if one.key == unit.key]
        fail_unless(len(found) == 2, f"of two results of a unit {len(found)} are taken")
        failed = [isinstance(one, Failure) for one in found]
        if unit.key != "b":
            fail_unless(not any(failed), "a unit fails with which no process dies")
        else:
            fail_unless(all(failed), "a unit has results with which every process dies")


@check("executors")
def no_rest(subject: Subject) -> None:
    """No process is left when the block has ended, by an error too."""
    before = _processes()
    _run(subject)
    _check_gone(before, "after a run")
    with _suppressed(), _open(subject, trial := _begin(subject)) as pool:
        trial.submit(pool, *_samples(trial))
        raise _BrokenOffError
    _check_gone(before, "after an error in the block")


class _BrokenOffError(Exception):
    pass


@contextmanager
def _suppressed() -> Iterator[None]:
    try:
        yield
    except _BrokenOffError:
        return
    raise CheckFailed("an error in the block is lost")


def _processes() -> dict[int, str]:
    """Return the processes that this one has started, with their commands."""
    import psutil

    found = {}
    for one in psutil.Process().children(recursive=True):
        try:
            if one.status() != psutil.STATUS_ZOMBIE:
                found[one.pid] = " ".join(one.cmdline())
        except psutil.NoSuchProcess:
            continue
    return {pid: command for pid, command in found.items() if not any(one in command for one in _HELPERS)}


def _check_gone(before: Mapping[int, str], when: str) -> None:
    until = time.monotonic() + LINGERING_S
    while left := {pid: command for pid, command in _processes().items() if pid not in before}:
        if time.monotonic() > until:
            raise CheckFailed(f"{when} it leaves {len(left)} processes: {next(iter(left.values()))[:80]}")
        time.sleep(0.02)


@check("executors")
def devices(subject: Subject) -> None:
    """It finds the device `cpu`, and refuses what is no name of a device with a UsageError of one sentence."""
    executor = subject.make()
    try:
        found = executor.find_device("cpu")
    except UnavailableError as error:
        raise NotApplicable(f"it has no CPU: {error}") from error
    fail_unless(found == "cpu", f"for 'cpu' it finds {found!r}")
    for name in ("nonsense", "cuda:x", ""):
        try:
            found = executor.find_device(name)
        except UsageError as error:
            fail_unless(len(str(error).splitlines()) == 1, f"its refusal of '{name}' has several lines")
        except Exception as error:
            fail_unless(False, f"'{name}' raises {describe(error)}, and no UsageError")
        else:
            fail_unless(False, f"it takes '{name}' for the device {found!r}")
