"""`harness validate`: each test breaks one thing, and that is what is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.api.events import Score
from harness.config.task_file import read_task
from harness.data.task import load_task
from harness.runs.folder import RunFolder
from harness.runs.record import Record, hash_predictions
from harness.stats.metrics import score
from harness.validation.cells import check_cell
from harness.validation.records import check_records

Change = Callable[[dict[str, Any]], Any]


# ── suites ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def validate(harness_command, toy_suite, toy_task):
    """The toy suite with some text replaced, validated: exit code and findings."""

    def call(old: str = "", new: str = "", *words: object):
        path = toy_suite.with_name("changed.yaml")
        path.write_text(toy_suite.read_text().replace(old, new) if old else toy_suite.read_text())
        told = harness_command("validate", path, "--include", toy_task, "--json", *words)
        return told.code, told.rows[0]["findings"]

    return call


def faults(findings: list[dict[str, str]], severity: str = "fault") -> list[str]:
    return [finding["sentence"] for finding in findings if finding["severity"] == severity]


def test_a_sound_suite_is_described_and_writes_nothing(
    validate, harness_command, toy_suite, toy_task, tmp_path
):
    code, findings = validate()
    assert code == 0
    assert [finding["severity"] for finding in findings] == ["note", "note"]
    assert findings[0]["sentence"] == "task 'toy_task': 40 examples, 2 classes; removed: nothing"
    assert findings[1]["sentence"] == "2 bundles, 2 cells"
    told = harness_command("validate", toy_suite, "--include", toy_task)
    assert told.out.splitlines()[-1] == f"{toy_suite}: nothing is wrong"
    assert not (tmp_path / "runs").exists()


BROKEN_SUITES = {
    "a field that is none": (
        "version: 1",
        "version: 1\npoolngs: [max]",
        "line 3: there is no field 'poolngs'",
    ),
    "a value of another type": ("seeds: 1", "seeds: many", "seeds"),
    "no YAML": ("seeds: 1", "seeds: [", "not valid YAML"),
    "a task": ("[toy_task]", "[toy_tusk]", "there is no task 'toy_tusk'"),
    "a representation": ("[hidden,", "[hiden,", "there is no representation 'hiden'"),
    "a pooling": ("[mean]", "[men]", "there is no pooling 'men'"),
    "a transform": ("[none]", "[nine]", "there is no transform 'nine'"),
    "a classifier": ("[logreg]", "[logregg]", "there is no classifier 'logregg'"),
    "a parameter": ("[logreg]", "[{name: logreg, c: 1}]", "has no parameter 'c'; it takes: C"),
    "a parameter of a representation": ("[hidden,", '["random_sae[kk=2]",', "has no parameter 'kk'"),
    "a site": ("resid_post.1", "resid_post.99", "its layers are 0 to"),
    "a site's form": ("resid_post.1", "layer one", "is not of the form KIND.LAYER"),
    "two names for one thing": ("[mean]", "[mean, mean]", "pooling 'mean' is given twice: on line "),
}


@pytest.mark.parametrize("case", BROKEN_SUITES)
def test_what_is_wrong_with_a_suite_is_found(validate, case):
    old, new, sentence = BROKEN_SUITES[case]
    code, findings = validate(old, new)
    assert code == 4
    assert len(faults(findings)) == 1
    assert sentence in faults(findings)[0]


def test_every_wrong_name_is_found_at_once(validate):
    code, findings = validate("[mean]\ntransforms: [none]", "[men]\ntransforms: [nine]")
    assert (code, len(faults(findings))) == (4, 2)


def test_data_that_cannot_be_had_is_missing_and_not_a_fault(validate, tmp_path):
    (tmp_path / "toy.jsonl").unlink()
    code, findings = validate()
    assert code == 3
    assert "there is no file" in faults(findings, "missing")[0]


def test_a_model_that_cannot_be_had_is_missing_and_the_rest_is_checked(validate):
    more = "{ref: no-such-org/none}, {ref: minigemma-s"
    code, findings = validate("{ref: minigemma-s", more)
    assert code == 3
    assert len(faults(findings, "missing")) == 1
    assert "no-such-org/none" in faults(findings, "missing")[0]
    assert len(faults(findings, "note")) == 2


def test_what_cleaning_removed_is_noted_and_with_strict_data_a_fault(validate, tmp_path):
    path = tmp_path / "toy.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    leak = {**rows[20], "split": "test"}
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, leak, {**rows[0], "text": " "}, rows[30]])
    )
    code, findings = validate()
    assert code == 0
    assert "removed: 1 empty, 1 duplicates, 1 leaks" in faults(findings, "note")[0]
    code, findings = validate("", "", "--strict-data")
    assert code == 4
    assert faults(findings) == ["task 'toy_task' has broken or leaking rows: 1 empty, 1 leaks"]


def test_strict_data_has_nothing_against_repeated_rows(validate, tmp_path):
    path = tmp_path / "toy.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[30] + "\n")
    code, findings = validate("", "", "--strict-data")
    assert code == 0
    assert "removed: 1 duplicates" in faults(findings, "note")[0]


def test_a_bundle_that_does_not_fit_this_machine_is_noted(validate, monkeypatch):
    import types

    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=1 << 20))
    code, findings = validate()
    assert code == 0
    assert any("is expected to take" in sentence for sentence in faults(findings, "note"))


def test_neither_a_suite_nor_a_run_is_said_to_be_neither(harness_command, tmp_path):
    assert harness_command("validate", "no_such_suite").code == 2
    assert harness_command("validate", "nowhere.yaml").code == 3
    told = harness_command("validate", ".")
    assert (told.code, told.said) == (3, ["harness: there is no run in '.'"])


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, `out`: two arms without a model, two seeds, on two tasks."""
    from harness.cli import execute

    place = tmp_path_factory.mktemp("finished")
    for name in ("one", "two"):
        rows = [
            {"text": f"{'warm' if i % 2 else 'cold'} {name} day {i}", "label": "ab"[i % 2]} for i in range(80)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = f"name: {name}\nsource: {{file: {name}.jsonl}}\nlicence: CC0\ncitation: none\n"
        (place / f"{name}.yaml").write_text(task)
    (place / "suite.yaml").write_text(
        "name: small\ntasks: [one, two]\nrepresentations: [text_length, majority]\nseeds: 2\n"
    )
    assert execute(command(place)) == 0
    return place


def command(place: Path, *more: str) -> list[str]:
    include = [word for name in ("one", "two") for word in ("--include", str(place / f"{name}.yaml"))]
    return ["run", str(place / "suite.yaml"), *include, "-o", str(place / "out"), "-d", "cpu", *more]


@pytest.fixture
def broken(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be broken."""
    return Path(shutil.copytree(finished / "out", tmp_path / "out"))


@pytest.fixture
def found(harness_command, broken):
    """What is found in the copy."""

    def call() -> list[str]:
        told = harness_command("validate", broken, "--json")
        sentences = faults(told.rows[0]["findings"])
        assert told.code == (4 if sentences else 0)
        return sentences

    return call


def change_record(run: Path, change: Change, line: int = 0) -> str:
    """Edit one line of results.jsonl; the cell it is of."""
    lines = (run / "results.jsonl").read_text().splitlines()
    record = json.loads(lines[line])
    cell = str(record["cell_id"])
    record = change(record) or record
    lines[line] = json.dumps(record)
    (run / "results.jsonl").write_text("\n".join(lines) + "\n")
    return cell


def change_run(run: Path, change: Change) -> None:
    about = json.loads((run / "run.json").read_text())
    change(about)
    (run / "run.json").write_text(json.dumps(about))


def change_predictions(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame], line: int = 0) -> str:
    cell = str(json.loads((run / "results.jsonl").read_text().splitlines()[line])["cell_id"])
    path = run / "predictions" / f"{cell}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    return cell


def test_a_whole_run_has_no_fault(found, harness_command, broken):
    assert found() == []
    note, last = harness_command("validate", broken).out.splitlines()
    assert "the rows of 2 of 2 tasks were not compared with the data, which is not at hand" in note
    assert last == f"{broken}: nothing is wrong"


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "auroc"])
def test_a_score_edited_by_hand_is_found(found, broken, metric):
    def edit(record: dict[str, Any]) -> None:
        record["metrics"][metric]["value"] += 2e-9

    cell = change_record(broken, edit)
    [sentence] = found()
    assert f"the predictions of cell '{cell}' give {metric} " in sentence


def test_what_is_only_rounding_is_no_fault(found, broken):
    def edit(record: dict[str, Any]) -> None:
        record["metrics"]["macro_f1"]["value"] += 1e-12

    change_record(broken, edit)
    assert found() == []


def test_a_record_that_is_none_is_found_by_its_line(found, broken):
    change_record(broken, lambda record: {**record, "seed": "none"}, line=2)
    [sentence] = found()
    assert "line 3 is not a valid record (seed: input should be a valid integer" in sentence


def test_a_cell_without_a_record_is_found(found, broken):
    results = broken / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    results.write_text("".join(lines[1:]))
    [sentence] = found()
    assert sentence == f"1 of 8 cells have no record, the first '{json.loads(lines[0])['cell_id']}'"


def test_a_cell_that_run_json_names_twice_is_found(found, broken):
    change_run(broken, lambda about: about["cells"].append(about["cells"][0]))
    assert "a cell stands twice in run.json" in found()


def test_a_failed_cell_is_found_with_its_error(found, broken):
    change_record(broken, lambda record: {**record, "status": "failed", "error": "E: no", "metrics": {}})
    assert found() == ["1 of 8 cells failed: E: no"]


def test_a_failed_cell_that_claims_scores_is_found(found, broken):
    cell = change_record(broken, lambda record: {**record, "status": "failed", "error": "E: no"})
    assert f"cell '{cell}' is failed, but its record holds scores" in found()


def test_a_good_end_without_scores_is_found(found, broken):
    cell = change_record(broken, lambda record: {**record, "metrics": {}})
    assert found() == [f"cell '{cell}' ended well, but its record lacks macro_f1 or accuracy"]


@pytest.mark.parametrize("status", ["interrupted", "stopped", "failed", "running"])
def test_a_run_that_has_not_come_to_its_end_is_found(found, broken, status):
    change_run(broken, lambda about: about.update(status=status))
    assert found() == [f"the run is {status}, not finished"]


def test_what_was_left_out_is_found(found, broken):
    change_run(broken, lambda about: about.update(left_out={"gone": "task 'gone' is not there"}))
    assert found() == ["'gone' was left out: task 'gone' is not there"]


def test_a_limited_run_is_refused_as_not_publishable(finished, tmp_path, harness_command):
    assert harness_command(*command(finished, "-L", "40", "-o", str(tmp_path / "limited"))).code == 0
    told = harness_command("validate", tmp_path / "limited")
    assert told.code == 4
    assert told.out.splitlines()[0] == "fault: the run was limited with -L, so it is not publishable"


def test_the_mark_of_a_limited_run_in_one_record_is_enough(found, broken):
    change_record(broken, lambda record: {**record, "flags": ["limited"]})
    assert found() == ["the run was limited with -L, so it is not publishable"]


@pytest.mark.parametrize("field", [{"suite": "other"}, {"task": "three"}, {"seed": 7}])
def test_a_record_of_another_suite_task_or_seed_is_found(found, broken, field):
    cell = change_record(broken, lambda record: {**record, **field})
    assert any(f"cell '{cell}' is of suite" in sentence for sentence in found())


def test_one_evaluation_under_two_cells_is_found(found, broken):
    record = json.loads((broken / "results.jsonl").read_text().splitlines()[0])
    with (broken / "results.jsonl").open("a") as file:
        file.write(json.dumps({**record, "cell_id": "copied"}) + "\n")
    shutil.copy(
        broken / "predictions" / f"{record['cell_id']}.parquet", broken / "predictions" / "copied.parquet"
    )
    change_run(broken, lambda about: about["cells"].append("copied"))
    assert found() == [f"cell 'copied' and cell '{record['cell_id']}' are the same evaluation"]


def test_a_line_that_a_later_one_supersedes_is_no_fault(found, broken):
    lines = (broken / "results.jsonl").read_text().splitlines(keepends=True)
    failed = json.dumps({**json.loads(lines[0]), "status": "failed", "error": "E", "metrics": {}})
    (broken / "results.jsonl").write_text(failed + "\n" + "".join(lines))
    assert found() == []


def test_a_task_with_two_sets_of_rows_is_found(found, broken):
    cell = change_record(broken, lambda record: {**record, "data": "other"}, line=1)
    assert any(f"cell '{cell}' was tested on other rows of " in sentence for sentence in found())


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_predictions_that_cannot_be_read_are_found(found, broken, damage):
    path = sorted((broken / "predictions").iterdir())[0]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    reason = "there is no such file" if damage == "gone" else "ArrowInvalid: "
    [sentence] = found()
    assert sentence.startswith(f"the predictions '{path}' are missing or damaged: {reason}")


def test_rows_that_are_not_those_of_the_other_cells_are_found(found, broken):
    def swap(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(example_id=[f"{name}x" for name in frame["example_id"]])

    cell = change_predictions(broken, swap, line=1)
    [sentence] = found()
    assert sentence.startswith(
        f"the predictions of cell '{cell}' are not those that were scored: their checksum"
    )
    change_record(broken, lambda record: {**record, "predictions_hash": None}, line=1)
    [sentence] = found()
    assert cell in sentence
    assert "were not tested on the same rows" in sentence


@pytest.mark.parametrize(
    "break_it",
    [lambda about: about.pop("cells"), lambda about: about["suite"].pop("tasks")],
    ids=["cells", "suite"],
)
def test_a_run_json_that_lacks_what_a_run_writes_is_found(found, broken, break_it):
    change_run(broken, break_it)
    [sentence] = found()
    assert "does not hold a suite and its cells" in sentence


@pytest.mark.parametrize("text", ["{", "{}", "[]", ""])
def test_a_damaged_run_json_is_no_run(harness_command, broken, text):
    (broken / "run.json").write_text(text)
    assert harness_command("validate", broken).code == 3


# ── runs and the data they were tested on ────────────────────────────────────────────────────────────────


@pytest.fixture
def with_data(finished, harness_command, broken):
    """What is found in the copy when the data is at hand: exit code and findings."""

    def call(place: Path = finished) -> tuple[int, list[dict[str, str]]]:
        include = [word for name in ("one", "two") for word in ("--include", place / f"{name}.yaml")]
        told = harness_command("validate", broken, *include, "--json")
        return told.code, told.rows[0]["findings"]

    return call


def change_all(run: Path, task: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the predictions of every cell of a task alike, with scores and checksums to match."""
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    for record in lines:
        if record["task"] == task:
            path = run / "predictions" / f"{record['cell_id']}.parquet"
            frame = change(pd.read_parquet(path)).reset_index(drop=True)
            frame.to_parquet(path, index=False)
            match_record(record, frame)
    (run / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))


def match_record(record: dict[str, Any], frame: pd.DataFrame) -> None:
    """Make a record say what its predictions give."""
    classes = [name.removeprefix("score_") for name in frame.columns if name.startswith("score_")]
    numbers = {name: number for number, name in enumerate(classes)}
    y, predicted = (frame[name].map(numbers).to_numpy() for name in ("label", "prediction"))
    scores = frame[[f"score_{name}" for name in classes]].to_numpy()
    record["metrics"] = {
        name: {**record["metrics"].get(name, {}), "value": found.value}
        for name, found in score(y, predicted, scores, weights=None).items()
    }
    record["predictions_hash"] = hash_predictions(frame["example_id"], frame["label"], frame["prediction"])
    record["n_test"] = len(frame)


def test_a_whole_run_is_true_to_its_data(with_data):
    assert with_data() == (0, [])


def test_labels_swapped_everywhere_alike_show_against_the_data_alone(with_data, found, broken):
    change_all(broken, "one", lambda frame: frame.assign(label=frame["label"].map({"a": "b", "b": "a"})))
    assert found() == []
    code, findings = with_data()
    n = next(record.n_test for record in RunFolder(broken).records() if record.task == "one")
    assert code == 4
    assert f"on task 'one' have another label than the data in {n} of {n} rows" in faults(findings)[0]


def test_rows_that_are_no_test_rows_show_against_the_data(with_data, found, broken, finished):
    examples = load_task(read_task(finished / "one.yaml")).examples
    learnt = [name for name, split in zip(examples.ids, examples.splits, strict=True) if split == "train"]
    labels = dict(zip(examples.ids, examples.labels, strict=True))

    def move(frame: pd.DataFrame) -> pd.DataFrame:
        rows = learnt[: len(frame)]
        return frame.assign(example_id=rows, label=[labels[row] for row in rows])

    change_all(broken, "one", move)
    assert found() == []
    code, findings = with_data()
    assert code == 4
    n = next(record.n_test for record in RunFolder(broken).records() if record.task == "one")
    assert (
        f"are of {n} rows that are no test rows of the data, {n} of them training rows" in faults(findings)[0]
    )


def test_test_rows_left_out_everywhere_alike_show_against_the_data(with_data, found, broken):
    change_all(broken, "two", lambda frame: frame.sort_values("example_id").iloc[1:])
    assert found() == []
    code, findings = with_data()
    assert code == 4
    assert "lack 1 of the" in faults(findings)[0]


def test_data_that_has_changed_since_is_found_by_its_fingerprint(with_data, finished, tmp_path):
    changed = Path(shutil.copytree(finished, tmp_path / "changed", ignore=shutil.ignore_patterns("out")))
    with (changed / "one.jsonl").open("a") as file:
        file.write(json.dumps({"text": "one more", "label": "a"}) + "\n")
    code, findings = with_data(changed)
    assert code == 4
    assert "task 'one' has other rows in the run than in the data here" in faults(findings)[0]
    assert not any("'two'" in sentence for sentence in faults(findings))


def forget_offers(run: Path) -> None:
    """Make the suite name what is not here, so that it cannot be planned and what a model reads is unknown."""
    change_run(run, lambda about: about["suite"].update(tokens="gone"))


def claim_unreadable(run: Path, task: str, rows: int, fingerprint: str | None = "of fewer rows") -> None:
    """Make every record of a task count so many more rows as empty, under another fingerprint."""

    def claim(record: dict[str, Any]) -> None:
        record["data"] = fingerprint
        record["hygiene"]["empty"] += rows

    for line, record in enumerate(RunFolder(run).records()):
        if record.task == task:
            change_record(run, claim, line)


def test_rows_that_no_model_could_read_leave_ids_and_labels_to_compare(with_data, broken):
    forget_offers(broken)
    claim_unreadable(broken, "one", 1)
    change_all(broken, "one", lambda frame: frame.sort_values("example_id").iloc[1:])
    code, [note, lacking] = with_data()
    assert (code, note["severity"]) == (0, "note")
    assert "there is no token set 'gone'" in lacking["sentence"]
    assert note["sentence"] == (
        "1 rows of task 'one', 1 of them test rows, are said to be unreadable by a model; only running it again tells"
    )
    change_all(broken, "one", lambda frame: frame.assign(label=frame["label"].map({"a": "b", "b": "a"})))
    code, findings = with_data()
    assert code == 4
    assert "have another label than the data" in faults(findings)[0]


def test_more_test_rows_left_out_than_are_said_to_be_unreadable_are_found(with_data, broken):
    forget_offers(broken)
    claim_unreadable(broken, "one", 2)
    change_all(broken, "one", lambda frame: frame.sort_values("example_id").iloc[3:])
    code, findings = with_data()
    assert (code, len(faults(findings))) == (4, 1)
    assert "lack 3 of the " in faults(findings)[0]
    assert faults(findings)[0].endswith("; 2 rows are said to be unreadable by a model")


def test_training_rows_said_to_be_unreadable_are_noted(with_data, broken):
    forget_offers(broken)
    claim_unreadable(broken, "one", 5)
    code, findings = with_data()
    assert code == 0
    assert "5 rows of task 'one', 0 of them test rows, are said to be" in faults(findings, "note")[0]


def test_rows_said_to_be_unreadable_by_some_cells_only_do_not_count(with_data, broken):
    forget_offers(broken)
    change_all(broken, "one", lambda frame: frame.sort_values("example_id").iloc[1:])

    def claim(record: dict[str, Any]) -> None:
        record["hygiene"]["empty"] += 99

    [line, *_] = [at for at, record in enumerate(RunFolder(broken).records()) if record.task == "one"]
    change_record(broken, claim, line)
    code, findings = with_data()
    assert (code, len(faults(findings))) == (4, 1)
    assert "lack 1 of the" in faults(findings)[0]


def test_rows_said_to_be_unreadable_under_the_fingerprint_of_all_rows_are_found(with_data, broken):
    [fingerprint] = {record.data for record in RunFolder(broken).records() if record.task == "one"}
    forget_offers(broken)
    claim_unreadable(broken, "one", 1, fingerprint)
    change_all(broken, "one", lambda frame: frame.sort_values("example_id").iloc[1:])
    code, findings = with_data()
    assert (code, len(faults(findings))) == (4, 1)
    assert "lack 1 of the" in faults(findings)[0]


def test_without_a_fingerprint_test_rows_are_compared_and_a_note_says_what_is_not(with_data, broken):
    forget_offers(broken)
    claim_unreadable(broken, "one", 0, None)
    code, [note, _] = with_data()
    assert (code, note["severity"]) == (0, "note")
    assert "task 'one' has no fingerprint in the run" in note["sentence"]
    change_all(broken, "one", lambda frame: frame.sort_values("example_id").iloc[1:])
    code, findings = with_data()
    assert (code, len(faults(findings))) == (4, 1)
    assert "lack 1 of the" in faults(findings)[0]


def test_a_task_of_another_version_is_not_compared(with_data, finished, tmp_path):
    changed = Path(shutil.copytree(finished, tmp_path / "changed", ignore=shutil.ignore_patterns("out")))
    with (changed / "one.yaml").open("a") as file:
        file.write("version: 2\n")
    code, findings = with_data(changed)
    assert code == 0
    assert "1 of 2 tasks were not compared with the data" in faults(findings, "note")[0]
    assert "task 'one' is of version 2 here, and of 1 in the run" in faults(findings, "note")[0]


@pytest.mark.parametrize("flag", ["leaks:3", "near-leaks:4", "shared-groups:2"])
def test_what_a_board_flags_is_noted_and_no_fault(found, harness_command, broken, flag):
    change_record(broken, lambda record: {**record, "flags": [flag]})
    assert found() == []
    assert (
        f"is flagged {flag}: so many test rows stand in training" in harness_command("validate", broken).out
    )


def test_a_cell_taken_out_of_records_and_run_json_alike_is_found(found, broken):
    lines = (broken / "results.jsonl").read_text().splitlines(keepends=True)
    gone = json.loads(lines[0])
    (broken / "results.jsonl").write_text("".join(lines[1:]))
    change_run(broken, lambda about: about["cells"].remove(gone["cell_id"]))
    [sentence] = found()
    assert f"'{gone['representation']}' lacks 1 of 4 cells, the first on task '{gone['task']}'" in sentence


def test_a_published_folder_is_compared_with_the_data_too(harness_command, finished, tmp_path):
    folder = tmp_path / "published"
    assert harness_command("leaderboard", "publish", finished / "out", "-o", folder).code == 0
    include = [word for name in ("one", "two") for word in ("--include", finished / f"{name}.yaml")]
    told = harness_command("validate", folder, *include)
    assert (told.code, told.out) == (0, f"{folder}: nothing is wrong\n")
    path = next(folder.glob("*.predictions.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    assert harness_command("validate", folder, *include).code == 4


# ── one cell ─────────────────────────────────────────────────────────────────────────────────────────────

LABELS = ["a", "b", "b", "a", "b", "a"]
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.4, 0.6]])


