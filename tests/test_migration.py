"""Records of an older schema are read as of today's; those of a newer one are refused by their version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import UnavailableError
from harness.runs import lines
from harness.runs import record as records
from harness.runs.lines import SCHEMA_VERSION
from harness.runs.record import Record, read_records

HERE = Path(__file__).parent
PUBLISHED = sorted(HERE.parent.glob("leaderboards/*/*.jsonl"))
VERSION_1 = HERE / "records-v1.jsonl"
"""Lines of the first published board, as they were written then."""


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def save(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def assert_kept(before: Any, after: Any) -> None:
    """Whatever stood there still does; mappings may have gained fields."""
    if isinstance(before, dict):
        for key, value in before.items():
            assert_kept(value, after[key])
    else:
        assert before == after


@pytest.mark.parametrize("path", [VERSION_1, *PUBLISHED], ids=lambda path: f"{path.parent.name}-{path.name}")
def test_published_records_are_read_as_of_todays_schema(path: Path) -> None:
    old, new = rows(path), read_records(path)
    assert len(old) == len(new) > 0
    for before, record in zip(old, new, strict=True):
        after = json.loads(record.model_dump_json())
        assert after["schema_version"] == SCHEMA_VERSION
        assert_kept({**before, "schema_version": SCHEMA_VERSION}, after)


def test_what_version_1_did_not_say_is_what_was_so_then() -> None:
    assert {row["schema_version"] for row in rows(VERSION_1)} == {1}
    for record in read_records(VERSION_1):
        fields = record.model_dump()
        new = fields.keys() - rows(VERSION_1)[0].keys()
        assert {key: fields[key] for key in new} == {
            key: value
            for key, value in {
                "tokens": "content",
                "trained_on": None,
                "dictionary": None,
                "protocol_hash": None,
                "baseline": record.representation == "hidden",
                "control": None,
                "regime": "full",
                "natural": "task",
                "tried": 0,
                "predictions_hash": None,
                "used": (),
                "sharing": None,
                "seen": None,
                "only": (),
                "learnt_on": None,
                "alignment": None,
                "toy": record.model is not None or None,
            }.items()
            if key in fields
        }


@pytest.mark.parametrize(
    ("older", "baseline", "natural"),
    [
        ({"representation": "hidden"}, True, "task"),
        ({"representation": "pca", "regime": "native"}, False, "language"),
        ({"representation": "pca", "regime": "size(n=8)"}, False, None),
    ],
)
def test_flags_that_older_records_lack_follow_from_the_names_of_that_time(
    tmp_path: Path, older: dict[str, Any], baseline: bool, natural: str | None
) -> None:
    (line, *_) = rows(VERSION_1)
    (read,) = read_records(save(tmp_path / "old.jsonl", {**line, **older}))
    assert (read.baseline, read.natural) == (baseline, natural)
    given = {"baseline": not baseline, "natural": "language"}
    (read,) = read_records(save(tmp_path / "new.jsonl", {**line, **older, **given}))
    assert (read.baseline, read.natural) == (not baseline, "language")


def test_each_version_has_its_step_where_defaults_do_not_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if version 2 had named the classifier otherwise, and version 3 its pooling."""
    calls = []

    def rename(old: str, new: str) -> Any:
        def step(fields: dict[str, Any]) -> dict[str, Any]:
            calls.append((fields["cell_id"], new))
            return {key: value for key, value in fields.items() if key != old} | {new: fields[old]}

        return step

    for module in (records, lines):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 4)
    monkeypatch.setattr(records, "STEPS", {1: rename("probe", "classifier"), 3: rename("pool", "pooling")})
    (line, *_) = rows(VERSION_1)
    of_3 = {**line, "cell_id": "c", "schema_version": 3, "pool": line["pooling"]}
    del of_3["pooling"]
    of_1 = {**of_3, "cell_id": "a", "schema_version": 1, "probe": "logreg"}
    del of_1["classifier"]
    of_4 = {**line, "cell_id": "d", "schema_version": 4}
    read = read_records(save(tmp_path / "results.jsonl", of_1, of_3, of_4))
    assert [(record.cell_id, record.schema_version) for record in read] == [("a", 4), ("c", 4), ("d", 4)]
    assert calls == [("a", "classifier"), ("a", "pooling"), ("c", "pooling")]
    unlike = {"cell_id"}
    assert read[0].model_dump(exclude=unlike) == read[2].model_dump(exclude=unlike)


