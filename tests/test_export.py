"""Results in the formats of other projects: every number is one of the records, and nothing is left out in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from harness.leaderboard import find_results
from harness.leaderboard.exports.exported import LONGEST, file_name
from harness.probing.attribution import TopFeature
from harness.registry.loading import load_plugins
from harness.runs.folder import RunFolder
from harness.runs.record import Record

BOARDS = Path(__file__).parents[1] / "leaderboards"
REQUIRED = {
    *("eval_type_id", "eval_config", "eval_id", "datetime_epoch_millis", "eval_result_metrics"),
    *(
        "eval_result_details",
        "sae_bench_commit_hash",
        "sae_lens_id",
        "sae_lens_release_id",
        "sae_lens_version",
    ),
    *("sae_cfg_dict", "eval_result_unstructured"),
}
"""Fields of SAEBench's output of one evaluation."""
CONFIGURED = {
    *("random_seed", "dataset_names", "probe_train_set_size", "probe_test_set_size", "context_length"),
    *("sae_batch_size", "llm_batch_size", "llm_dtype", "model_name", "k_values", "lower_vram_usage"),
}
TOPS = ("", "_top_1", "_top_2", "_top_5", "_top_10", "_top_20", "_top_50", "_top_100")
FIELDS = {f"{arm}{top}_test_accuracy" for arm in ("llm", "sae") for top in TOPS}
"""Fields of its metrics, of which `llm_test_accuracy` is required."""
USED = (TopFeature(feature=0, label="a", weight=1.0, effect=1.0, means={"a": 1.0, "b": 0.0}),)


def number(*parts: object) -> float:
    """Return an accuracy that tells a cell from all others."""
    return (hash(parts) % 9973) / 9973


def make_record(task: str, representation: str, k: int, **more: Any) -> Record:
    """Return the record of a probe of k features, of all of them for 0."""
    arms: dict[str, dict[str, Any]] = {
        "hidden": {"baseline": True, "width": 24},
        "scope": {"dictionary": "my-scope/layer_1", "width": 64},
        "pca": {"control": True, "width": 8},
    }
    fields = {
        "cell_id": f"{task}-{representation}-{k}-{sorted(more.items())}",
        "status": "ok",
        "suite": "toy",
        "task": task,
        "task_version": 1,
        "modality": "text",
        "train_language": "en",
        "test_language": "en",
        "model": "minigemma-s",
        "model_hash": None,
        "site": "resid_post.1",
        "representation": representation,
        "representation_hash": None,
        "pooling": "mean",
        "transform": "none",
        "classifier": f"ksparse_logreg(k={k})" if k else "logreg",
        "classifier_params": {"C": 1.0, **({"k": k} if k else {})},
        "seed": 0,
        "natural": "task",
        "n_train": 40,
        "n_test": 20,
        "metrics": {
            name: {"value": number(task, representation, k, name)} for name in ("accuracy", "macro_f1")
        },
        "validation_metrics": {"macro_f1": 0.5},
        "used": USED,
        **arms[representation],
        **more,
    }
    return Record.model_validate(fields)


def make_run(folder: Path, records: list[Record]) -> Path:
    run = RunFolder(folder)
    cells = [record.cell_id for record in records]
    run.start(suite={"name": "toy"}, cells=cells, argv=[], plugins=load_plugins([]), device="cpu")
    for record in records:
        run.add(record)
    run.finish("finished")
    return folder


@pytest.fixture
def grid() -> list[Record]:
    """A k-sparse run of two tasks, one of them on the hub."""
    return [
        make_record(task, representation, k)
        for task in ("sms_spam", "mine")
        for representation in ("hidden", "scope", "pca")
        for k in (0, 1, 3, 5)
    ]