@pytest.fixture
def cell():
    """A record and its predictions, with scikit-learn's own scores."""
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    predicted = np.array(["a", "b"])[SCORES.argmax(axis=1)]
    y = np.array(LABELS) == "b"
    values = {
        "macro_f1": f1_score(LABELS, predicted, average="macro"),
        "accuracy": accuracy_score(LABELS, predicted),
        "auroc": roc_auc_score(y, SCORES[:, 1]),
    }
    fields = dict.fromkeys(
        ["model", "model_hash", "site", "representation_hash", "width", "pooling"], None
    ) | {
        "task_version": 1,
        "seed": 0,
        "n_train": 9,
        "n_test": 6,
        "n_features": 1,
        "status": "ok",
        "modality": "text",
    }
    fields |= {"selected_on": "nothing"}
    texts = ["suite", "task", "train_language", "test_language", "representation", "transform", "classifier"]
    record = Record(
        cell_id="c",
        metrics={name: Score(value=value) for name, value in values.items()},
        **dict.fromkeys(texts, "x"),
        **fields,
    )
    frame = pd.DataFrame(
        {
            "example_id": list("uvwxyz"),
            "label": LABELS,
            "prediction": predicted,
            "score_a": SCORES[:, 0],
            "score_b": SCORES[:, 1],
        }
    )
    return record, frame


