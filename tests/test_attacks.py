"""A small honest run, attacked: for each way to a better number than was earned, what catches it, and how it ends.

`pytest tests/test_attacks.py -k table -s` prints the table that stands in leaderboards/RULES.md.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.config.task_file import read_task
from harness.data.task import load_task
from harness.leaderboard import build
from harness.runs.folder import RunFolder
from harness.runs.record import Record, hash_predictions
from harness.stats.metrics import score

RULES = Path(__file__).parent.parent / "leaderboards" / "RULES.md"

Frame = pd.DataFrame


@dataclass(frozen=True)
class Caught:
    """What an attack ended in: the command, its exit code, and the sentence that names it."""

    command: str
    code: int
    sentence: str


@dataclass(frozen=True)
class Place:
    """A folder with a task, a suite and the honest run `out`, all to be tampered with."""

    path: Path
    call: Callable[..., Any]

    @property
    def out(self) -> RunFolder:
        return RunFolder(self.path / "out")

    @property
    def include(self) -> list[object]:
        return ["--include", self.path / "toy.yaml"]

    def run(self, output: str, *more: object, before: Sequence[object] = ()) -> Any:
        words = [*before, "run", self.path / "suite.yaml", *self.include, "-d", "cpu"]
        return self.call(*words, "-o", self.path / output, *more)

    def caught(self, shown: str, *words: object, find: str) -> Caught:
        """Run a command; the line of what it says that holds `find`."""
        told = self.call(*words)
        lines = [*told.said, *told.out.splitlines()]
        [line, *_] = [line for line in lines if find in line] or [" / ".join(lines)]
        return Caught(shown, told.code, self.tidy(line))

    def tidy(self, line: str) -> str:
        """A sentence without what differs from machine to machine: folders, checksums."""
        line = re.sub(r"[0-9a-f]{64}", "…", line.replace(f"{self.path}/", ""))
        return line.removeprefix("harness: ").removeprefix("fault: ")

    def validate(self, *, find: str, data: bool = False) -> Caught:
        words = [*(self.include if data else []), self.path / "out"]
        shown = "harness validate RUN --data-dir DATA" if data else "harness validate RUN"
        return self.caught(shown, "validate", *words, find=find)

    def change_rows(self, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
        path = self.path / "toy.jsonl"
        rows = change([json.loads(line) for line in path.read_text().splitlines()])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def change_records(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        path = self.path / "out" / "results.jsonl"
        records = change([json.loads(line) for line in path.read_text().splitlines()])
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def change_cells(self, change: Callable[[list[str]], list[str]]) -> None:
        path = self.path / "out" / "run.json"
        about = json.loads(path.read_text())
        path.write_text(json.dumps({**about, "cells": change(about["cells"])}))

    def forge(self, change: Callable[[Frame], Frame], *, cells: int, checksum: bool = True) -> None:
        """Change the predictions of the first `cells` cells, and make their records say what these give."""

        def edit(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for record in records[:cells]:
                path = self.path / "out" / "predictions" / f"{record['cell_id']}.parquet"
                frame = change(pd.read_parquet(path))
                frame.to_parquet(path, index=False)
                match(record, frame, checksum=checksum)
            return records

        self.change_records(edit)


def match(record: dict[str, Any], frame: Frame, *, checksum: bool) -> None:
    """Make a record say what its predictions give, with or without their checksum."""
    names = [name for name in frame.columns if name.startswith("score_")]
    numbers = {name.removeprefix("score_"): number for number, name in enumerate(names)}
    y, predicted = (frame[name].map(numbers).to_numpy() for name in ("label", "prediction"))
    values = score(y, predicted, frame[names].to_numpy(), weights=None)
    record["metrics"] = {
        name: {**record["metrics"].get(name, {}), "value": found.value} for name, found in values.items()
    }
    record["n_test"] = len(frame)
    if checksum:
        columns = (frame[name] for name in ("example_id", "label", "prediction"))
        record["predictions_hash"] = hash_predictions(*columns)


def rows_of(n: int = 160) -> list[dict[str, str]]:
    """Rows that words tell apart except for every fourth; the first 60 are test rows."""
    return [
        {
            "text": f"{'warm' if i % 2 else 'cold'} day {i} " + "again " * (i % 5),
            "label": "ab"[(i + (i % 4 == 0)) % 2],
            "split": "test" if i < 60 else "train",
        }
        for i in range(n)
    ]


# ── the attacks ──────────────────────────────────────────────────────────────────────────────────────────


def leak(place: Place) -> Caught:
    place.change_rows(lambda rows: [*rows, *({**row, "split": "train"} for row in rows[:5])])
    assert place.run("leaked").code == 0
    for record in RunFolder(place.path / "leaked").records():
        assert (record.hygiene.leaks, record.n_test) == (5, 55)
    words = ["validate", place.path / "suite.yaml", *place.include, "--strict-data"]
    return place.caught("harness validate SUITE --strict-data", *words, find="broken or leaking")


def leak_counted(place: Place) -> Caught:
    place.change_rows(lambda rows: [*rows, *({**row, "split": "train"} for row in rows[:5])])
    told = place.run("leaked")
    record = RunFolder(place.path / "leaked").records()[0]
    return Caught("harness run", told.code, f"removed and counted: `hygiene.leaks` {record.hygiene.leaks}")


def permute_test_labels(place: Place) -> Caught:
    def permute(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        labels = np.random.default_rng(0).permutation([row["label"] for row in rows[:60]])
        return [*({**row, "label": label} for row, label in zip(rows, labels, strict=False)), *rows[60:]]

    place.change_rows(permute)
    told = place.run("permuted")
    honest, other = place.out, RunFolder(place.path / "permuted")
    kept = [choices(run) for run in (honest, other)]
    tested = [[record.metrics["macro_f1"].value for record in run.records()] for run in (honest, other)]
    assert tested[0] != tested[1]
    same = "no choice changes: parameters, validation scores, the board's cells"
    return Caught("harness run", told.code, same if kept[0] == kept[1] else "choices change")


def choices(run: RunFolder) -> tuple[object, ...]:
    """All that was chosen on validation, and the cells that the board goes by."""
    parameters = [
        (record.representation, record.classifier, record.classifier_params, record.validation_metrics)
        for record in run.records()
    ]
    chosen = sorted(
        (row.representation, cell.record.classifier, cell.record.seed)
        for row in build([run]).rows
        for cell in row.cells
    )
    return parameters, chosen


def compare_equal_arms(place: Place) -> Caught:
    assert place.run("again").code == 0
    words = ["compare", place.path / "out", place.path / "again", "--fail-on-regression", 0]
    told = place.call(*words, "--json")
    for each in told.rows[0]["differences"]:
        assert (each["difference"], each["low"], each["high"]) == (0, 0, 0)
    return place.caught("harness compare A B", *words, find="[+0.000, +0.000]")


def move_split(place: Place) -> None:
    """Another run, `moved`, with the test rows that are easiest."""

    def move(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [{**row, "split": "train" if i >= 80 or i % 4 == 0 else "test"} for i, row in enumerate(rows)]

    place.change_rows(move)
    assert place.run("moved").code == 0


def compare_moved_split(place: Place) -> Caught:
    move_split(place)
    words = ["compare", place.path / "out", place.path / "moved"]
    return place.caught("harness compare A B", *words, find="other data")


def join_moved_split(place: Place) -> Caught:
    move_split(place)
    words = ["leaderboard", "build", place.path / "out", place.path / "moved", "-o", place.path / "board"]
    return place.caught("harness leaderboard build A B", *words, find="other data")


def take_other_rows(place: Place) -> Caught:
    place.forge(lambda frame: frame.assign(example_id=[f"{one}x" for one in frame["example_id"]]), cells=1)
    return place.validate(find="same rows")


def take_training_rows(place: Place) -> Caught:
    examples = load_task(read_task(place.path / "toy.yaml")).examples
    learnt = [row for row, split in enumerate(examples.splits) if split == "train"]

    def take(frame: Frame) -> Frame:
        rows = learnt[: len(frame)]
        ids, labels = ([column[row] for row in rows] for column in (examples.ids, examples.labels))
        return perfect(frame.assign(example_id=ids, label=labels))

    place.forge(take, cells=99)
    assert place.validate(find="wrong").code == 0
    return place.validate(find="training rows", data=True)


def perfect(frame: Frame) -> Frame:
    """Predictions that are all right, with scores to match."""
    right = {f"score_{name}": (frame["label"] == name).astype(float) for name in ("a", "b")}
    return frame.assign(prediction=frame["label"], **right)


def drop_hard_rows(place: Place) -> Caught:
    frame = place.out.predictions(place.out.records()[0].cell_id)
    hard = frame["example_id"][frame["label"] != frame["prediction"]]
    assert len(hard)
    place.forge(lambda frame: frame[~frame["example_id"].isin(list(hard))], cells=99)
    assert place.validate(find="wrong").code == 0
    return place.validate(find="lack", data=True)


def hide_hard_rows(place: Place) -> Caught:
    frame = place.out.predictions(place.out.records()[0].cell_id)
    hard = frame["example_id"][frame["label"] != frame["prediction"]]

    def claim(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for record in records:
            record["data"] = "0" * 64
            record["hygiene"]["empty"] += len(hard)
        return records

    place.forge(lambda frame: frame[~frame["example_id"].isin(list(hard))], cells=99)
    place.change_records(claim)
    assert place.run("again").code == 0
    words = ["compare", place.path / "out", place.path / "again"]
    told = place.caught("harness compare A B", *words, find="other data")
    assert (told.code, "other data" in told.sentence) == (2, True)
    return place.validate(find="lack", data=True)


def repeat_prediction(place: Place) -> Caught:
    place.forge(lambda frame: pd.concat([frame, frame.iloc[:1]]), cells=1)
    return place.validate(find="twice")


def repeat_row(place: Place) -> Caught:
    place.change_rows(lambda rows: [*rows, *rows[:1]])
    told = place.run("repeated")
    [record, *_] = RunFolder(place.path / "repeated").records()
    assert (record.n_test, record.data) == (60, place.out.records()[0].data)
    return Caught(
        "harness run", told.code, f"dropped and counted: `hygiene.duplicates` {record.hygiene.duplicates}"
    )


def swap_labels(place: Place) -> Caught:
    place.forge(lambda frame: frame.assign(label=frame["label"].map({"a": "b", "b": "a"})), cells=99)
    assert place.validate(find="wrong").code == 0
    return place.validate(find="another label", data=True)


HOT = """
import harness

