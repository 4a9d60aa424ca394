"""Tables for a paper: text stays text, bold marks ties only, and every citation has its entry."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.api import text
from harness.api.text import escape_latex
from harness.leaderboard.exports.latex import _describe_machines, _key

BOARDS = Path(__file__).parents[1] / "leaderboards"


def typeset(latex: str) -> str:
    """Return the text that LaTeX sets: the letter of each command, and nothing of empty groups."""
    spelt = sorted(text._LATEX.items(), key=lambda one: -len(one[1]))
    pattern = re.compile("|".join(re.escape(code) for _, code in spelt) + r"|\{\}|[\s\S]")
    letters = {code: letter for letter, code in spelt} | {"{}": ""}
    return "".join(letters.get(code, code) for code in pattern.findall(latex))


@given(st.text())
def test_escaped_text_is_set_as_it_is(given_text: str) -> None:
    escaped = escape_latex(given_text)
    hidden = "".join(" " if text._is_hidden(letter) else letter for letter in given_text)
    assert typeset(escaped) == hidden.strip(" ")
    assert "\n" not in escaped and "--" not in escaped and ",," not in escaped
    assert_balanced(escaped)


@pytest.mark.parametrize(
    ("plain", "wanted"),
    [
        ("50% of a_b & c#d", r"50\% of a\_b \& c\#d"),
        (r"\input{x}", r"\textbackslash{}input\textbraceleft{}x\textbraceright{}"),
        ("$x^2$ ~ y", r"\$x\textasciicircum{}2\$ \textasciitilde{} y"),
        ("a[k=1]*", "a{[}k=1{]}{*}"),
        ("a---b", "a-{}-{}-b"),
        ("right\u202eto left\x1b", "right to left"),
    ],
)
def test_what_latex_would_obey_is_escaped(plain: str, wanted: str) -> None:
    assert escape_latex(plain) == wanted


def assert_balanced(latex: str) -> None:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex.replace(r"\\", "")):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


@pytest.fixture
def written(harness_command: Any, tmp_path: Path) -> dict[str, str]:
    told = harness_command(
        "leaderboard", "tables", BOARDS / "gemma-real" / "tasks.jsonl.gz", "--latex", "-o", "paper"
    )
    assert (told.code, told.err) == (0, "")
    names = ["tables.tex", "methods.tex", "references.bib"]
    assert [Path(line).name for line in told.out.splitlines()] == names
    return {name: (tmp_path / "paper" / name).read_text("utf-8") for name in names}


def test_models_trained_here_and_others_have_a_table_each_and_bold_is_for_ties(
    written: dict[str, str], harness_command: Any
) -> None:
    from harness import leaderboard

    board = leaderboard.build(leaderboard.find_results(BOARDS / "gemma-real" / "tasks.jsonl.gz"))
    tables = written["tables.tex"].split(r"\begin{table}")[1:]
    assert len(tables) == len(board.groups) == 2
    for table, group in zip(tables, board.groups, strict=True):
        lines = [line for line in table.splitlines() if line.endswith(r"\\")][1:]
        assert len(lines) == len(group.rows)
        assert all(line.count(" & ") == 6 for line in lines)
        assert [r"\textbf" in line for line in lines] == [0 in row.ties for row in group.rows]
        assert table.count(r"\toprule") == table.count(r"\bottomrule") == 1
        assert ("toy" in table.split(r"\label")[0]) == group.of_toys
    assert "minigemma" not in tables[0]
    for one in written.values():
        assert_balanced(one)


def test_tasks_of_text_and_of_images_have_a_table_each(harness_command: Any, tmp_path: Path) -> None:
    boards = [BOARDS / "vision" / "2026-11-25.jsonl", BOARDS / "planted" / "2026-11-25.jsonl"]
    assert harness_command("leaderboard", "tables", *boards, "--latex", "-o", "paper").code == 0
    tables = (tmp_path / "paper" / "tables.tex").read_text("utf-8").split(r"\begin{table}")[1:]
    captions = [re.findall(r"tasks of ([\w ]+): .* mean over (\d+) task", table)[0] for table in tables]
    assert captions == [("text", "6"), ("image", "4"), ("text and image", "10")]
    assert len({re.findall(r"\\label\{.*\}", table)[0] for table in tables}) == 3
    assert [r"\textbf" in table for table in tables] == [True, True, False], "an arm without a rank"


DAYS = ("2026-11-30T10:00:00Z", "2026-12-01T10:00:00Z")


def fake_run(about: dict[str, Any]) -> Any:
    """A run that says nothing but this of itself."""
    return SimpleNamespace(path=Path("run"), name="run", environment=dict, about=lambda: about)


def test_a_graphics_card_is_named_with_its_version() -> None:
    gpu = {"name": "NVIDIA H200", "cuda": "13.0"}
    about = {"gpu": gpu, "cores": 16, "distributions": {"torch": "2.15"}}
    runs = [
        SimpleNamespace(
            path=Path("run"), name="run", environment=dict, about=lambda day=day: {**about, "finished": day}
        )
        for day in DAYS
    ]
    assert _describe_machines(runs) == [
        "Runs were made on NVIDIA H200 (CUDA 13.0) with torch 2.15, until 2026-12-01."
    ]


@pytest.mark.parametrize("strange", [{"gpu": "a card"}, {"gpu": {"name": "x"}}, {"distributions": 3}])
def test_a_machine_in_another_form_is_one_sentence(strange: dict[str, Any]) -> None:
    run = fake_run(strange)
    with pytest.raises(harness.UnavailableError, match="'run' does not say on which machine it was made"):
        _describe_machines([run])


def test_keys_differ_where_names_do() -> None:
    names = ["qwen", "Qwen", "qwen[a=1]", "qwen a=1", "a_b", "a-b"]
    assert len({_key("model", name).lower() for name in names}) == len(names)


def test_every_task_is_cited_with_its_licence_and_every_key_is_there_once(written: dict[str, str]) -> None:
    entries = re.findall(r"@misc\{([^,]+),", written["references.bib"])
    assert len(set(entries)) == len(entries)
    (cited,) = re.findall(r"\\cite\{([^}]+)\}", written["methods.tex"])
    tasks = cited.split(", ")
    assert set(tasks) == {one for one in entries if one.startswith("task:")}
    assert len(tasks) == 14
    assert r"davidson\_hate: MIT (repository); tweets under Twitter terms" in written["methods.tex"]
    assert any(one.startswith("model:gemma-3-270m") for one in entries)
    assert any(one.startswith("dictionary:gemma-3-270m-scope/") for one in entries)


def test_methods_are_the_facts_of_the_runs(written: dict[str, str]) -> None:
    methods = written["methods.tex"]
    assert "We probe 14 tasks with 4,428 test rows in all (1 seed; suite gemma-real)." in methods
    assert "transformers 5." in methods and "until 2026-12-01" in methods


def test_a_task_that_no_plugin_offers_is_said_and_not_cited(harness_command: Any, tmp_path: Path) -> None:
    for name in ("2026-11-25.env.json", "2026-11-25.jsonl", "2026-11-25.predictions.parquet"):
        shutil.copy(BOARDS / "planted" / name, tmp_path)
    path = tmp_path / "2026-11-25.jsonl"
    lines = path.read_text("utf-8")
    version = re.findall(r'"task_version":\s*(\d+)', lines)[0]
    path.write_text(re.sub(rf'("task_version":\s*){version}\b', r"\g<1>99", lines), "utf-8")
    told = harness_command("leaderboard", "tables", path, "--latex", "-o", "paper")
    assert told.code == 0
    assert told.said and all("so its licence and citation are not known" in line for line in told.said)
    assert "task:" not in (tmp_path / "paper" / "references.bib").read_text("utf-8")
    assert r"\cite" not in (tmp_path / "paper" / "methods.tex").read_text("utf-8")


def test_without_a_kind_of_tables_or_with_a_file_for_folder_nothing_is_written(
    harness_command: Any, tmp_path: Path
) -> None:
    run = BOARDS / "planted" / "2026-11-25.jsonl"
    assert harness_command("leaderboard", "tables", run, "-o", "paper").code == 2
    Path("file").touch()
    told = harness_command("leaderboard", "tables", run, "--latex", "-o", "file")
    assert (told.code, told.said) == (3, ["harness: 'file' is a file, not a folder"])
    assert not Path("paper").exists()
