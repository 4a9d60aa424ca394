"""Results that commands of plugins leave: their pages, the table of claims, and how they are made and checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from harness.leaderboard.upload.cards import add_dataset_card
from harness.leaderboard.upload.content import Content

Harness = Callable[..., Any]

PLUGIN = '''
import json
from pathlib import Path
import click
import harness

HARNESS_API = 1

@click.command("count")
@click.argument("n", type=int)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("-d", "--device")
def count(n, output, device):
    """Count."""
    output.mkdir(parents=True, exist_ok=True)
    (output / f"counted-{n}.json").write_text(json.dumps({"n": n}))
    return 1 if n == 13 else 0

def describe(paths):
    found = [json.loads(path.read_text())["n"] for path in paths]
    claims = [
        harness.Claim(
            work="Somebody 2020", claimed=f"there are <b>{n}</b>", model="a|b", measure="count",
            measured=harness.Score(value=n, low=n - 1.0, high=n + 1.0), n=n, items="things",
            control="none", control_value=harness.Score(value=0.25),
            verdict="holds" if n > 2 else "undecided", reason="=they were counted", cpu_minutes=0.5,
        )
        for n in found
    ]
    return harness.ResultPage(markdown="# Counted\\n\\n" + ", ".join(map(str, found)) + "\\n", claims=tuple(claims))

@harness.hookimpl
def harness_commands():
    return [harness.CommandSpec(name="count", summary="Count.", load=lambda: count)]

@harness.hookimpl
def harness_results():
    return [harness.ResultSpec(name="counted", summary="Counts.", pattern="counted-*.json", load="counting:describe")]
'''


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a plugin with a command that leaves results, which can be imported in other processes too."""
    (tmp_path / "counting.py").write_text(PLUGIN, "utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "counting"
    sys.modules.pop("counting", None)


def leave(folder: Path, *numbers: int) -> Path:
    folder.mkdir(exist_ok=True)
    for n in numbers:
        (folder / f"counted-{n}.json").write_text(f'{{"n": {n}}}', "utf-8")
    return folder


def test_a_folder_of_results_gets_their_page_and_one_table_of_claims(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept", 2, 30)
    done = harness_command("-p", counting, "leaderboard", "build", folder)
    assert (done.code, done.out) == (0, f"{folder / 'claims.html'}\n")
    assert (folder / "counted.md").read_text() == "# Counted\n\n2, 30\n"
    text = (folder / "claims.md").read_text()
    (line,) = [line for line in text.splitlines() if "30.000" in line]
    assert "30.000 [29.000, 31.000]" in line and "0.250" in line and "| holds |" in line and "a\\|b" in line
    assert "| a\\|b | 1 | 0 | 1 | 0 |" in text  # verdicts of the model, counted
    assert "<b>" not in text and "[counted](counted.md)" in text
    page = (folder / "claims.html").read_text()
    assert "there are &lt;b&gt;30&lt;/b&gt;" in page and "<b>30" not in page and "<h2>Counted</h2>" in page
    table = pd.read_csv(folder / "claims.csv")
    assert [*table["measured"]] == [2, 30] and [*table["verdict"]] == ["undecided", "holds"]
    assert set(table["reason"]) == {"'=they were counted"}  # no formula
    checked = harness_command("-p", counting, "leaderboard", "check", folder)
    assert (checked.code, checked.out) == (
        0,
        "0 published runs in 0 folders and 1 of results: nothing is wrong\n",
    )


def test_a_page_that_is_not_of_the_results_is_named_with_the_way_out(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept", 2, 30)
    assert harness_command("-p", counting, "leaderboard", "build", folder).code == 0
    (folder / "counted-30.json").unlink()
    checked = harness_command("-p", counting, "leaderboard", "check", folder)
    assert checked.code == 4
    assert {line.split("'")[1] for line in checked.out.splitlines()} == {
        str(folder / name) for name in ("counted.md", "claims.md", "claims.csv", "claims.html")
    }
    assert f"`harness leaderboard build {folder}`" in checked.out
    assert harness_command("-p", counting, "leaderboard", "build", folder).code == 0
    assert harness_command("-p", counting, "leaderboard", "check", folder).code == 0


def test_a_file_that_no_plugin_describes_is_never_left_out_without_a_word(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept", 2)
    (folder / "other-1.json").write_text("{}")
    refused = harness_command("-p", counting, "leaderboard", "build", folder)
    assert refused.code == 3 and "load its plugin, or remove the file" in refused.err
    assert not (folder / "claims.md").exists()


def test_a_plugin_that_cannot_describe_its_results_is_named(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept")
    (folder / "counted-x.json").write_text("{}")
    refused = harness_command("-p", counting, "leaderboard", "build", folder)
    assert refused.code == 3 and len(refused.err.splitlines()) == 1
    assert "results 'counted' (counting" in refused.err and "KeyError: 'n'" in refused.err


def test_a_board_of_commands_is_made_whole_or_not_at_all(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept", 5)
    (folder / "board.yaml").write_text('about: What was <i>counted</i>.\ncommands: [count 2, "count 30"]\n')
    make = ("-p", counting, "leaderboard", "make", folder, "--work", "work", "-d", "cpu")
    done = harness_command(*make)
    assert (done.code, done.out) == (0, f"{folder / 'claims.html'}\n"), done.err
    assert sorted(path.name for path in folder.glob("counted-*")) == ["counted-2.json", "counted-30.json"]
    assert "What was &lt;i&gt;counted" in (folder / "claims.md").read_text()
    assert harness_command("-p", counting, "leaderboard", "check", folder).code == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "board.yaml").write_text("about: What was <i>counted</i>.\ncommands: [count 7, count 13]\n")
    failed = harness_command(*make)
    assert failed.code == 4 and "the command 'count 13' of board.yaml ended with code 1" in failed.err
    changed = {path.name for path in folder.iterdir() if before.get(path) != path.read_bytes()}
    assert changed == {"board.yaml"}


def test_a_page_of_results_that_are_gone_is_named(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept", 2)
    assert harness_command("-p", counting, "leaderboard", "build", folder).code == 0
    (folder / "erasure.md").write_text("# of another kind, whose results were removed\n", "utf-8")
    checked = harness_command("-p", counting, "leaderboard", "check", folder)
    assert (checked.code, checked.out) == (
        4,
        f"'{folder / 'erasure.md'}' is the page of results of which there are none: remove it\n",
    )


def test_pages_of_results_stay_beside_them(counting: str, harness_command: Harness, tmp_path: Path) -> None:
    folder = leave(tmp_path / "kept", 2)
    refused = harness_command("-p", counting, "leaderboard", "build", folder, "-o", "elsewhere")
    assert refused.code == 2 and "holds results, whose pages belong beside them: leave out -o" in refused.err
    assert not (folder / "claims.md").exists() and not Path("elsewhere").exists()


def test_task_files_that_commands_would_not_see_are_refused(
    counting: str, harness_command: Harness, tmp_path: Path, toy_task: Path
) -> None:
    folder = leave(tmp_path / "kept")
    (folder / "board.yaml").write_text("commands: [count 2]\n")
    refused = harness_command(
        "-p", counting, "leaderboard", "make", folder, "--work", "work", "--include", toy_task
    )
    assert (
        refused.code == 2 and "--include reaches the runs of" in refused.err and "board.yaml" in refused.err
    )
    assert not list(folder.glob("counted-*"))


def test_a_folder_below_that_has_lost_its_runs_and_pages_is_no_pass(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    leave(tmp_path / "boards")
    kept, lost = leave(tmp_path / "boards/kept", 2), leave(tmp_path / "boards/lost")
    assert harness_command("-p", counting, "leaderboard", "build", kept).code == 0
    (lost / "board.yaml").write_text("commands: [count 2]\n")
    checked = harness_command("-p", counting, "leaderboard", "check", tmp_path / "boards")
    assert checked.code == 5 and f"'{lost}' holds no published run" in checked.err


def test_a_board_file_of_nothing_is_refused(harness_command: Harness, tmp_path: Path) -> None:
    leave(tmp_path / "kept")
    (tmp_path / "kept/board.yaml").write_text("about: nothing\n")
    refused = harness_command("leaderboard", "make", tmp_path / "kept", "--work", "work")
    assert refused.code == 2 and "lists neither runs nor commands" in refused.err


@pytest.mark.parametrize(
    "command",
    [
        ("erase-concept", "quickstart_tone", "-m", "minigemma-s", "--site", "resid_post.1"),
        ("patch", "agreement", "-m", "minigemma-s", "--site", "resid_post.1", "-r", "minigemma-scope"),
        (
            "autointerp",
            "quickstart_tone",
            "-m",
            "minigemma-s",
            "--site",
            "resid_post.1",
            "-r",
            "minigemma-scope",
        ),
        (
            "annotate-prompts",
            "senses",
            "-m",
            "minigemma-s",
            "--site",
            "resid_post.1",
            "-r",
            "minigemma-scope",
        ),
    ],
    ids=lambda command: command[0],
)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(
    command: tuple[str, ...], harness_command: Harness, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = harness_command(*command, "-d", "cpu", "-o", "file/out")
    assert refused.code == 3 and len(refused.err.splitlines()) == 1, refused.err  # no line of progress before
    assert "file/out" in refused.err


def test_results_are_uploaded_with_their_pages_and_nothing_else(
    counting: str, harness_command: Harness, tmp_path: Path
) -> None:
    folder = leave(tmp_path / "kept", 2, 30)
    assert harness_command("-p", counting, "leaderboard", "build", folder).code == 0
    (folder / "board.yaml").write_text("about: Counts.\n")
    stale = harness_command("-p", counting, "upload", folder, "--to", tmp_path / "site")
    assert stale.code == 4 and "is not the page of the results there" in stale.err
    assert not (tmp_path / "site").exists()
    assert harness_command("-p", counting, "leaderboard", "build", folder).code == 0
    assert "Counts." in (folder / "claims.md").read_text()
    (folder / "notes.txt").write_text("mine")
    done = harness_command("-p", counting, "upload", folder, "--to", tmp_path / "site")
    assert done.code == 0 and "left out: notes.txt: it is no file of the board" in done.err
    assert {path.name for path in (tmp_path / "site").iterdir()} == {
        "board.yaml", "claims.csv", "claims.html", "claims.md", "counted-2.json", "counted-30.json", "counted.md",
        "index.html", "uploaded.json",
    }  # fmt: skip
    assert (tmp_path / "site/index.html").read_bytes() == (folder / "claims.html").read_bytes()
    checked = harness_command("-p", counting, "leaderboard", "check", tmp_path / "site")
    assert (checked.code, checked.out.count("\n")) == (0, 1)


def test_a_card_on_the_hub_names_the_table_of_claims() -> None:
    content = Content(
        board="kept", files={"claims.html": b"", "claims.csv": b"", "a-1.json": b""}, left_out={}
    )
    card = add_dataset_card(content).files["README.md"].decode()
    fields = yaml.safe_load(card.split("---")[1])
    assert fields["configs"] == [{"config_name": "claims", "data_files": "claims.csv"}]
    assert "# Claims kept" in card and "`claims.html` and `claims.csv`" in card