class Hot:
    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        import numpy
        return numpy.full((X.shape[0], 2), numpy.nan)

@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="hot", summary="scores NaN", make=lambda: Hot())]
"""


def score_nan(place: Place) -> Caught:
    (place.path / "hot_classifier.py").write_text(HOT)
    told = place.run("hot", "--set", "classifiers=[hot]", before=["-p", "hot_classifier"])
    errors = {str(record.error) for record in RunFolder(place.path / "hot").records()}
    return Caught("harness run", told.code, f"failed, {' / '.join(errors)}")


def write_nan_scores(place: Place) -> Caught:
    [record, *_] = place.out.records()
    path = place.path / "out" / "predictions" / f"{record.cell_id}.parquet"
    pd.read_parquet(path).assign(score_a=np.nan).to_parquet(path, index=False)
    return place.validate(find="not finite")


def write_nan_metric(place: Place) -> Caught:
    def edit(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[0]["metrics"]["macro_f1"]["value"] = float("nan")
        return records

    place.change_records(edit)
    assert place.validate(find="valid record").code == 4
    words = ["leaderboard", "build", place.path / "out"]
    return place.caught("harness leaderboard build RUN", *words, find="valid record")


def edit_metric(place: Place) -> Caught:
    def edit(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[0]["metrics"]["macro_f1"]["value"] += 0.01
        return records

    place.change_records(edit)
    return place.validate(find="give macro_f1")


def edit_validation(place: Place) -> Caught:
    def edit(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The cell with the highest test score of every arm is made the one that validation chooses."""
        for arm in {record["representation"] for record in records}:
            own = [record for record in records if record["representation"] == arm]
            best = max(own, key=lambda record: record["metrics"]["macro_f1"]["value"])
            best["validation_metrics"]["macro_f1"] = 1.0
        return records

    before = choices(place.out)[1]
    place.change_records(edit)
    assert choices(place.out)[1] != before
    assert place.validate(find="wrong", data=True).code == 0
    assert place.run("again").code == 0
    assert choices(RunFolder(place.path / "again"))[1] == before
    words = ["compare", place.path / "out", place.path / "again"]
    shown = "harness run SUITE -o AGAIN; harness compare RUN AGAIN"
    found = place.caught(shown, *words, find="text_length")
    told = f"reading does not tell, running again does: {found.sentence.strip()}"
    return Caught(found.command, found.code, told)


