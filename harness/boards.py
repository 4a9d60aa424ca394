"""Making of published boards: run the suites of a board anew and publish what they give."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from harness import leaderboard
from harness.api.errors import GateError, UnavailableError, UsageError, WriteError
from harness.config.board_file import RunChoice, read_board, read_commands
from harness.config.suite import Suite
from harness.leaderboard import claims
from harness.runs.folder import RunFolder
from harness.session import Session

RESULTS = "results"
"""Folder of the results of commands, while a board is made."""


@dataclass(frozen=True, kw_only=True)
class _PlannedRun:
    choice: RunChoice
    suite: Suite


@dataclass(frozen=True, kw_only=True)
class _FinishedRun:
    choice: RunChoice
    folder: RunFolder


def make_boards(
    session: Session,
    folders: Sequence[Path],
    *,
    work: Path,
    plugins: Sequence[str] = (),
    argv: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Run and publish each board of `folders` anew, replacing what is published there.

    Every run starts from an empty run folder, and every board from an empty cache, below `work`: the cost columns
    must be of this machine and this code. All suites are read before the first run. Raise GateError when a run
    is not whole or a command fails; the published board is then unchanged, and what there is is kept for a look.

    Commands run in processes of their own, with `plugins`, the values of `-p`, and the session's folders and device.
    """
    boards = [(folder, _read(session, folder), read_commands(folder)) for folder in folders]
    for folder, planned, commands in boards:
        if commands and session.included:
            raise UsageError(
                f"--include reaches the runs of '{folder}' and not its commands: write it into those that need it, in "
                "board.yaml"
            )
        with _work_folder(work, folder) as place:
            finished = [_run(session, run, place, argv) for run in planned]
            for command in commands:
                _call(session, command, place, plugins)
            kept = claims.find(session.registry, place / RESULTS)
            if commands and not kept:
                raise GateError(f"no command of '{folder}' left a result, so nothing is published")
            for path in _publish(session, finished, folder, place / "published"):
                tell(str(path))
            if kept:
                tell(str(claims.replace(kept, folder)))


def _read(session: Session, folder: Path) -> list[_PlannedRun]:
    if folder.exists() and not folder.is_dir():
        raise UnavailableError(f"'{folder}' is a file, not a folder")
    runs = read_board(folder)
    suites = [session.suite(run.suite, **run.overrides).without_borrowing() for run in runs]
    return [_PlannedRun(choice=run, suite=suite) for run, suite in zip(runs, suites, strict=True)]


@contextmanager
def _work_folder(work: Path, board: Path) -> Iterator[Path]:
    """Yield a new folder. Remove it at the end, except after a failure, whose run someone will want to read."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{board.resolve().name}-", dir=work))
    except OSError as error:
        raise WriteError.from_os(f"'{work}'", error) from error
    try:
        yield place
    except KeyboardInterrupt:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)


def _run(session: Session, planned: _PlannedRun, place: Path, argv: Sequence[str]) -> _FinishedRun:
    """Run one suite to its end; GateError when anything failed or was left out."""
    choice = planned.choice
    name = choice.name or planned.suite.name
    run = Session(
        session.registry,
        data_dir=session.data_dir,
        cache_dir=place / ("cache" if choice.cache == "shared" else f"cache-{name}"),
        device=session.wanted_device,
        included=session.included,
    ).run(
        planned.suite,
        output=place / name,
        batch_size=None if choice.batch_size == "auto" else choice.batch_size,
        argv=argv,
    )
    if not run.summary.is_whole:
        reasons = [*run.summary.errors, *run.summary.left_out.values(), "cells were not run"]
        raise GateError(f"the run in '{run.folder}' is not whole, so nothing is published: {reasons[0]}")
    return _FinishedRun(choice=choice, folder=RunFolder(run.folder))


def _call(session: Session, command: str, place: Path, plugins: Sequence[str]) -> None:
    """Call a command of a plugin, which leaves its results in the folder RESULTS of `place`. Raise GateError when it
    fails.
    """
    chosen = [word for name in plugins for word in ("-p", name)]
    settings = {
        "HARNESS_DATA_DIR": session.data_dir,
        "HARNESS_CACHE_DIR": place / "cache",
    }
    environment = os.environ | {name: str(value) for name, value in settings.items() if value is not None}
    device = [] if session.wanted_device == "auto" else ["-d", session.wanted_device]
    given = [*shlex.split(command), *device, "-o", str(place / RESULTS)]
    words = [sys.executable, "-m", "harness", *chosen, *given]
    done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise GateError(
            f"the command '{command}' of board.yaml ended with code {done.returncode}, so nothing is published"
        )


def _publish(session: Session, runs: Iterable[_FinishedRun], board: Path, stage: Path) -> list[Path]:
    """Publish all runs into `stage` first, where a run may still be refused; then replace each board."""
    targets = []
    for folder, group in groupby(sorted(runs, key=_folder_of), key=_folder_of):
        for run in group:
            leaderboard.publish(
                run.folder,
                stage / folder,
                name=run.choice.name,
                registry=session.registry,
                data_dir=session.data_dir,
                included=session.included,
            )
        targets.append((stage / folder, board / folder))
    return [leaderboard.replace_published(staged, target) for staged, target in targets]


def _folder_of(run: _FinishedRun) -> str:
    return run.choice.folder
