"""Runs in, published folders out: the same board from far fewer bytes, and everything that may go stale is found."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from harness import leaderboard
from harness.api.errors import GateError, UnavailableError, UsageError
from harness.api.events import Score
from harness.leaderboard import (
    PublishedRun,
    build,
    check_published,
    find_published,
    find_results,
    publish,
    to_csv,
)
from harness.leaderboard.files import PAGE, render
from harness.leaderboard.published import store as module
from harness.leaderboard.scoring import Estimate, mean
from harness.registry.loading import load_plugins
from harness.runs.folder import RunFolder
from harness.runs.record import Record
from harness.validation.cells import check_cell, check_stored

LEADERBOARDS = Path(__file__).parent.parent / "leaderboards"
PAGES = ("leaderboard.md", "leaderboard.csv", "leaderboard-tasks.csv")


def make_run(
    path: Path,
    *,
    tasks: tuple[str, ...] = ("spam", "hate"),
    representations: tuple[str, ...] = ("hidden", "sae", "tfidf"),
    poolings: tuple[str, ...] = ("max", "mean"),
    seeds: int = 1,
    n: int = 120,
    groups: int | None = None,
    classes: tuple[str, ...] = ("no", "yes"),
    luck: int = 0,
    finish: bool = True,
    **fields: Any,
) -> RunFolder:
    """A finished run of hidden states, a dictionary and one arm without a model; metrics are scikit-learn's."""
    run = RunFolder(path)
    arms: list[tuple[str, int | None, str | None]] = []
    for name in representations:
        arms += [(name, 8 if name == "hidden" else 64, pooling) for pooling in poolings if name != "tfidf"]
        arms += [("tfidf", None, None)] * (name == "tfidf")
    cells = [(task, seed, *arm) for task in tasks for seed in range(seeds) for arm in arms]
    ids = ["-".join(map(str, cell)) for cell in cells]
    run.start(suite={"name": "toy"}, cells=ids, argv=["/home/me"], plugins=load_plugins([]), device="cpu")
    for cell_id, (task, seed, representation, width, pooling) in zip(ids, cells, strict=True):
        generator = np.random.default_rng([luck, zlib.crc32(cell_id.encode())])
        truth = np.random.default_rng(len(task)).integers(len(classes) - (len(classes) > 2), size=n)
        predicted = np.where(generator.random(n) < 0.6, truth, generator.integers(len(classes), size=n))
        label, prediction = np.array(classes)[truth], np.array(classes)[predicted]
        metrics = {
            "macro_f1": f1_score(label, prediction, average="macro", labels=classes, zero_division=0),
            "accuracy": accuracy_score(label, prediction),
        }
        order = generator.permutation(n)
        record = Record(
            **{
                "cell_id": cell_id,
                "status": "ok",
                "suite": "toy",
                "task": task,
                "task_version": 1,
                "modality": "text",
                "train_language": "en",
                "test_language": "en",
                "model": "mini" if pooling else None,
                "model_hash": None,
                "site": "resid_post.1" if pooling else None,
                "representation": representation,
                "representation_hash": None,
                "width": width,
                "pooling": pooling,
                "transform": "none",
                "classifier": "logreg",
                "seed": seed,
                "n_test": n,
                "metrics": {name: Score(value=value) for name, value in metrics.items()},
                "validation_metrics": {"macro_f1": generator.random()},
                **fields,
            }
        )
        run.add(record)
        run.write_predictions(
            cell_id,
            example_ids=[f"{task}-{row:04}" for row in order],
            labels=label[order].tolist(),
            predictions=prediction[order].tolist(),
            scores=np.eye(len(classes))[predicted][order],
            classes=classes,
            groups=[f"g{row % groups}" for row in order] if groups else (),
        )
    if finish:
        run.finish("finished")
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run")


@pytest.fixture
def suite(run: RunFolder, tmp_path: Path) -> Path:
    """A folder in which the run was published."""
    publish(run, tmp_path / "boards" / "toy", name="first")
    return tmp_path / "boards" / "toy"


# ── the board of what is published is the board of the run ───────────────────────────────────────────────