def edit_predictions_with_metric(place: Place) -> Caught:
    place.forge(perfect, cells=1, checksum=False)
    return place.validate(find="checksum")


def edit_three_predictions(place: Place) -> None:
    """Edit three predictions of the first cell, and nothing else."""
    [record, *_] = place.out.records()
    path = place.path / "out" / "predictions" / f"{record.cell_id}.parquet"
    frame = pd.read_parquet(path)
    values = frame["prediction"].tolist()
    flipped = [{"a": "b", "b": "a"}[value] for value in values[:3]]
    frame.assign(prediction=[*flipped, *values[3:]]).to_parquet(path, index=False)


def build_edited(place: Place) -> Caught:
    edit_three_predictions(place)
    words = ["leaderboard", "build", place.path / "out"]
    return place.caught("harness leaderboard build RUN", *words, find="checksum")


def rerun_edited(place: Place) -> Caught:
    before = [record.metrics for record in place.out.records()]
    edit_three_predictions(place)
    told = place.run("out")
    assert sorted(map(str, before)) == sorted(str(record.metrics) for record in place.out.records())
    [line] = [line for line in told.said if "run again" in line]
    return Caught("harness run", told.code, place.tidy(line))


def publish_edited(place: Place) -> Caught:
    edit_three_predictions(place)
    words = ["leaderboard", "publish", place.path / "out", "-o", place.path / "boards"]
    return place.caught("harness leaderboard publish RUN", *words, find="checksum")


