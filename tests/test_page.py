"""The page of a board as a file: what stands in it without a browser."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness.config.board_file import NOTHING_SAID, About, Awaited, read_about
from harness.leaderboard import Board, build, find_results, to_frame, write
from harness.leaderboard.files import render
from harness.leaderboard.pages.frames import to_task_frame
from harness.leaderboard.plots.svg import without_drawings
from harness.leaderboard.web import page as module
from harness.leaderboard.web.commands import command_to_await, find_commands
from harness.leaderboard.web.flags import REASONS, UNKNOWN, explain
from harness.leaderboard.web.overview import judge, kind_of, make_overviews
from harness.leaderboard.web.stated import Stated, read_stated

GEMMA = Path(__file__).parents[1] / "leaderboards/gemma-real"
SMALL = GEMMA.parent / "mosaic-selection"


@pytest.fixture(scope="module")
def board() -> Board:
    return build(find_results(GEMMA))


@pytest.fixture(scope="module")
def html(board: Board) -> str:
    return render(board, about=About(text="An <about> text.", awaited=(AWAITED,)))["leaderboard.html"]


AWAITED = Awaited(model="google/gemma-3-1b-pt", suite="gemma-3")


def read_data(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="board">(.*?)</script>', html, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


def decode(values: Any) -> list[Any]:
    return [values["texts"][at] for at in values["at"]] if isinstance(values, dict) else list(values)


class Reader(HTMLParser):
    """Tags, addresses and texts of a page, as a browser would find them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_number_of_the_table_is_that_of_the_csv(board: Board, html: str) -> None:
    table = {one["name"]: one for one in read_data(html)["tables"]}["rows"]
    frame = to_frame(board)
    assert table["n"] == len(frame)
    for key in (
        "macro_f1",
        "macro_f1_low",
        "macro_f1_high",
        "delta_vs_hidden",
        "auroc",
        "explained_variance",
    ):
        wanted = [None if pd.isna(value) else round(value, 6) for value in frame[key]]
        assert decode(table["values"][key]) == wanted
    for key, column in (("delta_vs_hidden_low", "delta_low"), ("delta_vs_hidden_high", "delta_high")):
        assert decode(table["values"][key]) == [None if pd.isna(v) else round(v, 6) for v in frame[column]]


def test_results_are_those_of_the_file_of_tasks(board: Board, html: str) -> None:
    table = {one["name"]: one for one in read_data(html)["tables"]}["results"]
    frame = to_task_frame(board)
    lines = set(zip(decode(table["values"]["task"]), decode(table["values"]["macro_f1"]), strict=True))
    assert lines == {
        (task, round(value, 6)) for task, value in zip(frame["task"], frame["macro_f1"], strict=True)
    }
    # Arms without a model are ranked beside each kind of model, and stand among the results of each.
    alone = frame["model"] == "—"
    assert table["n"] == len(frame) + int(alone.sum())


def test_the_overview_answers_with_the_rows_own_differences(board: Board) -> None:
    real, toys = make_overviews(board, ())
    assert (real.of_toys, toys.of_toys) == (False, True)
    (answer,) = real.answers
    (row,) = [row for row in board.rows if row.representation == "gemma-3-270m-scope"]
    assert row.delta is not None and answer.delta is row.delta and answer.judgement == "ahead"
    assert answer.counts == "1 / 13 / 0"
    (control,) = [row for row in board.rows if kind_of(row) == "control" and not row.toy]
    assert row.macro_f1 and control.macro_f1 and answer.over_control
    assert answer.over_control.value == pytest.approx(row.macro_f1.value - control.macro_f1.value)
    (words,) = [row for row in board.rows if row.representation == "sentence_embedding"]
    assert words.macro_f1 and answer.over_words and answer.words == "sentence_embedding"
    assert answer.over_words.value == pytest.approx(row.macro_f1.value - words.macro_f1.value)
    deltas = {one.task: one.delta.value for one in row.results if one.delta}
    assert answer.largest == max(deltas, key=lambda task: abs(deltas[task])) and answer.without_largest
    rest = [value for task, value in deltas.items() if task != answer.largest]
    assert answer.without_largest.value == pytest.approx(sum(rest) / len(rest))
    ahead = [one for one in board.ablation if one.row == row.key and judge(one.delta) == "ahead"]
    assert answer.searched == (len(ahead), 5) == (4, 5)
    (quiver,) = [one for one in board.quivers if one.model == row.model]
    assert answer.added is quiver.delta
    assert [line.model for line in toys.lines] == ["minigemma-s", "minigemma-m", "minigemma-l"]
    assert [line.size for line in toys.lines] == [64, 128, 224]


