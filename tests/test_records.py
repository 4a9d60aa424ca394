"""Records on disk: NaN refused, cuts tolerated, damage named in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api.errors import UnavailableError, UsageError
from harness.api.events import Score
from harness.data.cleaning import Hygiene
from harness.dictionaries.gate import Fidelity
from harness.registry.loading import Plugins, load_plugins
from harness.runs.folder import RunFolder
from harness.runs.record import Cost, Record


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins([])


def record(cell_id: str = "c1", **changes: Any) -> Record:
    given: dict[str, Any] = {
        "status": "ok",
        "suite": "s",
        "task": "t",
        "task_version": 1,
        "modality": "text",
        "train_language": "en",
        "test_language": "en",
        "model": None,
        "model_hash": None,
        "site": None,
        "representation": "tfidf",
        "representation_hash": None,
        "width": None,
        "pooling": None,
        "transform": "none",
        "classifier": "logreg",
        "seed": 0,
    }
    return Record(cell_id=cell_id, **{**given, **changes})


def start(path: Path, plugins: Plugins, cells: list[str], suite: dict[str, Any] | None = None) -> RunFolder:
    run = RunFolder(path)
    run.start(suite=suite or {"name": "s"}, cells=cells, argv=["run", "s"], plugins=plugins, device="cpu")
    return run


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_wherever_they_stand(number: float) -> None:
    for changes in (
        {"metrics": {"macro_f1": {"value": number}}},
        {"metrics": {"macro_f1": {"value": 1.0, "low": number}}},
        {"validation_metrics": {"macro_f1": number}},
        {"classifier_params": {"C": number}},
        {"cost": {"seconds": number}},
        {"fidelity": {"l0": number}},
    ):
        with pytest.raises(ValidationError):
            record(**changes)
    with pytest.raises(ValidationError):
        record(metrics={"macro_f1": Score(value=number)})
    with pytest.raises(ValidationError):
        record(hygiene=Hygiene(), fidelity=Fidelity(l0=number))
    with pytest.raises(ValidationError):
        Cost(tokens_per_s=number)


def test_a_record_reads_back_as_it_was_written(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1"])
    one = record(
        metrics={"macro_f1": Score(value=0.1 + 0.2, low=0.1, high=0.5, method="m")},
        classifier_params={"C": 1e-7, "max_iter": 10},
        flags=("limited",),
        error="ünïcode \u2028 and\nnewline",
    )
    run.add(one)
    assert run.records() == [one]
    json.loads((tmp_path / "results.jsonl").read_text("utf-8").split("\n")[0])


def test_a_later_line_supersedes_an_earlier_one(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1", "c2"])
    for each in (record("c1", status="failed", error="x"), record("c2"), record("c1")):
        run.add(each)
    assert [(each.cell_id, each.status) for each in run.records()] == [("c1", "ok"), ("c2", "ok")]


def test_cells_that_are_not_of_the_plan_are_not_the_runs(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1"])
    run.add(record("c1"))
    run.add(record("c9"))
    assert [each.cell_id for each in run.records()] == ["c1"]


def test_an_unfinished_last_line_is_ignored_wherever_it_was_cut(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1", "c2"])
    run.add(record("c1"))
    whole = (tmp_path / "results.jsonl").read_bytes()
    more = record("c2", error="ümlaut").model_dump_json().encode()
    for length in range(len(more) + 1):  # also inside a character
        (tmp_path / "results.jsonl").write_bytes(whole + more[:length])
        assert [each.cell_id for each in run.records()] == ["c1"]
    again = start(tmp_path, plugins, ["c1", "c2"])
    assert (tmp_path / "results.jsonl").read_bytes() == whole
    again.add(record("c2"))
    assert [each.cell_id for each in again.records()] == ["c1", "c2"]


@pytest.mark.parametrize("broken", ["{", "[]", '{"cell_id": "c1"}', "NaN", "\x00", "not json"])
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, plugins: Plugins, broken: str) -> None:
    run = start(tmp_path, plugins, ["c1"])
    run.add(record("c1"))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write(broken + "\n")
    run.add(record("c1"))
    with pytest.raises(UnavailableError) as caught:
        run.records()
    assert str(caught.value).startswith(f"'{tmp_path / 'results.jsonl'}' line 2 is not a valid record (")


def test_bytes_that_are_not_text_are_named_too(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1"])
    (tmp_path / "results.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(UnavailableError, match="line 1 is not a valid record"):
        run.records()


@pytest.mark.parametrize("about", ["", "{", "[1]", '"x"'])
def test_a_damaged_run_json_is_one_sentence(tmp_path: Path, about: str) -> None:
    (tmp_path / "run.json").write_text(about)
    with pytest.raises(UnavailableError, match=r"run\.json' is damaged \(.+\): remove it"):
        RunFolder(tmp_path).about()


def test_a_run_of_a_newer_harness_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    with pytest.raises(UnavailableError, match="newer harness"):
        RunFolder(tmp_path).about()


def test_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "nowhere")
    assert not run.exists
    assert run.records() == []
    with pytest.raises(UnavailableError, match="there is no run in"):
        run.about()


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ({"seeds": [0]}, {"seeds": [0, 1]}, "seeds"),
        ({"models": [{"ref": "a"}]}, {"models": [{"ref": "b"}]}, r"models\.0\.ref"),
        ({"limit": None}, {"limit": 5}, "limit"),
        (
            {"tasks": [{"name": "a", "limit": 3}]},
            {"tasks": [{"name": "a", "limit": None}]},
            r"tasks\.0\.limit",
        ),
    ],
)
def test_another_suite_is_refused_by_its_first_difference(
    tmp_path: Path, plugins: Plugins, old: dict[str, Any], new: dict[str, Any], field: str
) -> None:
    start(tmp_path, plugins, [], {"name": "s", **old})
    with pytest.raises(UsageError, match=rf"it differs in {field}\); choose another -o"):
        start(tmp_path, plugins, [], {"name": "s", **new})
    start(tmp_path, plugins, [], {"name": "s", **old})


def test_predictions_read_back_and_damage_is_one_sentence(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1"])
    scores = np.array([[0.25, 0.75], [1.0, 0.0]])
    run.write_predictions(
        "c1", example_ids=["e1", "e2"], labels=["a", "b"], predictions=["b", "a"], scores=scores, classes="ab"
    )
    frame = run.predictions("c1")
    assert list(frame.columns) == ["example_id", "label", "prediction", "score_a", "score_b"]
    np.testing.assert_array_equal(frame[["score_a", "score_b"]].to_numpy(), scores)
    path = tmp_path / "predictions" / "c1.parquet"
    path.write_bytes(path.read_bytes()[:50])
    for cell_id in ("c1", "c2"):
        with pytest.raises(UnavailableError, match=rf"{cell_id}\.parquet' are missing or damaged"):
            run.predictions(cell_id)


def test_a_run_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, plugins: Plugins) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be"):
        start(tmp_path / "file" / "run", plugins, [])


def test_every_json_file_is_json(tmp_path: Path, plugins: Plugins) -> None:
    run = start(tmp_path, plugins, ["c1"])
    run.add_event("forward", bundle="t × m", batches=1)
    run.finish("finished")
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["status"] == "finished"
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert [event["event"] for event in events] == ["started", "forward", "ended"]
    assert {"argv", "device", "torch", "transformers"} <= set(events[0])
    assert Record.model_json_schema()["properties"]["metrics"]