def publish_unmarked(place: Place) -> Caught:
    """Take the marks of `-L` out of the suite and the records."""
    shutil.rmtree(place.path / "out")
    assert place.run("out", "-L", 80).code == 0
    path = place.path / "out" / "run.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "suite": {**about["suite"], "limit": None}}))
    place.change_records(lambda records: [{**record, "flags": []} for record in records])
    words = ["leaderboard", "publish", place.path / "out", "-o", place.path / "boards"]
    return place.caught("harness leaderboard publish RUN", *words, find="-L")


def publish_with_parameter(place: Place) -> Caught:
    place.change_records(
        lambda records: [{**records[0], "classifier_params": {"C": -1, "max_iter": 1}}, *records[1:]]
    )
    words = ["leaderboard", "publish", place.path / "out", "-o", place.path / "boards"]
    return place.caught("harness leaderboard publish RUN", *words, find="C=-1")


def forge_everything(place: Place) -> Caught:
    place.forge(perfect, cells=99)
    assert place.validate(find="wrong", data=True).code == 0
    assert place.run("again").code == 0
    words = ["compare", place.path / "out", place.path / "again", "--fail-on-regression", "0.01"]
    return place.caught(
        "harness run SUITE -o AGAIN; harness compare RUN AGAIN --fail-on-regression 0.01",
        *words,
        find="is worse",
    )


def limit(place: Place) -> Caught:
    assert place.run("out-limited", "-L", 80).code == 0
    words = ["validate", place.path / "out-limited"]
    return place.caught("harness validate RUN", *words, find="limited")


