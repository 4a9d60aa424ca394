"""Tampering with a run: each kind is found by its check, and stops the publication of the run."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness.api.errors import GateError, UnavailableError
from harness.config.task_file import read_task
from harness.leaderboard import publish
from harness.runs.folder import RunFolder
from harness.runs.record import hash_predictions
from harness.session import Session
from harness.stats.metrics import score
from harness.validation.run import check_run

Fields = dict[str, Any]
Frame = pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of the honest run, to be tampered with."""

    run: RunFolder

    def edit(self, change: Callable[[Fields], Any], *, arm: str | None = None, cells: int = 99) -> None:
        """Change the first records, or the first ones of one representation."""
        path = self.run.path / "results.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in [one for one in records if arm in (None, one["representation"])][:cells]:
            change(record)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def edit_about(self, change: Callable[[Fields], Any]) -> None:
        path = self.run.path / "run.json"
        about = json.loads(path.read_text())
        change(about)
        path.write_text(json.dumps(about))

    def place(self, record: Fields) -> Path:
        return self.run.path / "predictions" / f"{record['cell_id']}.parquet"

    def forge(self, change: Callable[[Frame], Frame], *, cells: int = 99, with_record: bool = True) -> None:
        """Change predictions, and make the records say what these give."""

        def each(record: Fields) -> None:
            frame = change(pd.read_parquet(self.place(record))).reset_index(drop=True)
            frame.to_parquet(self.place(record), index=False)
            if with_record:
                match(record, frame)

        self.edit(each, cells=cells)


def match(record: Fields, frame: Frame) -> None:
    """Make a record say what its predictions give: metrics, rows and checksum."""
    names = [name for name in frame.columns if name.startswith("score_")]
    numbers = {name.removeprefix("score_"): number for number, name in enumerate(names)}
    y, predicted = (frame[name].map(numbers).to_numpy() for name in ("label", "prediction"))
    values = score(y, predicted, frame[names].to_numpy(), weights=None)
    record["metrics"] = {
        name: {**record["metrics"].get(name, {}), "value": found.value} for name, found in values.items()
    }
    record["n_test"] = len(frame)
    record["predictions_hash"] = hash_predictions(frame["example_id"], frame["label"], frame["prediction"])


# ── the honest run ───────────────────────────────────────────────────────────────────────────────────────


def open_session(place: Path) -> Session:
    spec = replace(read_task(place / "toy.yaml"), keep_leaks=True)
    opened = harness.open(cache_dir=place / "cache", device="cpu")
    return Session(opened.registry, data_dir=None, cache_dir=place / "cache", device="cpu", included=[spec])


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Path]:
    """A session, and a folder with a run `out` and one of some rows only, `limited`; two rows of the data leak."""
    place = tmp_path_factory.mktemp("honest")
    rows = [
        {
            "text": f"{'warm' if i % 2 else 'cold'} day {i % 58} " + "again " * (i % 5),
            "label": "ab"[(i + (i % 4 == 0)) % 2],
            "group": f"g{i // 2}",
            "split": "test" if i < 24 else "train",
        }
        for i in range(60)
    ]
    rows += [{**row, "split": "train"} for row in rows[:2]]
    (place / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "toy.yaml").write_text(
        "name: toy\nsource: {file: toy.jsonl}\nlicence: CC0\ncitation: none\n"
        "columns: {input: text, label: label, split: split, group: group}\n"
    )
    (place / "suite.yaml").write_text(
        "name: small\ntasks: [toy]\nmodels: [{ref: minigemma-s, sites: [resid_post.1]}]\n"
        "representations: [text_length, hidden, random_projection]\npoolings: [mean]\n"
    )
    session = open_session(place)
    session.run(place / "suite.yaml", output=place / "out", argv=["run", "suite.yaml"])
    session.run(
        place / "suite.yaml", output=place / "limited", argv=["run", "suite.yaml", "-L", "40"], limit=40
    )
    return session, place


@pytest.fixture
def tampered(honest: tuple[Session, Path], tmp_path: Path) -> Copy:
    _, place = honest
    return Copy(run=RunFolder(Path(shutil.copytree(place / "out", tmp_path / "out"))))


def find_faults(run: RunFolder, session: Session) -> list[str]:
    findings = check_run(run, session.registry, included=session.included)
    return [finding.sentence for finding in findings if finding.severity == "fault"]


