"""Plots of boards: their numbers are the board's, names from outside stay text, and kinds of models stay apart."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as XML

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness import leaderboard
from harness.leaderboard import Board, Row
from harness.leaderboard.pages import frames
from harness.leaderboard.plots import Plot, draw_plots, to_png
from harness.leaderboard.plots.arms import COLOURS, HIDDEN_COLOUR
from harness.leaderboard.plots.chart import SERIES, Chart
from harness.leaderboard.plots.plot import find_charts
from harness.leaderboard.plots.scales import find_families, number_scale
from harness.leaderboard.plots.texts import count_columns, shorten

BOARDS = Path(__file__).parents[1] / "leaderboards"
TRIED = ("mosaic-widths", "mosaic-selection", "probing-ksparse", "probing-scarcity", "vision")

HOSTILE = "<script>alert(1)</script>&\"'$x^2$ \x1b[2J\x07\u202e]]><!-- \ud800" + "W" * 10_000
SCRIPTS = ("Кириллица", "漢字かな한글", "العربية", "हिन्दी")


@cache
def read(name: str) -> Board:
    return leaderboard.build(leaderboard.find_results(BOARDS / name))


@cache
def plots_of(name: str) -> tuple[Plot, ...]:
    return draw_plots(read(name))


@cache
def charts_of(name: str) -> tuple[Chart, ...]:
    return tuple(find_charts(read(name)))


def parse(plot: Plot) -> XML.Element:
    return XML.fromstring(plot.svg)


def titles(plot: Plot) -> list[str]:
    return [str(title.text) for title in parse(plot).iter("{http://www.w3.org/2000/svg}title")]


def texts(plot: Plot) -> list[str]:
    """Return what is written: a title within a text is not."""
    found = parse(plot).iter("{http://www.w3.org/2000/svg}text")
    return [text[0].tail or "" if len(text) else text.text or "" for text in found]


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────

_NUMBER = r"[−+]?\d?\.\d{4}"


def numbers(title: str) -> tuple[str, list[float]]:
    """Return what a mark's title is of, and its value and interval."""
    found = re.match(rf"(.*?): (?:macro-F1 )?({_NUMBER}) \[({_NUMBER}), ({_NUMBER})\]", title)
    assert found, title
    return found[1], [float(text.replace("−", "-")) for text in found.groups()[1:]]


def expected(board: Board, *, regimes_only: bool = False) -> Iterator[tuple[str, list[float]]]:
    """Yield the same of every number of a board's files."""

    def arm(line: Mapping[str, Any]) -> str:
        return " ".join(name for name in (line["model"], line["representation"]) if name != "—")

    def three(line: Mapping[str, Any], name: str, ends: str | None = None) -> list[float]:
        ends = f"{name}_" if ends is None else ends
        return [line[name], line[f"{ends}low"], line[f"{ends}high"]]

    def lines(text: str) -> list[dict[str, Any]]:
        return pd.read_csv(io.StringIO(text)).to_dict("records") if text else []

    for line in lines(frames.to_regimes_csv(board)):
        yield f"{arm(line)}, regime {line['regime']}", three(line, "macro_f1")
        yield f"{arm(line)} {line['regime']}", three(line, "macro_f1")
    if regimes_only:
        return
    for line in lines(frames.to_csv(board)):
        width = "" if np.isnan(line["width"]) else f", width {int(line['width']):,}"
        yield f"{arm(line)}{width}", three(line, "macro_f1")
        yield arm(line), three(line, "delta_vs_hidden", "delta_")
        yield "mean over tasks", three(line, "delta_vs_hidden", "delta_")
    for line in lines(frames.to_ablation_csv(board)):
        yield f"{arm(line)}, {line['axis']} {line['value']}", three(line, "macro_f1")
    for line in lines(frames.to_task_csv(board)):
        yield line["task"], three(line, "delta_vs_hidden")


@pytest.mark.parametrize("name", (*TRIED, "gemma-real"))
def test_numbers_of_marks_are_those_of_the_boards_files(name: str) -> None:
    known: dict[str, list[list[float]]] = {}
    for place, three in expected(read(name)):
        known.setdefault(place, []).append(three)
    checked = 0
    for plot in plots_of(name):
        for title in titles(plot):
            if "test row" not in title:
                continue  # a name that is cut
            place, found = numbers(title)
            assert any(np.allclose(found, three, rtol=0, atol=5.1e-5) for three in known[place]), title
            checked += 1
    assert checked > 20


