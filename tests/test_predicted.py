"""Records and predictions that are read in a short way are those of the long way, which stays the judge of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.api.errors import UnavailableError
from harness.api.events import Score
from harness.leaderboard import find_published
from harness.runs.folder import RunFolder
from harness.runs.lines import SCHEMA_VERSION
from harness.runs.predicted import Predicted
from harness.runs.record import Record, Results, classes_of, hash_predictions, read_records
from harness.storage.reading import read_unpacked
from harness.validation.cells import check_cell, check_predictions

BOARDS = Path(__file__).parents[1] / "leaderboards"

TEXTS = ["plain", "tab\tand “quotes”", "é ü", "字", "a\x1fb", "", "ñ" * 50]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of ten cells."""
    from harness.cli import execute

    place = tmp_path_factory.mktemp("predicted")
    rows = [
        {
            "text": f"{'warm' if i % 2 else 'cold'} day {i}",
            "label": "abc"[i * 7 % 5 % 3],
            "item": f"g{i // 3}",
        }
        for i in range(90)
    ]
    (place / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "toy.yaml").write_text(
        "name: toy\nsource: {file: toy.jsonl}\ncolumns: {group: item}\nlicence: CC0\ncitation: none\n"
    )
    suite = "name: small\ntasks: [toy]\nrepresentations: [text_length, majority]\nseeds: 5\n"
    (place / "suite.yaml").write_text(suite)
    command = ["run", str(place / "suite.yaml"), "--include", str(place / "toy.yaml"), "-d", "cpu"]
    assert execute([*command, "-o", str(place / "out")]) == 0
    return place / "out"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished, tmp_path / "out")))


def check(run: Results, record: Record) -> Predicted:
    """Assert that what is read as class numbers is what the data frame holds."""
    frame, found = run.predictions(record.cell_id), run.predicted(record)
    assert found is not None
    assert list(found.classes) == classes_of(frame)
    assert found.rows.ids.tolist() == frame["example_id"].tolist()
    assert found.rows.labels.tolist() == frame["label"].tolist()
    assert np.array(found.classes, object)[found.y].tolist() == frame["label"].tolist()
    assert np.array(found.classes, object)[found.numbers].tolist() == frame["prediction"].tolist()
    groups = frame["group"].astype(object).where(frame["group"].notna(), None) if "group" in frame else None
    assert found.rows.groups.tolist() == (list(groups) if groups is not None else [None] * len(frame))
    texts = [list(map(str, frame[name])) for name in ("example_id", "label", "prediction")]
    assert found.hash == hash_predictions(*texts)
    return found


@pytest.mark.parametrize("board", ["vision", "safety-text", "gemma-real/languages"])
def test_published_predictions_are_those_of_the_frame(board: str) -> None:
    (run,) = find_published(BOARDS / board)
    kept = [record for record in run.records() if run.has_predictions(record)]
    assert kept
    for record in kept[::17]:
        check(run, record)


def test_predictions_of_a_run_are_those_of_the_frame_and_cells_share_their_rows(run: RunFolder) -> None:
    found = [check(run, record) for record in run.records()]
    assert len(found) == 10
    assert len({id(one.rows) for one in found}) == 1
    assert all(run.is_done(record) and run.has_predictions(record) for record in run.records())


@pytest.mark.parametrize("groups", [[], [None, *TEXTS[1:]]])
def test_any_text_is_hashed_as_in_records(run: RunFolder, groups: list[str | None]) -> None:
    record = run.records()[0]
    run.write_predictions(
        record.cell_id,
        example_ids=TEXTS,
        groups=groups,
        labels=[*TEXTS[1:], TEXTS[0]],
        predictions=TEXTS,
        scores=np.eye(len(TEXTS)),
        classes=TEXTS,
    )
    check(run, record.model_copy(update={"predictions_hash": None}))
    assert run.predicted(record) is None  # they are not those that were scored
    assert not run.is_done(record)


