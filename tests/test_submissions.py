"""Submissions: an honest one is added, each way to tamper with one is caught, and nothing that one names is opened."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

import harness
from harness.leaderboard import PublishedRun, check_published, publish
from harness.leaderboard.published.badge import badge_of
from harness.leaderboard.published.rerun_report import place_report
from harness.leaderboard.submissions import examine as module
from harness.leaderboard.submissions import files as submitted_files
from harness.leaderboard.submissions.examine import CHECKS, Examined, examine
from harness.leaderboard.submissions.summary import summarize
from harness.registry import loading
from harness.runs.folder import RunFolder
from harness.runs.record import hash_predictions
from harness.stats.metrics import accuracy, balanced_accuracy, macro_f1

LABELS = (1, 3, 4, 7, 8, 9)
SUITE = """name: toys
tasks: [toy]
models: [{{ref: minigemma-s, sites: [resid_post.0]}}]
representations: [{0}]
poolings: [mean]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of three reference entries, a submission with a dictionary beside them, and the runs of both."""
    home = tmp_path_factory.mktemp("made")
    rows = [
        {
            "text": f"{'warm' if i % 2 else 'cold'} day {i} " + "again " * (i % 7),
            "label": "ab"[i % 10 in LABELS],
        }
        for i in range(200)
    ]
    (home / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (home / "task.yaml").write_text(
        "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\n", "utf-8"
    )
    session = harness.open(device="cpu", include=[home / "task.yaml"], cache_dir=home / "cache")
    for name, arms in (
        ("board", "hidden, tfidf, majority"),
        ("mine", "hidden, tfidf, {name: random_sae, width: 96, k: 8}"),
    ):
        (home / f"{name}.yaml").write_text(SUITE.format(arms), "utf-8")
        session.run(home / f"{name}.yaml", output=home / f"run-{name}")
    publish(RunFolder(home / "run-board"), home / "boards" / "toys", name="first")
    publish(RunFolder(home / "run-mine"), home / "submission", name="mine")
    return home


@dataclass
class Place:
    """A copy of the board and of the submission, to be tampered with."""

    path: Path
    changed: list[str] = field(default_factory=list)

    @property
    def board(self) -> Path:
        return self.path / "boards" / "toys"

    @property
    def submission(self) -> Path:
        return self.path / "submission"

    @property
    def run(self) -> PublishedRun:
        return PublishedRun(self.submission / "mine.jsonl")

    def examine(self) -> Examined:
        stage = self.path / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        return examine([self.submission], self.board, stage)

    def edit_records(self, change: Callable[[dict[str, Any]], None]) -> None:
        lines = self.run.path.read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        for record in records:
            change(record)
        self.run.path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")

    def edit_facts(self, change: Callable[[dict[str, Any]], None]) -> None:
        facts = json.loads(self.run.files[2].read_text("utf-8"))
        change(facts)
        self.run.files[2].write_text(json.dumps(facts), "utf-8")

    def edit_predictions(self, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.run.files[1]
        table = pq.read_table(path)
        rows = table.to_pylist()
        for row in rows:
            change(row)
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)

    def make_consistent(self) -> None:
        """Give every record with predictions the scores and the checksum of these."""
        found: dict[str, dict[str, Any]] = {}
        for row in pq.read_table(self.run.files[1]).to_pylist():
            y = np.array([row["classes"].index(name) for name in row["label"]])
            for cell_id, named in zip(row["cell_id"], row["prediction"], strict=True):
                predicted = np.array([row["classes"].index(name) for name in named])
                found[cell_id] = {
                    "n_test": len(y),
                    "predictions_hash": hash_predictions(row["example_id"], row["label"], named),
                    "metrics": {
                        "macro_f1": macro_f1(y, predicted, n_classes=len(row["classes"])),
                        "accuracy": accuracy(y, predicted),
                        "balanced_accuracy": balanced_accuracy(y, predicted),
                    },
                }

        def follow(record: dict[str, Any]) -> None:
            if (own := found.get(record["cell_id"])) is not None:
                method = {"low": 0.0, "high": 1.0, "method": "made up"}
                metrics = {name: {"value": value, **method} for name, value in own["metrics"].items()}
                record.update({**own, "metrics": metrics})

        self.edit_records(follow)

    def cell(self, representation: str) -> str:
        return next(
            record.cell_id
            for record in self.run.records()
            if record.representation.startswith(representation)
        )


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    for name in ("boards", "submission"):
        shutil.copytree(made / name, tmp_path / name)
    return Place(tmp_path)


Harness = Callable[..., Any]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# ── an honest submission ─────────────────────────────────────────────────────────────────────────────────


def test_an_honest_submission_is_added_and_the_board_is_made_anew(
    place: Place, harness_command: Harness
) -> None:
    before = files(place.board)
    tried = harness_command("leaderboard", "add", place.submission, "--to", place.board, "--dry-run")
    assert tried.code == 0 and "without --dry-run it is added" in tried.err and files(place.board) == before
    done = harness_command("leaderboard", "add", place.submission, "--to", place.board, "--summary", "s.md")
    assert done.code == 0 and not done.out and "mine.jsonl" in done.err
    assert Path("s.md").read_text("utf-8") == tried.out
    assert {"first.jsonl", "mine.jsonl"} <= files(place.board).keys() and check_published(place.board) == ()
    for path in place.run.files:
        assert (place.board / path.name).read_bytes() == path.read_bytes()
    page = (place.board / "leaderboard.md").read_text("utf-8")
    assert "random_sae" in page and "random_sae" not in before["leaderboard.md"].decode()


def test_the_summary_says_what_was_checked_gained_and_not_proven(place: Place) -> None:
    examined = place.examine()
    text = summarize(examined)
    assert examined.faults == () and all(f"| {name} |" in text for name in CHECKS)
    assert "| minigemma-s | random_sae[width=96,k=8] | 96 |" in text and "no fault was found" in text
    assert (
        "does not prove that the predictions came from the model" in text and "no cell was run again" in text
    )
    assert "AUROC, scores on validation rows" in text


def test_a_run_folder_and_a_single_file_are_submissions_too(place: Place, made: Path, tmp_path: Path) -> None:
    for path in (made / "run-mine", place.run.path):
        examined = examine([path], place.board, tmp_path / path.name)
        assert examined.faults == () and len(examined.gained) == 1


def test_a_copy_of_the_board_with_the_new_run_is_a_submission_of_that_run(
    place: Place, harness_command: Harness
) -> None:
    for path in place.board.iterdir():
        if path.is_file():
            shutil.copy(path, place.submission)
    examined = place.examine()
    assert examined.faults == () and [entry.run.name for entry in examined.submitted.entries] == ["mine"]
    assert harness_command("leaderboard", "add", place.submission, "--to", place.board).code == 0
    assert any("that the board lacks" in sentence for sentence in place.examine().faults)  # all is there now


def test_the_first_submission_makes_the_board(place: Place, harness_command: Harness) -> None:
    done = harness_command("leaderboard", "add", place.submission, "--to", "new")
    assert done.code == 0 and "the board is empty" in done.out and check_published(Path("new")) == ()


def test_files_that_cannot_be_written_leave_the_board_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined, before = place.examine(), files(place.board)
    original, calls = Path.replace, []

    def fail(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(harness.UnavailableError, match="No space left"):
        module.add(examined)
    assert files(place.board) == before


# ── each way to tamper with one ──────────────────────────────────────────────────────────────────────────


def change_prediction(place: Place) -> None:
    place.edit_predictions(
        lambda row: row["prediction"][0].__setitem__(0, "b" if row["prediction"][0][0] == "a" else "a")
    )


def change_score(place: Place) -> None:
    place.edit_records(lambda record: record["metrics"]["macro_f1"].update(value=0.999, high=1.0))


def change_labels(place: Place) -> None:
    """Labels of the wrong rows of the dictionary become what it predicts: all scores are made to follow."""
    cell_id = place.cell("random_sae")
    place.edit_predictions(lambda row: row.update(label=row["prediction"][row["cell_id"].index(cell_id)]))
    place.make_consistent()


def drop_rows(place: Place) -> None:
    """The rows that the dictionary has wrong are left out, everywhere."""
    cell_id = place.cell("random_sae")

    def drop(row: dict[str, Any]) -> None:
        own = row["prediction"][row["cell_id"].index(cell_id)]
        kept = [at for at, name in enumerate(row["label"]) if own[at] == name]
        for name in ("example_id", "label"):
            row[name] = [row[name][at] for at in kept]
        row["prediction"] = [[each[at] for at in kept] for each in row["prediction"]]

    place.edit_predictions(drop)
    place.make_consistent()


def cheat_with_reference(place: Place) -> None:
    """Words are made to look useless, in predictions and scores."""
    cell_id = place.cell("tfidf")

    def spoil(row: dict[str, Any]) -> None:
        turned = ["b" if name == "a" else "a" for name in row["label"]]
        row["prediction"][row["cell_id"].index(cell_id)] = turned

    place.edit_predictions(spoil)
    place.make_consistent()


def rename_model(place: Place) -> None:
    place.edit_records(lambda record: record.update(model=record["model"] and "mine-7b"))


def submit_again(place: Place) -> None:
    for path in PublishedRun(place.board / "first.jsonl").files:
        shutil.copy(path, place.submission / path.name.replace("first", "again"))
    for path in place.run.files:
        path.unlink()


def take_a_name(place: Place) -> None:
    for path in place.run.files:
        path.rename(path.with_name(path.name.replace("mine", "first")))


def link(place: Place) -> None:
    place.run.files[1].rename(place.path / "elsewhere.parquet")
    place.run.files[1].symlink_to(place.path / "elsewhere.parquet")


def swell(place: Place) -> None:
    place.run.files[2].write_text(place.run.files[2].read_text("utf-8") + " " * 2_000_000, "utf-8")


def drop_baseline(place: Place) -> None:
    """The dictionary of another model, whose hidden states nobody ran."""
    lines = place.run.path.read_text("utf-8").splitlines(keepends=True)
    kept = [
        line.replace('"minigemma-s"', '"other"').replace('"model_hash":"', '"model_hash":"0')
        for line in lines
    ]
    kept = [line for line in kept if '"representation":"hidden"' not in line]
    place.run.path.write_text("".join(kept), "utf-8")
    place.edit_facts(lambda facts: facts.update(cells=len(kept)))


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Place], None]:
    return lambda place: place.edit_records(change)


def facts(change: Callable[[dict[str, Any]], None]) -> Callable[[Place], None]:
    return lambda place: place.edit_facts(change)


def with_file(name: str, content: bytes = b"x") -> Callable[[Place], None]:
    def put(place: Place) -> None:
        (place.submission / name).write_bytes(content)

    return put


FORM, VERSIONS, COVERAGE, DUPLICATES, SCORES, ROWS, REFERENCES = CHECKS[:7]
TAMPERED: dict[str, tuple[Callable[[Place], None], str, str]] = {
    "a prediction": (change_prediction, SCORES, "their checksum differs from the record's"),
    "a score": (change_score, SCORES, "but its record says 0.999"),
    "a reference entry, consistently": (
        cheat_with_reference,
        REFERENCES,
        "'tfidf' differs from the board in 1 of 1 cells",
    ),
    "labels": (change_labels, ROWS, "have another label in "),
    "hard rows left out": (drop_rows, ROWS, "that the board's entries were tested on"),
    "other data": (
        edited(lambda one: one.update(data="0" * 64)),
        ROWS,
        "task 'toy' has other rows than on the board",
    ),
    "a model under another name": (
        rename_model,
        DUPLICATES,
        "model 'mine-7b' is the same as 'minigemma-s', by its hash",
    ),
    "other weights under one name": (
        edited(lambda one: one.update(model_hash=one["model"] and "0" * 64)),
        DUPLICATES,
        "model 'minigemma-s' has other weights than on the board",
    ),
    "the same run again": (submit_again, DUPLICATES, "holds no cell, and no prediction, that '"),
    "a name that is taken": (take_a_name, FORM, "a run named 'first' is published already"),
    "a newer schema": (
        edited(lambda one: one.update(schema_version=99)),
        VERSIONS,
        "reads up to 2; update the harness here first",
    ),
    "a newer harness": (
        facts(lambda one: one["distributions"].update({"sae-harness": "99.0"})),
        VERSIONS,
        "newer than ",
    ),
    "a newer task": (
        edited(lambda one: one.update(task_version=2)),
        VERSIONS,
        "the board is to be made anew first",
    ),
    "an older task": (
        edited(lambda one: one.update(task_version=0)),
        VERSIONS,
        "run it again with a newer harness",
    ),
    "another grid": (
        edited(lambda one: one.update(protocol_hash="0" * 64)),
        VERSIONS,
        "was tried on another grid",
    ),
    "another task": (edited(lambda one: one.update(task="easy")), COVERAGE, "the board has no task easy"),
    "no hidden states": (drop_baseline, COVERAGE, "run 'hidden' of 'other' too"),
    "a dictionary as a baseline": (
        edited(lambda one: one.update(baseline=one["baseline"] or "sae" in one["representation"])),
        DUPLICATES,
        "is said to be a baseline, and the board's is hidden",
    ),
    "a toy as a real model": (
        edited(lambda one: one.update(toy=None if one["model"] is None else False)),
        DUPLICATES,
        "model 'minigemma-s' is a toy, or is none, otherwise than on the board",
    ),
    "fewer training rows": (edited(lambda one: one.update(n_train=9)), ROWS, "has 9, "),
    "a path of 10 kB in env.json": (
        facts(lambda one: one.update(cpu="x" * 10_000)),
        FORM,
        "a text has 10,000 letters",
    ),
    "a link": (link, FORM, "is a link"),
    "too large": (swell, FORM, "take over 2,000,000 bytes"),
    "a broken line": (
        lambda place: place.run.path.write_text("{}\n", "utf-8"),
        FORM,
        "is not a valid record",
    ),
    "no predictions": (lambda place: place.run.files[1].unlink(), FORM, "is missing"),
    "a day that is none": (
        facts(lambda one: one.update(finished="soon")),
        FORM,
        "on which machine it was made",
    ),
    "a start without a time": (
        facts(lambda one: one.update(starts=[{"os": "Linux"}])),
        FORM,
        "on which machine it was made",
    ),
    "a graphics card without a name": (
        facts(lambda one: one.update(gpu={"x": "y"})),
        FORM,
        "on which machine it was made",
    ),
    "more in env.json": (facts(lambda one: one.update(argv=["/home/me"])), FORM, "argv"),
    "fewer records": (
        facts(lambda one: one.update(cells=99)),
        FORM,
        "says 99 cells, and there are 3 records",
    ),
    "text of the data": (
        edited(lambda one: [used.update(snippets=["a text"]) for used in one["used"]]),
        FORM,
        "holds texts of the data",
    ),
    "a report of a rerun": (with_file("mine.rerun.json", b"{}"), FORM, "only the keepers of a board write"),
    "code": (with_file("plugin.py"), FORM, "is no part of a published run"),
    "a pickle": (with_file("model.pt"), FORM, "may hold a pickle"),
    "a pickle as predictions": (
        lambda place: place.run.files[1].write_bytes(pickle.dumps([1])),
        FORM,
        "holds a pickle or an archive",
    ),
    "a strange name": (with_file("a b.jsonl"), FORM, "no name that a published run can have"),
    "letters that cannot be seen": (
        edited(lambda one: one.update(classifier="log\u202ereg")),
        FORM,
        "the classifier 'log\\u202ereg' holds letters that cannot be seen",
    ),
    "an escape sequence": (
        edited(lambda one: one.update(site=one["site"] and "\x1b[31m")),
        FORM,
        "holds letters that cannot be seen",
    ),
    "a name of 10 kB": (
        edited(lambda one: one.update(representation="x" * 10_000)),
        FORM,
        "a representation has 10,000 letters",
    ),
}


@pytest.mark.parametrize("way", TAMPERED)
def test_what_is_tampered_with_is_caught_by_name(place: Place, way: str) -> None:
    tamper, check, said = TAMPERED[way]
    tamper(place)
    examined = place.examine()
    found = [finding.sentence for finding in examined.findings[check] if finding.severity == "fault"]
    assert any(said in sentence for sentence in found), examined.findings
    assert examined.board is None and str(place.path / "stage") not in " ".join(examined.faults)
    assert len(summarize(examined)) < 20_000
    with pytest.raises(harness.UsageError):
        module.add(examined)


def test_a_fault_ends_with_code_4_and_changes_nothing(place: Place, harness_command: Harness) -> None:
    change_score(place)
    before = files(place.board)
    refused = harness_command(
        "leaderboard", "add", place.submission, "--to", place.board, "--summary", "s.md"
    )
    assert (
        refused.code == 4 and "fault: the predictions of cell" in refused.err and files(place.board) == before
    )
    assert "it is not to be added" in Path("s.md").read_text("utf-8")


def test_links_to_a_submission_are_not_followed_and_a_path_to_nothing_is_refused(
    place: Place, harness_command: Harness
) -> None:
    (place.path / "link").symlink_to(place.submission)
    refused = harness_command("leaderboard", "add", place.path / "link", "--to", place.board)
    assert refused.code == 4 and "is a link" in refused.out
    assert harness_command("leaderboard", "add", "nowhere", "--to", place.board).code == 3
    assert (
        harness_command("leaderboard", "add", place.submission, "--to", place.board, "--seed", "1").code == 2
    )


@pytest.mark.parametrize(
    "name", ["<b onload=x>", "=1+1", "[a](javascript:b)", "a|b`c`", "![x](http://a.b/c)"]
)
def test_names_that_are_markup_are_text_in_the_summary(place: Place, name: str) -> None:
    arm = next(record.representation for record in place.run.records() if "sae" in record.representation)
    place.edit_records(
        lambda record: record.update(representation=name) if record["representation"] == arm else None
    )
    text = summarize(place.examine())
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert "<b" not in rendered and "<a " not in rendered and "<img" not in rendered
    assert name in rendered.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_two_names_for_one_dictionary_are_caught(place: Place) -> None:
    for path in place.run.files:
        shutil.copy(path, path.with_name(path.name.replace("mine", "again")))
    place.edit_records(
        lambda one: one.update(representation="better") if "sae" in one["representation"] else None
    )
    assert any(
        "representation 'better' is the same as 'random_sae[width=96,k=8]'" in sentence
        for sentence in place.examine().faults
    )


def test_a_file_of_too_many_values_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that repeats one value takes no room in a file."""
    monkeypatch.setattr(submitted_files, "VALUES", 100)
    assert any("values, and at most 100 are read" in sentence for sentence in place.examine().faults)