def only_file(folder: Path) -> dict[str, Any]:
    [path] = folder.iterdir()
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_saebenchs_fields_hold_the_accuracies_of_the_records(harness_command, tmp_path, grid):
    told = harness_command("export", make_run(tmp_path / "run", grid), "--format", "saebench")
    assert (told.code, told.err) == (0, "")
    assert told.out.strip() == str(
        tmp_path / "run/saebench/minigemma-s_scope_resid_post.1_mean_eval_results.json"
    )
    found = only_file(tmp_path / "run/saebench")
    assert found.keys() == REQUIRED
    assert found["eval_config"].keys() <= CONFIGURED
    fields = {"": 0, "_top_1": 1, "_top_5": 5}
    for detail in found["eval_result_details"]:
        assert {key: value for key, value in detail.items() if key != "dataset_name"} == {
            f"{arm}{top}_test_accuracy": number(detail["dataset_name"], representation, k, "accuracy")
            for arm, representation in (("llm", "hidden"), ("sae", "scope"))
            for top, k in fields.items()
        }
    means = found["eval_result_metrics"]
    assert means["llm"].keys() | means["sae"].keys() <= FIELDS
    assert means["sae"]["sae_top_5_test_accuracy"] == pytest.approx(
        (number("sms_spam", "scope", 5, "accuracy") + number("mine", "scope", 5, "accuracy")) / 2
    )
    assert found["eval_config"]["k_values"] == [1, 3, 5]
    assert (found["sae_cfg_dict"]["d_in"], found["sae_cfg_dict"]["d_sae"]) == (24, 64)
    probes = found["eval_result_unstructured"]["sae_harness"]["datasets"]["mine"]["probes"]
    assert {(probe["arm"], probe["k"]) for probe in probes} == {
        (arm, k) for arm in ("llm", "sae") for k in (None, 1, 3, 5)
    }


def test_a_mean_over_tasks_is_one_over_all_of_them_and_over_seeds(harness_command, tmp_path, grid):
    lacking = [
        record for record in grid if (record.task, record.classifier) != ("mine", "ksparse_logreg(k=5)")
    ]
    other = [make_record("sms_spam", "scope", 1, seed=1, metrics={"accuracy": {"value": 0.25}})]
    run = make_run(tmp_path / "run", [*lacking, *other])
    assert harness_command("export", run, "--format", "saebench", "-o", "out").code == 0
    found = only_file(tmp_path / "out")
    assert "sae_top_5_test_accuracy" not in found["eval_result_metrics"]["sae"]
    [spam] = [each for each in found["eval_result_details"] if each["dataset_name"] == "sms_spam"]
    assert spam["sae_top_1_test_accuracy"] == (number("sms_spam", "scope", 1, "accuracy") + 0.25) / 2
    assert spam["sae_top_5_test_accuracy"] == number("sms_spam", "scope", 5, "accuracy")


def test_a_task_without_what_the_format_requires_is_named(harness_command, tmp_path, grid):
    gone = ("mine", "hidden", "logreg")
    kept = [record for record in grid if (record.task, record.representation, record.classifier) != gone]
    told = harness_command("export", make_run(tmp_path / "run", kept), "--format", "saebench", "-o", "out")
    assert told.code == 0
    assert told.said == [
        "harness: left out: task 'mine' of 'scope' at resid_post.1 of 'minigemma-s' by mean and none lacks the linear "
        "probe of all hidden dimensions that the format needs"
    ]
    assert only_file(tmp_path / "out")["eval_config"]["dataset_names"] == ["sms_spam"]


def test_each_place_of_a_dictionary_has_a_file_of_its_own(harness_command, tmp_path, grid):
    other = [make_record("mine", each, k, pooling="max") for each in ("hidden", "scope") for k in (0, 2)]
    told = harness_command("export", make_run(tmp_path / "run", [*grid, *other]), "--format", "saebench")
    assert [Path(line).name.split("_")[4] for line in told.out.splitlines()] == ["max", "mean"]


def test_eval_results_are_read_by_huggingface_hub(harness_command, tmp_path, grid):
    told = harness_command("export", make_run(tmp_path / "run", grid), "--format", "eval-results")
    assert told.code == 0
    assert told.said == [
        "harness: left out: no plugin offers version 1 of task 'mine', so its data set is not known"
    ]
    folder = tmp_path / "run/eval-results/minigemma-s/.eval_results"
    assert sorted(path.name for path in folder.iterdir()) == ["hidden.yaml", "pca.yaml", "scope.yaml"]
    [entry] = parse_eval_result_entries(yaml.safe_load((folder / "scope.yaml").read_text("utf-8")))
    assert (entry.dataset_id, entry.task_id) == ("ucirvine/sms_spam", "sms_spam")
    assert entry.dataset_revision is not None and len(entry.dataset_revision) == 40
    assert entry.value in {number("sms_spam", "scope", k, "macro_f1") for k in (0, 1, 3, 5)}
    assert entry.notes is not None and entry.notes.startswith(
        "macro_f1 of a probe on scope; chosen on validation: "
    )


def test_the_results_of_a_revision_lie_in_the_repository_of_their_model(harness_command, tmp_path, grid):
    names = {
        "org/it@1234567": "revision=1234567_scope",
        "org/it@main[dtype=bfloat16]": "revision=main_dtype=bfloat16_scope",
    }
    for model, name in names.items():
        run = make_run(tmp_path / name, [record.model_copy(update={"model": model}) for record in grid])
        assert harness_command("export", run, "--format", "eval-results", "-o", "out").code == 0
        assert (tmp_path / f"out/org/it/.eval_results/{name}.yaml").is_file()


