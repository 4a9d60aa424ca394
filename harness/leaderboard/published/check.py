"""Check of a folder of published runs: findings of one sentence each. Records and cells are checked as in any run."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import HarnessError
from harness.config.board_file import read_about
from harness.leaderboard.analyses.transfer import find_matrices
from harness.leaderboard.board import Board
from harness.leaderboard.build import build
from harness.leaderboard.files import FILES, FRAMES, PAGE, PICTURES, make
from harness.leaderboard.pages.heatmap import name_pictures
from harness.leaderboard.plots.svg import without_drawings
from harness.leaderboard.published.rerun_report import read_report
from harness.leaderboard.published.store import LIMIT, PublishedRun, find_published, unpublishable
from harness.leaderboard.selection import choose, read_cells
from harness.leaderboard.web.page import PIECES
from harness.leaderboard.web.stated import read_stated
from harness.storage.reading import open_parquet, read_file
from harness.validation.cells import check_stored
from harness.validation.records import check_records

if TYPE_CHECKING:
    import pandas as pd

LARGEST_PAGE = 50_000_000
"""Most bytes of a page that is read."""


def check_published(folder: Path) -> tuple[str, ...]:
    """Return all faults of the runs published in `folder`, and of the pages if the runs have none."""
    runs = find_published(folder)
    if not runs:
        return (f"'{folder}' holds no published run",)
    with _collecting_rarely():
        findings = [finding for run in runs for finding in dict.fromkeys(_check_run(run))]
        findings += _check_reports(folder, runs)
        return tuple(findings or _check_pages(folder, runs))


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Let Python look for unreachable cycles rarely in the block: records and results are in none, and it would go
    through all of them hundreds of times.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _check_run(run: PublishedRun) -> Iterator[str]:
    where = f"'{run.path}'"
    if run.size > LIMIT:
        yield f"{where} and the files beside it take {run.size:,} bytes, {run.size - LIMIT:,} more than allowed"
    try:
        yield from (f"{where} should not stand here: {fault}" for fault in unpublishable(run))
        yield from (f"{where}: {finding}" for finding in check_records(run.records()))
        if any(used.snippets for record in run.records() for used in record.used):
            yield f"{where} holds texts of the data (`used.snippets`), which are not published"
        choices = choose(read_cells([run]))
        needed = {cell.cell_id for unit in choices.units() for cell in choices.cells(unit)}
        for record in run.records():
            if record.cell_id in needed or run.has_predictions(record):
                yield from (f"{where}: {finding}" for finding in check_stored(run, record))
    except HarnessError as error:  # nothing more can be said of a run that cannot be read
        yield str(error)


def _check_reports(folder: Path, runs: Sequence[PublishedRun]) -> Iterator[str]:
    """Yield a sentence for each report of a rerun that does not vouch for a run, and so gives it no badge."""
    for run in runs:
        try:
            read_report(run)
        except HarnessError as error:
            yield f"{error}; remove it, or run cells again"
    places = {run.all_files[-1] for run in runs}
    for path in sorted(set(folder.glob("*.rerun.json")) - places):
        yield f"'{path}' is the report of a rerun of a run that is not published here; remove it"


def _check_pictures(folder: Path, board: Board) -> Iterator[str]:
    """Check the names of the pictures only: their pixels depend on the font library."""
    wanted = set(name_pictures(find_matrices(board)).values())
    found = {path.name for path in folder.glob("*.png")}
    for name in sorted(wanted ^ found):
        fault = "is missing" if name in wanted else "shows what no published run has"
        yield f"'{folder / name}' {fault}; `harness leaderboard build {shlex.quote(str(folder.parent))}` writes it anew"


def _check_pages(folder: Path, runs: Sequence[PublishedRun]) -> Iterator[str]:
    try:
        board = build(runs)
        stated = read_stated(folder / PAGE)
        made = make(board, about=read_about(folder), stated=stated, plots=False)
    except HarnessError as error:
        yield str(error)
        return
    pages, frames = made.texts, made.frames
    pieces = {path.name for path in folder.glob(PIECES)}
    for name in dict.fromkeys((*FILES, PAGE, *sorted(pieces), *pages)):
        page, text = folder / name, pages.get(name)
        if _read_page(page) != (without_drawings(text) if text else None):
            yield _describe_stale(page)
    for name in FRAMES:
        if not _holds(folder / name, frames[name]) if name in frames else (folder / name).exists():
            yield _describe_stale(folder / name)
    yield from _check_pictures(folder / PICTURES, board)
    yield from _check_others(folder, {*FILES, *FRAMES, PAGE, *pieces}, runs)


def _check_others(folder: Path, pages: Set[str], runs: Iterable[PublishedRun]) -> Iterator[str]:
    """Yield a sentence for each file that readers would take for a page of the board; a copy of its page is one."""
    known = {*pages, *(path.name for run in runs for path in run.all_files)}
    for path in sorted({*folder.glob("leaderboard*"), *folder.glob("matrix?*"), *folder.glob("*.html")}):
        if path.name not in known and not _is_copy(path, folder / PAGE):
            yield f"'{path}' has the name of a page, and is none of this board: remove it"


def _is_copy(path: Path, page: Path) -> bool:
    try:
        return read_file(path, at_most=LARGEST_PAGE) == read_file(page, at_most=LARGEST_PAGE)
    except OSError:
        return False


def _describe_stale(page: Path) -> str:
    remedy = f"`harness leaderboard build {shlex.quote(str(page.parent))}`"
    return f"'{page}' is not what the published runs give; {remedy} writes it anew"


def _read_page(page: Path) -> str | None:
    """Return the text of a page without its plots; None without a page, "" of one that is no text."""
    if not page.is_file():
        return None
    try:
        return without_drawings(read_file(page, at_most=LARGEST_PAGE).decode())
    except (OSError, UnicodeDecodeError):
        return ""


def _holds(path: Path, frame: pd.DataFrame) -> bool:
    """Return whether a file holds a table: the bytes of one depend on the library that wrote it."""
    import pyarrow as pa

    try:
        with open_parquet(path) as file:
            return bool(file.read().equals(pa.Table.from_pandas(frame, preserve_index=False)))
    except (OSError, pa.ArrowException):
        return False
