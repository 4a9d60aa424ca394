"""Board in a folder, checked and read for an upload: of published runs as it stands, of a run as it would be
published.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import GateError, UnavailableError, WriteError, name_some
from harness.leaderboard import claims
from harness.leaderboard.build import build
from harness.leaderboard.files import PAGE, write
from harness.leaderboard.pages.features_page import displayed_cell_ids
from harness.leaderboard.published.check import check_published
from harness.leaderboard.published.store import find_published, without_texts
from harness.leaderboard.upload.content import Content, name_left_out, read_content, read_inside
from harness.leaderboard.web.stated import read_stated
from harness.runs.folder import RunFolder
from harness.runs.layout import place_pictures
from harness.runs.predicted import Predicted
from harness.runs.record import Record
from harness.validation.finding import Finding

if TYPE_CHECKING:
    import pandas as pd

    from harness.registry.catalog import Registry

_KEPT_BACK = {
    "results.jsonl": "records of a run may hold texts of the data; `harness leaderboard publish` writes them without",
    "pictures/": "it holds pictures of the data; --with-texts sends those of the board",
}


def read_published(folder: Path, open_registry: Callable[[], Registry]) -> Content:
    """Read the board of the runs published in `folder`, and the results of plugins there, if there are any.

    Raise GateError if a check finds a fault.
    """
    runs = find_published(folder)
    results: Sequence[claims.Kept] = ()
    faults = check_published(folder) if runs else ()
    if claims.is_kept(folder):
        registry = open_registry()
        faults = claims.check(registry, folder) + faults
        results = () if faults else claims.find(registry, folder)
    if faults:
        raise _refusal(folder, faults, f"`harness leaderboard check {shlex.quote(str(folder))}` tells all")
    return read_content(folder.resolve().name, folder, runs, results)


def read_run(
    run: RunFolder, check: Callable[[RunFolder], tuple[Finding, ...]], *, with_texts: bool = False
) -> Content:
    """Read the board of a run, made anew: without texts and pictures of the data, unless `with_texts` is set.

    `check` is the check that publishing makes too. Raise GateError if it finds a fault.
    """
    run.about()
    found = check(run)
    if faults := tuple(dict.fromkeys(each.sentence for each in found if each.severity == "fault")):
        raise _refusal(run.path, faults, f"`harness validate {shlex.quote(str(run.path))}` tells all")
    with _stage() as stage:
        board = build([_StagedRun(run=run, path=stage, with_texts=with_texts)])
        pictures = _copy_pictures(run, stage, displayed_cell_ids(board)) if with_texts else {}
        write(board, stage, stated=asdict(read_stated(run.path / PAGE)))
        content = read_content(run.path.resolve().name, stage)
    sent = {**content.files, **pictures}
    left_out = {name: _KEPT_BACK.get(name, reason) for name, reason in name_left_out(run.path, sent).items()}
    return replace(content, files=dict(sorted(sent.items())), left_out=left_out)


def find_board(folder: Path) -> RunFolder | None:
    """Return the run folder, None for a folder of published runs or of results that commands of plugins left.

    Raise UnavailableError for anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise UnavailableError(f"'{folder}' is a file: name the folder of a board or of a run")
    run = RunFolder(folder)
    if run.exists:
        return run
    if not _is_published(folder):
        inside = sorted(str(path) for path in folder.glob("*/") if _is_published(path))
        hint = f": name one of {name_some(inside)}" if inside else ""
        raise UnavailableError(f"'{folder}' holds no board of a run or of published runs{hint}")
    return None


def _is_published(folder: Path) -> bool:
    return bool(find_published(folder)) or claims.is_kept(folder)


@dataclass(frozen=True, kw_only=True)
class _StagedRun:
    """Run whose board is written to another folder, `path`, to which its pictures were copied."""

    run: RunFolder
    path: Path
    with_texts: bool

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def is_whole(self) -> bool:
        return self.run.is_whole

    @property
    def remedy(self) -> str:
        return self.run.remedy

    def environment(self) -> Mapping[str, Any]:
        return self.run.environment()

    def about(self) -> dict[str, Any]:
        return self.run.about()

    def records(self) -> list[Record]:
        return self.run.records() if self.with_texts else without_texts(self.run)

    def has_predictions(self, record: Record) -> bool:
        return self.run.has_predictions(record)

    def predicted(self, record: Record) -> Predicted | None:
        return self.run.predicted(record)

    def predictions(self, cell_id: str) -> pd.DataFrame:
        return self.run.predictions(cell_id)


@contextmanager
def _stage() -> Iterator[Path]:
    """Yield a folder that is removed afterwards. Raise WriteError when the disk refuses."""
    try:
        with tempfile.TemporaryDirectory(prefix="harness-upload-") as stage:
            yield Path(stage)
    except OSError as error:
        raise WriteError.from_os(f"a temporary folder in '{tempfile.gettempdir()}'", error) from error


def _copy_pictures(run: RunFolder, stage: Path, cell_ids: Iterable[str]) -> dict[str, bytes]:
    """Copy the pictures of cells to where the page of the board links to them; return them by path."""
    found = {}
    for cell_id in sorted(cell_ids):
        for picture in sorted(place_pictures(run.path, cell_id).glob("[!.]*.png")):
            name = picture.relative_to(run.path).as_posix()
            found[name] = read_inside(run.path, name)
            target = stage / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(found[name])
    return found


def _refusal(folder: Path, faults: Sequence[str], remedy: str) -> GateError:
    others = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    return GateError(f"nothing of '{folder}' is uploaded: {faults[0]}{others} ({remedy})")
