"""The mirrored datasets, where HARNESS_DATA_DIR names them: their counts, and TF-IDF as plain scikit-learn has it."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import permutations
from pathlib import Path
from unicodedata import is_normalized

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import harness
from harness.data import sources
from harness.data.cleaning import Hygiene
from harness.data.leaks import leaks_between
from harness.data.splits import split_rows
from harness.data.task import load_task
from harness.runs.folder import RunFolder
from harness.session import Session, open_registry

DATA = Path(os.environ.get("HARNESS_DATA_DIR") or "/nonexistent")
GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)
TASKS = (
    "sms_spam",
    "rotten_tomatoes",
    "davidson_hate",
    "hatecheck",
    "harmful_requests",
    "banking77",
    "jailbreak_vs_benign",
    "stormfront_hate",
    "clinc150",
    "movie_reviews",
    "goemotions",
    "gsm8k",
    "svamp",
    "ioi",
)

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored datasets"),
]


NEAR_LEAKS = {
    "sms_spam": (6, 0),
    "davidson_hate": (11, 0),
    "banking77": (3, 0),
    "stormfront_hate": (3, 0),
    "clinc150": (19, 0),
    "goemotions": (96, 16),
}
"""Set → its near leaks, and those with another label; other sets have none."""


def spec(name: str) -> harness.TaskSpec:
    found: harness.TaskSpec = open_registry().get("tasks", name).spec
    return found


@pytest.mark.parametrize("name", TASKS)
def test_a_mirrored_task_has_the_rows_of_its_info_and_no_leak(name: str) -> None:
    info = json.loads((DATA / name / "info.json").read_text("utf-8"))
    data = load_task(spec(name), data_dir=DATA)
    assert len(data.examples) == info["rows"]
    assert {split: data.examples.splits.count(split) for split in info["splits"]} == info["splits"]
    assert len(data.classes) == info["classes"]
    counts = {label: data.examples.labels.count(label) for label in data.classes}
    assert info["labels"].items() <= counts.items()  # of many classes the info holds the largest
    rewritten = pd.concat([pd.read_parquet(file) for file in (DATA / name).glob("*.parquet")])["text"]
    near, opposite = NEAR_LEAKS.get(name, (0, 0))
    assert data.hygiene == Hygiene(
        normalised=sum(not is_normalized("NFC", text) for text in rewritten),
        near_leaks=near,
        near_opposite=opposite,
    )
    rows = split_rows(data.examples, 0)
    homes = {row: split for split, found in rows.items() for row in found}
    by_group: dict[str, set[str]] = {}
    for row, group in enumerate(data.examples.groups):
        if group is not None:
            by_group.setdefault(group, set()).add(homes[row])
    assert all(len(home) == 1 for home in by_group.values())
    assert all(rows.values())


@pytest.mark.parametrize("name", [*TASKS, "xstest", "persona_openness"])
def test_a_mirrored_task_warns_of_its_content_where_its_info_does(name: str) -> None:
    info = json.loads((DATA / (spec(name).mirror or name) / "info.json").read_text("utf-8"))
    assert spec(name).content_warning == bool(info["warn"])


def test_xstest_is_tested_on_what_harmful_requests_teaches() -> None:
    near, far = spec("harmful_requests"), spec("xstest")
    learnt = load_task(near, data_dir=DATA)
    data = load_task(far, data_dir=DATA, trained_on=near)
    assert data.classes == learnt.classes == ("benign", "harmful")
    assert data.hygiene == Hygiene(near_leaks=0, near_opposite=0)
    rows, theirs = split_rows(data.examples, 0), split_rows(learnt.examples, 0)
    for split in ("train", "validation"):
        assert data.examples.take(rows[split]) == learnt.examples.take(theirs[split])
    tested = data.examples.take(rows["test"])
    assert Counter(tested.labels) == {"benign": 250, "harmful": 200}
    assert leaks_between([learnt, data]) == ()


def test_every_behaviour_of_the_persona_set_is_a_task_and_one_read_serves_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = []
    read = sources.read_columns
    monkeypatch.setattr(sources, "read_columns", lambda *a, **k: (reads.append(a), read(*a, **k))[1])
    names = [name for name in open_registry().names("tasks") if name.startswith("persona_")]
    tables = [load_task(spec(name), data_dir=DATA) for name in names]
    info = json.loads((DATA / "anthropic_persona" / "info.json").read_text("utf-8"))
    assert len(names) == 135
    assert len(reads) <= 1  # none where an earlier test has read the file
    assert sum(len(data.examples) for data in tables) == info["rows"]
    found = Counter(split for data in tables for split in data.examples.splits)
    assert found == info["splits"]
    assert {data.classes for data in tables} == {("does_not_match", "matches")}
    assert {data.hygiene for data in tables} == {Hygiene(near_leaks=0, near_opposite=0)}
    assert leaks_between(tables) == ()


def test_what_the_mirrored_sets_share_is_found() -> None:
    """By pandas alone: distinct texts that one set tests and another teaches."""
    names = ("clinc150", "harmful_requests", "jailbreak_vs_benign", "hatecheck")
    frames = {
        name: pd.read_parquet(DATA / name / "data.parquet", columns=["text", "split"]) for name in names
    }
    expected = {}
    for one, other in permutations(names, 2):
        learnt = frames[one]["text"][frames[one]["split"] != "test"]
        tested = frames[other]["text"][frames[other]["split"] == "test"]
        if shared := len(set(learnt) & set(tested)):
            expected[one, other] = shared
    found = leaks_between([load_task(spec(name), data_dir=DATA) for name in names])
    assert {(leak.trained, leak.tested): leak.inputs for leak in found} == expected
    assert expected["harmful_requests", "clinc150"] > 0


def plain_tfidf(name: str, validation: set[str], grid: tuple[float, ...]) -> tuple[float, float]:
    """Test macro-F1 by scikit-learn alone, straight from the file: with C chosen on the rows whose texts are in
    `validation`, and with nothing chosen at all (defaults of TfidfVectorizer and LogisticRegression).
    """
    frame = pd.read_parquet(DATA / name / "data.parquet")
    held_out = frame["text"].isin(validation)
    train, test = frame[(frame["split"] == "train") & ~held_out], frame[frame["split"] == "test"]
    held = frame[held_out]

    def fit(vectorizer: TfidfVectorizer, rows: pd.DataFrame, *scored: pd.DataFrame, C: float) -> list[float]:
        model = LogisticRegression(C=C, max_iter=1000).fit(
            vectorizer.fit_transform(rows["text"]), rows["label"]
        )
        return [
            float(f1_score(part["label"], model.predict(vectorizer.transform(part["text"])), average="macro"))
            for part in scored
        ]

    tried = [
        fit(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), train, held, test, C=C) for C in grid
    ]
    chosen = int(np.argmax([on_validation for on_validation, _ in tried]))
    (default,) = fit(TfidfVectorizer(), train, test, C=1.0)
    return tried[chosen][1], default


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("sms_spam", GRID),
        ("rotten_tomatoes", GRID),
        pytest.param(
            "banking77", (10.0,), marks=(pytest.mark.slow, pytest.mark.long)
        ),  # a fit of 77 classes takes seconds
    ],
)
def test_the_tfidf_arm_is_plain_scikit_learn(
    name: str, grid: tuple[float, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "suite.yaml"
    classifier = "logreg" if grid == GRID else f"{{name: logreg, C: {grid[0]}}}"
    suite.write_text(f"name: words\ntasks: [{name}]\nrepresentations: [tfidf]\nclassifiers: [{classifier}]\n")
    session: Session = harness.open(data_dir=DATA, cache_dir=tmp_path / "cache", device="cpu")
    (record,) = RunFolder(session.run(suite, output=tmp_path / "run").folder).records()
    data = load_task(spec(name), data_dir=DATA)
    validation = {data.examples.inputs[row] for row in split_rows(data.examples, 0)["validation"]}
    assert record.n_validation == len(validation)
    chosen, default = plain_tfidf(name, validation, grid)
    ours = record.metrics["macro_f1"].value
    with capsys.disabled():
        print(
            f"\n{name}: harness {ours:.4f} (C={record.classifier_params['C']}), scikit-learn {chosen:.4f}, "
            f"its defaults {default:.4f}"
        )
    assert ours == pytest.approx(chosen, abs=0.01)
    assert "unconverged" not in record.flags
