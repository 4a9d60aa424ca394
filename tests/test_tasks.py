"""Every registered task and suite: complete, pinned, and with names that resolve."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.api import FileSource, HubSource, TaskSpec
from harness.registry import Registry
from harness.session import open_registry
from harness.suite import Suite, read_suite

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
    assert names >= {"quickstart_tone", "quickstart_topic", "quickstart_roles"}
    assert set(SUITES) >= {"quickstart", "safety-text", "general-text"}


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


@pytest.mark.parametrize("name", SUITES)
def test_every_name_of_a_suite_resolves(registry: Registry, name: str) -> None:
    parsed = suite(name)
    assert parsed.name == name
    for task in parsed.tasks:
        registry.get("tasks", task.name)
    for kind in ("poolings", "transforms", "classifiers", "representations"):
        for reference in getattr(parsed, kind):
            registry.choose(kind, reference)
    for model in parsed.models:
        assert model.ref in registry.names("models") or "/" in model.ref
        assert model.sites


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_has_the_arms_that_keep_it_honest(registry: Registry, name: str) -> None:
    chosen: list[Any] = [registry.choose("representations", one).name for one in suite(name).representations]
    assert {"hidden", "tfidf", "text_length", "majority"} <= set(chosen)
