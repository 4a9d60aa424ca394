"""Badges of runs: what follows from published predictions, what a rerun vouches for, and what nothing proves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_publish import edit_record, make_run

from harness.leaderboard import PublishedRun, build, check_published, publish, write
from harness.leaderboard.published.badge import badge_of
from harness.leaderboard.published.rerun_report import (
    Machine,
    RerunCell,
    RerunReport,
    Tolerance,
    hash_published,
    place_report,
    read_report,
    write_report,
)
from harness.runs.folder import RunFolder


@pytest.fixture
def published(tmp_path: Path) -> PublishedRun:
    return publish(make_run(tmp_path / "run"), tmp_path / "board", name="first")


def report_on(run: PublishedRun, **changes: Any) -> RerunReport:
    records, predictions = hash_published(run.path)
    cell = next(record.cell_id for record in run.records() if run.has_predictions(record))
    fields: dict[str, Any] = {
        "date": "2026-12-01T10:00:00+00:00",
        "seed": 7,
        "fresh": True,
        "candidates": 10,
        "cells": (RerunCell(cell_id=cell, difference=Tolerance(differing=0.001, macro_f1=0.002)),),
        "tolerance": Tolerance(differing=0.02, macro_f1=0.01),
        "submitted": Machine(hardware={"cpu": "theirs"}, versions={}),
        "here": Machine(hardware={"cpu": "ours"}, versions={}),
        "records_sha256": records,
        "predictions_sha256": predictions,
    }
    return RerunReport(**{**fields, **changes})


def test_scores_that_follow_from_predictions_are_recomputed_and_no_more_is_said(
    published: PublishedRun, tmp_path: Path
) -> None:
    for run in (published, RunFolder(tmp_path / "run")):
        badge = badge_of(run)
        assert badge.kind == "recomputed"
        assert "does not prove that the predictions came from the model" in badge.text


@pytest.mark.parametrize("changes", [{"predictions_hash": "0" * 64}, {"n_test": 119}, {"metrics": None}])
def test_scores_that_do_not_follow_are_self_reported(
    published: PublishedRun, changes: dict[str, Any]
) -> None:
    if "metrics" in changes:
        changes = {"metrics": {name: {"value": 0.99} for name in ("macro_f1", "accuracy")}}
    edit_record(published.path.parent, **changes)
    badge = badge_of(PublishedRun(published.path))
    assert badge.kind == "self-reported" and "1 of the 7 cells" in badge.text


def test_a_run_that_cannot_be_read_is_self_reported(published: PublishedRun) -> None:
    published.files[1].write_bytes(b"no parquet")
    assert badge_of(PublishedRun(published.path)).kind == "self-reported"
    published.path.write_text("{}\n", "utf-8")
    assert badge_of(PublishedRun(published.path)).kind == "self-reported"


def test_a_rerun_is_told_with_what_was_drawn_and_how_far_it_differs(published: PublishedRun) -> None:
    write_report(published.path, report_on(published))
    badge = badge_of(published)
    assert badge.kind == "rerun" and read_report(published) == report_on(published)
    assert "1 cell, drawn by a seed that the submitter could not know" in badge.text
    assert "at most 0.10% of predictions and 0.0020 of macro-F1 (allowed: 2.00% and 0.0100)" in badge.text
    folder = published.path.parent
    assert [finding for finding in check_published(folder) if "leaderboard.html' is not what" in finding]
    write(build([published]), folder)  # the page says it, too
    assert "rerun" in (folder / "leaderboard.html").read_text("utf-8")
    assert check_published(folder) == ()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"records_sha256": "0" * 64}, "it is of other records or predictions"),
        ({"predictions_sha256": "0" * 64}, "it is of other records or predictions"),
        ({"cells": ()}, "no cell was run again"),
        ({"tolerance": Tolerance(differing=0, macro_f1=0)}, "differs by more than the tolerance"),
        (
            {"cells": (RerunCell(cell_id="x", difference=Tolerance(differing=0, macro_f1=0)),)},
            "it names a cell whose predictions are not published",
        ),
        (None, "is damaged"),
    ],
)
def test_a_report_that_does_not_vouch_is_as_if_absent_and_is_found(
    published: PublishedRun, changes: dict[str, Any] | None, said: str
) -> None:
    if changes is None:
        place_report(published.path).write_text("{", "utf-8")
    else:
        write_report(published.path, report_on(published, **changes))
    assert badge_of(published).kind == "recomputed"
    (finding,) = check_published(published.path.parent)
    assert said in finding


def test_a_report_that_is_a_link_or_of_no_run_is_found(published: PublishedRun, tmp_path: Path) -> None:
    write_report(published.path, report_on(published))
    stray = published.path.with_name("other.rerun.json")
    place_report(published.path).rename(stray)
    (finding,) = check_published(published.path.parent)
    assert "of a run that is not published here" in finding
    stray.rename(tmp_path / "elsewhere.json")
    place_report(published.path).symlink_to(tmp_path / "elsewhere.json")
    (finding,) = check_published(published.path.parent)
    assert "it is a link" in finding and badge_of(published).kind == "recomputed"


def test_a_report_goes_with_the_run_that_it_is_of(published: PublishedRun, tmp_path: Path) -> None:
    write_report(published.path, report_on(published))
    run = RunFolder(tmp_path / "run")
    publish(run, published.path.parent, name="first")  # the same again
    assert badge_of(PublishedRun(published.path)).kind == "rerun"
    publish(make_run(tmp_path / "other", luck=1), published.path.parent, name="first", replace=True)
    assert not place_report(published.path).exists()


def test_a_report_holds_plain_facts(published: PublishedRun) -> None:
    write_report(published.path, report_on(published, fresh=False))
    fields = json.loads(place_report(published.path).read_text("utf-8"))
    assert {"seed", "cells", "tolerance", "here", "submitted", "date", "records_sha256"} <= fields.keys()
    assert "drawn by a seed that was given" in badge_of(published).text
