"""Names that are markup, formulas or escape sequences in; the same names as text out, wherever they are shown."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import unicodedata
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.api.text import JOINERS, csv_text, escape_markdown, printable
from harness.cli.streams import echo
from harness.cli.tables import Column, print_table
from harness.figures.lettering import Page, readable
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.frames import write_csv

MARKUP = [
    *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \n\t\r", *"aB1é漢", "](", "![", "**", "__", "~~", "www.", "http://a.b",
    "<b>", "&lt;", "1. ", "- ", "[x]: y", "](javascript:z)", "a@b.c", ":smile:", "$x$", "\x1b[31m", "\u202e",
    "\x9b", "\u2028", "\x00", "\x7f", "\u200d", "\ud800", "\U000e0041",
]  # fmt: skip
TEXTS = st.lists(
    st.one_of(st.sampled_from(MARKUP), st.characters(exclude_categories=["Cs"])), max_size=12
).map("".join)
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

PLACES = {
    "a paragraph": ("{}", 0),
    "a heading": ("## {}", 0),
    "a sentence": ("Left out: {}, {} and *more*.", 0),
    "a list": ("- a\n- b: {}", 1),
    "a table": ("| a | b |\n| --- | --- |\n| {} | c |", 2),
}


def is_hidden(letter: str) -> bool:
    """Return whether a letter can do anything but be seen."""
    category = unicodedata.category(letter)
    return letter not in JOINERS and (category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def seen(text: str) -> str:
    """Return a text with a space for each hidden letter."""
    return "".join(" " if is_hidden(letter) else letter for letter in text)


def inlines(page: str) -> list[list[tuple[str, str]]]:
    """Return type and text of what each line of a page is rendered as."""
    return [
        [(child.type, child.content) for child in token.children or ()]
        for token in RENDERER.parse(page)
        if token.type == "inline"
    ]


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=80)
@given(text=TEXTS)
def test_a_name_in_markdown_is_rendered_as_that_very_name(place: str, everywhere: bool, text: str) -> None:
    page, line = PLACES[place]
    wanted = seen(text).strip()
    found = inlines(page.format(*[escape_markdown(text, everywhere=everywhere)] * 2))
    said = page.splitlines()[-1].removeprefix("## ").removeprefix("- b: ")
    if place == "a sentence":
        lead = f"Left out: {seen(text).strip(' ')}, {seen(text).strip(' ')} and "
        assert "".join(text for _, text in found[0][:-4]) == lead
        assert [kind for kind, _ in found[0][-4:]] == ["em_open", "text", "em_close", "text"]
    elif wanted:
        assert said and {kind for kind, _ in found[line]} == {"text"}
        shown = "".join(text for _, text in found[line])
        assert shown.removeprefix("b: " if place == "a list" else "").strip() == wanted


@settings(max_examples=150)
@given(text=TEXTS)
def test_a_name_is_the_text_of_its_link_and_nothing_else(text: str) -> None:
    wanted = seen(text).strip()
    for address in ("matrix/a.png", "b.png"):
        kinds = inlines(f"See {markdown.link_to(text, address)}: it.")[0]
        words = [kind for kind in kinds if kind[1].strip()]  # a name may be a wide space alone
        assert "link_open" in {kind for kind, _ in kinds}
        assert [text.strip() for _, text in words] == ["See", *([wanted] if wanted else []), ": it."]


@given(text=TEXTS)
def test_no_address_in_a_name_becomes_a_link_by_itself(text: str) -> None:
    for everywhere in (False, True):
        found = escape_markdown(text, everywhere=everywhere)
        assert not re.search(r"(?<!\\)://|www\.|(?<!\\)@\w+\.\w", found, re.IGNORECASE)


@given(text=TEXTS)
def test_a_table_of_names_has_one_cell_for_each(text: str) -> None:
    [*_, line] = markdown.table(["a", "b"], [[text, "c"]]).splitlines()
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3


def test_the_usual_names_are_readable_in_the_source_of_a_page() -> None:
    for name in (
        "random_sae[k=32]",
        "resid_post.12",
        "a_b_c",
        "size(n=16)",
        "task@1",
        ".744 [.686, .794]",
        "de*",
    ):
        assert escape_markdown(name) == name


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150)
@given(text=TEXTS)
def test_no_cell_of_a_csv_is_a_formula_and_each_is_read_back(text: str) -> None:
    text = text.replace("\ud800", "")  # no frame holds half a character
    numbers = [-1.5, float("nan")]
    made = write_csv(
        pd.DataFrame({"name": [text, "plain"], "delta": numbers, "n": pd.array([-3, None], "Int64")})
    )
    [head, row, other] = csv.reader(io.StringIO(made, newline=""))
    assert (head, other) == (["name", "delta", "n"], ["plain", "", ""])
    assert row[1:] == ["-1.500000", "-3"]  # numbers stay numbers
    assert not re.match(r"\s*[=+\-@＝＋－＠]|[\t\r\n]", row[0])
    assert row[0].removeprefix("'" * (row[0] == f"'{seen(text)}")) == seen(text) and csv_text(text) == row[0]


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────────────


def steers(text: str) -> bool:
    """Return whether a terminal would do anything but show letters, lines and tabs."""
    return any(
        letter not in "\n\t" + JOINERS and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for letter in text
    )


@settings(max_examples=150)
@given(text=TEXTS)
def test_nothing_printed_steers_the_terminal_and_json_means_the_same(text: str) -> None:
    assert not steers(printable(text))
    for pure in (True, False):
        line = json.dumps({text: text}, ensure_ascii=pure)
        assert json.loads(printable(line)) == json.loads(line)


HOSTILE = "a\x1b[2J\x9b31m\u202e[bold]x[/] :smile: \r$b$\x07\ud83d"


def test_lines_and_tables_and_warnings_show_hidden_letters(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    echo(HOSTILE, err=True)
    columns = (Column(head="name", is_name=True), Column(head="n"))
    print_table(columns, [[HOSTILE, "1"]], importance=(), wide=True)
    out, err = capsys.readouterr()
    for said in (out, err):
        assert not steers(said)
        assert "\\u001b[2J\\u009b31m\\u202e[bold]x[/] :smile:" in said


@pytest.mark.parametrize("width", [None, 200])
def test_progress_shows_names_as_they_are(width: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    from harness_progress.show import Show

    from harness.api.events import BatchFinished, BundleFinished, RunStarted

    show = Show(RunStarted(suite="s", folder=Path("out"), n_cells=1, done=0))
    if width:  # bars, as on a terminal
        show.console.file, show.console._force_terminal = io.StringIO(), True
        show.bars.disable = False
    show.batch(BatchFinished(bundle=HOSTILE, tokens_done=1, tokens_total=2, seconds=1.0))
    drawn = "".join(part.plain for part in [show.bars.columns[0].render(show.bars.tasks[1])])
    assert not steers(drawn) and "[bold]x[/] :smile:" in drawn
    show.bundle(
        BundleFinished(
            bundle=HOSTILE, tokens=0, seconds=1.0, tokens_per_s=0.0, padding_share=0.0, peak_memory=0
        )
    )
    show.end()
    said = show.console.file.getvalue() if width else capsys.readouterr().err
    assert "[bold]x[/] :smile: $b$" in said and "\\u001b[2J" in said and "\x07" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "a\x1b[31m\u202eb"),
        ("show", "a\x1b[31m\u202eb"),
        ("a\x1b[31m\u202eb",),
        ("run", "quickstart", "--a\x1b[31m\u202eb"),
        ("plan", "quickstart", "-t", "a\x1b[31m\u202eb"),
        ("plan", "quickstart", "-m", "a\x1b[31m\u202eb"),
        ("-p", "a\x1b[31m\u202eb", "ls", "tasks"),
        ("ls", "a\x1b[31m\u202eb"),
        ("status", "a\x1b[31m\u202eb"),
    ],
)
def test_a_refusal_shows_the_name_it_refuses(arguments: tuple[str, ...], harness_command) -> None:  # type: ignore[no-untyped-def]
    result = harness_command(*arguments)
    assert result.code in (2, 3)
    assert len(result.said) == 1 and not steers(result.err)
    assert "[31m\\u202eb" in result.err


def test_every_line_of_a_command_is_printed_through_one_function() -> None:
    root = Path(__file__).parents[1]
    loose = []
    for folder in ("harness", "plugins", "tasks"):
        for path in (root / folder).rglob("*.py"):
            source = path.read_text("utf-8")
            for node in ast.walk(ast.parse(source)) if "click.echo" in source else ():
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.echo":
                    shown = ast.unparse(node.args[0]) if node.args else ""
                    if "printable(" not in shown and not re.fullmatch(r"f?'[^{}]*'", shown):
                        loose.append(f"{path.relative_to(root)}:{node.lineno}")
    assert loose == []


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["$\\frac{a}{b}$", "$", "a\nb", HOSTILE, "\\textbf{x}", "%s {0}"])
def test_a_name_in_a_picture_is_drawn_letter_by_letter(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        page = Page(300, 40)
        page.write(name, (0, 0, 300, 40))
        drawn = page.image()
        [text] = page._figure.texts
        assert not steers(readable(name)) and "\n" not in readable(name)
    assert text.get_text() == readable(name) and not text.get_parse_math() and drawn.info == {}


def test_names_are_no_markup_in_a_report_of_a_dictionary() -> None:
    import numpy as np

    from harness.dictionaries.fidelity import Fidelity
    from harness.dictionary_report.contexts import Validation
    from harness.dictionary_report.page import to_markdown
    from harness.dictionary_report.report import Arm, Report

    name = "![a](http://b.c/d.png) *e* _f_ # <b>j</b> `k` | $l$"
    validation = Validation(
        features=1,
        with_reading=1.0,
        holding=1.0,
        validated=1.0,
        precision=1.0,
        unseen_precision=1.0,
        kinds={},
    )
    report = Report(
        dictionary=name, model=name, site=name, width=1, d_in=1, published_l0=None, tokens=1, loss_tokens=1, dead=0.0,
        dense=0.0, arms=(Arm(name=name, note=name),), validation=validation, control=None,
        fidelity=Fidelity(verdict="flagged", reasons={"x": name}), frequencies=np.ones(1),
    )  # fmt: skip
    made = RENDERER.render(to_markdown(report))
    assert made.count("<img") == 1 and "frequencies.png" in made.split("<img")[1]  # our own
    assert not any(tag in made for tag in ("<a ", "<b>", "<code"))
    assert made.count("<em>") == 4 and made.count("![a](http://b.c/d.png) *e* _f_ #") == 6


@pytest.mark.parametrize(
    "name", ["no", "a: b #c", "2024", "{x}", "$l$ [m](n)", "Ünï 漢\u202e", "~", "'\"", "-"]
)
def test_the_task_file_that_labelling_proposes_reads_every_name_as_it_is(name: str, tmp_path: Path) -> None:
    from harness_labelling.command import _describe

    from harness.config.task_file import read_task

    card = {"labels": {"right": 1}, "left_out": 0, "score": "exact", "model": name}
    said = _describe(card, [{"language": "no"}, {"language": "en"}], tmp_path / f"{name}.parquet")
    (tmp_path / "task.yaml").write_text(printable(said.split("\n\n", 1)[1]), "utf-8")
    task = read_task(tmp_path / "task.yaml")
    assert task.languages == ("en", "no") and task.summary == f"does {name} answer this rightly?"
    assert task.source.file.name == f"{name}.parquet"  # type: ignore[union-attr]
