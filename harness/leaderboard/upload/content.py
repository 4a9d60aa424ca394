"""Files of a board that may be uploaded, with what stays behind and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.api.errors import GateError, UnavailableError
from harness.leaderboard import claims
from harness.leaderboard.files import FILES, FRAMES, PAGE, PICTURES
from harness.leaderboard.published.store import PublishedRun
from harness.leaderboard.web.page import PIECES
from harness.storage.parsing import parsing
from harness.storage.paths import path_inside
from harness.storage.reading import read_description

_ABOUT = "board.yaml"


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of an upload: bytes of files by their path below the target, names of what is left out with the reason,
    and sentences on what is sent otherwise than it stands.
    """

    board: str
    files: Mapping[str, bytes]
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())

    @property
    def page(self) -> str:
        """Name of the page to read first."""
        return PAGE if PAGE in self.files else claims.PAGE

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def joined(self, files: Mapping[str, bytes], *notes: str) -> Content:
        """Return the content with further files, in the order of their names."""
        return replace(self, files=dict(sorted({**self.files, **files}.items())), notes=(*self.notes, *notes))


def read_content(
    board: str, folder: Path, runs: Iterable[PublishedRun] = (), results: Sequence[claims.Kept] = ()
) -> Content:
    """Read the pages, tables and pictures of the board that stands in `folder`, and the files of the runs published
    there and of the results that commands of plugins left.

    Raise UnavailableError for a file that cannot be read or is a link that leads out of the folder, and GateError where
    there is no board.
    """
    of_results = claims.name_files(results) if results else ()
    wanted = [PAGE, *FILES, *FRAMES, _ABOUT, *(path.name for run in runs for path in run.all_files)]
    wanted += [*of_results, *(path.name for path in folder.glob(PIECES))]
    wanted += [f"{PICTURES}/{path.name}" for path in folder.glob(f"{PICTURES}/[!.]*.png")]
    files = {name: read_inside(folder, name) for name in sorted(wanted) if (folder / name).exists()}
    if not of_results and not any(name in FILES for name in files):
        raise GateError(f"'{folder}' holds no page of a board, so nothing is uploaded")
    return Content(board=board, files=files, left_out=name_left_out(folder, files))


def name_left_out(folder: Path, sent: Iterable[str]) -> dict[str, str]:
    """Return the entries of a folder of which nothing is sent, with the reason."""
    kept = {name.split("/")[0] for name in sent}
    rest = sorted(path for path in folder.iterdir() if path.name not in kept)
    return {path.name + "/" * path.is_dir(): _reason(path) for path in rest}


def _reason(path: Path) -> str:
    is_board = path.is_dir() and any((path / name).is_file() for name in (*FILES, claims.PAGE))
    return "it is a board of its own" if is_board else "it is no file of the board"


def read_inside(folder: Path, name: str) -> bytes:
    """Return the bytes of a file below a folder. Raise UnavailableError if it cannot be read or a link leads out."""
    path = path_inside(folder, name, by=f"'{folder}'")
    with parsing(f"'{path}' cannot be read", kind=UnavailableError):
        return read_description(path)