def without_runs(page: str) -> str:
    """A page without what it says of each run, and of how far each was checked."""
    page = re.sub(r'<p class="badges">.*?</p>', "", page, flags=re.DOTALL)
    return re.sub(r'<section id="runs".*?</section>', "", page, flags=re.DOTALL)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    luck=st.integers(0, 2**16),
    seeds=st.integers(1, 2),
    groups=st.sampled_from([None, 7]),
    classes=st.sampled_from([("no", "yes"), ("a", "b", "never", "tested")]),
    poolings=st.sampled_from([("max",), ("max", "mean", "sum")]),
)
def test_a_board_from_published_files_is_that_of_the_run_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, **given: Any
) -> None:
    place = tmp_path_factory.mktemp("published")
    run = make_run(place / "run", **given)
    publish(run, place / "board", name="x")
    one, other = build([run]), build(find_results(place / "board"))
    texts = [render(board) for board in (one, other)]
    pages = [text.pop(PAGE) for text in texts]
    assert texts[0] == texts[1]
    # The pages say what each run is, and are alike but for that.
    assert without_runs(pages[0]) == without_runs(pages[1])
    for row, same in zip(one.rows, other.rows, strict=True):
        assert row.macro_f1 is not None and same.macro_f1 is not None
        assert np.array_equal(row.macro_f1.samples, same.macro_f1.samples)
    leaderboard.write(one, place / "run")
    for name in PAGES:
        assert (place / "run" / name).read_bytes() == (place / "board" / name).read_bytes()
    assert check_published(place / "board") == ()


def test_a_real_run_is_published_built_and_checked_on_the_command_line(
    harness_command: Callable[..., Any], toy_task: Path, toy_suite: Path
) -> None:
    assert harness_command("run", toy_suite, "--include", toy_task, "-o", "run").code == 0
    done = harness_command("leaderboard", "publish", "run", "-o", "boards/toy", "--name", "one")
    assert done.code == 0 and "boards/toy/one.jsonl: " in done.out, done.err
    for source in ("boards/toy", "boards/toy/one.jsonl"):
        assert harness_command("leaderboard", "build", source, "-o", "again").code == 0
        for name in PAGES:
            assert Path("again", name).read_bytes() == Path("run", name).read_bytes()
    checked = harness_command("leaderboard", "check", "boards")
    assert (checked.code, checked.out) == (0, "1 published runs in 1 folders: nothing is wrong\n")
    facts = json.loads(Path("boards/toy/one.env.json").read_text("utf-8"))
    assert facts["cells"] == 2 and facts["suite"]["name"] == "toy" and facts["distributions"]["torch"]
    assert str(Path.cwd()) not in Path("boards/toy/one.env.json").read_text("utf-8")


def test_only_what_the_board_needs_is_published(suite: Path, run: RunFolder) -> None:
    assert len((suite / "first.jsonl").read_text("utf-8").splitlines()) == 10
    tasks = pq.read_table(suite / "first.predictions.parquet").to_pylist()
    board = build([run])
    needed = {cell.record.cell_id for row in board.rows for cell in row.cells}
    kept = {cell_id for task in tasks for cell_id in task["cell_id"]}
    assert needed <= kept and len(tasks) == 2
    assert all(len(task["prediction"]) == len(task["cell_id"]) for task in tasks)
    with pytest.raises(UnavailableError, match="lacks the predictions of cell 'nobody'"):
        PublishedRun(suite / "first.jsonl").predictions("nobody")


def test_names_of_groups_and_arguments_are_not_published(tmp_path: Path) -> None:
    publish(make_run(tmp_path / "run", groups=5), tmp_path / "board", name="x")
    (first, _) = pq.read_table(tmp_path / "board" / "x.predictions.parquet").to_pylist()
    assert len(set(first["group"])) == 5 and all(isinstance(number, int) for number in first["group"])
    assert "/home/me" not in (tmp_path / "board" / "x.env.json").read_text("utf-8")


# ── what cannot be published ─────────────────────────────────────────────────────────────────────────────


def test_limited_failed_and_unfinished_runs_are_refused_in_one_sentence(
    tmp_path: Path, harness_command: Callable[..., Any]
) -> None:
    make_run(tmp_path / "limited", flags=("limited",))
    make_run(tmp_path / "failed", status="failed", error="broken")
    short = make_run(tmp_path / "short")
    make_run(tmp_path / "cut").finish("interrupted")
    results = short.path / "results.jsonl"
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:-1]), "utf-8")
    for name, said in (
        ("limited", "10 of its 10 cells saw a part of the rows only (--limit)"),
        ("failed", "10 of its 10 cells failed"),
        ("short", "it is unfinished"),
        ("cut", "it is interrupted"),
    ):
        refused = harness_command("leaderboard", "publish", tmp_path / name, "-o", tmp_path / "board")
        assert refused.code == 4 and said in refused.err and len(refused.said) == 1
    assert not (tmp_path / "board").exists()


