"""The sets of sae-probes: a made-up copy in its layout, converted, read as tasks, and split as the paper split."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from harness_probing import sae_probes

from harness import TaskSpec, UnavailableError
from harness.data.task import load_task

Array = np.ndarray[Any, Any]

REPEATED = "a text that stands here often"


def frame(
    n: int = 900, targets: tuple[object, object] = ("clickbait", "factual"), **more: object
) -> pd.DataFrame:
    """Rows as in `cleaned_data/*.csv`, classes in turn; one text of the second class comes again and again."""
    prompts = [REPEATED if row % 20 == 1 else f'text {row},\n"quoted"' for row in range(n)]
    return pd.DataFrame({"prompt": prompts, **more, "target": [targets[row % 2] for row in range(n)]})


def write_copy(folder: Path, **frames: pd.DataFrame) -> Path:
    """A clone's layout, with some sets."""
    cleaned = folder / "raw_data" / "cleaned_data"
    cleaned.mkdir(parents=True)
    (cleaned.parent / "probing_datasets_MASTER.csv").write_text("Source,Dataset Tag\n", encoding="utf-8")
    for stem, rows in frames.items():
        rows.to_csv(cleaned / f"{stem}.csv", index=False)
    return folder


def task(name: str) -> TaskSpec:
    return next(spec for spec in sae_probes.tasks() if spec.name == name)


def papers_split(y: Array) -> tuple[Array, Array]:
    """`get_train_test_indices` in the normal setting, by the steps its source takes on the global generator."""
    num_train = min(len(y) - 100, 1024)
    num_test = len(y[:5000]) - num_train - 1
    np.random.seed(42)
    pos, neg = np.where(y[:5000] == 1)[0], np.where(y[:5000] == 0)[0]
    train_pos = np.random.choice(pos, size=int(np.ceil(0.5 * num_train)), replace=False)
    train_neg = np.random.choice(neg, size=num_train - len(train_pos), replace=False)
    left_pos, left_neg = np.setdiff1d(pos, train_pos), np.setdiff1d(neg, train_neg)
    test_pos = np.random.choice(left_pos, size=int(np.ceil(0.5 * num_test)), replace=False)
    test_neg = np.random.choice(left_neg, size=num_test - len(test_pos), replace=False)
    train = np.random.permutation(np.concatenate([train_pos, train_neg]))
    return train, np.random.permutation(np.concatenate([test_pos, test_neg]))


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_113_sets_and_two_tasks_of_each() -> None:
    names = [spec.name for spec in sae_probes.tasks()]
    assert len(sae_probes.SETS) == 113 and len(set(names)) == len(names) == 226
    assert {name.removesuffix("_original") for name in names} == set(
        map(sae_probes.task_name, sae_probes.SETS)
    )
    assert sae_probes.task_name("131_temp_cat_Typical Time") == "sae_probes_temp_cat_typical_time"
    assert sae_probes.task_name("65_high-school") == "sae_probes_high_school"


def test_only_the_original_tasks_keep_leaks() -> None:
    assert all(spec.keep_leaks == spec.name.endswith("_original") for spec in sae_probes.tasks())


# ── the split ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n", [150, 728, 902, 1600, 5000, 5200])
def test_the_split_is_the_papers(n: int) -> None:
    y = np.arange(n) % 2
    train, test = papers_split(y)
    splits = np.array(sae_probes.split_rows(y == 1))
    assert set(np.flatnonzero(splits == "test")) == set(test)
    assert set(np.flatnonzero((splits == "train") | (splits == "validation"))) == set(train)
    held_out = train[len(train) - min(int(0.2 * len(train)), 100) :] if len(train) >= 128 else train[:0]
    assert set(np.flatnonzero(splits == "validation")) == set(held_out)


def test_rows_too_few_or_of_one_class_are_refused() -> None:
    with pytest.raises(UnavailableError, match="more than 100 rows, not 40 and 40"):
        sae_probes.split_rows(np.arange(80) % 2 == 1)
    with pytest.raises(UnavailableError, match="two classes alike and more than 100 rows, not 50 and 450"):
        sae_probes.split_rows(np.arange(500) % 10 == 1)


# ── from a copy to tasks ─────────────────────────────────────────────────────────────────────────────────