def _edit(run: RunFolder, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Record:
    record = run.records()[0]
    assert run.predicted(record) is not None
    path = run.path / "predictions" / f"{record.cell_id}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    return record


@pytest.mark.parametrize(
    "change",
    {
        "an id twice": lambda frame: frame.assign(example_id=frame["example_id"].tolist()[:1] * len(frame)),
        "a class without a score": lambda frame: frame.assign(prediction="d"),
        "categories": lambda frame: frame.assign(label=frame["label"].astype("category")),
        "a label missing": lambda frame: frame.assign(label=[None, *frame["label"][1:]]),
        "scores as texts": lambda frame: frame.assign(score_a="1"),
        "no scores": lambda frame: frame[["example_id", "label", "prediction"]],
        "another column": lambda frame: frame.assign(more=1),
        "no rows": lambda frame: frame[:0],
    }.items(),
    ids=lambda change: change[0],
)
def test_what_a_run_does_not_write_goes_the_long_way(run: RunFolder, change: Any) -> None:
    assert run.predicted(_edit(run, change[1])) is None


FAULTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "nothing": lambda frame: frame,
    "fewer rows": lambda frame: frame[1:],
    "another label": lambda frame: frame.assign(label=[*frame["label"][1:], "a"]),
    "another prediction": lambda frame: frame.assign(prediction=["c", *frame["label"][1:]]),
    "other scores": lambda frame: frame.assign(score_a=0.5, score_c=frame["score_b"]),
    "a score that is not finite": lambda frame: frame.assign(score_b=[np.nan, *frame["score_b"][1:]]),
    "an infinite score": lambda frame: frame.assign(score_b=[np.inf, *frame["score_b"][1:]]),
    "other groups": lambda frame: frame.assign(group=[f"h{row}" for row in range(len(frame))]),
    "an id twice": lambda frame: frame.assign(example_id=frame["example_id"].tolist()[:1] * len(frame)),
    "a class without a score": lambda frame: frame.assign(prediction="d"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("is_bare", [False, True], ids=["with intervals", "without"])
def test_faults_are_those_of_the_frame(run: RunFolder, name: str, is_bare: bool) -> None:
    record = _edit(run, FAULTS[name])
    if is_bare:
        metrics = {
            name: Score(value=score.value, method="none: too few groups of test rows")
            for name, score in record.metrics.items()
        }
        record = record.model_copy(update={"metrics": metrics})
    expected = check_cell(record, run.predictions(record.cell_id))
    assert tuple(check_predictions(run, [record])) == expected
    assert bool(expected) == (is_bare or name not in ("nothing", "other groups"))


def test_predictions_in_a_linked_folder_are_read_in_no_way(run: RunFolder, tmp_path: Path) -> None:
    record = run.records()[0]
    (run.path / "predictions").rename(tmp_path / "elsewhere")
    (run.path / "predictions").symlink_to(tmp_path / "elsewhere")
    assert run.scored(record) is None
    assert run.predicted(record) is None
    assert not run.is_done(record) and not run.has_predictions(record)
    linked = "is a link, and nothing is read or written through it: put the folder itself in its place"
    with pytest.raises(UnavailableError, match=linked):
        run.predictions(record.cell_id)
    with pytest.raises(UnavailableError, match=linked), run.hold():
        pass


def test_predictions_and_records_that_changed_are_read_again(run: RunFolder) -> None:
    record = _edit(run, lambda frame: frame.assign(prediction=frame["prediction"].tolist()[::-1]))
    frame = run.predictions(record.cell_id)
    found = run.predicted(record.model_copy(update={"predictions_hash": None}))
    assert found is not None
    assert np.array(found.classes, object)[found.numbers].tolist() == frame["prediction"].tolist()
    assert run.records()[0] == record
    run.add(record.model_copy(update={"status": "failed", "error": "none"}))
    assert run.records()[0].status == "failed"


@pytest.mark.parametrize("name", ["behaviours/2026-11-25.jsonl.gz", "vision/2026-11-25.jsonl"])
def test_lines_are_read_as_their_fields_are(name: str) -> None:
    lines = read_unpacked(BOARDS / name).splitlines()
    read = read_records(BOARDS / name)
    for line, record in list(zip(lines, read, strict=True))[::7]:
        fields = json.loads(line)
        found = Record.model_validate({**fields, "schema_version": SCHEMA_VERSION})
        assert record == found
        assert record.model_fields_set == found.model_fields_set
        assert record.model_dump_json() == found.model_dump_json()