def test_too_large_a_run_is_refused_with_the_bytes_and_leaves_nothing(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 5000)
    with pytest.raises(GateError, match=r"it would take [0-9,]+ bytes, [0-9,]+ more than the 5,000"):
        publish(run, tmp_path / "board")
    assert list((tmp_path / "board").iterdir()) == []


def test_records_too_long_as_text_are_compressed(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 13_000)
    published = publish(run, tmp_path / "board", name="x")
    assert published.path.name == "x.jsonl.gz" and published.size < 13_000
    assert len(gzip.decompress(published.path.read_bytes()).splitlines()) == 10
    assert check_published(tmp_path / "board") == ()
    (again,) = find_results(published.path)
    assert again.records() == run.records()


def test_another_run_is_never_overwritten_unless_asked(run: RunFolder, suite: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in suite.iterdir()}
    publish(run, suite, name="first")  # the same run again changes nothing
    assert {path.name: path.read_bytes() for path in suite.iterdir()} == before
    other = make_run(tmp_path / "other", luck=1)
    with pytest.raises(UsageError, match=r"another run is published as .*first\.jsonl"):
        publish(other, suite, name="first")
    assert {path.name: path.read_bytes() for path in suite.iterdir()} == before
    publish(other, suite, name="second", replace=True)
    assert not list(suite.glob("first*")) and check_published(suite) == ()
    assert PublishedRun(suite / "second.jsonl").records() == other.records()


def test_two_published_runs_make_one_board(suite: Path, tmp_path: Path) -> None:
    more = make_run(tmp_path / "more", tasks=("emotion",), luck=2)
    publish(more, suite, name="more")
    assert check_published(suite) == ()
    board = build(find_results(suite))
    assert [task.name for task in board.tasks] == ["emotion", "hate", "spam"]
    assert to_csv(board) == to_csv(build([RunFolder(tmp_path / "run"), more]))


def test_a_run_folder_is_no_place_to_publish_in(run: RunFolder, harness_command: Callable[..., Any]) -> None:
    refused = harness_command("leaderboard", "publish", run.path, "-o", run.path)
    assert refused.code == 2 and "is a run folder; publish into another" in refused.err
    assert harness_command("leaderboard", "check", run.path).out.endswith("holds no published run\n")


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_runs_that_share_hidden_states_make_one_board(tmp_path: Path, names: tuple[str, str]) -> None:
    """Each run published only those hidden cells that its own rows are compared with."""
    runs = [
        make_run(tmp_path / name, representations=("hidden", name), poolings=("max", "mean", "sum", "last"))
        for name in ("sae1", "sae2")
    ]
    for run, name in zip(runs, names, strict=True):
        publish(run, tmp_path / "board", name=name)
    assert check_published(tmp_path / "board") == ()
    published = find_published(tmp_path / "board")
    kept = [{record.cell_id for record in run.records() if run.has_predictions(record)} for run in published]
    assert kept[0] - kept[1] and kept[1] - kept[0]
    assert to_csv(build(published)) == to_csv(build(runs))


def test_a_board_that_lacks_a_cell_of_another_published_run_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new dictionary has no hidden states of its own and goes by a pooling that the other run's did not go by."""
    run = make_run(tmp_path / "first")
    monkeypatch.setattr(module, "LIMIT", publish(run, tmp_path / "whole", name="first").size - 1)
    monkeypatch.setattr(module, "LIMIT", publish(run, tmp_path / "compressed", name="first").size - 1)
    first = publish(run, tmp_path / "board", name="first")  # without its ablation
    monkeypatch.undo()
    lost = next(record for record in first.records() if not first.has_predictions(record))
    assert lost.representation == "hidden" and lost.pooling
    more = make_run(tmp_path / "more", representations=("new",), tasks=(lost.task,), poolings=(lost.pooling,))
    before = {path.name: path.read_bytes() for path in first.path.parent.iterdir()}
    with pytest.raises(UnavailableError, match="publish the run anew, or one run with all rows"):
        publish(more, first.path.parent, name="more")
    assert {path.name: path.read_bytes() for path in first.path.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a b"])
def test_a_published_run_has_a_plain_name(run: RunFolder, tmp_path: Path, name: str) -> None:
    if name:
        with pytest.raises(UsageError, match="cannot name a published run"):
            publish(run, tmp_path / "board", name=name)
    else:  # the day on which the run began
        day = run.about()["started"][:10]
        assert publish(run, tmp_path / "board", name=name).path.name == f"{day}.jsonl"


def test_a_published_file_needs_a_place_for_its_board(
    suite: Path, harness_command: Callable[..., Any]
) -> None:
    refused = harness_command("leaderboard", "build", suite / "first.jsonl")
    assert refused.code == 2 and "needs -o" in refused.err


# ── what the check finds ─────────────────────────────────────────────────────────────────────────────────


def edit_record(suite: Path, **changes: Any) -> None:
    """Change the last record, of the only cell of its row, which the board therefore goes by."""
    path = suite / "first.jsonl"
    *rest, last = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(rest) + json.dumps(json.loads(last) | changes) + "\n", "utf-8")