def test_texts_that_repeat_are_measured_before_they_are_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long text that a million rows share takes no room in the file."""
    monkeypatch.setattr(submitted_files, "TEXTS", 100_000)
    assert place.examine().faults == ()
    place.edit_predictions(lambda row: row.update(example_id=["x" * 10_000] * len(row["example_id"])))
    assert any("bytes, and at most 100,000 are read" in sentence for sentence in place.examine().faults)


def test_a_row_of_the_board_that_changes_is_named(place: Place) -> None:
    cell_id = place.cell("hidden")

    def change(row: dict[str, Any]) -> None:
        own = row["prediction"][row["cell_id"].index(cell_id)]
        at = next(at for at, name in enumerate(own) if name == row["label"][at])
        own[at] = "b" if own[at] == "a" else "a"

    place.edit_predictions(change)
    place.make_consistent()
    examined = place.examine()
    assert examined.faults == ()
    said = [finding.sentence for findings in examined.findings.values() for finding in findings]
    assert any(
        "the row 'minigemma-s hidden' that the board has changes: its macro-F1 was" in one for one in said
    )
    assert any("on these test rows that may be chance" in one for one in said)


# ── nothing that a submission names is opened ────────────────────────────────────────────────────────────

_heard: list[tuple[str, str]] = []
_is_listening = [False]
_is_installed: list[bool] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _is_listening[0] and event in (
        "open",
        "import",
        "socket.connect",
        "socket.getaddrinfo",
        "subprocess.Popen",
    ):
        _heard.append((event, repr(arguments)))


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str]]]:
    """Record all that Python opens, imports, connects to and starts during the test."""
    if not _is_installed:
        sys.addaudithook(_listen)  # it stays for ever, and hears nothing between these tests
        _is_installed.append(True)
    yield _heard
    _is_listening[0] = False


def name_evil(place: Place) -> None:
    """Names of the submission that would be harmful, were they more than text."""
    evil = place.path / "evil"
    evil.mkdir()
    for name in ("config.json", "plugin.py", "task.yaml", "cfg.json", "sae_weights.safetensors"):
        (evil / name).write_text("raise SystemExit", "utf-8")
    dictionary = f"sae[path={evil}]"

    def rename(record: dict[str, Any]) -> None:
        if record["model"]:
            record.update(model=str(evil), model_hash="0" * 64)
        if "sae" in record["representation"]:
            record.update(representation=dictionary, dictionary=str(evil / "cfg.json"))
        record["origins"] = dict.fromkeys(record["origins"], "evil_plugin 1.0")

    place.edit_records(rename)

    def rewrite(one: dict[str, Any]) -> None:
        one["suite"]["models"] = [{"ref": str(evil), "sites": ["resid_post.0"]}]
        one["suite"]["representations"] = ["hidden", "tfidf", dictionary]
        one["plugins"] = {"evil_plugin": "evil-plugin 1.0"}

    place.edit_facts(rewrite)
    _heard.clear()
    _is_listening[0] = True


def test_nothing_that_a_submission_names_is_opened_imported_or_fetched(
    place: Place, heard: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, harness_command: Harness
) -> None:
    name_evil(place)

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("a plugin would have been loaded")

    monkeypatch.setattr(loading, "load_plugins", refuse)
    done = harness_command("leaderboard", "add", place.submission, "--to", place.board, "--dry-run")
    assert done.code == 0, done.out
    assert [each for each in heard if "evil" in each[1] or each[0] not in ("open", "import")] == []


def test_a_fresh_process_loads_no_plugin_and_no_model_library(place: Place) -> None:
    name_evil(place)
    (place.path / "evil_plugin.py").write_text(f"open({str(place.path / 'ran')!r}, 'w')", "utf-8")
    code = (
        "import sys; from harness.cli import execute\n"
        f"code = execute(['leaderboard', 'add', {str(place.submission)!r}, '--to', {str(place.board)!r}])\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(code, sorted(each for each in loaded if each.startswith(('harness_', 'torch', 'transf', 'evil'))))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(place.path)])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert not (place.path / "ran").exists()


@pytest.mark.parametrize(
    "parameter", ["path={evil}", "path=../evil", "path=hf://evil/it", "k=\n- &a\n  - x\n- &b\n  - *a\n  - *a"]
)
def test_a_dictionary_with_a_path_among_its_parameters_is_not_looked_up(
    place: Place, made: Path, heard: list[tuple[str, str]], harness_command: Harness, parameter: str
) -> None:
    """The name is that of an installed offer; what is given to it is the submission's."""
    given = f"random_sae[{parameter.format(evil=place.path / 'evil')}]"
    place.edit_records(lambda one: one.update(classifier="logreg"))
    place.edit_facts(lambda one: one["suite"].update(representations=["hidden", "tfidf", given]))
    _heard.clear()
    _is_listening[0] = True
    done = harness_command(
        "leaderboard", "add", place.submission, "--to", place.board, "--rerun", "1", "--include", made / "task.yaml"
    )  # fmt: skip
    assert done.code == 4 and (
        "no plugin here offers the representation" in done.out or "cannot be seen" in done.out
    )
    assert [each for each in heard if "evil" in each[1] or each[0].startswith("socket")] == []