def test_models_trained_here_share_no_line_with_others(board: Board, html: str) -> None:
    for table in read_data(html)["tables"]:
        groups, models = (decode(table["values"][key]) for key in ("group", "model"))
        kinds = {
            (group, "mini" in model) for group, model in zip(groups, models, strict=True) if model != "—"
        }
        assert kinds == {("Models", False), ("Models trained here (toys)", True)}
    for overview in make_overviews(board, ()):
        assert {line.model.startswith("mini") for line in overview.lines} == {overview.of_toys}


def test_a_judgement_is_the_side_of_zero_on_which_the_interval_lies(board: Board) -> None:
    for row in board.rows:
        if row.delta is None:
            assert judge(row.delta) is None
            continue
        assert row.delta.interval is not None
        low, high = row.delta.interval
        assert judge(row.delta) == ("ahead" if low > 0 else "behind" if high < 0 else "not told apart")


def test_bold_are_all_rows_that_are_not_told_apart_from_the_best(board: Board) -> None:
    """ "Not told apart" is not transitive: a row may be so from the best and not from another one that is."""
    rows = [row for row in board.groups[1].rows if row.model is not None]
    ties = dict(zip((row.key for row in rows), ((0, 1), (0,), (1,)), strict=False))
    rows = [replace(row, ties=ties.get(row.key, (2,))) for row in rows]
    (toys,) = make_overviews(replace(board, rows=tuple(rows)), ())
    bold = [score.best for line in toys.lines for scores in line.scores.values() for score in scores]
    assert (bold.count(True), len(bold)) == (3, len(rows))
    page = render(board)["leaderboard.html"]
    assert "<bdi>sentence_embedding</bdi> <strong>.684" in page  # the best of the toys' group has no model


def test_a_control_on_other_tasks_is_none(run: Any) -> None:
    """A difference of means over other tasks would be one of tasks."""
    for task in ("a", "bb"):
        run.put("hidden", task=task, baseline=True)
        run.put("scope", task=task, dictionary="scope", control=False, width=512)
    for task in ("a", "ccc"):
        run.put("random", task=task, control=True, width=512)
    (one,) = make_overviews(build([run]), ())
    (answer,) = one.answers
    assert (answer.n_tasks, answer.control, answer.over_control) == (2, "", None)
    assert {name: [score.n_tasks for score in scores] for name, scores in one.lines[0].scores.items()} == {
        "hidden": [2],
        "scope": [2],
        "random": [2],
    }  # none has all three tasks, so none has a rank
    run.put("random", task="bb", control=True, width=512)
    (one,) = make_overviews(build([run]), ())
    assert one.answers[0].control == ""  # on more tasks than the dictionary
    run.put("hidden", task="ccc", baseline=True)
    run.put("scope", task="ccc", dictionary="scope", control=False, width=512)
    (one,) = make_overviews(build([run]), ())
    assert one.answers[0].control == "random"
    assert [score.n_tasks for scores in one.lines[0].scores.values() for score in scores] == [None] * 3


def test_models_are_by_size_and_those_of_unknown_size_last(run: Any) -> None:
    for model, width in (("a", 128), ("b", 64), ("b", 256)):
        run.put("hidden", model=model, width=width, site=f"resid_post.{width}", baseline=True)
    run.put("scope", model="aa", dictionary="scope", control=False, width=512)
    (one,) = make_overviews(build([run]), ())
    assert [(line.model, line.size) for line in one.lines] == [("b", 64), ("a", 128), ("aa", None)]


def test_a_board_without_a_model_promises_no_line(run: Any) -> None:
    run.put("tfidf", model=None, site=None, pooling=None)
    page = render(build([run]))["leaderboard.html"]
    assert "No model has been run on this board." in page and "empty line" not in page


# ── what was not run ─────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_was_not_run_is_an_empty_line_with_its_command(board: Board, html: str) -> None:
    real, _ = make_overviews(board, [AWAITED])
    assert real.lines[-1].model == AWAITED.model and not real.lines[-1].scores
    assert command_to_await(AWAITED) == "harness run gemma-3 -m google/gemma-3-1b-pt"
    assert "not run: <code>harness run gemma-3 -m google/gemma-3-1b-pt</code>" in html


