"""Every hook has its reference text, and a toy plugin that implements it is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_type_hints

import pytest

import harness
from harness.api import hookspecs

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("harness_")}

TOY = """
from pathlib import Path
import dataclasses
import json
import harness

HERE = Path(__file__).parent

def tell(hook, **facts):
    with (HERE / "calls.jsonl").open("a") as file:
        print(json.dumps({"hook": hook, **facts}), file=file)

class First:
    def __call__(self, values, offsets): return values[offsets[:-1]]

class FirstColumns:
    def fit(self, source, target): self.n = source.shape[1]; return self
    def transform(self, target):
        import numpy as np
        return np.resize(target, (target.shape[0], self.n))

class Negated:
    def fit(self, X, y): return self
    def transform(self, X): return -X

class Constant:
    def __init__(self, share): self.share = share
    def fit(self, X, y): self.classes = int(y.max()) + 1; return self
    def predict_proba(self, X):
        import numpy as np
        return np.full((X.shape[0], self.classes), self.share)

class Length:
    def fit(self, inputs): return self
    def transform(self, inputs):
        import numpy as np
        return np.array([[float(len(text))] for text in inputs])

@harness.hookimpl
def harness_models():
    tell("harness_models")
    return [harness.ModelSpec(name="toy_model", summary="a model", alias_of="minigemma-s")]

@harness.hookimpl
def harness_representations():
    tell("harness_representations")
    return [harness.RepresentationSpec(name="toy_length", summary="a length", make=Length, needs="text")]

@harness.hookimpl
def harness_poolings():
    tell("harness_poolings")
    return [harness.PoolingSpec(name="toy_first", summary="the first token", make=First)]

@harness.hookimpl
def harness_transforms():
    tell("harness_transforms")
    return [harness.TransformSpec(name="toy_negated", summary="less than nothing", make=Negated)]

@harness.hookimpl
def harness_classifiers():
    tell("harness_classifiers")
    make = lambda *, share=0.5: Constant(share)
    return [harness.ClassifierSpec(name="toy_constant", summary="no opinion", make=make)]

@harness.hookimpl
def harness_regimes():
    tell("harness_regimes")
    return [harness.RegimeSpec(name="toy_same", summary="as it is", make=lambda: lambda x, rows, seed: rows)]

@harness.hookimpl
def harness_alignments():
    tell("harness_alignments")
    return [harness.AlignmentSpec(name="toy_first_columns", summary="as they come", make=FirstColumns)]

@harness.hookimpl
def harness_executors():
    tell("harness_executors")
    return [harness.ExecutorSpec(name="toy_nobody", summary="does nothing", make=lambda: None)]

@harness.hookimpl
def harness_explainers():
    tell("harness_explainers")
    return [harness.ExplainerSpec(name="toy_mute", summary="says nothing", make=lambda: None)]

@harness.hookimpl
def harness_tasks():
    tell("harness_tasks")
    return [harness.TaskSpec(
        name="toy_registered", version=1, summary="a task", licence="CC0", citation="none", languages=("en",),
        source=harness.FileSource(file=HERE.parent / "toy.jsonl"),
    )]

@harness.hookimpl
def harness_suites():
    tell("harness_suites")
    return [HERE / "toy_registered_suite.yaml"]

@harness.hookimpl
def harness_commands():
    tell("harness_commands")
    return [harness.CommandSpec(name="toy-greet", summary="greets", load="toy_plugin:greet")]

@harness.hookimpl
def harness_results():
    tell("harness_results")
    return [harness.ResultSpec(name="toy_results", summary="results", pattern="toy-*.json", load="toy_plugin:greet")]

@harness.hookimpl
def harness_dictionary_scores():
    tell("harness_dictionary_scores")
    return [harness.DictionaryScoreSpec(name="toy_score", summary="a score", load="toy_plugin:greet")]

@harness.hookimpl(tryfirst=True)
def harness_resolve_model(ref):
    tell("harness_resolve_model", ref=ref)
    if ref == "toy/model": return harness.ModelSpec(name=ref, summary="", make=lambda: 1 / 0)

@harness.hookimpl(tryfirst=True)
def harness_resolve_representation(ref):
    tell("harness_resolve_representation", ref=ref)
    if ref == "toy/length": return harness.RepresentationSpec(name=ref, summary="", make=Length, needs="text")

@harness.hookimpl
def harness_run_started(event):
    tell("harness_run_started", cells=event.n_cells, done=event.done, suite=event.suite, tasks=event.tasks,
         models=event.models, representations=event.representations, left_out=dict(event.left_out))