def test_the_honest_run_has_no_fault_and_is_published(honest: tuple[Session, Path], tmp_path: Path) -> None:
    session, place = honest
    run = RunFolder(place / "out")
    assert {flag for record in run.records() for flag in record.flags} >= {"leaks:2"}
    notes: list[str] = []
    given = {"registry": session.registry, "included": session.included}
    assert find_faults(run, session) == []
    assert publish(run, tmp_path / "board", name="x", tell=notes.append, **given).path.is_file()
    assert [note for note in notes if "flagged" not in note] == []


# ── what is tampered with ────────────────────────────────────────────────────────────────────────────────

Act = Callable[[Copy], Any]


def edited(arm: str | None = None, cells: int = 99, **fields: Any) -> Act:
    return lambda copy: copy.edit(lambda record: record.update(fields), arm=arm, cells=cells)


def inside(field: str, cells: int = 1, **values: Any) -> Act:
    """Edit values inside a field of the record of the model's hidden states."""
    return lambda copy: copy.edit(lambda record: record[field].update(values), arm="hidden", cells=cells)


def forged(change: Callable[[Frame], Frame], **how: Any) -> Act:
    return lambda copy: copy.forge(change, **how)


def flip(column: str, rows: int) -> Callable[[Frame], Frame]:
    def change(frame: Frame) -> Frame:
        values = frame[column].tolist()
        flipped = [{"a": "b", "b": "a"}[value] for value in values[:rows]]
        return frame.assign(**{column: [*flipped, *values[rows:]]})

    return change


def rename(copy: Copy) -> None:
    """Give a cell another id, in every file of the run."""
    [record, *_] = copy.run.records()
    new = "0" * 64
    copy.place({"cell_id": record.cell_id}).rename(copy.place({"cell_id": new}))
    copy.edit(lambda one: one.update(cell_id=new), cells=1)
    copy.edit_about(
        lambda about: about.update(cells=[new if one == record.cell_id else one for one in about["cells"]])
    )


def pass_off(copy: Copy) -> None:
    """Make the records of two representations change places."""
    names = {"hidden": "random_projection", "random_projection": "hidden"}
    copy.edit(lambda one: one.update(representation=names.get(one["representation"], one["representation"])))