def test_a_board_of_toys_alone_says_that_no_real_model_was_run() -> None:
    board = build(find_results(GEMMA.parent / "safety-text"))
    real, toys = make_overviews(board, [AWAITED])
    assert (real.of_toys, toys.of_toys, len(real.answers)) == (False, True, 0)
    page = render(board, about=About(awaited=(AWAITED,)))["leaderboard.html"]
    assert "No real model has been run on this board" in page
    assert make_overviews(board, ())[0].of_toys


def test_a_model_that_was_run_is_not_awaited(board: Board) -> None:
    for model in ("gemma-3-270m[max_length=256]", "gemma-3-270m"):  # as its rows and its suite name it
        real, _ = make_overviews(board, [Awaited(model=model, suite="gemma-real")])
        assert [bool(line.scores) for line in real.lines] == [True]
    real, _ = make_overviews(board, [Awaited(model="gemma-3", suite="gemma-real")])
    assert [bool(line.scores) for line in real.lines] == [True, False]


def test_awaited_models_are_in_the_suite_that_is_named() -> None:
    """The command of an empty line runs something, with the dictionaries that the suite has for the model."""
    session = harness.open()
    for file in sorted(GEMMA.parent.glob("*/board.yaml")):
        for one in read_about(file.parent).awaited:
            suite = session.suite(one.suite)
            assert one.model in [model.ref for model in suite.models], (file, one)


def test_the_command_of_a_row_names_the_model_as_its_suite_does(board: Board) -> None:
    commands = find_commands(board)
    told = {row.representation: commands.run_row(row) for row in board.rows}
    assert told["gemma-3-270m-scope"] == "harness run gemma-real -m gemma-3-270m"
    assert told["tfidf"] == "harness run gemma-real --set 'models=[]'"
    (row,) = [row for row in board.rows if row.representation == "gemma-3-270m-scope"]
    one = commands.run_row(row, row.results[0])
    assert one == f"harness run gemma-real -m gemma-3-270m -t {row.results[0].unit.task}"


def read_command(session: Any, command: str) -> Any:
    """Return the suite that a command runs, as `harness run` reads it."""
    program, run, suite, *words = shlex.split(command)
    assert (program, run) == ("harness", "run")
    options = list(zip(words[::2], words[1::2], strict=True))
    every = {flag: [value for name, value in options if name == flag] for flag, _ in options}
    return session.suite(
        suite,
        models=every.get("-m", ()),
        tasks=every.get("-t", ()),
        settings=every.get("--set", ()),
        limit=int(every["-L"][0]) if "-L" in every else None,
        seeds=int(every["--seeds"][0]) if "--seeds" in every else None,
        dtype=every["--dtype"][0] if "--dtype" in every else None,
    )


@pytest.mark.parametrize("name", ["transfer", "probing-shift", "gemma-real", "planted"])
def test_the_command_of_each_row_runs_the_suite_that_was_run(name: str) -> None:
    board, session = build(find_results(GEMMA.parent / name)), harness.open()
    commands = find_commands(board)
    (wanted,) = commands.suites.values()
    read: dict[str, Any] = {}
    for row in board.rows:
        for result in (None, *row.all_results):
            command = commands.run_row(row, result)
            if command not in read:
                read[command] = read_command(session, command).model_dump(by_alias=True, mode="json")
            found = read[command]
            models = {one["ref"]: one for one in wanted["models"]}
            assert all(models[one["ref"]] == one for one in found["models"])
            assert {one["name"] for one in found["tasks"]} <= {one["name"] for one in wanted["tasks"]}
            assert result is None or [one["name"] for one in found["tasks"]] == [result.unit.task]
            for field in ("seeds", "poolings", "transforms", "classifiers", "regimes", "tokens", "limit"):
                assert found[field] == wanted[field]
            sources = {cell.record.learnt_on for cell in result.cells} - {None} if result else set()
            for source in sources:  # a transfer is dropped unless both of its models are run
                pairs = [(one["from"], one["to"]) for one in found["transfers"]]
                assert (source, row.model) in pairs and found["alignments"] == wanted["alignments"]


