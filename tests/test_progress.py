"""Lines of progress: each says which cell it is of, and names models and dictionaries as people do."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
from harness_progress.show import Show
from rich.console import Console

from harness.api.events import BatchFinished, CellFinished, RunStarted, Score

CELL = CellFinished(
    cell_id="0",
    status="ok",
    suite="s",
    task="sib200",
    modality="text",
    train_language="en",
    test_language="de",
    representation="hidden",
    transform="none",
    classifier="logreg",
    regime="zero_shot(source=en)",
    seed=0,
    model="minigemma-s",
    site="resid_post.1",
    tokens="content",
    pooling="mean",
    metrics={"macro_f1": Score(value=0.5, low=0.4, high=0.6)},
)

OTHER: dict[str, Any] = {
    "task": "xnli",
    "train_language": "fr",
    "test_language": "fr",
    "representation": "tfidf",
    "transform": "standardize",
    "classifier": "mean_difference",
    "regime": "native",
    "seed": 1,
    "model": "minigemma-m",
    "site": "resid_post.2",
    "tokens": "all",
    "pooling": "max",
    "source_model": "minigemma-l",
}


def show(*models: str, representations: tuple[str, ...] = ()) -> Show:
    return Show(
        RunStarted(
            suite="s", folder=Path("out"), n_cells=9, done=0, models=models, representations=representations
        )
    )


def said(
    cells: list[CellFinished], capsys: pytest.CaptureFixture[str], shown: Show | None = None
) -> list[str]:
    shown = shown or show("minigemma-s")
    capsys.readouterr()
    for cell in cells:
        shown.cell(cell)
    shown.end()
    return capsys.readouterr().err.splitlines()


def test_a_line_says_languages_regime_and_arm(capsys: pytest.CaptureFixture[str]) -> None:
    assert said([CELL, dataclasses.replace(CELL, status="failed", error="no", seed=3)], capsys) == [
        "[1/9] sib200 [en→de] zero_shot(source=en): minigemma-s resid_post.1 hidden mean none logreg: "
        "macro-F1 0.500 [0.400, 0.600]",
        "[2/9] sib200 [en→de] zero_shot(source=en) seed 3: minigemma-s resid_post.1 hidden mean none logreg: "
        "failed: no",
    ]


def test_cells_that_differ_in_anything_have_lines_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [CELL, *(dataclasses.replace(CELL, **{name: value}) for name, value in OTHER.items())]
    names = [re.sub(r"^\[\d+/9\] ", "", line) for line in said(cells, capsys)]
    assert len(set(names)) == len(cells)
    aligned = [
        dataclasses.replace(CELL, source_model="minigemma-l", alignment=name) for name in ("shuffled", "same")
    ]
    one, other = said(aligned, capsys)
    assert "minigemma-l → minigemma-s shuffled" in one and "minigemma-l → minigemma-s same" in other


def test_many_languages_are_counted_and_images_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    many = dataclasses.replace(CELL, train_language="de+en+fr+it")
    images = dataclasses.replace(CELL, train_language="zxx", test_language="zxx", regime="full")
    first, second = said([many, images], capsys)
    assert "[4 languages→de]" in first and "sib200 full: " in second


def test_a_model_in_a_folder_has_its_name_and_more_where_two_are_alike(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = ("/data/ours/m", "/data/theirs/m", "/data/other[max_length=8]")
    shown = show(*paths, representations=("/sae/mine[k=4]",))
    cells = [dataclasses.replace(CELL, model=path, representation="/sae/mine[k=4]") for path in paths]
    lines = said(cells, capsys, shown)
    assert [line.split(": ")[1].split()[0] for line in lines] == ["ours/m", "theirs/m", "other[max_length=8]"]
    assert all(" mine[k=4] " in line for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_bar_of_a_bundle_shows_its_name_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = show("minigemma-s")
    shown.console._force_terminal, shown.bars.disable = True, False
    name = "harmful_requests × a-model-with-a-long-name-漢字[max_length=256]"
    shown.batch(BatchFinished(bundle=name, tokens_done=1, tokens_total=123_456, seconds=1.0))
    drawn = Console(width=width, file=io.StringIO())
    drawn.print(shown.bars.get_renderable())
    shown.end()
    lines = drawn.file.getvalue().splitlines()
    letters = "".join(line[: len(line) // 2] for line in lines)
    assert "…" not in letters
    assert set("a-model-with-a-long-name-漢字[max_length=256]") <= set(letters)