def test_a_plot_of_each_kind_is_drawn_where_a_board_has_what_it_shows() -> None:
    def names(board: str) -> set[str]:
        return {plot.name for plot in plots_of(board)}

    assert {"layer", "forest-arms", "forest-tasks", "pooling", "size-toys"} <= names("gemma-real")
    assert {"width-toys", "size-toys", "cost-seconds-toys"} <= names("mosaic-widths")
    assert "classifier-ksparse_logreg-k-toys" in names("probing-ksparse")
    assert {"transform-toys", "transform-binarize-t-toys"} <= names("mosaic-selection")
    assert "regime-size-n-toys" in names("probing-scarcity")


class OfTask:
    """Run as if it had one task: a whole one with many models takes seconds."""

    def __init__(self, run: Any, task: str) -> None:
        self.run, self.task = run, task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def records(self) -> list[Any]:
        return [record for record in self.run.records() if record.task == self.task]


def test_a_classifier_carried_to_another_model_has_the_scores_of_its_regime() -> None:
    (run,) = leaderboard.find_results(BOARDS / "transfer")
    board = leaderboard.build([OfTask(run, "toxicity_davidson")])
    chart = next(chart for chart in find_charts(board) if chart.name == "transfer-toys")
    known = dict(expected(board, regimes_only=True))
    points = [point for series in chart.series for point in series.points]
    assert len({point.at for point in points}) > 3
    for point in points:
        place, found = numbers(point.about)
        place += "" if " from " in place else ", regime full"
        assert np.allclose(found, known[place], rtol=0, atol=5.1e-5)


def test_the_sentence_for_screen_readers_has_numbers_of_the_plot() -> None:
    for plot in plots_of("mosaic-widths"):
        assert plot.alt.startswith((plot.title.split(",")[0], "Macro-F1 against")) and plot.alt.endswith(".")
        assert re.search(r"\.\d{3}", plot.alt)
        assert parse(plot).get("aria-label") == plot.alt


def test_every_plot_says_of_how_many_tasks_and_test_rows_it_is() -> None:
    for name in TRIED:
        for plot in plots_of(name):
            said = " ".join(texts(plot))
            assert re.search(r"\d tasks?, [\d,]+ test rows", said) and "95 % intervals" in said


# ── kinds of models ──────────────────────────────────────────────────────────────────────────────────────


def test_models_trained_here_and_real_ones_are_in_no_plot_together() -> None:
    for plot in plots_of("gemma-real"):
        said = " ".join([*texts(plot), *titles(plot), plot.alt])
        of_toys = plot.name.endswith("-toys")
        assert ("minigemma" in said) == of_toys
        assert ("gemma-3" in said) != of_toys
        assert ("toy models (trained here)" in said) == of_toys


def test_dictionaries_that_each_model_has_of_its_own_are_one_series_over_sizes() -> None:
    models = {"minigemma-s": "real-1b", "minigemma-m": "real-4b", "minigemma-l": "real-12b"}

    def own(row: Row) -> Row:
        model = models.get(row.model or "")
        return replace(
            row, model=model, representation=row.representation.replace("minigemma", model or ""), toy=False
        )

    board = read("mosaic-widths")
    rows = tuple(own(row) for row in board.rows)
    (chart,) = (one for one in find_charts(replace(board, rows=rows, ablation=())) if one.name == "size")
    scores = {series.label: [point.value for point in series.points] for series in chart.series}
    assert (
        len(scores["‹model›-scope"])
        == len(scores["‹model›-scope[expansion=32]"])
        == len(scores["hidden"])
        == 3
    )
    by_size = [row.macro_f1 and row.macro_f1.value for row in sorted(rows, key=width) if row.is_baseline]
    assert scores["hidden"] == by_size


def width(row: Row) -> int:
    return row.width or 0


def test_tasks_of_text_and_of_images_are_in_no_plot_together() -> None:
    board = read("vision")
    half = [replace(row, reads="text" if row.model == "miniclip" else "image") for row in board.rows]
    drawn = draw_plots(replace(board, rows=tuple(half)))
    assert {plot.name.rpartition("-")[2] for plot in drawn} == {"text", "image"}
    for plot in drawn:
        said = " ".join([*texts(plot), *titles(plot)])
        assert ("minipaligemma" in said) == plot.name.endswith("-image")


def test_a_board_of_one_point_has_no_plot() -> None:
    board = read("mosaic-widths")
    one = next(row for row in board.rows if row.is_baseline)
    assert draw_plots(replace(board, rows=(one,), ablation=())) == ()
    assert draw_plots(replace(board, rows=(), ablation=())) == ()