def test_a_clone_becomes_a_mirror_that_tasks_are_read_from(tmp_path: Path) -> None:
    rows = frame(prompt_len=7)
    clone = write_copy(
        tmp_path / "clone", **{"105_click_bait": rows, "131_temp_cat_Typical Time": frame(targets=(0, 1))}
    )
    missing = sae_probes.convert(clone, tmp_path / "data")
    assert len(missing) == 111 and "105_click_bait" not in missing

    original = load_task(task("sae_probes_click_bait_original"), data_dir=tmp_path / "data").examples
    train, test = papers_split((rows["target"] == "factual").to_numpy().astype(int))
    assert Counter(original.splits)["test"] == rows["prompt"][test].nunique()
    by_text = dict(zip(rows["prompt"], rows["target"], strict=True))
    assert all(by_text[text] == label for text, label in zip(original.inputs, original.labels, strict=True))
    learnt = {text for text, split in zip(original.inputs, original.splits, strict=True) if split != "test"}
    assert learnt == set(rows["prompt"][train])

    numbers = load_task(task("sae_probes_temp_cat_typical_time"), data_dir=tmp_path / "data")
    assert numbers.classes == ("0", "1")


def test_the_original_keeps_leaks_and_counts_them_and_the_clean_one_has_none(tmp_path: Path) -> None:
    sae_probes.convert(write_copy(tmp_path, **{"105_click_bait": frame()}), tmp_path / "data")
    clean, original = (
        load_task(task(f"sae_probes_click_bait{end}"), data_dir=tmp_path / "data")
        for end in ("", "_original")
    )
    for data, leaks in ((clean, False), (original, True)):
        texts = {split: set() for split in ("train", "test")}  # type: dict[str, set[str]]
        for text, split in zip(data.examples.inputs, data.examples.splits, strict=True):
            texts["test" if split == "test" else "train"].add(text)
        assert (REPEATED in texts["train"] & texts["test"]) == leaks
    assert original.hygiene.leaks > 0 and clean.hygiene.duplicates == 44
    # All rows of the file, and not the paper's choice of them.
    assert len(clean.examples) == 900 - 44


def test_the_packages_compressed_files_serve_but_whole_ones_come_first(tmp_path: Path) -> None:
    package = tmp_path / "sae_probes" / "data" / "cleaned_data"
    package.mkdir(parents=True)
    for stem in ("105_click_bait", "87_glue_cola"):
        with pa.output_stream(str(package / f"{stem}.csv.zst"), compression="zstd") as stream:
            stream.write(frame(300).to_csv(index=False).encode())
    write_copy(tmp_path / "clone", **{"105_click_bait": frame(400)})
    assert [path.suffix for path in sae_probes.find_files(tmp_path).values()] == [".zst", ".csv"]
    sae_probes.convert(tmp_path, tmp_path / "data")
    files = {
        stem: tmp_path / "data" / f"sae_probes_{stem}" / "data.parquet"
        for stem in ("click_bait", "glue_cola")
    }
    rows = {stem: len(pd.read_parquet(path)) for stem, path in files.items()}
    assert rows == {"click_bait": 400, "glue_cola": 300}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            pd.DataFrame({"text": ["a"], "target": [1]}),
            "is not a csv file with the columns prompt and target",
        ),
        (frame(targets=(1, 1)), "has 1 targets, not two"),
        (frame(80), "needs two classes alike and more than 100 rows"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, rows: pd.DataFrame, said: str) -> None:
    with pytest.raises(UnavailableError, match=said) as caught:
        sae_probes.convert(write_copy(tmp_path, **{"105_click_bait": rows}), tmp_path / "data")
    assert "105_click_bait.csv" in str(caught.value)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness_probing.sae_probes", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_wrote_and_what_it_did_not_find(tmp_path: Path) -> None:
    clone = write_copy(tmp_path / "clone", **{"105_click_bait": frame(300)})
    done = run(clone, "-o", tmp_path / "data")
    assert done.returncode == 0 and done.stdout == f"wrote 1 of 113 sets to '{tmp_path / 'data'}'\n"
    assert done.stderr.startswith("not found: 5_hist_fig_ismale, ") and done.stderr.endswith("and 107 more\n")
    (tmp_path / "empty").mkdir()
    failed = run(tmp_path / "empty", "-o", tmp_path / "data")
    assert failed.returncode == 3 and "holds no csv file of sae-probes" in failed.stderr