def publish_limited(place: Place) -> Caught:
    assert place.run("out-limited", "-L", 80).code == 0
    words = ["leaderboard", "publish", place.path / "out-limited", "-o", place.path / "boards"]
    return place.caught("harness leaderboard publish RUN", *words, find="--limit")


def remove_record(place: Place) -> Caught:
    place.change_records(lambda records: records[1:])
    return place.validate(find="no record")


def remove_cell(place: Place) -> Caught:
    gone = place.out.records()[0].cell_id
    place.change_records(lambda records: records[1:])
    place.change_cells(lambda cells: [cell for cell in cells if cell != gone])
    return place.validate(find="lacks")


def repeat_record(place: Place) -> Caught:
    before = build([place.out]).rows
    place.change_records(lambda records: [*records, records[0]])
    assert [row.macro_f1.value for row in build([place.out]).rows if row.macro_f1] == [
        row.macro_f1.value for row in before if row.macro_f1
    ]
    found = place.validate(find="nothing is wrong")
    return Caught(found.command, found.code, "the last line of a cell counts; the board is the same")


def repeat_record_under_another_cell(place: Place) -> Caught:
    [record, *_] = place.out.records()
    folder = place.path / "out" / "predictions"
    shutil.copy(folder / f"{record.cell_id}.parquet", folder / "copied.parquet")
    place.change_records(lambda records: [*records, {**records[0], "cell_id": "copied"}])
    place.change_cells(lambda cells: [*cells, "copied"])
    return place.validate(find="same evaluation")


def edit_page(place: Place) -> Caught:
    boards = place.path / "boards"
    assert place.call("leaderboard", "publish", place.path / "out", "-o", boards, "--name", "run").code == 0
    page = boards / "leaderboard.csv"
    page.write_text(page.read_text().replace("0.", "0.9", 1))
    return place.caught(
        "harness leaderboard check DIR", "leaderboard", "check", boards, find="published runs give"
    )


@dataclass(frozen=True)
class Attack:
    """How it is done, and what must come of it."""

    act: Callable[[Place], Caught]
    code: int
    sentence: str


ATTACKS = {
    "test rows copied into training": Attack(leak_counted, 0, "`hygiene.leaks` 5"),
    "the same, before the run": Attack(leak, 4, "has broken or leaking rows: 5 leaks"),
    "choosing by test scores: test labels permuted": Attack(permute_test_labels, 0, "no choice changes"),
    "luck in an unpaired test: equal arms": Attack(compare_equal_arms, 0, "[+0.000, +0.000]"),
    "an easier split": Attack(compare_moved_split, 2, "task 'toy' has other data in"),
    "an easier split, on one board": Attack(join_moved_split, 3, "task 'toy' has other data in"),
    "other rows in one cell": Attack(take_other_rows, 4, "were not tested on the same rows"),
    "training rows as test rows, in all cells": Attack(take_training_rows, 4, "60 of them training rows"),
    "hard test rows left out, in all cells": Attack(drop_hard_rows, 4, "of the 60 test rows of the data"),
    "hard test rows left out, said to be unreadable": Attack(
        hide_hard_rows, 4, "lack 15 of the 60 test rows"
    ),
    "a test row twice, in predictions": Attack(repeat_prediction, 4, "hold an example twice"),
    "a test row twice, in the data": Attack(repeat_row, 0, "`hygiene.duplicates` 1"),
    "labels swapped, in all cells": Attack(
        swap_labels, 4, "have another label than the data in 60 of 60 rows"
    ),
    "a classifier that scores NaN": Attack(score_nan, 1, "returned a value that is NaN or infinite"),
    "NaN among the scores": Attack(write_nan_scores, 4, "hold scores that are not finite"),
    "NaN as a metric": Attack(write_nan_metric, 3, "line 1 is not a valid record"),
    "a metric edited": Attack(edit_metric, 4, "but its record says"),
    "validation scores edited": Attack(
        edit_validation, 0, "running again does: toy — text_length 1 0.487 0.429 -0.059"
    ),
    "predictions edited, the metric alike": Attack(edit_predictions_with_metric, 4, "checksum differs"),
    "three predictions edited, on a board": Attack(build_edited, 3, "checksum differs"),
    "three predictions edited, run again": Attack(rerun_edited, 0, "1 finished cells were run again"),
    "three predictions edited, published": Attack(publish_edited, 4, "checksum differs"),
    "a parameter that was never tried, published": Attack(publish_with_parameter, 4, "was tried with"),
    "predictions, metrics and checksums forged": Attack(
        forge_everything, 4, "is worse by more than 0.01 macro_f1"
    ),
    "a limited run": Attack(limit, 4, "the run was limited with -L, so it is not publishable"),
    "a limited run, published": Attack(publish_limited, 4, "cannot be published"),
    "a limited run without its marks, published": Attack(publish_unmarked, 4, "was started with -L"),
    "a record taken out": Attack(remove_record, 4, "1 of 4 cells have no record"),
    "a record and its cell taken out": Attack(remove_cell, 4, "lacks 1 of 2 cells"),
    "a record twice": Attack(repeat_record, 0, "the last line of a cell counts"),
    "a record twice, as another cell": Attack(repeat_record_under_another_cell, 4, "are the same evaluation"),
    "a published page edited": Attack(edit_page, 4, "is not what the published runs give"),
}