@harness.hookimpl
def harness_batch_finished(event):
    tell("harness_batch_finished", done=event.tokens_done, total=event.tokens_total)

@harness.hookimpl
def harness_bundle_finished(event):
    tell("harness_bundle_finished", tokens=event.tokens)

@harness.hookimpl
def harness_cell_finished(event):
    facts = {**dataclasses.asdict(event), "kinds": sorted({type(score).__name__ for score in event.metrics.values()})}
    tell("harness_cell_finished", **facts)

@harness.hookimpl
def harness_run_finished(event):
    summary = event.summary
    tell("harness_run_finished", ok=summary.ok, failed=summary.failed, folder=str(summary.folder))
"""

SUITE = """
name: toy_registered_suite
summary: a suite of the toy's own
tasks: [toy_registered]
models: [{ref: minigemma-s, sites: [resid_post.0]}, {ref: minigemma-m, sites: [resid_post.0]}]
transfers: [{from: minigemma-s, to: minigemma-m}]
alignments: [toy_first_columns]
representations: [hidden, toy_length, toy/length]
poolings: [toy_first]
transforms: [toy_negated]
classifiers: [toy_constant]
regimes: [toy_same]
"""


def test_the_hooks_are_these():
    assert set(HOOKS) == {
        "harness_models",
        "harness_representations",
        "harness_poolings",
        "harness_transforms",
        "harness_classifiers",
        "harness_regimes",
        "harness_alignments",
        "harness_executors",
        "harness_dictionary_scores",
        "harness_explainers",
        "harness_tasks",
        "harness_suites",
        "harness_commands",
        "harness_results",
        "harness_resolve_model",
        "harness_resolve_representation",
        "harness_run_started",
        "harness_batch_finished",
        "harness_bundle_finished",
        "harness_cell_finished",
        "harness_run_finished",
    }


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_reference_text_and_types(name):
    hook = HOOKS[name]
    text = inspect.getdoc(hook) or ""
    assert len(text.split()) >= 5, f"{name} needs to say when it is called and what it returns"
    assert text.rstrip().endswith(".")
    from harness.planning.cells import Plan
    from harness.runs.record import Record

    hints = get_type_hints(hook, localns={"Plan": Plan, "Record": Record, "Iterable": Iterable, "Path": Path})
    assert set(hints) == {*inspect.signature(hook).parameters, "return"}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_implemented_by_the_toy_plugin_of_these_tests(name):
    assert f"def {name}(" in TOY


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """What the toy plugin was told during one run, hook by hook; and what the run left."""
    import json
    import os
    import subprocess
    import sys

    home = tmp_path_factory.mktemp("hooks")
    site = home / "site"
    about = site / "toy-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "toy_plugin.py").write_text(TOY, "utf-8")
    (site / "toy_registered_suite.yaml").write_text(SUITE, "utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text("[harness]\ntoy = toy_plugin\n", "utf-8")
    rows = [
        {"text": f"{'yes' if row % 2 else 'no'} number {row}", "label": str(row % 2), "split": split}
        for row in range(40)
        for split in ["test" if row < 10 else "train"]
    ]
    (home / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
        "HARNESS_CACHE_DIR": str(home / "cache"),
    }
    environment.pop("HARNESS_PLUGINS", None)
    arguments = ["run", "toy_registered_suite", "-d", "cpu", "-o", str(home / "out")]
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, list[dict[str, object]]] = {}
    for line in (site / "calls.jsonl").read_text("utf-8").splitlines():
        call = json.loads(line)
        told.setdefault(call.pop("hook"), []).append(call)
    told["records"] = [
        json.loads(line) for line in (home / "out" / "results.jsonl").read_text("utf-8").splitlines()
    ]
    return told


OFFERING = [name for name in HOOKS if not inspect.signature(HOOKS[name]).parameters]


@pytest.mark.parametrize("name", OFFERING)
def test_what_a_plugin_offers_is_asked_for_once(calls, name):
    assert calls[name] == [{}]


def test_what_a_plugin_offers_is_used_and_its_origin_recorded(calls):
    records = {record["representation"]: record for record in calls["records"]}
    assert set(records) == {"hidden", "toy_length", "toy/length"}
    assert records["hidden"]["pooling"] == "toy_first"
    for record in records.values():
        assert record["task"] == "toy_registered"
        assert record["transform"] == "toy_negated"
        assert record["classifier"] == "toy_constant"
        assert record["regime"] == "toy_same"
        assert re.fullmatch(r"toy toy 1\.0@[0-9a-f]{12}", record["origins"]["classifier"])
    assert records["toy_length"]["origins"]["representation"] == record["origins"]["classifier"]
    assert records["hidden"]["origins"]["representation"].startswith("baselines sae-harness ")


def test_resolvers_are_asked_for_what_nobody_listed_only(calls):
    assert {"ref": "toy/length"} in calls["harness_resolve_representation"]
    assert {"ref": "hidden"} not in calls["harness_resolve_representation"]
    refs = [str(call["ref"]) for call in calls["harness_resolve_model"]]
    assert refs
    assert "minigemma-s" not in refs  # it is listed; the folder it stands for is not


def test_observers_are_told_in_order_and_of_every_cell(calls):
    (start,) = calls["harness_run_started"]
    assert (start["cells"], start["done"], start["suite"]) == (5, 0, "toy_registered_suite")
    assert start["tasks"] == ["toy_registered"] and start["models"] == ["minigemma-s", "minigemma-m"]
    assert set(start["representations"]) == {"hidden", "toy_length", "toy/length"} and not start["left_out"]
    assert len(calls["harness_bundle_finished"]) == 2  # a transfer between the two reads what they left
    for bundle in calls["harness_bundle_finished"]:
        assert bundle["tokens"] > 0
        assert {"done": bundle["tokens"], "total": bundle["tokens"]} in calls["harness_batch_finished"]
    assert [call["status"] for call in calls["harness_cell_finished"]] == ["ok"] * 5
    (end,) = calls["harness_run_finished"]
    assert (end["ok"], end["failed"]) == (5, 0)
    assert Path(str(end["folder"])).name == "out"


def test_the_event_of_a_cell_says_what_its_record_says(calls):
    records = {record["cell_id"]: record for record in calls["records"]}
    assert {call["cell_id"] for call in calls["harness_cell_finished"]} == set(records)
    for call in calls["harness_cell_finished"]:
        record = records[call["cell_id"]]
        assert call.pop("kinds") == ["Score"]
        assert call.pop("source_model") == record["learnt_on"]
        assert call["metrics"] and all("method" in score for score in call["metrics"].values())
        assert call == {name: record[name] for name in call}
    assert any(record["learnt_on"] for record in records.values())


FORMER = """
import harness
from pathlib import Path