def edit_predictions(suite: Path, change: Callable[[pd.DataFrame], None]) -> None:
    path = suite / "first.predictions.parquet"
    frame = pd.read_parquet(path)
    change(frame)
    frame.to_parquet(path)


def flip(frame: pd.DataFrame) -> None:
    frame.at[0, "prediction"] = [np.roll(arm, 1) for arm in frame.at[0, "prediction"]]


def shorten(frame: pd.DataFrame) -> None:
    for name in ("example_id", "label"):
        frame.at[0, name] = frame.at[0, name][1:]
    frame.at[0, "prediction"] = [arm[1:] for arm in frame.at[0, "prediction"]]


def forget(frame: pd.DataFrame) -> None:
    frame.drop(index=0, inplace=True)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a stale page": (lambda suite: append(suite / "leaderboard.md", "\n"), "leaderboard.md' is not what the"),
    "a missing page": (
        lambda suite: (suite / "leaderboard-tasks.csv").unlink(),
        "leaderboard-tasks.csv' is not",
    ),
    "a damaged page": (
        lambda suite: (suite / "leaderboard.html").write_bytes(b"<!DOCTYPE html>\xff"),
        "leaderboard.html' is not what the",
    ),
    "an invalid table": (
        lambda suite: (suite / "leaderboard.parquet").write_bytes(b"no table"),
        "leaderboard.parquet' is not what the",
    ),
    "a page beside the pages": (
        lambda suite: (suite / "leaderboard-new.html").write_text("All dictionaries are best."),
        "leaderboard-new.html' has the name of a page, and is none of this board",
    ),
    "a line that is no record": (
        lambda suite: append(suite / "first.jsonl", '{"cell_id": 1}\n'),
        "first.jsonl' line 11 is not a valid record",
    ),
    "a record twice": (
        lambda suite: append(
            suite / "first.jsonl", (suite / "first.jsonl").read_text().splitlines()[0] + "\n"
        ),
        "has 2 records",
    ),
    "a cut run": (
        lambda suite: (suite / "first.jsonl").write_text(
            "".join((suite / "first.jsonl").read_text().splitlines(keepends=True)[1:])
        ),
        "it is unfinished",
    ),
    "a failed cell": (
        lambda suite: edit_record(suite, status="failed", error="x"),
        "1 of its 10 cells failed",
    ),
    "a limited cell": (lambda suite: edit_record(suite, flags=["limited"]), "saw a part of the rows only"),
    "no score": (lambda suite: edit_record(suite, metrics={}), "its record lacks macro_f1 or accuracy"),
    "another score": (
        lambda suite: edit_record(
            suite, metrics={name: {"value": 0.123} for name in ("macro_f1", "accuracy")}
        ),
        "but its record says 0.123000000",
    ),
    "other predictions": (lambda suite: edit_predictions(suite, flip), "but its record says"),
    "fewer test rows": (
        lambda suite: edit_predictions(suite, shorten),
        "have 119 rows, but its record says 120",
    ),
    "a task without predictions": (
        lambda suite: edit_predictions(suite, forget),
        "lacks the predictions of cell",
    ),
    "texts of the data": (
        lambda suite: edit_record(
            suite, used=[{"feature": 1, "label": "a", "weight": 1.0, "effect": 1.0, "snippets": ["a text"]}]
        ),
        "holds texts of the data",
    ),
    "no predictions": (
        lambda suite: (suite / "first.predictions.parquet").unlink(),
        "are missing or damaged",
    ),
    "damaged predictions": (
        lambda suite: (suite / "first.predictions.parquet").write_bytes(b"PAR1"),
        "are missing or damaged",
    ),
    "no environment": (
        lambda suite: (suite / "first.env.json").unlink(),
        "first.env.json' is missing or damaged",
    ),
    "no run at all": (
        lambda suite: [path.unlink() for path in suite.glob("first*")],
        "holds no published run",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_the_check_names_what_is_wrong(suite: Path, harness_command: Callable[..., Any], name: str) -> None:
    assert harness_command("leaderboard", "check", suite).code == 0
    damage, said = DAMAGE[name]
    damage(suite)
    for place in (suite, suite.parent):
        found = harness_command("leaderboard", "check", place)
        assert found.code == 4 and said in found.out, found.out + found.err


def test_the_check_keeps_the_limit(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.leaderboard.published.check.LIMIT", 100)
    (said,) = check_published(suite)
    assert " bytes, " in said and said.endswith(" more than allowed")


def test_the_check_of_nothing_does_not_pass(tmp_path: Path, harness_command: Callable[..., Any]) -> None:
    refused = harness_command("leaderboard", "check")
    assert refused.code == 3 and "there is no folder 'leaderboards'" in refused.err
    (tmp_path / "leaderboards").mkdir()
    refused = harness_command("leaderboard", "check")
    assert refused.code == 5 and "holds no published run" in refused.err


def test_predictions_with_scores_are_compared_with_auroc_too(run: RunFolder) -> None:
    record = run.records()[0]
    frame = run.predictions(record.cell_id)
    assert check_cell(record, frame) == ()
    wrong = record.model_copy(update={"metrics": {**record.metrics, "auroc": Score(value=0.01)}})
    (said,) = check_cell(wrong, frame)
    assert "give auroc" in said and "says 0.010000000" in said
    frame["score_no"] = np.nan
    (said,) = check_cell(record, frame)
    assert "not finite" in said


LARGE = ("crosslingual-topics",)
"""Boards that take more than a minute to check."""


def published_here() -> list[Path]:
    suites = sorted({path.parent for path in LEADERBOARDS.rglob("*.env.json")})
    assert suites
    return suites


@pytest.mark.slow
@pytest.mark.parametrize("suite", published_here(), ids=lambda path: str(path.relative_to(LEADERBOARDS)))
def test_what_this_repository_publishes_holds(suite: Path) -> None:
    if suite.name in LARGE and not os.environ.get("HARNESS_ALL_BOARDS"):
        pytest.skip("over two minutes of computing: make test-identities checks it")
    assert check_published(suite) == ()


def test_every_published_task_has_its_attribution() -> None:
    lines = (LEADERBOARDS / "README.md").read_text("utf-8").split("## What the data is")[1].splitlines()
    named = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    runs = [run for suite in published_here() for run in find_published(suite)]
    for task in {record.task for run in runs for record in run.records()}:
        assert any(fnmatch(task, name) for name in named), task


def test_boards_cannot_be_made_without_data() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    command = ["make", "-C", str(LEADERBOARDS.parent), "boards", "DATA="]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode and "HARNESS_DATA_DIR=/path/to/data make boards" in refused.stderr


def test_a_published_folder_can_be_moved(suite: Path, tmp_path: Path) -> None:
    shutil.move(suite, tmp_path / "elsewhere")
    assert check_published(tmp_path / "elsewhere") == ()


def test_runs_published_together_share_the_rows_that_are_equal(tmp_path: Path) -> None:
    for name, luck in (("one", 0), ("two", 1)):
        publish(
            make_run(tmp_path / name, n=40, tasks=("spam",), luck=luck, model=name),
            tmp_path / "toy",
            name=name,
        )
    one, two = find_published(tmp_path / "toy")
    (first,), (second,) = ({id(arm.rows) for arm in run._predicted.values()} for run in (one, two))
    assert first == second and one._predicted and two._predicted


def test_the_mean_of_one_estimate_is_that_of_its_samples() -> None:
    for samples, least in (
        (np.array([0.25, 0.0, 0.5]), 0.2),
        (np.full(3, 0.5), 0.2),
        (np.full(3, 0.5), 0.0),
    ):
        one = Estimate(value=0.3, samples=samples, least_p=least, drawn=samples / 2)
        (found, twice) = mean([one]), mean([one, one])  # exact, for doubling and halving are
        assert found.samples.tobytes() == twice.samples.tobytes() and found.value == twice.value
        assert found.spread.tobytes() == twice.spread.tobytes() and found.least_p == twice.least_p


def test_predictions_read_as_numbers_have_the_faults_that_their_frame_has(tmp_path: Path) -> None:
    published = publish(make_run(tmp_path / "run", n=40, groups=3), tmp_path / "toy", name="one")
    for record in published.records():
        if published.predicted(record) is None:
            continue
        wrong = {**record.metrics, "accuracy": Score(value=0.123)}
        bare = {
            **record.metrics,
            "accuracy": replace(record.metrics["accuracy"], method="none: too few groups"),
        }
        for changes in ({}, {"n_test": 41}, {"metrics": wrong}, {"metrics": bare}):
            judged = record.model_copy(update=changes)
            slow = check_cell(judged, published.predictions(record.cell_id))
            assert check_stored(published, judged) == slow
            assert bool(slow) == bool(changes)
