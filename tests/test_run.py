"""Suites run by command: what a run leaves on disk, what it does not do twice, and what a failure does not end."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from harness.cli import execute
from harness.runs.folder import RunFolder
from harness.runs.lines import SCHEMA_VERSION
from harness.runs.record import Record

WEIGHTS = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights" / "minigemma-s"
SECRET = "hf_thisisasecrettokenthatmustnotbewritten"

COLOURS = ["red", "green", "blue", "white", "black", "brown", "pink"]
THINGS = ["door", "car", "shoe", "lamp", "cup", "coat", "chair", "wall"]

SUITE = """
name: tiny
tasks: [toy]
models: [{ref: MODEL, sites: [resid_post.1]}]
representations: [hidden, "random_sae[width=96,k=8]", tfidf, majority]
poolings: [mean, max]
transforms: [none]
classifiers: [{name: logreg, C: 10.0}]
seeds: 2
"""
N_CELLS = 2 * (2 * 2 + 2)


def rows_of(n: int = 90) -> list[dict[str, str]]:
    """Short texts whose label is told by one word; a fifth are test rows."""
    return [
        {
            "text": f"the {COLOURS[i % 7]} {THINGS[i % 8]} is {'nice' if i % 3 else 'broken'} number {i}",
            "label": "good" if i % 3 else "bad",
            "split": "test" if i % 5 == 0 else "train",
        }
        for i in range(n)
    ]


@dataclass
class Workplace:
    """A folder with a task, a suite and a cache, and the command line in it."""

    path: Path
    suite: str = SUITE.replace("MODEL", "minigemma-s")

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "suite.yaml").write_text(self.suite)
        (self.path / "task.yaml").write_text(
            "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\n"
        )
        self.write(rows_of())

    def write(self, rows: Sequence[dict[str, str]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.path / "data.jsonl").write_text(text)

    def run(self, output: str = "run", *more: str, plugins: Sequence[str] = (), cache: str = "cache") -> int:
        """`harness run` into a folder here; its exit code."""
        named = [part for name in plugins for part in ("-p", name)]
        places = ["-o", self.path / output, "--cache-dir", self.path / cache, "-d", "cpu"]
        files = [self.path / "suite.yaml", "--include", self.path / "task.yaml"]
        return execute([str(part) for part in (*named, "run", *files, *places, *more)])

    def folder(self, output: str = "run") -> RunFolder:
        return RunFolder(self.path / output)

    def events(self, output: str = "run") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / output / "events.jsonl").read_text().splitlines()]


def fields(record: Record) -> dict[str, Any]:
    """What must be equal in two runs: all but what it cost."""
    return record.model_dump(exclude={"cost"})


def assert_equal_runs(one: RunFolder, two: RunFolder, tolerance: float = 0.0) -> None:
    first, second = ({record.cell_id: record for record in run.records()} for run in (one, two))
    assert first.keys() == second.keys()
    for cell_id, record in first.items():
        other = second[cell_id]
        assert record.status == other.status == "ok"
        for name, metric in record.metrics.items():
            assert metric.value == pytest.approx(other.metrics[name].value, abs=tolerance)
        if tolerance == 0.0:
            assert fields(record) == fields(other)
        a, b = one.predictions(cell_id), two.predictions(cell_id)
        named = ["example_id", "label", "prediction"]
        pd.testing.assert_frame_equal(a[named], b[named])
        np.testing.assert_allclose(
            a.drop(columns=named).to_numpy(), b.drop(columns=named).to_numpy(), rtol=0, atol=tolerance
        )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The tiny suite, run once."""
    place = Workplace(tmp_path_factory.mktemp("work") / "place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", SECRET)
        patch.delenv("HARNESS_DATA_DIR", raising=False)
        assert place.run() == 0
    return place


