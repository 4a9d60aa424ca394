"""The tasks in several languages: what their records say, and what the mirrored data holds."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from harness_crosslingual import tasks

from harness.api.data import Examples
from harness.api.tasks import HubSource, TaskSpec
from harness.data.partitions import find_untested, make_draws
from harness.data.splits import split_rows
from harness.data.task import TaskData, load_task
from harness.registry.catalog import parse_reference
from harness.session import open_registry

REGISTRY = open_registry()
DATA = Path(os.environ.get("HARNESS_DATA_DIR", "absent"))
TASKS = {task.name: task for task in tasks.TASKS}
MIRRORED = ("multilingual_hatecheck", "sib200", "madlibs_toxicity", "offensive_de_zh", "afrisenti")
OFFICIAL = tuple(name for name in MIRRORED if name != "madlibs_toxicity")
PARALLEL = ("multilingual_hatecheck", "sib200")
SUITES = sorted((Path(tasks.__file__).parent / "suites").glob("*.yaml"))
REGIMES = ("native", "zero_shot", "leave_one_out(rows=700)", "few_shot(k=10,source=en)", "translations(source=en)",
           "joint(rows=700)")  # fmt: skip
here = pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored data")


@pytest.fixture(scope="module")
def data() -> dict[str, TaskData]:
    return {name: load_task(TASKS[name], data_dir=DATA) for name in MIRRORED}


def info(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((DATA / name / "info.json").read_text("utf-8"))
    return content


def test_every_suite_says_what_it_is_and_has_the_arms_that_read_only_the_input() -> None:
    assert {path.stem for path in SUITES} == {
        "crosslingual", "crosslingual-quick", "crosslingual-topics", "crosslingual-wild", "gemma-real-languages",
    }  # fmt: skip
    for path in SUITES:
        tree = yaml.safe_load(path.read_text("utf-8"))
        assert tree["name"] == path.stem
        names = {parse_reference(one)[0] for one in tree["representations"]}
        of_inputs = {"tfidf", "char_ngrams", "text_length", "majority"}
        assert names - {"sentence_embedding"} == {"hidden"} | of_inputs
        for reference in tree["regimes"]:
            assert REGISTRY.choose("regimes", reference).spec.by_language


def test_parallel_tasks_name_their_source_items() -> None:
    for name in (*PARALLEL, "madlibs_toxicity", "multilingual_massive_scenario"):
        assert TASKS[name].columns.group is not None


@pytest.mark.parametrize(
    ("name", "splits", "shape", "labels"),
    [
        ("multilingual_toxicity", tasks.TASKS[5].languages, {"text": "", "toxic": 0}, ("not_toxic", "toxic")),
        (
            "multilingual_massive_scenario",
            ("train", "validation", "test"),
            {"id": "", "label": "alarm", "label_text": "alarm", "text": "", "lang": ""},
            ("alarm", "play"),
        ),
    ],
)
def test_a_hub_record_reads_rows_as_the_hub_has_them(
    name: str,
    splits: tuple[str, ...],
    shape: dict[str, object],
    labels: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One split for each language; or a column of languages, and ids that translations share."""
    spec = TASKS[name]
    assert isinstance(spec.source, HubSource)
    (tmp_path / "data").mkdir()
    for split in splits:
        rows: list[dict[str, object]] = []
        for number in range(40):
            if name == "multilingual_toxicity":
                rows.append({"text": f"{split} {number}", "toxic": number % 2})
            else:
                label = labels[number % 2]
                rows += [
                    {"id": f"{split}{number}", "label": label, "label_text": label, "text": f"{lang} {split} {number}",
                     "lang": lang}
                    for lang in ("en", "de", "zh-CN")
                ]  # fmt: skip
        assert set(rows[0]) == set(shape)
        pd.DataFrame(rows).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", index=False)
    files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
    card = {"configs": [{"config_name": "default", "data_files": files}]}
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n", "utf-8")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = load_task(replace(spec, source=replace(spec.source, hub=str(tmp_path))))
    assert found.classes == labels
    if name == "multilingual_toxicity":
        assert set(found.examples.languages) == set(spec.languages)
        assert all(
            text.split()[0] == language
            for text, language in zip(found.examples.inputs, found.examples.languages, strict=True)
        )
    else:
        assert Counter(Counter(found.examples.groups).values()) == {3: 120}
        assert Counter(found.examples.splits) == {"train": 120, "validation": 120, "test": 120}


# ── the mirrored sets ────────────────────────────────────────────────────────────────────────────────────


