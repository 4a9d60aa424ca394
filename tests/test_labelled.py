"""Labelled tasks for plugins: rows, tokens and probes are those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness import UsageError


@pytest.fixture(scope="module")
def task() -> harness.LabelledTask:
    return harness.open(device="cpu").load_task(
        "quickstart_tone", model="minigemma-s", site="resid_post.1", limit=300
    )


def test_a_probe_scores_what_the_cell_of_a_run_scores(task: harness.LabelledTask, tmp_path: Path) -> None:
    session = harness.open(device="cpu", cache_dir=tmp_path / "cache")
    settings = [
        "representations=[hidden]",
        "poolings=[mean]",
        "transforms=[none]",
        "models.0.sites=[resid_post.1]",
    ]
    run = session.run(
        "quickstart",
        output=tmp_path / "run",
        tasks=["quickstart_tone"],
        models=["minigemma-s"],
        limit=300,
        settings=[*settings, "models.0.sites=[resid_post.1]"],
        seeds=1,
    )
    (row,) = (one for one in run.records().to_dict("records") if one["representation"] == "hidden")
    pooled: Any = session.features(task.examples.inputs, model="minigemma-s", site="resid_post.1")
    found = task.probe(np.asarray(pooled))
    score = found.metrics["macro_f1"]
    assert (score.value, score.low, score.high) == (
        row["macro_f1"],
        row["macro_f1_low"],
        row["macro_f1_high"],
    )
    assert len(found.predicted) == len(task.test) and found.effects is not None
    assert found.effects.shape == (64,)


def test_other_rows_and_labels_are_probed_as_given(task: harness.LabelledTask) -> None:
    X = np.random.default_rng(0).normal(size=(len(task.examples), 4))
    X[:, 2] += 8 * task.y
    assert task.probe(X, train_rows=task.train[:60]).metrics["macro_f1"].value > 0.95
    labels = np.arange(len(task.y)) % 2
    X[:, 1] += 8 * labels
    other = task.probe(X, y=labels)
    assert other.metrics["macro_f1"].value > 0.95 and other.effects is not None
    assert other.effects.argmax() == 1


def test_tokens_and_examples_are_in_one_order_and_none_is_empty(task: harness.LabelledTask) -> None:
    assert len(task.tokens) == len(task.examples) == len(task.y)
    assert all(one.content.any() for one in task.tokens)
    own = task.model.model.tokenize(list(task.examples.inputs[:3]))
    assert [one.key for one in own] == [one.key for one in task.tokens[:3]]


def test_what_cannot_be_loaded_is_one_sentence() -> None:
    session = harness.open(device="cpu")
    with pytest.raises(UsageError, match="a task is read at one site, not at 2"):
        session.load_task("quickstart_tone", model="minigemma-s", site="resid_post.[0,1]")
    with pytest.raises(UsageError, match="quickstart_tine"):
        session.load_task("quickstart_tine", model="minigemma-s", site="resid_post.1")