@pytest.fixture
def no_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no model can be loaded."""

    def refuse(self: Any, *arguments: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("harness_transformers.model.TransformersModel.load", refuse)


# ── what a run leaves ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_leaves_these_files(done: Workplace) -> None:
    run = done.path / "run"
    names = {path.name for path in run.iterdir()}
    assert {"run.json", "env.json", "results.jsonl", "predictions", "events.jsonl"} <= names
    assert {"leaderboard.md", "leaderboard.csv"} <= names
    assert not [path for path in run.rglob("*") if path.name.startswith(".tmp")]
    assert (run / "results.jsonl").read_text().count("\n") == N_CELLS
    assert len(list((run / "predictions").iterdir())) == N_CELLS


def test_run_json_holds_the_resolved_suite_and_the_status(done: Workplace) -> None:
    about = json.loads((done.path / "run" / "run.json").read_text())
    assert about["schema_version"] == SCHEMA_VERSION
    assert about["status"] == "finished"
    assert about["suite"]["seeds"] == [0, 1]
    assert about["suite"]["models"] == [{"ref": "minigemma-s", "sites": ["resid_post.1"]}]
    assert about["started"] <= about["finished"]
    assert len(about["cells"]) == N_CELLS


def test_env_json_holds_versions_and_neither_paths_nor_secrets(done: Workplace) -> None:
    text = (done.path / "run" / "env.json").read_text()
    environment = json.loads(text)
    assert environment["distributions"]["scikit-learn"]
    assert environment["plugins"]["classifiers"].startswith("sae-harness ")
    assert environment["python"] == platform.python_version()
    assert environment["device"] == "cpu"
    for private in (SECRET, str(Path.home()), str(done.path), str(Path.cwd()), "/site-packages"):
        assert private not in text


def test_a_plugin_left_out_is_named_in_env_json_without_a_path(
    done: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacks_a_name.py").write_text("from json import no_such_name\n")  # its message holds a path
    monkeypatch.syspath_prepend(tmp_path)
    assert done.run("left-out", plugins=["lacks_a_name"]) == 0
    text = (done.path / "left-out" / "env.json").read_text()
    (left_out,) = json.loads(text)["left_out"]
    assert "lacks_a_name" in left_out
    assert "no_such_name" in left_out
    assert "json/__init__.py" not in text


def test_a_record_has_every_field_of_the_schema(done: Workplace) -> None:
    wanted = (
        "schema_version, cell_id, status, error, suite, task, task_version, modality, train_language, "
        "test_language, model, model_hash, site, representation, representation_hash, width, pooling, "
        "transform, classifier, classifier_params, seed, selected_on, metrics, validation_metrics, n_train, "
        "n_validation, n_test, n_features, hygiene, fidelity, cost, flags, origins"
    )
    for line in (done.path / "run" / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert record.keys() >= set(wanted.split(", "))
        assert record["metrics"].keys() >= {"macro_f1", "accuracy", "auroc"}
        assert all(
            metric.keys() == {"value", "low", "high", "method"} for metric in record["metrics"].values()
        )
        assert record["hygiene"].keys() == {
            "duplicates",
            "leaks",
            "conflicts",
            "cut",
            "empty",
            "broken",
            "faults",
            "normalised",
            *("near_leaks", "near_opposite", "fuzzy_leaks", "fuzzy_opposite", "drawn", "drawn_from"),
        }
        assert record["fidelity"].keys() >= {"verdict", "explained_variance", "l0", "published_l0"}
        assert record["cost"].keys() >= {"tokens", "tokens_per_s", "seconds", "peak_memory"}


def test_the_fields_of_a_record_are_filled(done: Workplace) -> None:
    records = done.folder().records()
    sae = next(record for record in records if record.representation.startswith("random_sae"))
    assert (sae.model, sae.site, sae.width, sae.n_features) == ("minigemma-s", "resid_post.1", 96, 96)
    assert sae.representation == "random_sae[width=96,k=8]"
    assert sae.classifier == "logreg(C=10.0)"
    assert sae.classifier_params == {"C": 10.0, "max_iter": 1000}
    assert sae.pooling in {"mean", "max"}
    assert sae.train_language == sae.test_language == "en"
    assert (sae.selected_on, sae.n_validation, sae.tried) == ("folds", 0, 1)
    assert sae.n_train + sae.n_test < 90
    assert sae.cost.tokens > 0
    assert sae.cost.peak_memory > 0
    assert sae.origins["model"].startswith("minigemma sae-harness ")
    bound = sae.metrics["macro_f1"]
    assert bound.low is not None
    assert bound.high is not None
    assert bound.low <= bound.value <= bound.high
    words = next(record for record in records if record.representation == "tfidf")
    assert (words.model, words.model_hash, words.site, words.pooling) == (None, None, None, None)
    assert words.metrics["macro_f1"].value > 0.9  # one word tells the label


def test_predictions_belong_to_their_record(done: Workplace) -> None:
    from sklearn.metrics import f1_score

    for record in done.folder().records():
        frame = done.folder().predictions(record.cell_id)
        assert list(frame.columns) == ["example_id", "label", "prediction", "score_bad", "score_good"]
        assert len(frame) == record.n_test
        scores = frame[["score_bad", "score_good"]].to_numpy()
        assert np.isfinite(scores).all()
        assert (np.array(["bad", "good"])[scores.argmax(axis=1)] == frame["prediction"]).all()
        assert f1_score(frame["label"], frame["prediction"], average="macro") == pytest.approx(
            record.metrics["macro_f1"].value, abs=1e-12
        )


def test_all_arms_share_their_rows(done: Workplace) -> None:
    records = done.folder().records()
    first = done.folder().predictions(records[0].cell_id)
    for record in records:
        frame = done.folder().predictions(record.cell_id)
        pd.testing.assert_frame_equal(frame[["example_id", "label"]], first[["example_id", "label"]])
    for seed in (0, 1):
        assert len({(r.n_train, r.n_validation, r.n_test) for r in records if r.seed == seed}) == 1


def test_a_row_without_content_for_the_model_is_left_out_of_every_arm(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place")
    place.write([*rows_of(), {"text": "\u200b", "label": "bad", "split": "test"}])
    assert place.run("run", "--seeds", "1") == 0
    assert len({record.n_test for record in place.folder().records()}) == 1


def test_events_tell_of_one_forward_pass(done: Workplace) -> None:
    forwards = [event for event in done.events() if event["event"] == "forward"]
    assert len(forwards) == 1
    assert forwards[0]["batches"] == forwards[0]["of"] > 0


def test_the_leaderboard_names_every_row(done: Workplace) -> None:
    board = pd.read_csv(done.path / "run" / "leaderboard.csv")
    assert set(board["representation"]) == {"hidden", "random_sae[width=96,k=8]", "tfidf", "majority"}
    assert (board["suite"] == "tiny").all()
    text = (done.path / "run" / "leaderboard.md").read_text()
    assert "random_sae" in text
    assert "tfidf" in text


# ── what is not done twice ───────────────────────────────────────────────────────────────────────────────


def test_the_same_command_again_does_nothing(
    done: Workplace, no_forward: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (done.path / "run" / "results.jsonl").read_bytes()
    events = done.events()
    assert done.run("run", "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["tokens"], summary["ok"], summary["failed"]) == (0, N_CELLS, 0)
    assert (done.path / "run" / "results.jsonl").read_bytes() == before
    assert [event["event"] for event in done.events()[len(events) :]] == ["started", "ended"]


def test_another_run_reads_the_features_of_the_first(done: Workplace, no_forward: None) -> None:
    assert done.run("other") == 0
    assert_equal_runs(done.folder(), done.folder("other"))
    costs = [
        {r.cell_id: r.cost.model_dump(exclude={"probe_seconds"}) for r in done.folder(name).records()}
        for name in ("run", "other")
    ]
    assert costs[0] == costs[1]  # what the features cost when they were made


def test_a_twin_with_a_cache_of_its_own_has_the_same_numbers(done: Workplace) -> None:
    assert done.run("twin", cache="twin-cache") == 0
    assert_equal_runs(done.folder(), done.folder("twin"), tolerance=1e-12)


def test_another_batch_size_changes_no_prediction(done: Workplace) -> None:
    assert done.run("batches", "-b", "7", cache="batch-cache") == 0
    assert_equal_runs(done.folder(), done.folder("batches"), tolerance=1e-4)


def test_a_transform_sees_one_form_of_rows_wherever_shards_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = SUITE.replace("MODEL", "minigemma-s").replace(
        '[hidden, "random_sae[width=96,k=8]", tfidf, majority]', '["random_sae[width=96,k=16]"]'
    )
    suite = suite.replace("transforms: [none]", "transforms: [standardize]")
    place = Workplace(tmp_path / "place", suite=suite)
    assert place.run("one", cache="one-cache") == 0
    monkeypatch.setattr("harness.runs.forward.FLUSH_ROWS", 4)
    assert place.run("many", "-b", "4", cache="many-cache") == 0
    kinds = {
        "dense" in safe_open(path, framework="numpy").keys()  # noqa: SIM118 - not a mapping
        for path in place.path.glob("many-cache/features/*/*.safetensors")
    }
    assert kinds == {True, False}, "the rows are about as dense as pays"
    assert_equal_runs(place.folder("one"), place.folder("many"), tolerance=1e-4)


def test_a_resumed_pass_does_not_pass_its_remainder_for_the_whole_cost(
    done: Workplace, tmp_path: Path
) -> None:
    place = Workplace(tmp_path / "place")
    assert place.run("one") == 0
    shards = sorted(place.path.glob("cache/features/*/*.safetensors"))
    whole = {record.cell_id: record.cost for record in place.folder("one").records()}
    assert all(cost.tokens for cell, cost in whole.items() if cost.tokens_per_s)
    for path in shards[:1]:
        path.unlink()
        (path.parent / "complete.json").unlink()
    assert place.run("two") == 0
    again = {record.cell_id: record.cost for record in place.folder("two").records()}
    assert {cost.tokens for cost in again.values()} <= {0, *(cost.tokens for cost in whole.values())}


def test_a_folder_of_another_suite_is_refused(done: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert done.run("run", "--seeds", "3") == 2
    said = capsys.readouterr().err
    assert "holds a run of another suite (it differs in seeds" in said
    assert len(done.folder().records()) == N_CELLS


def test_cells_of_data_that_has_changed_are_not_on_the_board(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place", suite=SUITE.replace("MODEL", "minigemma-s").replace("tfidf, ", ""))
    assert place.run("run") == 0
    old = {record.cell_id for record in place.folder().records()}
    place.write(rows_of(80))
    assert place.run("run") == 0
    records = place.folder().records()
    assert len(records) == len(old)
    assert not old & {record.cell_id for record in records}
    assert {record.n_test for record in records} == {sum(row["split"] == "test" for row in rows_of(80))}
    assert (place.path / "run" / "results.jsonl").read_text().count("\n") == 2 * len(old)


# ── what a failure does not end ──────────────────────────────────────────────────────────────────────────

PLUGIN = """
import harness

