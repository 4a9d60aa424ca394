"""Files of a board: pages, tables and pictures, and how they get into a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.board_file import NOTHING_SAID, About, read_about
from harness.leaderboard.analyses.transfer import find_matrices
from harness.leaderboard.board import Board
from harness.leaderboard.exports.latex import to_tables
from harness.leaderboard.pages import ablation_page, board_page, features_page, transfer_page
from harness.leaderboard.pages.frames import (
    to_ablation_csv,
    to_frame,
    to_regimes_csv,
    to_task_frame,
    write_csv,
)
from harness.leaderboard.pages.heatmap import draw, name_pictures
from harness.leaderboard.plots import draw_plots, outline_plots
from harness.leaderboard.plugins import find_plugins
from harness.leaderboard.web.page import PIECES, to_html
from harness.leaderboard.web.stated import NOTHING_STATED, Stated, read_stated
from harness.storage.atomic import whole_file

if TYPE_CHECKING:
    import pandas as pd

PAGE = "leaderboard.html"

FILES = (
    "leaderboard.md", "leaderboard.csv", "leaderboard-tasks.csv", "leaderboard-regimes.csv",
    "leaderboard-ablation.md", "leaderboard-ablation.csv", "leaderboard-features.md",
    "leaderboard-matrix.md", "matrix.csv", "matrix-summary.csv", "leaderboard.json", "leaderboard.tex",
)  # fmt: skip
"""Names of the texts of a board but for its page; one that does not apply to a board is not written."""

FRAMES = ("leaderboard.parquet", "leaderboard-tasks.parquet")
"""Names of the tables of a board that are no texts."""

PICTURES = "matrix"
"""Folder of a board's heat maps, beside the texts."""


def render(
    board: Board,
    folder: Path | None = None,
    *,
    about: About = NOTHING_SAID,
    stated: Stated = NOTHING_STATED,
    plots: bool = True,
) -> Mapping[str, str]:
    """Return the board's texts by name, with links to its runs' pictures, relative to `folder`, if that is given. Its
    pages begin with what is said `about` it. Without `plots` nothing is drawn, and `without_drawings`
    gives the same of the page.
    """
    return make(board, folder, about=about, stated=stated, plots=plots).texts


@dataclass(frozen=True, kw_only=True)
class Made:
    """Files of a board but for its pictures: texts and tables by name."""

    texts: Mapping[str, str]
    frames: Mapping[str, pd.DataFrame]


def make(
    board: Board, folder: Path | None = None, *, about: About, stated: Stated, plots: bool = True
) -> Made:
    """Make the texts that `render` gives, and the tables beside them."""
    title = board_page.title_of(board)
    sections = board_page.make_sections(board)
    matrices = find_matrices(board)
    places = {place: f"{PICTURES}/{name}" for place, name in name_pictures(matrices).items()}
    rows, results = to_frame(board), to_task_frame(board)
    texts = (
        board_page.to_markdown(board, folder, about=about.text, sections=sections),
        write_csv(rows),
        write_csv(results),
        to_regimes_csv(board),
        ablation_page.page(board.ablation, board.left_out, title=title),
        to_ablation_csv(board),
        features_page.page(board, title=title, folder=folder),
        transfer_page.page(matrices, title=title, pictures=places),
        transfer_page.to_csv(matrices),
        transfer_page.to_summary_csv(matrices),
        to_json(board, rows),
        to_tables(board),
    )
    written = {name: text for name, text in zip(FILES, texts, strict=True) if text}
    frames = {name: frame for name, frame in zip(FRAMES, (rows, results), strict=True) if len(frame)}
    drawn = draw_plots(board) if plots else outline_plots(board)
    pages = to_html(board, [*written, *frames], sections, about=about, stated=stated, plots=drawn)
    return Made(texts={**written, **pages}, frames=frames)


def to_json(board: Board, frame: pd.DataFrame) -> str:
    """Return leaderboard.json: suites, tasks and the rows of `frame`, the numbers to six digits after the point.

    Each row names by its number, from 0 on, the list in `plugins` of those that stand behind it.
    """
    behind = find_plugins(board)
    plugins = [behind.find(row.cells) for group in board.groups for row in group.rows]
    lists = list(dict.fromkeys(plugins))
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    rows = [{**row, "plugins": lists.index(one)} for row, one in zip(rows, plugins, strict=True)]
    tasks = [
        {"task": one.name, "n_test": one.n_test, "n_classes": one.n_classes, "chance": one.chance}
        for one in board.tasks
    ]
    told = {"suites": board.suites, "resamples": board.resamples, "tasks": tasks, "rows": rows}
    told["plugins"] = [[asdict(one) for one in each] for each in lists]
    return json.dumps(_round(told), ensure_ascii=True, indent=1) + "\n"  # ASCII: hidden characters are spelt


def _round(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _round(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_round(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


def write(board: Board, folder: Path, *, stated: Mapping[str, str] | None = None) -> None:
    """Write the board's files, each whole, and remove those of an earlier board that this one lacks. What an earlier
    page states stays, but for what is `stated` anew.

    Raise UnavailableError when the disk refuses.
    """
    known = replace(read_stated(folder / PAGE), **(stated or {}))
    made = make(board, folder, about=read_about(folder), stated=known)
    files = {
        **{name: text.encode() for name, text in made.texts.items()},
        **{name: _to_parquet(frame) for name, frame in made.frames.items()},
        **{f"{PICTURES}/{name}": picture for name, picture in draw(find_matrices(board))},
    }
    for name, data in files.items():
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(data)
    remove(folder, kept={Path(name).name for name in files})


def remove(folder: Path, *, kept: Container[str] = ()) -> None:
    """Remove the files of an earlier board except those `kept`, and the folder of pictures when it is empty."""
    pictures = folder / PICTURES
    names = (*FILES, *FRAMES, PAGE)
    for path in (*(folder / name for name in names), *folder.glob(PIECES), *pictures.glob("*.png")):
        if path.name not in kept:
            path.unlink(missing_ok=True)
    if pictures.is_dir() and not any(pictures.iterdir()):
        pictures.rmdir()


def _to_parquet(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file, index=False, compression="zstd")
    return file.getvalue()