def test_no_cell_is_run_again_of_what_only_the_submission_names(
    place: Place, made: Path, heard: list[tuple[str, str]], harness_command: Harness
) -> None:
    name_evil(place)
    done = harness_command(
        "leaderboard", "add", place.submission, "--to", place.board, "--rerun", "3", "--include", made / "task.yaml"
    )  # fmt: skip
    assert done.code == 4 and "no plugin here offers the model" in done.out
    assert [each for each in heard if "evil" in each[1] or each[0].startswith("socket")] == []


# ── cells run again ──────────────────────────────────────────────────────────────────────────────────────


def rerun(place: Place, made: Path, harness_command: Harness, *more: object) -> Any:
    words = ("--rerun", "1", "--include", made / "task.yaml", "-d", "cpu", *more)
    return harness_command("leaderboard", "add", place.submission, "--to", place.board, *words)


def test_a_cell_run_again_gives_the_badge_and_is_stored_with_its_seed(
    place: Place, made: Path, harness_command: Harness
) -> None:
    done = rerun(place, made, harness_command)
    assert done.code == 0, done.err
    run = PublishedRun(place.board / "mine.jsonl")
    report = json.loads(place_report(run.path).read_text("utf-8"))
    assert badge_of(run).kind == "rerun" and check_published(place.board) == ()
    assert str(report["seed"]) in done.out and "a seed that the submitter could not know" in done.out
    assert [each["cell_id"] for each in report["cells"]] == [place.cell("random_sae")]  # all else is known
    assert report["here"]["versions"]["torch"] and report["submitted"]["hardware"]["cpu"]


def test_predictions_made_up_with_their_scores_are_caught_by_a_rerun_alone(
    place: Place, made: Path, harness_command: Harness
) -> None:
    cell_id = place.cell("random_sae")
    place.edit_predictions(
        lambda row: row["prediction"].__setitem__(row["cell_id"].index(cell_id), row["label"])
    )
    place.make_consistent()
    assert place.examine().faults == ()
    before = files(place.board)
    caught = rerun(place, made, harness_command, "--seed", 7)
    assert caught.code == 4 and "run again, differs in" in caught.out and "(7)" in caught.out
    assert files(place.board) == before


def test_a_score_above_all_others_is_named_and_not_refused(place: Place) -> None:
    cell_id = place.cell("random_sae")
    place.edit_predictions(
        lambda row: row["prediction"].__setitem__(row["cell_id"].index(cell_id), row["label"])
    )
    place.make_consistent()
    examined = place.examine()
    (note,) = examined.findings[CHECKS[7]]
    assert note.severity == "note" and "has macro-F1 1.000, and the best of the board" in note.sentence