# ── looks ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", (*TRIED, "gemma-real"))
def test_a_representation_has_one_colour_on_a_board_and_hidden_states_one_of_their_own(name: str) -> None:
    baselines = {row.representation for row in read(name).rows if row.is_baseline}
    colours: dict[tuple[bool, str], set[str]] = {}
    for chart in charts_of(name):
        for series in chart.series:
            assert (series.style.colour == HIDDEN_COLOUR) == (series.label in baselines) or chart.differences
            if not chart.differences:
                colours.setdefault((series.level, series.label.partition("[")[0]), set()).add(
                    series.style.colour
                )
    assert all(len(same) == 1 for same in colours.values())


@pytest.mark.parametrize("name", TRIED)
def test_series_of_a_plot_are_few_and_each_has_a_look_of_its_own(name: str) -> None:
    for chart in charts_of(name):
        if chart.differences:
            continue
        lines = [series for series in chart.series if not series.level]
        assert len(lines) <= SERIES
        assert len({(one.style.mark, one.style.filled) for one in lines}) == len(lines)
    assert any("the best by rank" in " ".join(chart.notes) for chart in charts_of("probing-scarcity"))


def test_verdicts_differ_in_shape_and_colour() -> None:
    for chart in charts_of("vision"):
        if chart.differences:
            assert len({style.mark for style, _ in chart.key}) == len(
                {style.colour for style, _ in chart.key}
            ) or (len({(style.mark, style.filled) for style, _ in chart.key}) == len(chart.key))


def test_the_legend_is_beside_the_marks() -> None:
    for plot in plots_of("mosaic-widths"):
        marks = [
            float(x)
            for path in parse(plot).iter("{http://www.w3.org/2000/svg}path")
            if len(path)
            for x in re.findall(r"[ML] ([\d.]+)", path.get("d", ""))
        ]
        legend = [
            float(text.get("x", 0))
            for text in parse(plot).iter("{http://www.w3.org/2000/svg}text")
            if text.text and text.text.startswith("random_sae")
        ]
        assert all(max(marks) < x or x < min(marks) for x in legend)


# ── text and markup ──────────────────────────────────────────────────────────────────────────────────────


def rename(board: Board, name: Callable[[str], str]) -> Board:
    """Return a board with other names of models, representations, tasks and suites."""

    def renamed(row: Row) -> Row:
        results = tuple(replace(one, task=name(one.task)) for one in row.results)
        return replace(
            row,
            model=row.model and name(row.model),
            representation=name(row.representation),
            results=results,
            among_toys=row.among_toys and renamed(row.among_toys),
        )

    def value(text: str) -> str:
        return text if re.fullmatch(r".*\.\d+|.*\(\w+=\d+\)", text) else name(text)

    rows = {row.key: renamed(row) for row in board.rows}
    ablation = [replace(one, row=rows[one.row].key, value=value(one.value)) for one in board.ablation]
    return replace(
        board, suites=tuple(map(name, board.suites)), rows=tuple(rows.values()), ablation=tuple(ablation)
    )


def make_hostile(name: str) -> str:
    stem, bracket, parameters = name.partition("[")
    return f"{stem}{HOSTILE}{bracket}{parameters}"


def test_hostile_names_are_short_text_without_markup_or_hidden_letters() -> None:
    drawn = draw_plots(rename(read("probing-ksparse"), make_hostile))
    assert len(drawn) == len(plots_of("probing-ksparse"))
    for plot in drawn:
        tags = {element.tag.rpartition("}")[2] for element in parse(plot).iter()}
        assert tags == {"svg", "path", "text", "title"}
        said = [*texts(plot), *titles(plot), plot.alt, plot.title]
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for text in said for letter in text)
        assert "alert(1)</script>" in " ".join(said)
        assert max(map(count_columns, texts(plot))) < 140 and max(map(len, said)) < 2_000
        assert re.fullmatch(r"[A-Za-z0-9._=-]{1,160}", plot.name)
        assert len(plot.svg) < 300_000


def test_hostile_names_are_letters_in_a_png_too() -> None:
    plot = draw_plots(rename(read("planted"), make_hostile))[0]
    assert not is_blank(to_png(plot))  # and nothing of $x^2$ was set as a formula, or raised


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_in_any_script_are_texts(script: str, recwarn: pytest.WarningsRecorder) -> None:
    drawn = draw_plots(rename(read("planted"), lambda name: f"{script} {name}"))
    for plot in drawn:
        assert any(script in text for text in texts(plot)) and "□" not in plot.svg
    assert not recwarn.list  # whatever fonts there are: it is for the reader's to have the letters


