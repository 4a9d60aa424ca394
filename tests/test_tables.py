"""Tables of commands: no wider than asked, names whole or folded, columns left out in the declared order."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.api.names import short_names
from harness.api.text import JOINERS, printable
from harness.cli import board_table, cli, compare, plan, plugins, power, tables
from harness.cli.tables import DEFAULT_WIDTH, GAP, LEAST_WIDTH, Column, print_table

WIDTHS = (80, 120, 200)

HOSTILE = "a\x1b[2J\x9b31m\u202e[bold]x[/] \r\nb\x07"
ARABIC = "نموذج-عربي"
WIDE = "日本語モデル"
COMBINED = "e\u0301to\u0300ile"
LONG = "long-" * 2_000
NAMES = (HOSTILE, ARABIC, WIDE, COMBINED, LONG, "plain", "—")

COLUMNS = (
    Column(head="rank"),
    Column(head="model", is_name=True),
    Column(head="representation", is_name=True),
    Column(head="score"),
    Column(head="[95 %]", called="[95 %] of score"),
    Column(head="lead"),
    Column(head="[95 %]", called="[95 %] of lead"),
    Column(head="chosen", is_name=True),
)
IMPORTANCE = ("lead", "rank", "[95 %] of lead", "[95 %] of score", "chosen")


def row(model: str, representation: str = "hidden", number: int = 1) -> list[str]:
    return [
        *(str(number), model, representation, "0.500", "[0.400, 0.600]"),
        *("+0.100", "[-0.100, +0.300]", "resid_post.3 mean none logreg"),
    ]


Lines = Callable[..., list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lines:
    """`lines(rows, 80)` gives the lines of a table printed in that width; None for one as wide as it is."""

    def call(
        rows: Sequence[Sequence[str]],
        width: int | None,
        columns: Sequence[Column] = COLUMNS,
        importance: Sequence[str] = IMPORTANCE,
    ) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width or 80))
        capsys.readouterr()
        print_table(columns, rows, importance=importance, wide=width is None)
        return capsys.readouterr().out.splitlines()

    return call


def steers(text: str) -> bool:
    return any(
        letter not in JOINERS and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for letter in text
    )


def column(lines: Sequence[str], head: str) -> str:
    """Return the text of a column of names on all lines below the head, its folds put together."""
    start = cell_len(lines[0][: lines[0].index(head)])
    after = lines[0][lines[0].index(head) + len(head) :]
    end = start + len(head) + len(after) - len(after.lstrip()) - GAP if after.strip() else 10**6
    return "".join(cells(line, start, end) for line in lines[1:])


def cells(line: str, start: int, end: int) -> str:
    """Return the letters of a line that stand in its cells from `start` to `end`."""
    texts = [line[:place] for place in range(len(line) + 1)]
    return line[
        next((len(text) for text in texts if cell_len(text) >= start), len(line)) : next(
            (len(text) - 1 for text in texts if cell_len(text) > end), len(line)
        )
    ]


# ── one table ────────────────────────────────────────────────────────────────────────────────────────────

LETTERS = st.one_of(
    st.sampled_from(["漢", "ア", "é", "e\u0301", "ب", "\u200d", "\u202e", "\x1b[31m", "[b]", " ", "\n"]),
    st.sampled_from(["👩\u200d🚀", "\ufe0f", "🇩🇪", "\u3164", "\u0600"]),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.lists(LETTERS, max_size=60).map("".join)


@pytest.mark.parametrize("width", [LEAST_WIDTH, *WIDTHS])
@settings(max_examples=60)
@given(names=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_no_line_is_wider_than_asked_and_numbers_stand_below_one_another(
    width: int, names: list[tuple[str, str]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setenv("COLUMNS", str(width))
        patch.setattr(tables, "echo", said.append)
        print_table(COLUMNS, [row(*pair) for pair in names], importance=IMPORTANCE, wide=False)
    said = "\n".join(said).split("\n")
    assert max(map(cell_len, said)) <= width and not any(map(steers, said))
    below = said[0].index("score") + len("score")
    scores = [line for line in said[1:] if "0.500" in line]
    assert len(scores) == len(names)
    for line in scores:
        assert cell_len(line[: line.index("0.500") + 5]) == below


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_whole_perhaps_folded(name: str, width: int, lines: Lines) -> None:
    found = lines([row(name)], width)
    wanted = printable(" ".join(name.split()))
    assert column(found[:-1] if "left out" in found[-1] else found, "model").replace(
        " ", ""
    ) == wanted.replace(" ", "")
    assert ("…" in "".join(found)) == ("…" in name)
    assert max(map(cell_len, found)) <= width


def test_columns_are_left_out_in_the_declared_order_and_said_so(lines: Lines) -> None:
    shown = []
    for width in range(LEAST_WIDTH, 160):
        found = lines([row("minigemma-s", "random_sae[k=16]")], width)
        note = " ".join(line for line in found[2:])
        left_out = (
            note.removeprefix("left out: ").removesuffix("; --wide shows all").split(", ") if note else []
        )
        assert not note or (note.startswith("left out: ") and note.endswith("; --wide shows all"))
        kept = len(IMPORTANCE) - len(left_out) - ("[95 %]" in left_out)
        heads = [*IMPORTANCE[kept:]]
        if {"[95 %] of lead", "[95 %] of score"} <= set(heads):
            heads = list(dict.fromkeys(head.partition(" of ")[0] for head in heads))
        assert sorted(left_out) == sorted(heads)
        shown.append(kept)
    assert shown == sorted(shown) and set(shown) == set(range(len(IMPORTANCE) + 1))


def test_a_name_is_folded_only_where_nothing_is_left_to_leave_out(lines: Lines) -> None:
    for length in range(5, 50):
        found = lines([row("m" * length, "r" * 20)], 80)
        assert "m" * length in found[1]
    found = lines([row("m" * 60, "r" * 60)], 80)
    assert "lead" not in found[0] and "score" in found[0]
    assert "0.500" in found[1] and "rrr" in found[2] and "0.500" not in found[2]


def test_a_name_that_is_folded_anyhow_takes_no_column_from_the_others(lines: Lines) -> None:
    assert "lead" in lines([row("m" * 100), row("short")], 80)[0]


def test_a_wide_table_shows_everything_on_one_line_each(lines: Lines) -> None:
    found = lines([row(LONG), row(WIDE)], None)
    assert len(found) == 3
    assert LONG in found[1] and all(cell in found[1] for cell in row("")[3:])
    assert cell_len(found[0].rstrip()[: found[0].index("score")]) > len(LONG)


def test_a_width_that_alone_tells_two_rows_apart_is_kept() -> None:
    importance = ("lead", "width")
    assert tables.without_width(importance, [["m", "a"], ["m", "b"]]) == importance
    assert tables.without_width(importance, [["m", "a"], ["m", "a"]]) == ["lead"]


def test_columns_without_any_text_are_no_columns(lines: Lines) -> None:
    [head, *_] = lines([["", "m", "r", "0.5", "", "", "", ""]], 80)
    assert head.split() == ["model", "representation", "score"]


def test_a_pipe_gets_the_table_of_a_terminal_of_that_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        print_table(COLUMNS, [row("minigemma-s")], importance=IMPORTANCE, wide=False)
        return capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "90")
    asked = said()
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((90, 24)))
    assert said() == asked and tables.find_width() == 90

    def refuse(*_: object) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", refuse)
    assert tables.find_width() == DEFAULT_WIDTH
    for strange in ("0", "-3", "many", ""):
        monkeypatch.setenv("COLUMNS", strange)
        assert tables.find_width() == DEFAULT_WIDTH
    monkeypatch.setenv("COLUMNS", "3")
    assert tables.find_width() == LEAST_WIDTH


def test_letters_that_the_encoding_lacks_are_as_wide_as_they_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    from harness.cli import streams

    raw = io.BytesIO()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    streams.escape_unwritable()
    columns = (Column(head="Δ name", is_name=True), Column(head="n"))
    print_table(columns, [["é" * 3, "1"], ["漢字", "22"]], importance=(), wide=False)
    streams.sys.stdout.flush()
    head, first, second = raw.getvalue().decode("ascii").splitlines()
    assert head.startswith("\\u0394 name") and first.startswith("\\u00e9") and second.startswith("\\u6f22")
    assert len(head) == len(first) == len(second)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_shown_by_its_name_and_by_more_where_two_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mine").mkdir(parents=True)
    labels = [
        *("/a/b/m", "/a/c/m", "/x/other[max_length=256]", "runs/mine", "./near", "../up", "~/home", "."),
        *("C:\\models\\win", "minigemma-s", "/y/minigemma-s", "org/model[revision=refs/pr/1]", "/"),
    ]
    assert list(short_names(labels).values()) == [
        *("b/m", "c/m", "other[max_length=256]", "mine", "near", "up", "home", tmp_path.name),
        *("win", "minigemma-s", "y/minigemma-s", "org/model[revision=refs/pr/1]", "/"),
    ]


@given(labels=st.lists(st.text(max_size=30), max_size=5))
def test_every_label_has_a_short_name(labels: list[str]) -> None:
    shown = short_names(labels)
    assert set(shown) == set(labels) and not any(
        name.startswith("/") and name.strip("/") for name in shown.values()
    )


# ── every command ────────────────────────────────────────────────────────────────────────────────────────

TABLES: dict[ModuleType, tuple[str, ...]] = {
    board_table: ("run", "leaderboard build", "leaderboard show"),
    compare: ("compare",),
    plan: ("plan",),
    plugins: ("plugins",),
    power: ("power",),
}
"""Modules that print tables, with their commands."""


def test_no_other_module_prints_a_table() -> None:
    root = Path(inspect.getfile(tables)).parents[2]
    found = set()
    for folder in ("harness", "plugins", "tasks"):
        for path in (root / folder).rglob("*.py"):
            source = path.read_text("utf-8")
            names = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
            assert "Table(" not in source or "rich" not in source, path
            if "harness.cli.tables" in names:
                found.add(path.resolve())
    assert found == {Path(inspect.getfile(module)).resolve() for module in TABLES}


@pytest.mark.parametrize("name", [name for names in TABLES.values() for name in names])
def test_every_command_with_a_table_can_print_it_wide(name: str) -> None:
    command: click.Command | None = cli
    with click.Context(cli, **cli.context_settings) as context:
        for part in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(context, part)
    assert command and "--wide" in {option for one in command.params for option in one.opts}


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_every_column_that_may_be_left_out_is_one(module: ModuleType) -> None:
    names = {one.name for one in getattr(module, "COLUMNS", ())} or {
        *("examples", "cells", "feature sets", "cache hits", "tokens to run", "disk", "memory", "minutes")
    }
    assert set(module.IMPORTANCE) <= names


STRANGE = {
    "minigemma-s": f"/home/somebody/{WIDE}",
    "random_sae[width=96,k=8]": "a-representation-with-a-long-name[width=147456,l0=~100]",
    "text_length": HOSTILE,
    "tfidf": COMBINED,
}


@pytest.fixture
def strange_run(toy_suite: Path, toy_task: Path, harness_command: Any, tmp_path: Path) -> list[Any]:
    """A finished run whose models and representations have strange names in its records."""
    words = [toy_suite, "--include", toy_task, "-d", "cpu", "-o", "run"]
    words += ["--set", "representations=[hidden, 'random_sae[width=96,k=8]', text_length, tfidf]"]
    assert harness_command("run", *words).code == 0
    path = tmp_path / "run/results.jsonl"
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for record in records:
        for kind in ("model", "representation"):
            record[kind] = STRANGE.get(record[kind], record[kind])
    shutil.copytree(tmp_path / "run", tmp_path / "strange")
    (tmp_path / "strange/results.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in records), "utf-8"
    )
    return words


def test_no_table_of_a_command_is_wider_than_asked_and_no_name_is_cut(
    strange_run: list[Any],
    harness_command: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = [
        ("run", *strange_run),
        ("leaderboard", "show", "strange"),
        ("leaderboard", "build", "strange", "-o", "built"),
        ("compare", "strange", "strange"),
        ("plan", *strange_run[:3], *strange_run[-2:]),
        ("power", *strange_run[:3], "--run", "run", "--baseline", "tfidf"),
    ]
    for command in commands:
        for width in WIDTHS:
            monkeypatch.setenv("COLUMNS", str(width))
            told = harness_command(*command)
            assert told.code == 0, told.err
            assert max(map(cell_len, told.out.splitlines())) <= width, (command, width)
            assert not steers(told.out.replace("\n", "")) and "…" not in told.out
            flat = re.sub(r"\s", "", told.out)
            if "strange" in command:
                assert WIDE in flat and "/home" not in flat
                for name in list(STRANGE.values())[1:]:
                    pieces = re.sub(r"\s", "", printable(" ".join(name.split())))
                    assert pieces in flat or (width == 80 and pieces[:20] in flat), (command, width, name)
        wide = harness_command(*command, "--wide")
        assert wide.code == 0 and "left out" not in wide.out
        if "strange" in command:
            assert all(printable(" ".join(name.split())) in wide.out for name in list(STRANGE.values())[1:])