def test_a_record_of_a_newer_version_is_refused_by_its_version(tmp_path: Path) -> None:
    first, second, *_ = rows(VERSION_1)
    path = save(tmp_path / "results.jsonl", first, {**second, "schema_version": 99, "news": 1})
    with pytest.raises(UnavailableError) as caught:
        read_records(path)
    assert str(caught.value) == (
        f"'{path}' line 2 was written by a newer harness: it is of schema version 99, and this one reads up to "
        f"{SCHEMA_VERSION}"
    )


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION])
@pytest.mark.parametrize(
    "change",
    [{"news": 1}, {"metrics": {"f1": {"value": 1.0, "median": 1.0}}}, {"seed": None}, {"status": "great"}],
)
def test_fields_that_nobody_knows_and_values_that_cannot_be_are_refused(
    tmp_path: Path, version: int, change: dict[str, Any]
) -> None:
    (line, *_) = rows(VERSION_1)
    path = save(tmp_path / "results.jsonl", {**line, "schema_version": version, **change})
    with pytest.raises(UnavailableError, match="line 1 is not a valid record"):
        read_records(path)


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.5, [1]])
def test_a_record_without_a_version_is_none(tmp_path: Path, version: Any) -> None:
    (line, *_) = rows(VERSION_1)
    path = save(tmp_path / "results.jsonl", {**line, "schema_version": version})
    with pytest.raises(UnavailableError, match="line 1 is not a valid record"):
        read_records(path)


def test_no_results_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"results\.jsonl' cannot be read: there is no such file"):
        read_records(tmp_path / "results.jsonl")


def make_older(folder: Path) -> None:
    """The run as version 1 of the schema would have written it."""
    known = rows(VERSION_1)[0].keys()
    old = [
        {**{key: row[key] for key in known}, "schema_version": 1} for row in rows(folder / "results.jsonl")
    ]
    save(folder / "results.jsonl", *old)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, "schema_version": 1, "status": "interrupted"}))


def scores(folder: Path) -> str:
    """The board without what older records did not say: how many points were tried."""
    frame = pd.read_csv(folder / "leaderboard.csv").drop(columns=["tried", "tried_least"])
    return str(frame.to_csv())


def test_an_older_run_is_resumed_and_nothing_is_done_again(
    toy_task: Path, toy_suite: Path, harness_command: Any, tmp_path: Path
) -> None:
    command = ["run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu"]
    out = tmp_path / "out"
    assert harness_command(*command).code == 0
    make_older(out)
    before = (out / "results.jsonl").read_bytes()
    board = scores(out)
    assert harness_command(*command).code == 0
    assert (out / "results.jsonl").read_bytes() == before
    assert scores(out) == board
    (out / "results.jsonl").write_bytes(before[: before.index(b"\n") + 1])  # one of its two cells is not done
    assert harness_command(*command).code == 0
    assert [row["schema_version"] for row in rows(out / "results.jsonl")] == [1, SCHEMA_VERSION]
    assert scores(out) == board


def test_a_newer_run_is_left_alone(
    toy_task: Path, toy_suite: Path, harness_command: Any, tmp_path: Path
) -> None:
    command = ["run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu"]
    out = tmp_path / "out"
    assert harness_command(*command).code == 0
    newer = [{**row, "schema_version": 99, "news": 1} for row in rows(out / "results.jsonl")]
    save(out / "results.jsonl", *newer)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    told = harness_command(*command)
    assert told.code == 3
    assert "line 1 was written by a newer harness: it is of schema version 99" in told.said[-1]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_schema_is_published_and_is_that_of_the_records(harness_command: Any) -> None:
    told = harness_command("show", "record-schema", "--json")
    assert told.code == 0
    (schema,) = told.rows
    assert schema == json.loads(harness_command("show", "record-schema").out)
    assert schema["additionalProperties"] is False
    (record, *_) = read_records(VERSION_1)
    assert schema["properties"].keys() == json.loads(record.model_dump_json()).keys()
    assert set(schema["required"]) <= Record.model_fields.keys()
    assert schema["properties"]["schema_version"]["default"] == SCHEMA_VERSION
