"""Labels of what the embedded models answer rightly: the generator's bytes, the weights they are of, and made anew."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_behaviour
import pandas as pd
import pytest
from harness_behaviour import generate, items
from harness_behaviour.compose import lines

from harness import FileSource, TaskSpec, check_answering, hash_file, hash_json
from harness.data.cleaning import Hygiene
from harness.data.task import load_task
from harness.session import open_registry

MENDED_BY = "make the labels anew: python -m harness_behaviour.generate --answers"
SPECS = {spec.name: spec for spec in harness_behaviour.harness_tasks()}
SHIPPED = [spec for spec in SPECS.values() if isinstance(spec.source, FileSource)]
DATA = Path(os.environ.get("HARNESS_DATA_DIR") or "/nowhere")


def test_the_generator_writes_the_shipped_items(tmp_path: Path) -> None:
    generate.write(tmp_path / "items.jsonl")
    assert (tmp_path / "items.jsonl").read_bytes() == generate.ITEMS.read_bytes()


def test_no_two_splits_share_a_group_and_every_family_is_in_every_split() -> None:
    rows = pd.DataFrame(list(generate.records()))
    assert rows.groupby("group").split.nunique().max() == 1
    assert rows.prompt.is_unique
    assert rows.groupby("family").split.nunique().min() == 3
    first = Counter(row.choices.index(row.answer) for row in rows.itertuples())
    assert abs(first[0] - first[1]) < 0.1 * len(rows)  # the right choice is as often the first
    assert 1500 <= len(rows) <= 2500


def test_what_is_a_groups_own_stands_in_no_other_split() -> None:
    """Nouns, names, cues and persons of test rows are in no training row of their family."""
    rows = pd.DataFrame(list(generate.records()))
    for family, own in {
        "agreement": set(generate.agreement.NOUNS.split()),
        "names": set(generate.names.NAMES.split()),
        "cloze": {word for line in lines(generate.cloze.TOPICS) for word in line.split()[1:]},
        "grammar": set(generate.grammar.WHO.split()),
    }.items():
        used = {
            split: own & set(re.findall(r"\w+", " ".join(part.prompt)))
            for split, part in rows[rows.family == family].groupby("split")
        }
        assert used["test"] and not used["test"] & (used["train"] | used["validation"])


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: spec.name)
def test_shipped_labels_are_clean_and_neither_is_rare(spec: TaskSpec) -> None:
    data = load_task(spec)
    assert data.hygiene == Hygiene(near_leaks=0, near_opposite=0)
    assert data.classes == ("correct", "incorrect")
    for split in ("train", "validation", "test"):
        counts = Counter(
            label
            for label, own in zip(data.examples.labels, data.examples.splits, strict=True)
            if own == split
        )
        assert min(counts.values()) >= 0.15 * sum(counts.values()) and len(counts) == 2


@pytest.mark.parametrize("model", generate.MODELS)
def test_shipped_labels_are_of_the_embedded_weights_and_items(model: str) -> None:
    path = generate.answers_of(model)
    card = json.loads(path.with_name(f"{path.name}.card.json").read_text("utf-8"))
    answering = check_answering(open_registry().choose("models", model).make())
    assert card["model"] == model
    assert card["model_identity"] == hash_json(answering.answering_identity()), (
        f"the labels of {model} are of other weights: {MENDED_BY}"
    )
    assert card["items_sha256"] == hash_file(generate.ITEMS), f"the items have changed: {MENDED_BY}"
    rows = pd.read_parquet(path)
    assert card["rows"] == len(rows) and card["labels"] == dict(Counter(rows.label))


@pytest.mark.slow
@pytest.mark.parametrize("model", generate.MODELS)
def test_labels_made_anew_are_the_shipped_ones(
    harness_command: Callable[..., Any], tmp_path: Path, model: str
) -> None:
    sample = generate.ITEMS.read_text("utf-8").splitlines(keepends=True)[::12]
    (tmp_path / "items.jsonl").write_text("".join(sample), "utf-8")
    anew = tmp_path / "anew.parquet"
    told = harness_command(*generate.label_command(model, tmp_path / "items.jsonl", anew))
    assert told.code == 0, told.err
    shipped = pd.read_parquet(generate.answers_of(model)).set_index("text")
    rows = pd.read_parquet(anew).set_index("text")
    both = rows.join(shipped, rsuffix="_shipped")
    assert len(both) == len(sample)
    assert (both.margin - both.margin_shipped).abs().max() < 1e-3, MENDED_BY
    clear = both[both.margin_shipped.abs() > 1e-3]  # of a tie another machine may take the other
    assert (clear.label == clear.label_shipped).all(), MENDED_BY


# ── items of public datasets ─────────────────────────────────────────────────────────────────────────────

ROWS: dict[str, dict[str, Any]] = {
    "piqa": {"goal": "open a jar", "sol1": "twist the lid", "sol2": "eat the lid", "label": 0},
    "boolq": {"question": "is the sea wet", "passage": "The sea is water.", "answer": True},
    "pubmedqa": {
        "pubid": 7,
        "question": "Does it help?",
        "context": {"contexts": ["We tried it.", "It did."], "labels": ["A", "B"]},
        "final_decision": "maybe",
    },
    "gsm8k": {"question": "How many?", "answer": "3+4=<<3+4=7>>7\n#### 1,007"},
}
WANTED: dict[str, dict[str, Any]] = {
    "piqa": {
        "prompt": "Question: open a jar\nAnswer:",
        "choices": [" twist the lid", " eat the lid"],
        "answer": 0,
    },
    "boolq": {
        "prompt": "The sea is water.\nQuestion: is the sea wet?\nAnswer:",
        "choices": [" yes", " no"],
        "answer": " yes",
    },
    "pubmedqa": {
        "prompt": "We tried it. It did.\nQuestion: Does it help?\nAnswer:",
        "choices": [" yes", " no", " maybe"],
        "answer": " maybe",
        "group": "7",
    },
    "gsm8k": {"prompt": "How many?", "answers": ["1,007"]},
}


@pytest.mark.parametrize("name", items.DATASETS)
def test_a_row_of_a_public_dataset_becomes_an_item_once(name: str) -> None:
    dataset = items.DATASETS[name]
    (found,) = items.make_items(dataset, [("train", ROWS[name])] * 2)
    assert {key: found[key] for key in WANTED[name]} == WANTED[name]
    assert found["group"] and found.get("split") == dataset.splits["train"]


def test_rows_whose_answers_are_withheld_are_no_items() -> None:
    rows = [("validation", {**ROWS["piqa"], "label": -1}), ("test", ROWS["piqa"])]
    assert list(items.make_items(items.DATASETS["piqa"], rows)) == []


def test_a_dataset_of_the_hub_needs_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    for more, says in (([], "needs --revision"), (["--data-dir", str(tmp_path)], "not in the mirror")):
        with pytest.raises(SystemExit, match=says):
            items.main(["boolq", "-o", str(tmp_path / "items.jsonl"), *more])


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored datasets")
def test_gsm8k_is_made_from_the_mirror(tmp_path: Path) -> None:
    items.main(["gsm8k", "--data-dir", str(DATA), "-o", str(tmp_path / "items.jsonl")])
    rows = pd.read_json(tmp_path / "items.jsonl", lines=True)
    assert len(rows) == 8792 and set(rows.split) == {"train", "test"}
    assert all(len(one) == 1 and one[0].strip("-0123456789.,") == "" for one in rows.answers)