def test_the_command_of_a_row_says_what_was_overridden(run: Any) -> None:
    model = {"ref": "mini", "dtype": "bfloat16", "depth": 2}
    suite = {"name": "tests", "models": [model], "seeds": [0, 1, 2], "limit": 240}
    run.about = lambda: {"suite": suite}
    for arm in ("hidden", "scope"):
        run.put(arm, model="mini[dtype=bfloat16,depth=2]")
    run.put("tfidf", model=None, site=None, pooling=None)
    told = {row.representation: find_commands(build([run])).run_row(row) for row in build([run]).rows}
    assert told["scope"] == "harness run tests -m mini --dtype bfloat16 --seeds 3 -L 240"
    assert told["tfidf"] == "harness run tests --set 'models=[]' --seeds 3 -L 240"
    suite |= {"seeds": [4, 7], "limit": None, "transfers": [{"from": "a", "to": "mini"}]}
    told = {row.representation: find_commands(build([run])).run_row(row) for row in build([run]).rows}
    assert told["scope"] == "harness run tests -m mini --dtype bfloat16 --set 'seeds=[4, 7]'"
    assert told["tfidf"].startswith("harness run tests --set 'models=[]' --set 'transfers=[]'")


def test_the_suite_of_a_run_can_be_saved_as_a_file_and_run(board: Board, run: Any, tmp_path: Path) -> None:
    summary = 'a "long" \U0001f600 naïve\u202e <b> & # x: y\nline'
    (suite,) = find_commands(board).suites.values()
    told = {**suite, "summary": summary}
    run.about = lambda: {"suite": told}
    run.put("hidden")
    reader = Reader(render(build([run]))["leaderboard.html"])
    (text,) = [text for text in reader.texts if text.startswith("{") and '"classifiers"' in text]
    (tmp_path / "suite.yaml").write_text(text, "utf-8")
    read = harness.open().suite(tmp_path / "suite.yaml")
    assert read.model_dump(by_alias=True, mode="json") == told


# ── one file ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_asks_for_nothing_from_anywhere(html: str) -> None:
    reader = Reader(html)
    for tag, given in reader.tags:
        assert tag not in ("iframe", "object", "embed", "base", "link")
        assert "src" not in given and "srcset" not in given
        address = given.get("href") or ""
        assert re.fullmatch(r"(#[a-z-]+|[a-z0-9.-]+)?", address), address
        assert not [name for name in given if name.startswith("on")]
    assert "default-src 'none'" in html and "sourceMappingURL" not in html


def test_downloads_are_files_that_stand_beside_the_page(board: Board, tmp_path: Path) -> None:
    write(board, tmp_path)
    reader = Reader((tmp_path / "leaderboard.html").read_text("utf-8"))
    files = {
        given["href"] for tag, given in reader.tags if tag == "a" and not str(given["href"]).startswith("#")
    }
    assert {"leaderboard.csv", "leaderboard.json", "leaderboard.tex", "leaderboard.parquet"} <= files
    assert all((tmp_path / str(name)).is_file() for name in files)
    told = json.loads((tmp_path / "leaderboard.json").read_text("utf-8"))
    assert len(told["rows"]) == len(to_frame(board)) and told["suites"] == ["gemma-real"]
    assert len(pd.read_parquet(tmp_path / "leaderboard.parquet")) == len(told["rows"])


def test_each_committed_page_is_small() -> None:
    """All pages together have 40 MB at most; they stand in the repository."""
    sizes = [path.stat().st_size for path in GEMMA.parent.rglob("leaderboard.html")]
    assert len(sizes) > 20 and sum(sizes) < 40_000_000