TAMPERINGS: dict[str, tuple[Act, str]] = {
    # predictions
    "a prediction": (forged(flip("prediction", 1), cells=1, with_record=False), "not those that were scored"),
    "a label": (forged(flip("label", 1), cells=1, with_record=False), "not those that were scored"),
    "a label of all cells": (forged(flip("label", 1)), "have another label than the data in 1 of"),
    "a row of all cells": (forged(lambda frame: frame.iloc[1:]), "lack 1 of the"),
    "a row twice": (forged(lambda frame: pd.concat([frame, frame.iloc[:1]]), cells=1), "an example twice"),
    "ids of other data": (
        forged(lambda frame: frame.assign(example_id=[f"{one}x" for one in frame["example_id"]])),
        "that are no test rows of the data",
    ),
    "a group of all cells": (
        forged(lambda frame: frame.assign(group=["g999", *frame["group"][1:]])),
        "have another group than the data in 1 of",
    ),
    "groups taken away": (forged(lambda frame: frame.drop(columns="group")), "have another group than"),
    "a class that the data has not": (
        forged(lambda frame: frame.assign(score_c=0.0)),
        "choose among a, b, c, and the data has a, b",
    ),
    # scores
    "a metric": (
        lambda copy: copy.edit(lambda one: one["metrics"]["macro_f1"].update(value=0.9), cells=1),
        "but its record says 0.9",
    ),
    "an unknown metric": (inside("metrics", f2={"value": 0.9}), "holds a metric that no cell has: f2"),
    "half an interval": (
        lambda copy: copy.edit(lambda one: one["metrics"]["macro_f1"].update(low=None), cells=1),
        "has half an interval of macro_f1",
    ),
    "an interval taken away": (
        lambda copy: copy.edit(
            lambda one: one["metrics"]["macro_f1"].update(low=None, high=None, method=""), cells=1
        ),
        "has no interval of macro_f1, and does not say why",
    ),
    "an interval said to be impossible": (
        lambda copy: copy.edit(
            lambda one: one["metrics"]["macro_f1"].update(low=None, high=None, method="none: too few"),
            cells=1,
        ),
        "allow an interval of macro_f1, and the record has none",
    ),
    "an interval upside down": (
        lambda copy: copy.edit(lambda one: one["metrics"]["macro_f1"].update(low=0.9, high=0.1), cells=1),
        "which no predictions give",
    ),
    "a score above one on validation": (inside("validation_metrics", macro_f1=1.5), "not between 0 and 1"),
    "what was chosen on": (edited(cells=1, selected_on="nothing"), "was chosen on nothing among 5 points"),
    # parameters
    "a parameter that was not tried": (inside("classifier_params", C=1e6), "has C=1000000.0, and classifier"),
    "a negative parameter": (inside("classifier_params", C=-1), "has C=-1, and classifier"),
    "a parameter of nobody": (inside("classifier_params", Z=1), "names the parameters C, Z, max_iter"),
    "NaN as a parameter": (inside("classifier_params", C=math.nan), "is not a valid record"),
    "infinity inside a parameter": (inside("classifier_params", C=[math.inf]), "is not a valid record"),
    "the points tried": (edited(cells=1, tried=1), "tried 1 points of a grid of 5"),
    # identity
    "a width": (edited("random_projection", width=7), "the record says width 7, and it is"),
    "a width taken away": (edited("random_projection", width=None), "says width None, and it is"),
    "the weights of the model": (
        lambda copy: copy.edit(lambda one: one.update(model_hash=one["model"] and "0" * 64)),
        "the record says model_hash",
    ),
    "the protocol": (edited(protocol_hash="0" * 64), "the record says protocol_hash"),
    "a control passed off": (pass_off, "other fields of the record: "),
    "a baseline": (edited("random_projection", baseline=True), "says baseline True, and it is False"),
    "an id of a cell": (rename, "the suite gives them other ids here"),
    # rows and flags
    "training rows": (edited(n_train=5), "the record says n_train 5, and the data has"),
    "validation rows": (edited(n_validation=500), "the record says n_validation 500, and"),
    "a flag": (edited(flags=[]), "the record lacks the flag 'leaks:2'"),
    "a count of cleaning": (inside("hygiene", leaks=0), "says hygiene.leaks 0, and it is 2"),
    "the data": (edited(data="0" * 64), "their fingerprints differ"),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_what_is_tampered_with_is_found_and_not_published(
    kind: str, tampered: Copy, honest: tuple[Session, Path], tmp_path: Path
) -> None:
    session, _ = honest
    act, said = TAMPERINGS[kind]
    act(tampered)
    faults = find_faults(tampered.run, session)
    assert any(said in fault for fault in faults), faults
    with pytest.raises((GateError, UnavailableError), match=r"cannot be published: |not a valid record"):
        publish(
            tampered.run, tmp_path / "board", name="x", registry=session.registry, included=session.included
        )
    assert not (tmp_path / "board").exists()


def unmark(copy: Copy) -> None:
    """Remove the marks of `-L` from the suite and the records."""
    copy.edit(lambda one: one.update(flags=[flag for flag in one["flags"] if flag != "limited"]))
    copy.edit_about(lambda about: about["suite"].update(limit=None))


def forget_command(copy: Copy) -> None:
    """Remove the marks of `-L` from the command lines too."""
    copy.edit_about(lambda about: about.update(argv=[]))
    path = copy.run.path / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**event, "argv": []}) + "\n" for event in events))


LIMITS: dict[str, tuple[list[Act], str]] = {
    "none": ([], "the run was limited with -L"),
    "in run.json": ([lambda copy: copy.edit_about(lambda one: one["suite"].update(limit=None))], "with -L"),
    "in the records": ([edited(flags=[])], "says that the run was limited, and 3 of its records do not"),
    "in both": ([unmark], "the run was started with -L, which neither its suite nor its records say"),
    "everywhere": ([unmark, forget_command], "has other rows in the run than in the data here"),
}


@pytest.mark.parametrize("removed", LIMITS)
def test_a_limited_run_is_known_whatever_mark_of_it_is_removed(
    removed: str, honest: tuple[Session, Path], tmp_path: Path
) -> None:
    session, place = honest
    copy = Copy(run=RunFolder(Path(shutil.copytree(place / "limited", tmp_path / "out"))))
    acts, said = LIMITS[removed]
    for act in acts:
        act(copy)
    faults = find_faults(copy.run, session)
    assert any(said in fault for fault in faults), faults


def test_the_command_publishes_nothing_of_a_tampered_run(
    tampered: Copy, honest: tuple[Session, Path], harness_command: Callable[..., Any]
) -> None:
    """Also where the data is not at hand, which a note says of a run without a fault."""
    told = harness_command("leaderboard", "publish", tampered.run.path, "-o", "board", "--name", "x")
    assert told.code == 0
    assert any("1 of 1 tasks were not compared with the data" in line for line in told.said)
    edited(cells=1, tried=1)(tampered)
    told = harness_command("leaderboard", "publish", tampered.run.path, "-o", "other", "--name", "x")
    assert (told.code, len(told.said)) == (4, 1)
    assert "tried 1 points of a grid of 5 (`harness validate" in told.said[0]
    assert not Path("other").exists()