@pytest.mark.parametrize("name", (*TRIED, "gemma-real"))
def test_an_svg_refers_to_nothing_and_its_ids_are_its_own(name: str) -> None:
    ids: list[str] = []
    for plot in plots_of(name):
        assert not re.search(r"<\?|<!|href|url\(|script|style=|class=|metadata|\bon\w+=", plot.svg)
        assert re.findall(r"https?://[^\"]*", plot.svg) == ["http://www.w3.org/2000/svg"]
        root = parse(plot)
        ids += [one.get("id", "") for one in root.iter() if one.get("id")]
        assert root.get("id") == f"plot-{plot.name}"
        assert "currentColor" in plot.svg and "#141414" not in plot.svg
        inks = set(re.findall(r"(?:fill|stroke)=\"([^\"]+)\"", plot.svg))
        assert inks <= {"none", "currentColor", HIDDEN_COLOUR, *COLOURS}
    assert len(ids) == len(set(ids)) > 3


def test_the_same_board_has_the_same_plots() -> None:
    again = draw_plots(read("mosaic-widths"))
    assert [plot.svg for plot in again] == [plot.svg for plot in plots_of("mosaic-widths")]
    assert to_png(again[0]) == to_png(plots_of("mosaic-widths")[0])


def test_plots_do_not_depend_on_the_settings_of_matplotlib() -> None:
    import matplotlib

    with matplotlib.rc_context(
        {"svg.fonttype": "path", "figure.dpi": 31, "text.color": "red", "font.size": 3}
    ):
        again = draw_plots(read("planted"))
    assert [plot.svg for plot in again] == [plot.svg for plot in plots_of("planted")]


def is_blank(png: bytes) -> bool:
    return len(np.unique(np.asarray(Image.open(io.BytesIO(png)).convert("L")))) < 10


def test_a_png_is_black_on_white_at_the_resolution_of_papers() -> None:
    for plot in plots_of("gemma-real")[:3]:
        png = to_png(plot)
        image = Image.open(io.BytesIO(png))
        assert image.format == "PNG" and image.width == 2000 and not is_blank(png)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)


# ── command ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wanted", ["svg", "both"])
def test_the_command_writes_each_plot(wanted: str, harness_command: Any, tmp_path: Path) -> None:
    told = harness_command("leaderboard", "plots", BOARDS / "planted", "-o", "plots", "--format", wanted)
    assert (told.code, told.err) == (0, "")
    endings = ["svg", "png"] if wanted == "both" else [wanted]
    names = {f"{plot.name}.{ending}" for plot in plots_of("planted") for ending in endings}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    assert {Path(line).name for line in told.out.splitlines()} == names


def test_the_command_refuses_a_file_for_its_folder(harness_command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    told = harness_command("leaderboard", "plots", BOARDS / "planted", "-o", "file")
    assert (told.code, told.err) == (3, "harness: 'file' is a file, not a folder\n")


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "families", "others"),
    [
        (["size(n=64)", "full", "size(n=16)"], {("size", "n"): [16, 64]}, ["full"]),
        (["mix(a=1,b=x)", "mix(a=2,b=x)"], {("mix", "a"): [1, 2]}, []),
        (["mix(a=1,b=x)", "mix(a=2,b=y)"], {}, ["mix(a=1,b=x)", "mix(a=2,b=y)"]),
        (["f(k=1)", "f(k=1.0)"], {}, ["f(k=1)", "f(k=1.0)"]),
        (["f(by=l1)", "f(by=l2)", "f()"], {}, ["f()", "f(by=l1)", "f(by=l2)"]),
        (["f(k=nan)", "f(k=1e400)"], {}, ["f(k=1e400)", "f(k=nan)"]),
    ],
)
def test_values_that_differ_by_one_number_are_a_family(
    values: list[str], families: Mapping[tuple[str, str], list[float]], others: list[str]
) -> None:
    found, rest = find_families(values)
    assert {(one.name, one.parameter): list(one.numbers.values()) for one in found} == families
    assert rest == others


@given(st.lists(st.floats(1e-6, 1e9), min_size=2, unique=True), st.integers(0, 2), st.booleans())
def test_places_of_numbers_rise_with_them_and_leave_room_for_other_values(
    numbers: list[float], slots: int, first: bool
) -> None:
    scale = number_scale(numbers, slots=slots, slots_first=first)
    places = [scale.place(number) for number in sorted(numbers)]
    assert places == sorted(places)
    low, high = (0.16 * slots, 1.0) if first else (0.0, 1 - 0.16 * slots)
    assert low <= places[0] and places[-1] <= high


@given(st.text(), st.integers(2, 60))
def test_a_cut_name_has_at_most_its_columns_and_stays_a_line(text: str, columns: int) -> None:
    cut = shorten(text, columns)
    assert count_columns(cut) <= columns


def test_a_cut_name_lacks_its_middle() -> None:
    assert shorten("first_name_of_a_task[end=1]", 16) == "first_nam…end=1]"
    assert shorten("漢" * 20, 10) == "漢漢漢…漢"