class Bad:
    def fit(self, X, y):
        raise RuntimeError("cannot be fitted today\\nsecond line")

    def predict_proba(self, X):
        return X

class Hot(Bad):
    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        import numpy
        return numpy.full((X.shape[0], 2), numpy.nan)

@harness.hookimpl
def harness_classifiers():
    return [
        harness.ClassifierSpec(name="bad", summary="fails", make=lambda: Bad()),
        harness.ClassifierSpec(name="hot", summary="scores NaN", make=lambda: Hot()),
    ]
"""


def test_a_classifier_that_fails_loses_its_own_cells_only(
    done: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad_classifiers.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    changed = ["--set", "classifiers=[logreg, bad, hot]", "--seeds", "1"]
    assert done.run("bad", *changed, plugins=["bad_classifiers"]) == 1
    records = done.folder("bad").records()
    by_classifier = {name: [r for r in records if r.classifier == name] for name in ("logreg", "bad", "hot")}
    assert {len(found) for found in by_classifier.values()} == {N_CELLS // 2}
    assert {r.status for r in by_classifier["logreg"]} == {"ok"}
    assert {(r.status, r.error) for r in by_classifier["bad"]} == {
        ("failed", "RuntimeError: cannot be fitted today")
    }
    said = "PluginResultError: classifier 'hot' (bad_classifiers@"
    assert {(r.status, str(r.error)[: len(said)]) for r in by_classifier["hot"]} == {("failed", said)}
    assert not any(r.metrics for r in by_classifier["bad"])
    assert json.loads((done.path / "bad" / "run.json").read_text())["status"] == "failed"
    assert len(list((done.path / "bad" / "predictions").iterdir())) == N_CELLS // 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert f"{N_CELLS // 2} cells, {N_CELLS} failed" in captured.out


def test_a_model_with_broken_weights_loses_its_own_cells_only(tmp_path: Path) -> None:
    broken = tmp_path / "broken-model"
    shutil.copytree(WEIGHTS, broken)
    weights = broken / "model.safetensors"
    whole = weights.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    weights.write_bytes(whole[:header] + b"\xff" * (len(whole) - header))  # NaN everywhere
    suite = SUITE.replace(
        "[{ref: MODEL, sites: [resid_post.1]}]",
        f"[{{ref: '{broken}', sites: [resid_post.1], max_length: 200}}, {{ref: minigemma-s, sites: [resid_post.1]}}]",
    )
    place = Workplace(tmp_path / "place", suite=suite)
    assert place.run("run", "--seeds", "1") == 1
    records = place.folder().records()
    lost = [record for record in records if str(broken) in str(record.model)]
    assert len(lost) == 4
    assert {record.status for record in lost} == {"failed"}
    assert all("not finite" in str(record.error) for record in lost)
    assert {record.status for record in records if record not in lost} == {"ok"}
    assert (place.path / "run" / "leaderboard.md").is_file()

    weights.write_bytes(whole)  # other weights are other cells: the failed ones are no longer the run's
    assert place.run("run", "--seeds", "1") == 0
    assert {record.status for record in place.folder().records()} == {"ok"}


def test_a_failed_cell_is_tried_again_and_its_last_line_counts(
    done: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = (
        "import harness\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "class Sick(LogisticRegression):\n"
        "    well = False\n"
        "    def fit(self, X, y, sample_weight=None):\n"
        "        if not type(self).well:\n"
        "            raise RuntimeError('sick')\n"
        "        return super().fit(X, y)\n"
        "@harness.hookimpl\n"
        "def harness_classifiers():\n"
        "    return [harness.ClassifierSpec(name='sick', summary='', make=lambda: Sick())]\n"
    )
    (tmp_path / "sick_classifier.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    changed = ["--set", "classifiers=[sick]", "--seeds", "1"]
    assert done.run("sick", *changed, plugins=["sick_classifier"]) == 1
    import sick_classifier  # type: ignore[import-not-found]

    monkeypatch.setattr(sick_classifier.Sick, "well", True)
    assert done.run("sick", *changed, plugins=["sick_classifier"]) == 0
    assert {record.status for record in done.folder("sick").records()} == {"ok"}
    assert (done.path / "sick" / "results.jsonl").read_text().count("\n") == N_CELLS


def test_training_rows_that_cannot_be_split_are_left_out_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Workplace(tmp_path / "place", suite=SUITE.replace("MODEL", "minigemma-s"))
    rows = [{**row, "group": "one" if row["split"] == "train" else row["text"]} for row in rows_of(20)]
    place.write(rows)
    with (place.path / "task.yaml").open("a") as file:
        file.write("columns: {group: group}\n")
    assert place.run("run", "--seeds", "1") == 3
    assert "too few rows, or groups" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_limit_of_a_few_rows_runs_and_is_flagged(tmp_path: Path, limit: int) -> None:
    place = Workplace(tmp_path / "place")
    place.write([{**row, "label": f"{row['label']} {i % 4}"} for i, row in enumerate(rows_of(200))])
    code = place.run("run", "-L", str(limit), "--seeds", "1", "--set", "representations=[tfidf, majority]")
    records = place.folder().records()
    assert code == 0
    assert all("limited" in record.flags for record in records)


def test_limits_of_the_suite_itself_hold_for_test_rows_apart_and_can_be_published(
    toy_suite: Path, toy_task: Path, harness_command: Any
) -> None:
    task = "{name: toy_task, limit: 20, test_limit: 6}"
    toy_suite.write_text(toy_suite.read_text().replace("tasks: [toy_task]", f"tasks: [{task}]"))
    include = ("--include", toy_task)
    assert harness_command("run", toy_suite, *include, "-o", "own").code == 0
    for record in RunFolder(Path("own")).records():
        assert (record.n_test, record.hygiene.drawn) == (6, 26)
        assert "subset:26/40" in record.flags and "limited" not in record.flags
    assert harness_command("validate", "own", *include).code == 0
    assert harness_command("leaderboard", "publish", "own", "-o", "board", *include).code == 0
    assert "26 of 40" in Path("board/leaderboard.md").read_text("utf-8")
    assert harness_command("run", toy_suite, *include, "-L", 10, "-o", "less").code == 0
    for record in RunFolder(Path("less")).records():
        assert record.hygiene.drawn is not None and record.hygiene.drawn <= 14
        assert "limited" in record.flags
    assert harness_command("leaderboard", "publish", "less", "-o", "other", *include).code == 4