@here
@pytest.mark.data
@pytest.mark.parametrize("name", MIRRORED)
def test_a_mirrored_task_has_the_languages_of_its_info(name: str, data: dict[str, TaskData]) -> None:
    about, examples = info(name), data[name].examples
    langs = about["langs"]
    assert isinstance(langs, dict)
    assert set(TASKS[name].languages) == set(langs) == set(examples.languages)
    assert len(data[name].classes) == about["classes"]
    assert TASKS[name].content_warning == bool(about["warn"])
    removed = sum(
        getattr(data[name].hygiene, reason) for reason in ("empty", "conflicts", "duplicates", "leaks")
    )
    assert len(examples) + removed == about["rows"]
    assert removed < 0.01 * len(examples)


@here
@pytest.mark.data
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_splits_are_kept(name: str, data: dict[str, TaskData]) -> None:
    wanted = info(name)["splits"]
    assert isinstance(wanted, dict)
    found = Counter(data[name].examples.splits)
    assert found["train"] == wanted["train"] - _removed_from(data[name], wanted, "train")
    for split in ("validation", "test"):
        assert 0 <= wanted[split] - found[split] <= 0.01 * wanted[split]


def _removed_from(found: TaskData, wanted: dict[str, int], split: str) -> int:
    """Training rows go only as conflicts, repetitions or empty texts."""
    gone = wanted[split] - Counter(found.examples.splits)[split]
    assert 0 <= gone <= found.hygiene.empty + found.hygiene.conflicts + found.hygiene.duplicates
    return gone


@here
@pytest.mark.data
@pytest.mark.parametrize("name", MIRRORED)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_test_rows_group_stands_in_any_training_row_of_any_language(
    name: str, seed: int, data: dict[str, TaskData]
) -> None:
    examples = data[name].examples
    rows = split_rows(examples, seed)
    learnt = groups(examples, [*rows["train"], *rows["validation"]])
    assert not learnt & groups(examples, rows["test"])
    assert bool(learnt) == (name in (*PARALLEL, "madlibs_toxicity"))
    texts = {examples.inputs[row] for row in (*rows["train"], *rows["validation"])}
    assert not texts & {examples.inputs[row] for row in rows["test"]}


def groups(examples: Examples, rows: list[int]) -> set[str]:
    return {group for row in rows if (group := examples.groups[row]) is not None}


@here
@pytest.mark.data
def test_parallel_tasks_have_the_same_items_in_every_language(data: dict[str, TaskData]) -> None:
    topics = data["sib200"].examples
    every = Counter(topics.groups)
    assert len(every) == 1004 and set(every.values()) <= {32, 33, 34}
    tests = data["multilingual_hatecheck"].examples
    shared = Counter(len({*of}) for of in _languages_of_groups(tests).values())
    assert shared[11] > 600


def _languages_of_groups(examples: Examples) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group, language in zip(examples.groups, examples.languages, strict=True):
        if group is not None:
            found.setdefault(group, []).append(language)
    return found


@here
@pytest.mark.data
def test_what_cannot_be_learnt_or_tested_is_named(data: dict[str, TaskData]) -> None:
    assert any("om, ti" in one and "tested on" in one for one in find_untested(data["afrisenti"].examples))
    assert any("hi-Latn" in one for one in find_untested(data["madlibs_toxicity"].examples))
    assert find_untested(data["sib200"].examples) == ()


@here
@pytest.mark.data
@pytest.mark.parametrize("reference", REGIMES)
def test_every_arm_can_be_had_of_the_parallel_tasks(reference: str, data: dict[str, TaskData]) -> None:
    for name in PARALLEL:
        examples, n = data[name].examples, len(TASKS[name].languages)
        draws = make_draws(examples, REGISTRY.choose("regimes", reference), 0)
        wanted = {"native": n, "zero_shot": n * (n - 1), "few_shot": n - 1, "translations": n - 1}
        assert len(draws) == wanted.get(parse_reference(reference)[0], n)
        assert all(draw.partition.validation for draw in draws)


@here
@pytest.mark.data
def test_the_english_of_multilingual_hatecheck_is_hatecheck(data: dict[str, TaskData]) -> None:
    spec: TaskSpec = REGISTRY.get("tasks", "hatecheck").spec
    alone = load_task(spec, data_dir=DATA)
    every = data["multilingual_hatecheck"].examples
    english = [row for row, language in enumerate(every.languages) if language == "en"]
    assert Counter(every.take(english).splits) == Counter(alone.examples.splits)