def tell(*facts):
    with Path("former.txt").open("a") as file:
        print(*facts, file=file)

@harness.hookimpl
def harness_run_started(plan, done):
    tell("started", len(plan.cells), done)

@harness.hookimpl
def harness_batch_finished(stats: "harness.BatchStats"):
    tell("batch", stats.tokens_done > 0)

@harness.hookimpl
def harness_bundle_finished(stats):
    tell("bundle", stats.tokens > 0)

@harness.hookimpl
def harness_cell_finished(record):
    tell("cell", record.schema_version > 0, record.hygiene.duplicates)

@harness.hookimpl
def harness_run_finished(summary):
    tell("finished", summary.ok)
"""


def test_an_observer_that_takes_the_arguments_of_before_works_and_is_warned(
    harness_command, install, toy_suite, toy_task
):
    install(FORMER)
    with pytest.warns(DeprecationWarning) as caught:
        done = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu")
    assert done.code == 0, done.err
    said = {str(one.message) for one in caught if "of this hook" in str(one.message)}
    assert said == {
        f"the argument '{name}' of this hook goes in the next version: take '{now}'"
        for name, now in {
            "plan": "event",
            "done": "event.done",
            "stats": "event",
            "record": "event",
            "summary": "event.summary",
        }.items()
    }
    told = Path("former.txt").read_text("utf-8").splitlines()
    assert [told[0], told[-1]] == ["started 2 0", "finished 2"]
    assert {"batch True", "bundle True", "cell True 0"} <= set(told[1:-1])


def test_a_resolver_without_arguments_is_allowed_as_pluggy_allows_it(
    harness_command, install, toy_suite, toy_task
):
    install("import harness\n@harness.hookimpl(tryfirst=True)\ndef harness_resolve_model(): return None")
    import harness_minigemma

    weights = harness_minigemma.WEIGHTS / "minigemma-s"
    assert harness_command("plan", toy_suite, "--include", toy_task, "-m", weights).said == []


def test_the_hook_marker_is_public():
    assert harness.hookimpl is hookspecs.hookimpl
