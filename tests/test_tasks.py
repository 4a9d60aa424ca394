"""Every registered task and suite: complete, pinned, and with names that resolve."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from harness.api.tasks import FileSource, HubSource, TaskSpec
from harness.config.suite import Suite, read_suite
from harness.data.task import load_task
from harness.planning.plan import find_trained_on
from harness.registry.catalog import Registry, parse_reference
from harness.session import open_registry

REGISTRY = open_registry()
TASKS: list[TaskSpec] = [REGISTRY.get("tasks", name).spec for name in REGISTRY.names("tasks")]
SUITES = REGISTRY.names("suites")


def suite(name: str) -> Suite:
    return read_suite(REGISTRY.get("suites", name).spec)


@pytest.fixture
def registry() -> Registry:
    return REGISTRY


def test_the_tasks_and_suites_of_this_project_are_registered() -> None:
    names = {spec.name for spec in TASKS}
    assert names >= {
        "sms_spam",
        "davidson_hate",
        "hatecheck",
        "harmful_requests",
        "rotten_tomatoes",
        "banking77",
    }
    assert names >= {
        "xstest",
        "jailbreak_vs_benign",
        "stormfront_hate",
        "clinc150",
        "movie_reviews",
        "goemotions",
    }
    assert names >= {"gsm8k", "svamp", "ioi", "persona_no_shut_down", "persona_anti_lgbtq_rights"}
    assert sum(name.startswith("persona_") for name in names) == 135
    assert names >= {"election_questions", "reject_prompts", "jailbreak_classification"}
    assert names >= {"massive_intent", "massive_scenario", "stance_abortion"}
    assert names >= {"quickstart_tone", "quickstart_topic", "quickstart_roles"}
    assert set(SUITES) >= {"quickstart", "safety-text", "general-text", "behaviours"}


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.name)
def test_a_task_says_whose_it_is_and_what_it_asks(spec: TaskSpec) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
    assert spec.version >= 1
    assert spec.summary.endswith(("?", "."))
    assert spec.licence.strip()
    assert len(spec.citation) > 10
    assert spec.languages
    assert all(re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", language) for language in spec.languages)
    assert spec.metric == "macro_f1"


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.name)
def test_a_source_is_pinned_or_there(spec: TaskSpec) -> None:
    if isinstance(spec.source, HubSource):
        assert re.fullmatch(r"[0-9a-f]{40}", spec.source.revision)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", spec.source.hub)
        columns = spec.source.columns or spec.columns
        assert columns.group == spec.columns.group  # the same siblings, wherever the rows come from
    elif isinstance(spec.source, FileSource):
        assert spec.source.file.is_file()


@pytest.mark.parametrize("spec", [spec for spec in TASKS if spec.trained_on], ids=lambda spec: spec.name)
def test_what_a_task_learns_from_is_a_task_with_rows_of_its_own(spec: TaskSpec) -> None:
    other = find_trained_on(spec, REGISTRY)
    assert other is not None
    assert other.name == spec.trained_on
    assert set(other.languages) >= set(spec.languages)


STANCE = ("none", "against", "favor")
SHAPES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    # name: the splits on the hub, a row there, its labels. Class names are in the card where labels are numbers.
    "election_questions": ("test", {"question": "{}", "label": "Harmless"}, ("Harmless", "Harmful")),
    "reject_prompts": ("train", {"text": "{}", "label": 0}, ("0", "1")),
    "jailbreak_classification": (
        "train test",
        {"prompt": "{}", "type": "benign"},
        ("benign", "jailbreak"),
    ),
    "massive_intent": (
        "train validation test",
        {"id": "1", "label": "alarm_set", "label_text": "alarm_set", "text": "{}", "lang": "en"},
        ("alarm_set", "play_music"),
    ),
    "massive_scenario": (
        "train validation test",
        {"id": "1", "label": "alarm", "label_text": "alarm", "text": "{}", "lang": "en"},
        ("alarm", "play"),
    ),
    **{
        f"stance_{target}": ("train validation test", {"text": "{}", "label": 0}, STANCE)
        for target in ("abortion", "atheism", "climate", "feminist", "hillary")
    },
    "davidson_hate": (
        "train",
        {"count": 3, "class": 0, "tweet": "{}"},
        ("hate speech", "offensive language", "neither"),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_hub_record_reads_rows_as_the_hub_has_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec: TaskSpec = REGISTRY.get("tasks", name).spec
    assert isinstance(spec.source, HubSource)
    splits, shape, labels = SHAPES[name]
    columns = spec.source.columns or spec.columns
    numbered = isinstance(shape[columns.label], int)
    config = spec.source.config or "default"
    texts = {split: [f"{name} {split} {row}" for row in range(30)] for split in splits.split()}
    for split, own in texts.items():
        rows = [
            {**shape, columns.input: text, columns.label: row % len(labels)}
            if numbered
            else {**shape, columns.input: text, columns.label: labels[row % len(labels)]}
            for row, text in enumerate(own)
        ]
        (tmp_path / "data").mkdir(exist_ok=True)
        pd.DataFrame(rows).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", index=False)
    card: dict[str, Any] = {
        "configs": [
            {
                "config_name": config,
                "data_files": [{"split": split, "path": f"data/{split}-*"} for split in texts],
            }
        ]
    }
    if numbered and name != "reject_prompts":
        kinds = {str(number): label for number, label in enumerate(labels)}
        features = [
            {"name": key, "dtype": {"class_label": {"names": kinds}}}
            if key == columns.label
            else {"name": key, "dtype": "string" if isinstance(value, str) else "int64"}
            for key, value in shape.items()
        ]
        card["dataset_info"] = [{"config_name": config, "features": features}]
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n", "utf-8")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = load_task(replace(spec, source=replace(spec.source, hub=str(tmp_path))))
    renamed = spec.source.labels or {}
    assert data.classes == tuple(sorted(renamed.get(label, label) for label in labels))
    assert set(data.examples.inputs) == {text for own in texts.values() for text in own}
    if columns.split is not None:
        kept = zip(data.examples.inputs, data.examples.splits, strict=True)
        assert all(text in texts[split] for text, split in kept)
    else:
        assert {"train", "test"} == set(data.examples.splits)


@pytest.mark.parametrize("name", SUITES)
def test_every_name_of_a_suite_resolves(registry: Registry, name: str) -> None:
    parsed = suite(name)
    assert parsed.name == name
    for task in parsed.tasks:
        registry.get("tasks", task.name)
    for kind in ("poolings", "transforms", "classifiers", "regimes", "representations"):
        for reference in getattr(parsed, kind):
            registry.choose(kind, reference)
    for model in parsed.models:
        ref, _ = parse_reference(model.ref)
        assert ref in registry.names("models") or "/" in ref or ":" in ref
        assert model.sites


STUDIES = (
    *("mosaic-compat", "mosaic-compat-small", "mosaic-selection", "mosaic-noise"),
    *("mosaic-fault-last-features", "mosaic-fault-last-hidden", "mosaic-fault-layer"),
)
"""Suites beside another with all arms: as a study was published, with one of its faults, or for one question only."""


@pytest.mark.parametrize("name", [name for name in SUITES if name not in STUDIES])
def test_a_suite_has_the_arms_that_keep_it_honest(registry: Registry, name: str) -> None:
    chosen: list[Any] = [registry.choose("representations", one).name for one in suite(name).representations]
    held = {registry.get("tasks", task.name).spec.modality for task in suite(name).tasks}
    honest = {"text": {"tfidf", "text_length"}, "image": {"pixels"}}
    assert {"hidden", "majority"}.union(*(honest[modality] for modality in held)) <= set(chosen)
