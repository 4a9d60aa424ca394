"""Toys and other models on one board: declared by the model, kept in records, ranked apart, named in titles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_board_sections import Run

import harness
from harness.config.board_file import NOTHING_SAID, read_about
from harness.config.suite import read_suite
from harness.leaderboard import build, check_published, publish, to_frame, to_markdown
from harness.runs.folder import RunFolder
from harness.runs.record import Record
from harness.session import open_registry

TOYS = "on toy models (trained here)"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def put_all(run: Run, *, toys: int, others: int, tasks: int = 5) -> None:
    """Toys are better than other models, and an arm without a model lies between them."""
    for task in (f"task-{number}" for number in range(tasks)):
        for kind, count, skill in ((True, toys, 0.9), (False, others, 0.3)):
            for number in range(count):
                name = f"{'toy' if kind else 'real'}-{number}"
                run.put(task=task, model=name, toy=kind, skill=skill, validation=skill)
                run.put("some-scope", task=task, model=name, toy=kind, skill=skill, luck=1, validation=skill)
        run.put("words", task=task, model=None, skill=0.6)


def test_a_model_and_a_toy_share_no_rank_and_arms_without_a_model_are_ranked_in_both(run: Run) -> None:
    put_all(run, toys=1, others=1)
    board = build([run])
    others, toys = board.groups
    assert (others.of_toys, toys.of_toys) == (False, True)
    assert {row.model for row in others.rows} == {"real-0", None}
    assert {row.model for row in toys.rows} == {"toy-0", None}
    for row in others.rows:
        assert row.rank is not None and row.last_rank is not None
        assert (row.rank, row.last_rank) == (1, 1) if row.model is None else row.rank >= 2
    for row in toys.rows:
        assert row.rank is not None and row.last_rank is not None
        assert (row.rank, row.last_rank) == (3, 3) if row.model is None else row.last_rank <= 2
    for group in board.groups:
        assert all(row.rank_interval is not None and row.rank_interval[1] <= 3 for row in group.rows)


def test_each_kind_is_ranked_as_on_a_board_of_its_own(run: Run, tmp_path: Path) -> None:
    put_all(run, toys=2, others=2)
    groups = {group.of_toys: group.rows for group in build([run]).groups}
    for kind in (True, False):
        alone = Run(tmp_path / f"alone-{kind}")
        put_all(alone, toys=2 * kind, others=2 * (not kind))
        rows = build([alone]).rows
        places = [
            [(row.key, row.rank, row.last_rank, row.rank_interval, row.ties) for row in each]
            for each in (rows, groups[kind])
        ]
        assert places[0] == places[1]


def test_the_choice_over_all_models_is_made_among_those_of_one_kind(run: Run) -> None:
    put_all(run, toys=2, others=2)
    quivers = {(one.model, one.of_toys): one for one in build([run]).quivers}
    assert quivers.keys() >= {(None, True), (None, False)} and (None, None) not in quivers
    assert quivers[None, False].without.value < quivers[None, True].without.value
    page = to_markdown(build([run]))
    assert "all toys together" in page and "all models but toys together" in page


def test_the_page_has_a_table_for_each_kind_and_the_csv_says_which(run: Run) -> None:
    put_all(run, toys=1, others=1)
    board = build([run])
    page, frame = to_markdown(board), to_frame(board)
    assert page.startswith("# Leaderboard: tests\n") and "Some models here are toys" in page
    models, toys = page.split("## Models\n")[1].split("## Toy models (trained here)\n")
    toys = toys.split("\n## ")[0]
    assert "real-0" in models and "toy-0" not in models and "words" in models
    assert "toy-0" in toys and "real-0" not in toys and "words" in toys
    assert sorted(frame.toys[frame.representation == "words"]) == [False, True]
    assert frame.toys[frame.model == "toy-0"].all() and not frame.toys[frame.model == "real-0"].any()


def test_the_command_prints_a_table_for_each_kind(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli.board_table import print_board

    put_all(run, toys=1, others=1)
    print_board(to_frame(build([run])), wide=False)
    models, toys = capsys.readouterr().out.split("toy models (trained here)")
    assert models.startswith("models\n") and "real-0" in models and "toy-0" not in models
    assert "toy-0" in toys and "real-0" not in toys and "words" in models and "words" in toys


@pytest.mark.parametrize(("toys", "others", "named"), [(2, 0, True), (0, 2, False), (0, 0, False)])
def test_a_board_of_toys_alone_says_so_in_every_title(run: Run, toys: int, others: int, named: bool) -> None:
    from harness.leaderboard.files import render

    put_all(run, toys=toys, others=others)
    board = build([run])
    assert len(board.groups) == 1
    titles = [text.splitlines()[0] for name, text in render(board).items() if name.endswith(".md")]
    assert titles and all(title.endswith(TOYS) is named for title in titles)
    assert ("**All models here are toys**" in to_markdown(board).split("\n\n")[1]) is named


# ── where it is declared ─────────────────────────────────────────────────────────────────────────────────


def test_the_embedded_models_are_toys_and_models_of_files_are_none() -> None:
    registry = open_registry(())
    for name in ("minigemma-s", "minigemma-l[random_weights=0]", "miniclip", "minipaligemma"):
        assert registry.choose("models", name).spec.toy
    folder = registry.get("models", "minigemma-s").spec.alias_of
    assert not registry.choose("models", folder).spec.toy


def test_records_of_a_run_say_whether_the_model_is_a_toy(
    toy_suite: Path, toy_task: Path, harness_command: Any
) -> None:
    assert harness_command("run", toy_suite, "--include", toy_task, "-o", "run").code == 0
    found = {record.representation: record.toy for record in RunFolder(Path("run")).records()}
    assert found == {"hidden": True, "majority": None}
    assert Path("run/leaderboard.md").read_text("utf-8").startswith(f"# Leaderboard: toy {TOYS}\n")


@pytest.mark.parametrize(
    ("origin", "toy"),
    [("minigemma sae-harness 0.1.0", True), ("transformers sae-harness 0.1.0", None), (None, None)],
)
def test_an_older_record_tells_a_toy_by_the_plugin_that_supplied_it(
    run: Run, origin: str | None, toy: bool | None
) -> None:
    fields = json.loads(run.put().model_dump_json())
    del fields["toy"]
    assert Record.model_validate({**fields, "origins": {"model": origin} if origin else {}}).toy is toy
    assert Record.model_validate({**fields, "toy": False, "origins": {"model": origin or ""}}).toy is False


# ── the paragraph of a board file ────────────────────────────────────────────────────────────────────────


def test_the_page_begins_with_the_paragraph_of_the_board_file(run: Run, tmp_path: Path) -> None:
    put_all(run, toys=0, others=1)
    folder = tmp_path / "board"
    folder.mkdir()
    assert read_about(folder) == NOTHING_SAID
    (folder / "board.yaml").write_text("about: Only <b>one</b> model.\nruns: [{suite: tests}]\n")
    publish(run.finished(), folder)
    paragraphs = (folder / "leaderboard.md").read_text("utf-8").split("\n\n")
    assert paragraphs[1] == "Only &lt;b&gt;one&lt;/b&gt; model."
    assert "Only &lt;b&gt;one&lt;/b&gt; model." in (folder / "leaderboard.html").read_text("utf-8")
    assert check_published(folder) == ()
    (folder / "board.yaml").write_text("about: Two models.\nruns: [{suite: tests}]\n")
    assert "is not what the published runs give" in check_published(folder)[0]


def test_a_broken_board_file_is_one_sentence(run: Run, tmp_path: Path) -> None:
    put_all(run, toys=0, others=1, tasks=1)
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "board.yaml").write_text("about: [1]\nruns: [{suite: tests}]\n")
    with pytest.raises(harness.UsageError, match="about"):
        publish(run.finished(), tmp_path / "board")


# ── the suites of a real model ───────────────────────────────────────────────────────────────────────────


def test_the_suite_of_the_real_model_asks_what_the_boards_of_toys_ask() -> None:
    root = Path(__file__).parents[1]
    suites = {path.stem: read_suite(path) for path in root.glob("tasks/*/suites/*.yaml")}
    real, languages = suites["gemma-real"], suites["gemma-real-languages"]
    asked = {task.name for name in ("safety-text", "general-text") for task in suites[name].tasks}
    assert {task.name for task in real.tasks} == asked
    for task in (*real.tasks, *languages.tasks):
        assert task.limit and task.test_limit
        assert task.test_limit >= 300 or task.name in ("movie_reviews", "svamp"), (
            "these have no more test rows"
        )
    assert [task.name for task in languages.tasks] == ["multilingual_hatecheck"]
    assert languages.tasks[0].test_limit >= 300 * 11
    for suite in (real, languages):
        models = [model.ref for model in suite.models]
        assert models == ["gemma-3-270m", "minigemma-s", "minigemma-m", "minigemma-l"]
        assert {"hidden", "tfidf", "sentence_embedding", "majority"} <= {*suite.representations}
        assert suite.limit is None


def test_make_gemma_names_what_it_leaves_out_without_data() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    command = ["make", "-n", "-C", str(Path(__file__).parents[1]), "gemma", "DATA="]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in said.splitlines() if "sed -n" in line).strip().removesuffix("&& \\")
    where = {"cwd": Path(__file__).parents[1], "capture_output": True, "text": True, "check": True}
    named = subprocess.run(["sh", "-c", line], **where).stderr.split()
    suites = [read_suite(path) for path in Path(__file__).parents[1].glob("tasks/*/suites/gemma-real*.yaml")]
    assert sorted(named) == sorted(task.name for suite in suites for task in suite.tasks)
    shipped = re.findall(r"-t (\w+)", said.split("-o runs/gemma-shipped")[0].splitlines()[-1])
    registry = open_registry(())
    assert shipped and all(registry.get("tasks", name).spec.source.file.is_file() for name in shipped)