def test_a_published_board_is_exported_in_both_formats(harness_command, tmp_path):
    board = BOARDS / "probing-ksparse"
    records = [record for run in find_results(board) for record in run.records()]
    told = harness_command("export", board, "--format", "saebench", "-o", "bench")
    assert (told.code, len(told.out.splitlines())) == (0, 8)
    for path in (tmp_path / "bench").iterdir():
        found = json.loads(path.read_text("utf-8"))
        about = found["eval_result_unstructured"]["sae_harness"]
        for detail in found["eval_result_details"]:
            [value] = {
                record.metrics["accuracy"].value
                for record in records
                if (record.task, record.classifier) == (detail["dataset_name"], "ksparse_logreg(k=2)")
                and (record.dictionary, record.pooling) == (about["dictionary"], about["pooling"])
            }
            assert detail["sae_top_2_test_accuracy"] == value
    told = harness_command("export", board, "--format", "eval-results", "-o", "hub")
    assert (told.code, len(told.out.splitlines())) == (0, 10)
    assert "left out: task 'jailbreak_vs_benign' is no data set of the hub" in told.err
    assert "left out: 'tfidf' reads no model, so there is no repository for its results" in told.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["absent", "--format", "saebench"], 3, "there is no run in 'absent'"),
        (["run", "--format", "json"], 2, "'json' is not one of 'saebench', 'eval-results'"),
        (["run"], 2, "Missing option '--format'"),
        (["run", "--format", "saebench", "-o", "file"], 3, "'file' is a file, not a folder"),
        ([BOARDS / "probing-ksparse", "--format", "saebench"], 2, "published runs need -o"),
        (["dense", "--format", "saebench"], 2, "'dense': no dictionary was probed by a k-sparse classifier"),
        (["failed", "--format", "saebench"], 5, "none of 1 cells ended well"),
        (["failed", "--format", "eval-results"], 5, "none of 1 cells ended well"),
        (
            ["own", "--format", "eval-results"],
            5,
            "nothing can be exported to .eval_results: no plugin offers",
        ),
        (
            ["unscored", "--format", "eval-results"],
            5,
            "'scope' of 'minigemma-s' has no macro_f1 on task 'sms_spam'",
        ),
        (["unscored", "--format", "saebench"], 2, "no dictionary was probed by a k-sparse classifier"),
        (["alone", "--format", "saebench"], 2, "lacks the linear probe of all hidden dimensions"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(harness_command, tmp_path, grid, words, code, sentence):
    failed = make_record("mine", "scope", 1, status="failed", error="no", metrics={})
    unscored = [record.model_copy(update={"metrics": {}}) for record in grid]
    runs = {
        "run": grid,
        "dense": [record for record in grid if record.classifier == "logreg"],
        "own": [record for record in grid if record.task == "mine"],
        "alone": [record for record in grid if record.representation == "scope"],
        "failed": [failed],
        "unscored": unscored,
    }
    if words[0] in runs:
        make_run(tmp_path / words[0], runs[words[0]])
    (tmp_path / "file").write_text("")
    told = harness_command("export", *words)
    assert (told.code, told.out, len(told.said)) == (code, "", 1)
    assert sentence in told.err
    if "dense" in words:
        assert "suites name them as ksparse_logreg" in told.err


def test_no_name_of_a_record_leads_out_of_the_folder(harness_command, tmp_path, grid):
    names = {"model": "../../up/..", "representation": "../../up", "site": "resid_post.1", "pooling": "/max"}
    odd = [record.model_copy(update={**names, "cell_id": f"odd-{record.cell_id}"}) for record in grid]
    odd = [
        record.model_copy(update={"representation": "hidden"}) if record.baseline else record
        for record in odd
    ]
    run = make_run(tmp_path / "run", odd)
    for to in ("saebench", "eval-results"):
        told = harness_command("export", run, "--format", to, "-o", f"out/{to}")
        assert told.code == 0, told.err
        assert all(
            Path(line).resolve().is_relative_to(tmp_path / "out" / to) for line in told.out.splitlines()
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_names_of_files_are_short_and_tell_long_ones_apart():
    long = file_name("m" * 500, "a"), file_name("m" * 500, "b")
    assert len(set(long)) == 2 and max(map(len, long)) <= LONGEST
    assert file_name("..") == "_" and file_name("a/b[c=1]", "") == "a_b_c=1"
