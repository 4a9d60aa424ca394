"""Examination of a submission, check by check, and its addition to a board where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.api.errors import HarnessError, UnavailableError, UsageError, WriteError
from harness.leaderboard.board import Board, Row
from harness.leaderboard.build import build
from harness.leaderboard.files import write
from harness.leaderboard.published.store import PublishedRun, find_published, staging
from harness.leaderboard.submissions.coverage import check_covered
from harness.leaderboard.submissions.files import Entry, take
from harness.leaderboard.submissions.identity import check_duplicates, check_each, check_versions
from harness.leaderboard.submissions.references import (
    check_references,
    check_too_good,
    find_changed,
    find_gained,
)
from harness.leaderboard.submissions.scores import check_rows, check_scores
from harness.leaderboard.submissions.submitted import Submitted, fault
from harness.runs.folder import RunFolder
from harness.storage.reading import read_file
from harness.validation.finding import Finding

_CHECKS: Mapping[str, Callable[[Submitted], Iterator[Finding]]] = {
    "schema and form": check_each,
    "versions": check_versions,
    "coverage": check_covered,
    "duplicates": check_duplicates,
    "scores, recomputed": check_scores,
    "test rows": check_rows,
    "reference entries": check_references,
}
FORM, VERSIONS, *_ = _CHECKS
BOARD = "the board with it"
RERUN = "cells run again"
CHECKS = (*_CHECKS, BOARD, RERUN)
"""Names of the checks, in the order in which they are made."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Findings on a submission by check, without the checks that could not be made, and the board with its rows, None
    where something is wrong.
    """

    folder: Path
    submitted: Submitted
    findings: Mapping[str, tuple[Finding, ...]]
    board: Board | None
    gained: tuple[Row, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Sentences of all faults."""
        every = (finding for findings in self.findings.values() for finding in findings)
        return tuple(finding.sentence for finding in every if finding.severity == "fault")

    def having(self, check: str, findings: Iterable[Finding]) -> Examined:
        """Return the same with the findings of one more check."""
        return replace(self, findings={**self.findings, check: tuple(dict.fromkeys(findings))})


def examine(paths: Sequence[Path], folder: Path, stage: Path) -> Examined:
    """Check the runs at `paths` against the board in `folder`; their files are copied into `stage` first.

    Raise UnavailableError for a path where nothing lies and for a board that cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise UnavailableError(f"'{folder}' is a file, not a folder")
    if RunFolder(folder).exists:
        raise UsageError(f"'{folder}' is a run folder; a board is another, such as leaderboards/<suite>")
    taken = take(paths, folder, stage)
    submitted = Submitted.beside(find_published(folder), taken.entries)
    before = {FORM: tuple(map(fault, taken.faults)), VERSIONS: tuple(map(fault, taken.newer))}
    examined = Examined(folder=folder, submitted=submitted, findings=before, board=None, gained=())
    if not submitted.entries:
        return examined
    for name, check in _CHECKS.items():
        examined = examined.having(name, [*before.get(name, ()), *_guarded(check, submitted)])
    return examined if examined.faults else _build(examined)


def _guarded(check: Callable[[Submitted], Iterator[Finding]], submitted: Submitted) -> Iterator[Finding]:
    """Yield the findings of a check; an error of reading is a fault as well."""
    try:
        yield from check(submitted)
    except HarnessError as error:
        yield fault(_tell(str(error), submitted.entries))


def _build(examined: Examined) -> Examined:
    """Return the same with the board of all runs, or with the reason why there can be none."""
    submitted = examined.submitted
    runs = sorted(
        [*submitted.published, *(entry.run for entry in submitted.entries)], key=lambda run: run.name
    )
    try:
        board = build(runs)
    except HarnessError as error:
        return examined.having(BOARD, [fault(_tell(str(error), submitted.entries))])
    gained = find_gained(board, submitted)
    findings = [*check_too_good(board, gained), *find_changed(board, submitted)]
    return replace(examined.having(BOARD, findings), board=board, gained=gained)


def _tell(sentence: str, entries: Sequence[Entry]) -> str:
    for entry in entries:
        sentence = entry.tell(sentence)
    return sentence


def add(examined: Examined) -> tuple[PublishedRun, ...]:
    """Copy the files that were checked into the folder of the board, and write its pages.

    Either all files are added or none. Raise WriteError when the disk refuses.
    """
    if examined.board is None:
        raise UsageError("a submission with a fault is not added")
    folder, entries = examined.folder, examined.submitted.entries
    placed: list[Path] = []
    with staging(folder) as stage:
        try:
            for path in (path for entry in entries for path in entry.run.all_files if path.is_file()):
                (stage / path.name).write_bytes(read_file(path))
            for path in sorted(stage.iterdir()):
                path.replace(folder / path.name)
                placed.append(folder / path.name)
        except OSError as error:
            for path in placed:
                with suppress(OSError):
                    path.unlink()
            raise WriteError.from_os(f"'{folder}'", error) from error
    write(examined.board, folder)
    return tuple(PublishedRun(folder / entry.run.path.name) for entry in entries)
