"""A checksum that is written is read where the thing is used: predictions of cells, and files of the cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import leaderboard
from harness.api.errors import UnavailableError
from harness.leaderboard.analyses.observed_power import observe
from harness.runs.folder import RunFolder
from harness.runs.layout import place_confusion
from harness.runs.record import hash_predictions, read_scored
from harness.storage.feature_store import FeatureStore

Frame = pd.DataFrame


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, `out`, and the files that it was made of."""
    from harness.cli import execute

    place = tmp_path_factory.mktemp("checksums")
    rows = [
        {"text": f"{'warm' if i % 2 else 'cold'} day {i}" + " again" * (i % 3), "label": "ab"[i * 7 % 5 % 2]}
        for i in range(80)
    ]
    (place / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "toy.yaml").write_text("name: toy\nsource: {file: toy.jsonl}\nlicence: CC0\ncitation: none\n")
    (place / "suite.yaml").write_text("name: small\ntasks: [toy]\nrepresentations: [text_length, majority]\n")
    assert execute(command(place, place / "out")) == 0
    return place


def command(place: Path, output: Path) -> list[str]:
    include = ["--include", str(place / "toy.yaml")]
    return ["run", str(place / "suite.yaml"), *include, "-o", str(output), "-d", "cpu"]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    """A copy of the finished run, to be edited."""
    return RunFolder(Path(shutil.copytree(finished / "out", tmp_path / "out")))


def edit(run: RunFolder, change: Callable[[Frame], Frame]) -> str:
    """Edit the predictions of the first cell, in a whole and readable file; return the cell's id."""
    cell_id = run.records()[0].cell_id
    path = run.path / "predictions" / f"{cell_id}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    return cell_id


def replace(column: str, rows: int, value: Callable[[Any], Any]) -> Callable[[Frame], Frame]:
    """Return an edit of the first rows of one column."""

    def change(frame: Frame) -> Frame:
        values = frame[column].tolist()
        return frame.assign(**{column: [*map(value, values[:rows]), *values[rows:]]})

    return change


def other(name: str) -> str:
    return {"a": "b", "b": "a"}[name]


EDITS = {
    "three predictions": replace("prediction", 3, other),
    "a label": replace("label", 1, other),
    "an id": replace("example_id", 1, lambda name: f"{name}x"),
}

USES: dict[str, Callable[[Any, Path, Path], Any]] = {
    "leaderboard build": lambda call, run, place: call("leaderboard", "build", run),
    "leaderboard publish": lambda call, run, place: call("leaderboard", "publish", run, "-o", "board"),
    "compare": lambda call, run, place: call("compare", place / "out", run),
    "power": lambda call, run, place: call(
        *("power", place / "suite.yaml", "--include", place / "toy.yaml"),
        *("--run", run, "--baseline", "majority"),
    ),
}


@pytest.mark.parametrize("kind", EDITS)
def test_edited_predictions_are_refused_by_name_wherever_they_are_read(
    kind: str, run: RunFolder, finished: Path, harness_command: Callable[..., Any]
) -> None:
    cell_id = edit(run, EDITS[kind])
    for use, call in USES.items():
        told = call(harness_command, run.path, finished)
        assert told.code in (3, 4), (use, told.out, told.err)
        assert f"the predictions of cell '{cell_id}'" in told.err + told.out, use
        assert "not those that were scored" in told.err + told.out, use
    for read in (lambda: leaderboard.build([run]), lambda: observe(run, baseline="majority")):
        with pytest.raises(UnavailableError, match="the same `harness run` again makes them anew"):
            read()
    with pytest.raises(UnavailableError, match="not those that were scored"):
        read_scored(run, run.records()[0])