def test_a_table_that_is_too_large_has_files_beside_the_page(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {one["name"]: one for one in read_data(render(board)["leaderboard.html"])["tables"]}["results"]
    monkeypatch.setattr(module, "LARGEST", 10_000)
    monkeypatch.setattr(module, "PIECE", 100)
    write(board, tmp_path)
    data = read_data((tmp_path / "leaderboard.html").read_text("utf-8"))
    table = {one["name"]: one for one in data["tables"]}["results"]
    assert data["piece"] == 100 and table["values"] == {} and len(table["files"]) == -(-whole["n"] // 100)
    scores: list[float] = []
    for number, name in enumerate(table["files"]):
        text = (tmp_path / name).read_text("utf-8")
        found = re.fullmatch(r'harnessPiece\("results", (\d+), (.*)\);\n', text, re.DOTALL)
        assert found and int(found[1]) == 100 * number
        scores += decode(json.loads(found[2])["macro_f1"])
    assert scores == decode(whole["values"]["macro_f1"])
    monkeypatch.undo()
    write(board, tmp_path)
    assert not list(tmp_path.glob("*.js"))  # an earlier page's pieces go with it


def test_without_scripts_the_rows_stand_in_the_page(html: str) -> None:
    inside = html[html.index("<noscript>\n<p>Scripts are off") :]
    assert inside.count("<tr>") >= 20 and "gemma-3-270m-scope" in inside and "+.028 [+.015, +.042]" in inside


# ── what is stated ───────────────────────────────────────────────────────────────────────────────────────


def test_author_licence_and_commit_are_stated_by_option_alone(
    harness_command: Any, board: Board, tmp_path: Path
) -> None:
    write(board, tmp_path / "out")
    assert read_stated(tmp_path / "out/leaderboard.html") == Stated()
    options = ["--author", 'A. "B" <c>', "--licence", "CC BY 4.0", "--commit", "abc123"]
    assert harness_command("leaderboard", "build", SMALL, "-o", tmp_path / "out", *options).code == 0
    page = tmp_path / "out/leaderboard.html"
    assert read_stated(page) == Stated(author='A. "B" <c>', licence="CC BY 4.0", commit="abc123")
    assert "<c>" not in page.read_text("utf-8").replace("<code>", "")
    # Built again, the page states the same, but for what is stated anew.
    assert harness_command("leaderboard", "build", SMALL, "-o", tmp_path / "out", "--author", "").code == 0
    assert read_stated(page) == Stated(licence="CC BY 4.0", commit="abc123")


def test_each_run_says_when_where_and_with_what_it_was_made(html: str) -> None:
    for text in ("2026-12-01", "2 cores of a CPU", "torch 2.15.0", "recomputed", "does not prove"):
        assert text in html


def test_boards_of_one_file_lead_to_each_other(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    main, languages = (read_about(folder) for folder in (GEMMA, GEMMA / "languages"))
    assert (main.beside, languages.beside) == (("languages",), ("..",))
    assert main.text and main.awaited and not languages.awaited
    faults = GEMMA.parent / "mosaic-faults"
    assert (
        "../right" in read_about(faults / "layer").beside and read_about(faults / "nothing") == NOTHING_SAID
    )
    monkeypatch.chdir(GEMMA / "languages")
    assert read_about(Path()) == languages
    for folder in (GEMMA, GEMMA / "languages", faults / "layer"):
        for place in read_about(folder).beside:
            assert (folder / place / "leaderboard.html").is_file()
    assert (
        '<a href="languages/leaderboard.html">languages</a>' in render(board, about=main)["leaderboard.html"]
    )


def test_a_file_above_a_board_need_not_be_of_boards(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("name: a suite\ntasks: [a]\n", "utf-8")
    assert read_about(tmp_path / "board") == NOTHING_SAID
    with pytest.raises(harness.UsageError, match="there is no field 'name'"):
        read_about(tmp_path)


def test_what_stands_above_each_table_is_in_the_page(html: str) -> None:
    told = {one["name"]: one["about"] for one in read_data(html)["tables"]}
    assert "would be choosing on test" in told["ablation"].replace("to choose", "choosing")


# ── what a check compares ────────────────────────────────────────────────────────────────────────────────

TAMPERED = {
    "a script": ("</svg>", "<script>alert(1)</script></svg>"),
    "a script behind a comment": ("</svg>", "<!--><script>alert(1)</script>--></svg>"),
    "a picture": ("</svg>", '<image href="x.png"/></svg>'),
    "an event": (' role="img"', ' role="img" onload="alert(1)"'),
    "a style": (' role="img"', ' role="img" style="position:fixed"'),
    "another number": (">+.028 [", ">+.128 ["),
    "another description": ("; from +.028", "; from +.128"),
    "another title of a mark": ("<title>", "<title>much better: "),
    "no drawings": ("<svg xmlns", "<svg data-xmlns"),
}


@pytest.mark.parametrize(("old", "new"), TAMPERED.values(), ids=list(TAMPERED))
def test_a_drawing_cannot_be_changed_without_notice(html: str, old: str, new: str) -> None:
    before, plots, after = html.partition('<section id="plots"')
    assert old in plots + after
    changed = before + plots + after.replace(old, new, 1)
    assert without_drawings(changed) != without_drawings(html)


def test_a_drawing_may_be_that_of_another_version_of_the_library(board: Board, html: str) -> None:
    begin, end = (html.index(f'<section id="{name}"') for name in ("plots", "details"))
    drawn = html[:begin] + re.sub(' (d|y|stroke-width)="[^"]*"', r' \1="1"', html[begin:end]) + html[end:]
    assert drawn != html and without_drawings(drawn) == without_drawings(html)
    said = About(text="An <about> text.", awaited=(AWAITED,))
    outlined = render(board, about=said, plots=False)["leaderboard.html"]
    assert without_drawings(outlined) == without_drawings(html)
    # What is put in the place of drawings is no page either: their number is compared, too.
    assert without_drawings(without_drawings(html)) != without_drawings(html)


def test_what_stands_behind_the_scores_is_one_click_away(html: str, board: Board) -> None:
    headings = re.findall(r"<details[^>]*><summary>(.*?)</summary>", html)
    wanted = ("How to read this", "Dictionaries", "Removed examples", "Cost", "What the flags mean")
    assert set(wanted) <= set(headings)
    (row,) = [row for row in board.rows if row.representation == "gemma-3-270m-scope"]
    assert row.seconds and row.peak_memory
    cost = html[html.index("<summary>Cost</summary>") :]
    assert f"<td>{row.seconds:,.1f}</td>" in cost and f"<td>{row.peak_memory / 1e9:.2f}</td>" in cost


# ── hostile names ────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = {
    "markup": "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "a formula": '=HYPERLINK("x","y")',
    "right to left": "safe\u202egpj.exe\u2066",
    "an escape sequence": "\x1b[2J\x07red",
    "ten thousand letters": "x" * 10_000,
    "a template": "{{ 7 * 7 }} {% raw %}",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=list(HOSTILE))
def test_names_are_text_everywhere(name: str, run: Any, tmp_path: Path) -> None:
    fields = {"task": name, "model": name, "suite": name, "transform": name, "flags": (name,)}
    for number, (train, test) in enumerate((("en", "en"), ("en", name), (name, name))):
        languages = {"train_language": train, "test_language": test}
        for arm in ("hidden", name):
            run.put(arm, cell_id=f"{number}{arm == name}", width=64, **fields, **languages)
    page = render(build([run]), about=About(text=name), stated=Stated(author=name))["leaderboard.html"]
    reader = Reader(page)
    assert not [given for tag, given in reader.tags if "onerror" in given or (tag == "img")]
    assert [tag for tag, _ in reader.tags].count("script") == 3
    assert "\u202e" not in page and "\x1b" not in page and "\x07" not in page
    read_data(page)
    if name.startswith("{{"):
        assert "{{ 7 * 7 }}" in " ".join(reader.texts)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    from test_leaderboard import Run

    return Run(tmp_path / "run")


# ── flags ────────────────────────────────────────────────────────────────────────────────────────────────


def test_flags_are_explained_by_kind() -> None:
    first, second = explain(["subset:3/9", "near-leaks:2", "subset:1/2"])
    assert (first.name, second.name, second.flags) == ("near-leaks", "subset", ("subset:1/2", "subset:3/9"))
    (of_source,) = explain(["source-fidelity:scale"])
    assert REASONS["fidelity"] in of_source.reason
    assert explain(["nobody-knows"])[0].reason == UNKNOWN


def test_flags_of_results_that_no_row_is_ranked_by_are_explained_too(run: Any) -> None:
    for arm in ("hidden", "scope"):
        run.put(arm, regime="full", natural="task")
        run.put(arm, cell_id=f"few {arm}", regime="few", flags=("fitted-on:all",))
    board = build([run])
    assert board.has_others and not any("fitted-on" in flag for row in board.rows for flag in row.flags)
    html = render(board)["leaderboard.html"]
    assert read_data(html)["flags"]["fitted-on"] == REASONS["fitted-on"] and "fitted-on:all" in html
    assert "trained under the regime full; others stand task by task" in html


def test_every_flag_of_a_published_board_has_a_reason() -> None:
    flags = {
        flag.partition(":")[0]
        for path in GEMMA.parent.rglob("leaderboard.csv")
        for text in pd.read_csv(path)["flags"].dropna()
        for flag in text.split(", ")
    }
    assert flags and not {name for name in flags if name.removeprefix("source-") not in REASONS}
