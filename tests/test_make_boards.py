"""`harness leaderboard make` through the command line: a board is run anew and replaces what is published, or stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import session
from harness.api.errors import UnavailableError, UsageError
from harness.config.board_file import read_board
from harness.leaderboard import check_published, find_published

LEADERBOARDS = Path(__file__).parents[1] / "leaderboards"

BOARD = """
runs:
  - {name: one, suite: ../../toy_suite.yaml, batch_size: 1, cache: own}
  - {name: rest, suite: ../../toy_suite.yaml, models: [], representations: [majority], folder: rest}
"""

Harness = Callable[..., Any]


@pytest.fixture
def board(tmp_path: Path, toy_suite: Path, toy_task: Path) -> Path:
    """A folder with a board.yaml of two runs, nothing of which is published yet."""
    folder = tmp_path / "boards" / "toy"
    folder.mkdir(parents=True)
    (folder / "board.yaml").write_text(BOARD, "utf-8")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(harness_command: Harness, *arguments: object) -> Any:
    """Run the command with the toy task, and all it leaves below `work`."""
    return harness_command(
        "leaderboard", "make", *arguments, "--include", "toy_task.yaml", "--work", "work", "-d", "cpu"
    )


def test_a_board_is_run_and_published_from_what_its_file_lists(board: Path, harness_command: Harness) -> None:
    done = make(harness_command, board)
    assert (done.code, done.out.split()) == (
        0,
        [str(board / "leaderboard.html"), str(board / "rest" / "leaderboard.html")],
    )
    assert [run.name for run in find_published(board)] == ["one"]
    (rest,) = find_published(board / "rest")
    assert rest.name == "rest" and {record.representation for record in rest.records()} == {"majority"}
    assert check_published(board) == check_published(board / "rest") == ()
    assert list(Path("work").iterdir()) == []
    checked = harness_command("leaderboard", "check", "boards/toy", "boards/toy/rest")
    assert checked.out == "2 published runs in 2 folders: nothing is wrong\n"


def test_a_board_made_again_takes_the_place_of_what_was_published(
    board: Path, harness_command: Harness
) -> None:
    assert make(harness_command, board).code == 0
    before = find_published(board)[0].about()["starts"]
    (board / "one.jsonl").rename(board / "old.jsonl")
    (board / "one.predictions.parquet").rename(board / "old.predictions.parquet")
    (board / "one.env.json").rename(board / "old.env.json")
    assert make(harness_command, board).code == 0
    (run,) = find_published(board)
    assert run.name == "one" and not list(board.glob("old*")) and (board / "board.yaml").is_file()
    assert run.about()["starts"] != before and check_published(board) == ()


def test_the_cache_of_other_runs_is_left_alone(
    board: Path, harness_command: Harness, own_cache: Path
) -> None:
    assert harness_command("run", "toy_suite.yaml", "--include", "toy_task.yaml", "-o", "run").code == 0
    before = files(own_cache)
    assert before and make(harness_command, board).code == 0
    assert files(own_cache) == before


def test_a_folder_without_a_file_is_one_run_of_the_suite_of_its_name(
    toy_suite: Path, toy_task: Path, install: Callable[..., Path], harness_command: Harness
) -> None:
    path = toy_suite.rename("tiny.yaml").absolute()
    path.write_text(path.read_text("utf-8").replace("name: toy", "name: tiny"), "utf-8")
    install(
        "import harness\nfrom pathlib import Path\n"
        f"@harness.hookimpl\ndef harness_suites(): return [Path({str(path)!r})]\n"
    )
    assert make(harness_command, "made/tiny/").code == 0
    (run,) = find_published(Path("made/tiny"))
    assert run.about()["suite"]["name"] == "tiny" and run.name.startswith("20")


def test_an_unknown_suite_stops_before_anything_is_run(board: Path, harness_command: Harness) -> None:
    refused = make(harness_command, board, "boards/quickstrat")
    assert refused.code == 2 and "there is no suite 'quickstrat'" in refused.err and len(refused.said) == 1
    assert "did you mean" in refused.err and files(board).keys() == {str(board / "board.yaml")}
    assert not Path("work").exists()


def test_a_run_that_fails_leaves_the_published_board_as_it_was(
    board: Path, harness_command: Harness, install: Callable[..., Path]
) -> None:
    assert make(harness_command, board).code == 0
    install(
        "import harness\n"
        "class Breaks:\n"
        "    def fit(self, *args, **more): raise ValueError('it breaks')\n"
        "@harness.hookimpl\n"
        "def harness_classifiers():\n"
        "    return [harness.ClassifierSpec(name='breaks', summary='breaks', make=lambda: Breaks())]\n"
    )
    suite = Path("toy_suite.yaml").read_text("utf-8")
    Path("broken.yaml").write_text(suite.replace("[logreg]", "[breaks]"), "utf-8")
    more = "  - {name: later, suite: ../../broken.yaml}\n"
    (board / "board.yaml").write_text(BOARD + more, "utf-8")
    before = files(board)
    failed = make(harness_command, board)
    assert failed.code == 4 and "later' is not whole, so nothing is published" in failed.err
    assert "it breaks" in failed.err and files(board) == before
    (kept,) = Path("work").glob("toy-*")
    assert (kept / "later" / "results.jsonl").is_file()
    assert {path.name for path in kept.glob("cache*")} == {"cache-one", "cache"}


def test_what_cannot_be_had_is_not_left_out_of_a_board(board: Path, harness_command: Harness) -> None:
    suite = Path("toy_suite.yaml").read_text("utf-8")
    Path("toy_suite.yaml").write_text(suite.replace("[toy_task]", "[toy_task, safety_nowhere]"), "utf-8")
    failed = make(harness_command, board)
    assert failed.code in (2, 4) and "safety_nowhere" in failed.err
    assert files(board).keys() == {str(board / "board.yaml")}


@pytest.mark.parametrize(("kind", "code"), [("KeyboardInterrupt", 130), ("Terminated", 143)])
def test_an_interruption_leaves_the_published_board_as_it_was(
    board: Path, harness_command: Harness, monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    from harness import cli, leaderboard

    assert make(harness_command, board).code == 0
    before = files(board)

    def interrupt(*arguments: Any, **more: Any) -> None:
        raise {"KeyboardInterrupt": KeyboardInterrupt, "Terminated": cli.Terminated}[kind]

    monkeypatch.setattr(leaderboard, "publish", interrupt)
    stopped = make(harness_command, board)
    assert stopped.code == code and "the board that was being made is unchanged" in stopped.err
    assert "resumes" not in stopped.err
    assert files(board) == before and list(Path("work").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs: []", "line 1: runs must not be empty"),
        ("runs:\n  - {suite: a, cells: 1}", "line 2: there is no field 'runs.0.cells'"),
        ("runs:\n  - {suite: a, folder: ../b}", "runs.0.folder"),
        ("runs:\n  - {suite: a, batch_size: 0}", "runs.0.batch_size"),
        (
            "runs:\n  - {name: x, suite: a}\n  - {name: x, suite: b}",
            "run 'x' is given twice: on line 2 and on line 3",
        ),
        ("runs:\n  - {suite: a}\n  - {suite: b}", "each of several runs needs a name of its own"),
    ],
)
def test_a_fault_in_a_board_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "board.yaml").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"board '.*board\.yaml'") as refused:
        read_board(tmp_path)
    assert said in str(refused.value)


def test_a_file_is_no_board(harness_command: Harness, toy_suite: Path) -> None:
    refused = harness_command("leaderboard", "make", toy_suite)
    assert refused.code == UnavailableError.exit_code and "is a file, not a folder" in refused.err


# ── the boards of this repository ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("folder", sorted(path for path in LEADERBOARDS.iterdir() if path.is_dir()))
def test_every_published_board_says_how_it_is_made(folder: Path) -> None:
    opened = session.open(device="cpu")
    runs = read_board(folder)
    assert all(opened.suite(run.suite, **run.overrides).tasks for run in runs)
    for place in {run.folder for run in runs}:
        named = {run.name for run in runs if run.folder == place} - {None}
        published = {run.name for run in find_published(folder / place)}
        assert published == (named or published) and published


def test_the_runs_of_topics_are_the_whole_suite_in_parts() -> None:
    opened = session.open(device="cpu")
    whole = opened.suite("crosslingual-topics")
    parts = [
        opened.suite(run.suite, **run.overrides) for run in read_board(LEADERBOARDS / "crosslingual-topics")
    ]
    assert [model for part in parts for model in part.models] == list(whole.models)
    assert {name for part in parts for name in part.representations} == set(whole.representations)


@pytest.mark.parametrize("board", ["mosaic-faults", "mosaic-noise", "crosslingual-topics"])
def test_what_a_board_lists_are_the_suites_that_it_was_made_of(board: str) -> None:
    opened = session.open(device="cpu")
    runs = read_board(LEADERBOARDS / board)
    for run in runs:
        suite = opened.suite(run.suite, **run.overrides).model_dump(mode="json")
        folder = LEADERBOARDS / board / run.folder
        (published,) = (one for one in find_published(folder) if one.name == run.name)
        then = published.about()["suite"]
        assert then.keys() >= {"tasks", "models", "representations", "poolings", "classifiers", "regimes"}
        then.pop("name")  # of the suite that a command line changed
        assert {field: suite[field] for field in then} == then, run.name
    assert len(runs) == sum(
        len(find_published(LEADERBOARDS / board / place)) for place in {r.folder for r in runs}
    )