# ── carried out ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task, a suite of four cells and its finished run."""
    from harness.cli import execute

    place = tmp_path_factory.mktemp("honest")
    (place / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of()))
    (place / "toy.yaml").write_text("name: toy\nsource: {file: toy.jsonl}\nlicence: CC0\ncitation: none\n")
    (place / "suite.yaml").write_text(
        "name: small\ntasks: [toy]\nrepresentations: [tfidf, text_length]\n"
        "classifiers: [{name: logreg, C: 1.0}, nearest_centroid]\nseeds: 1\n"
    )
    words = ["run", place / "suite.yaml", "--include", place / "toy.yaml", "-o", place / "out", "-d", "cpu"]
    assert execute([str(word) for word in words]) == 0
    return place


@pytest.fixture(scope="module")
def known() -> dict[str, Caught]:
    """What attacks ended in, each carried out once."""
    return {}


@pytest.fixture
def carry_out(
    honest: Path, known: dict[str, Caught], tmp_path: Path, harness_command: Any, monkeypatch: Any
) -> Callable[[str], Caught]:
    """Attack a copy of the honest folder."""

    def call(name: str) -> Caught:
        if name not in known:
            path = Path(shutil.copytree(honest, tmp_path / f"place-{len(known)}"))
            monkeypatch.syspath_prepend(path)
            known[name] = ATTACKS[name].act(Place(path, harness_command))
        return known[name]

    return call


def test_the_honest_run_is_sound(honest, harness_command):
    place = Place(honest, harness_command)
    told = harness_command("validate", honest / "out", *place.include)
    assert (told.code, told.out) == (0, f"{honest / 'out'}: nothing is wrong\n")
    records: list[Record] = place.out.records()
    assert {record.hygiene.leaks + record.hygiene.duplicates for record in records} == {0}
    assert min(record.metrics["macro_f1"].value for record in records) < 0.9  # there is something to forge


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_caught(carry_out, name):
    attack, found = ATTACKS[name], carry_out(name)
    assert attack.sentence in re.sub(r" {2,}", " ", found.sentence)
    assert found.code == attack.code


def test_the_table_in_the_rules_is_what_happens(carry_out):
    lines = ["| attack | what catches it | exit code |", "|---|---|---|"]
    for name in ATTACKS:
        found = carry_out(name)
        sentence = re.sub(r" {2,}", " ", found.sentence).replace("|", "/").strip()
        lines.append(f"| {name} | `{found.command}`: {sentence} | {found.code} |")
    table = "\n".join(lines)
    print(f"\n{table}\n")
    assert table in RULES.read_text("utf-8")