@pytest.mark.parametrize("kind", EDITS)
def test_a_rerun_redoes_a_cell_whose_predictions_were_edited_and_says_so(
    kind: str, run: RunFolder, finished: Path, harness_command: Callable[..., Any]
) -> None:
    board = (finished / "out" / "leaderboard.csv").read_text()
    cell_id = edit(run, EDITS[kind])
    picture = place_confusion(run.path, cell_id)
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"of the edited predictions")
    told = harness_command(*command(finished, run.path))
    [line] = [line for line in told.said if "were run again" in line]
    assert (told.code, line.split(",")[0]) == (0, "note: 1 finished cells were run again")
    assert [event["cells"] for event in run.events() if event["event"] == "redone"] == [[cell_id]]
    assert all(run.is_done(record) for record in run.records())
    assert (run.path / "leaderboard.csv").read_text() == board
    assert not picture.exists()
    again = harness_command(*command(finished, run.path), "--json")
    assert (again.code, again.rows[0]["redone"], again.rows[0]["skipped"]) == (0, 0, 2)


def test_edited_scores_are_not_compared_and_their_cell_is_run_again(
    run: RunFolder, finished: Path, harness_command: Callable[..., Any]
) -> None:
    cell_id = edit(run, lambda frame: frame.assign(score_b=frame["score_b"].tolist()[::-1]))
    for use in (["validate", run.path], ["compare", finished / "out", run.path, "--metric", "auroc"]):
        told = harness_command(*use)
        assert told.code in (3, 4), told.out
        assert cell_id in told.err + told.out
    told = harness_command(*command(finished, run.path), "--json")
    assert (told.code, told.rows[0]["redone"]) == (0, 1)
    assert harness_command("compare", finished / "out", run.path, "--metric", "auroc").code == 0


def test_a_record_without_a_checksum_is_read_as_before_and_noted(
    run: RunFolder, harness_command: Callable[..., Any]
) -> None:
    path = run.path / "results.jsonl"
    records = [json.loads(line) | {"predictions_hash": None} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert all(run.is_done(record) for record in run.records())
    assert leaderboard.build([run]).rows
    told = harness_command("validate", run.path)
    assert told.code == 0
    assert (
        "note: 2 of 2 cells have no checksum of their predictions, so edits of them may not show" in told.out
    )


def test_edited_predictions_of_a_published_run_make_no_board(
    run: RunFolder, tmp_path: Path, harness_command: Callable[..., Any]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    published = leaderboard.publish(run, tmp_path / "board", name="one")
    table = pq.read_table(published.files[1])
    tasks = table.to_pylist()
    tasks[0]["prediction"][0][0] = other(tasks[0]["prediction"][0][0])
    pq.write_table(pa.Table.from_pylist(tasks, table.schema), published.files[1])
    told = harness_command("leaderboard", "build", tmp_path / "board")
    assert (told.code, len(told.said)) == (3, 1)
    assert f"the predictions of cell '{tasks[0]['cell_id'][0]}' in" in told.said[0]
    assert told.said[0].endswith("publish the run anew")


def test_the_checksum_of_predictions_is_that_of_published_records() -> None:
    ids, labels, predictions = ["b", "a", "ü\x1f"], ["x", "y", "x"], ["x", "x", "y"]
    known = "6578d32faa9c270266fe30e5fa4c37527b842ef620654362a53a5cd86c56a985"
    assert hash_predictions(ids, labels, predictions) == known


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["fitted", "fidelity", "activations"])
def test_a_damaged_tensor_of_the_cache_is_not_read(kind: str, tmp_path: Path) -> None:
    import torch

    store, key = FeatureStore(tmp_path), "0" * 64
    store.write_tensors(kind, key, {"values": torch.ones(3)}, {"about": "x"})
    assert store.read_tensors(kind, key, "cpu", lambda tensors, about: about) == {"about": "x"}
    [path] = (tmp_path / kind / key).glob("*.safetensors")
    flip(path)
    assert store.read_tensors(kind, key, "cpu", lambda tensors, about: about) is None
    assert not path.exists()