def test_a_cell_with_the_scores_of_scikit_learn_is_sound(cell):
    assert check_cell(*cell) == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="label"), "lack the column label"),
        (lambda f: f.drop(columns=["score_a", "score_b"]), "lack the scores of the classes"),
        (lambda f: f.iloc[1:], "have 5 rows, but its record says 6"),
        (lambda f: f.assign(example_id=list("uuwxyz")), "hold an example twice"),
        (lambda f: f.assign(prediction=list("abcaba")), "name a class that it did not choose from"),
        (lambda f: f.assign(label=[None, *LABELS[1:]]), "name a class that it did not choose from"),
        (lambda f: f.assign(score_a=np.nan), "hold scores that are not finite"),
        (lambda f: f.assign(score_a=f["score_b"], score_b=f["score_a"]), "highest score in 6 rows"),
        (lambda f: f.assign(label=list("bbbaba")), "give macro_f1"),
    ],
)
def test_what_is_wrong_with_predictions_is_found(cell, change, sentence):
    record, frame = cell
    assert sentence in check_cell(record, change(frame))[0]


def test_two_records_of_one_cell_are_found(cell):
    record, _ = cell
    assert check_records([record]) == ()
    assert check_records([record, record]) == ("cell 'c' has 2 records",)


def test_without_scores_the_categories_of_the_label_are_the_classes(cell):
    record, frame = cell
    bare = frame.drop(columns=["score_a", "score_b"]).astype({"label": pd.CategoricalDtype(["a", "b"])})
    assert check_cell(record, bare) == ()
    wrong = bare.assign(prediction=["b", *bare["prediction"][1:]])
    assert {sentence.split(" give ")[1].split()[0] for sentence in check_cell(record, wrong)} == {
        "macro_f1",
        "accuracy",
    }
