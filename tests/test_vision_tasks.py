"""The image tasks: what their records say, what the hub's rows become, what the sets at hand contain."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from harness_vision import digits, tasks
from PIL import Image
from sklearn.datasets import load_digits

import harness
from harness.api.tasks import HubSource, TaskSpec
from harness.config.suite import read_suite
from harness.data.cleaning import Hygiene
from harness.data.splits import split_rows
from harness.data.task import load_task
from harness.registry.catalog import parse_reference

DATA = Path(os.environ.get("HARNESS_DATA_DIR") or "/nonexistent")
TASKS = {task.name: task for task in tasks.TASKS}
MIRRORED = [task.name for task in tasks.MIRRORED]
ON_THE_HUB = [task.name for task in tasks.ON_THE_HUB]
SUITES = sorted((Path(tasks.__file__).parent / "suites").glob("*.yaml"))
here = pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored data")


def png(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(256, size=(6, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


# ── what records and suites say ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_every_task_is_of_images_in_no_language_and_says_how_to_name_a_class(task: TaskSpec) -> None:
    assert (task.modality, task.languages, task.columns.input) == ("image", ("zxx",), "image")
    assert task.templates
    assert all(template.count("{}") == 1 for template in task.templates)
    names = list(task.class_names.values())
    assert len(set(names)) == len(names)
    assert not any("_" in name or name != name.strip() for name in names)


def test_flowers_have_the_names_that_torchvision_gives_their_numbers() -> None:
    flowers = pytest.importorskip("torchvision").datasets.Flowers102.classes
    named = TASKS["oxford_flowers"].class_names
    assert named == {str(number): name.rstrip("?") for number, name in enumerate(flowers, start=1)}


def test_suites_say_what_they_are_and_have_the_arms_that_keep_them_honest() -> None:
    assert {path.stem for path in SUITES} == {"vision", "vision-quick", "paligemma-2"}
    for path in (path for path in SUITES if path.stem != "paligemma-2"):
        suite = read_suite(path)
        assert suite.name == path.stem
        assert {task.name for task in suite.tasks} <= set(TASKS)
        assert {"hidden", "pixels", "majority"} <= {parse_reference(one)[0] for one in suite.representations}
        assert [model.ref for model in suite.models] == ["minipaligemma", "miniclip"]
    (vision,) = (read_suite(path) for path in SUITES if path.stem == "vision")
    assert [task.name for task in vision.tasks] == MIRRORED
    assert vision.poolings == ("mean", "max")
    assert {"mosaic_last_token", "pca"} <= {parse_reference(one)[0] for one in vision.representations}
    assert {model.ref: model.sites for model in vision.models} == {
        "minipaligemma": ("resid_post.50%",),
        "miniclip": ("vision.resid_post.75%",),
    }


# ── rows of the hub ──────────────────────────────────────────────────────────────────────────────────────

LABELS: dict[str, tuple[str, ...]] = {
    "cifar100": ("apple", "aquarium_fish", "cra"),
    "oxford_flowers": ("1", "10", "100"),
    "indian_food_images": ("burger", "butter_naan", "samosa"),
    "dtd": ("banded", "blotchy", "polka-dotted"),
    "imagenette": ("tench", "English springer", "French horn"),
}


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_hub_record_reads_rows_as_the_hub_has_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TASKS[name]
    assert isinstance(spec.source, HubSource)
    columns = spec.source.columns or spec.columns
    config, others = spec.source.config or "default", ("validation",) if name == "imagenette" else ("test",)
    labels = LABELS[name]
    for part, split in enumerate(("train", *others)):
        rows = [
            {columns.input: {"bytes": png(100 * part + row), "path": None}, columns.label: row % len(labels)}
            for row in range(30)
        ]
        (tmp_path / config).mkdir(exist_ok=True)
        file = tmp_path / config / f"{split}-00000-of-00001.parquet"
        pd.DataFrame(rows).assign(coarse_label=0).to_parquet(file, index=False)
    write_card(tmp_path, columns.input, columns.label, labels, config, splits=("train", *others))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = load_task(replace(spec, source=replace(spec.source, hub=str(tmp_path))))
    renamed = spec.source.labels or {}
    assert data.classes == tuple(sorted(renamed.get(label, label) for label in labels))
    assert data.hygiene == Hygiene()
    assert all(isinstance(image, harness.Image) and image.size == (5, 6) for image in data.examples.inputs)
    known = {harness.read_image(png(100 * part + row)).id: row % 3 for part in (0, 1) for row in range(30)}
    for image, label in zip(data.examples.inputs, data.examples.labels, strict=True):
        given = labels[known[image.id]]
        assert label == renamed.get(given, given)
    counts = Counter(data.examples.splits)
    if name == "imagenette":
        assert set(counts) == {"train", "validation", "test"}
        assert counts["validation"] == counts["train"] + counts["test"] == 30
    else:
        assert counts == {"train": 30, "test": 30}


def write_card(
    folder: Path,
    image: str,
    label: str,
    labels: tuple[str, ...],
    config: str,
    *,
    splits: tuple[str, ...],
) -> None:
    """A README.md as the hub's, from which the library knows what the columns hold."""
    names = {str(number): name for number, name in enumerate(labels)}
    features: list[dict[str, Any]] = [
        {"name": image, "dtype": "image"},
        {"name": label, "dtype": {"class_label": {"names": names}}},
        {"name": "coarse_label", "dtype": "int64"},
    ]
    files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
    card = {
        "configs": [{"config_name": config, "data_files": files}],
        "dataset_info": [{"config_name": config, "features": features}],
    }
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n", "utf-8")


# ── digits ───────────────────────────────────────────────────────────────────────────────────────────────


def grey(encoded: bytes) -> np.ndarray[Any, Any]:
    image = Image.open(io.BytesIO(encoded))
    assert image.mode == "L"
    return np.asarray(image)


def test_the_digits_that_ship_are_scikit_learns_and_made_anew_they_are_the_same(tmp_path: Path) -> None:
    source = load_digits()
    digits.write(tmp_path / "again.parquet")
    for file in (digits.FILE, tmp_path / "again.parquet"):
        table = pd.read_parquet(file)
        assert list(table.columns) == ["image", "label"]
        # The bytes of a PNG depend on the version of zlib; its pixels do not.
        pixels = np.stack([grey(encoded) for encoded in table.image])
        np.testing.assert_array_equal(pixels, np.round(source.images * 255 / 16))
        assert table.label.tolist() == [str(label) for label in source.target]


def test_digits_are_split_by_their_content_and_none_is_lost() -> None:
    data = load_task(TASKS["digits"])
    assert data.classes == tuple("0123456789")
    assert data.hygiene == Hygiene()
    counts = Counter(data.examples.splits)
    assert counts["train"] + counts["test"] == len(load_digits().target)
    assert counts["test"] / counts.total() == pytest.approx(0.2, abs=0.03)
    rows = split_rows(data.examples, 0)
    assert all({data.examples.labels[row] for row in found} == set(data.classes) for found in rows.values())
    few = load_task(TASKS["digits"], limit=300)
    home = dict(zip(data.examples.ids, data.examples.splits, strict=True))
    assert all(home[one] == split for one, split in zip(few.examples.ids, few.examples.splits, strict=True))


# ── the mirrored sets ────────────────────────────────────────────────────────────────────────────────────


@here
@pytest.mark.data
@pytest.mark.parametrize("name", MIRRORED)
def test_a_mirrored_task_has_the_rows_of_its_info_and_no_leak(name: str) -> None:
    info = json.loads((DATA / name / "info.json").read_text("utf-8"))
    data = load_task(TASKS[name], data_dir=DATA)
    assert Counter(data.examples.splits) == info["splits"]
    assert Counter(data.examples.labels) == info["labels"]
    assert len(data.classes) == info["classes"]
    assert data.hygiene == Hygiene()
    assert set(TASKS[name].class_names) <= set(data.classes)
    assert all(len(found) > 0 for found in split_rows(data.examples, 0).values())


@here
@pytest.mark.data
def test_no_drawer_of_a_character_is_in_two_splits() -> None:
    data = load_task(TASKS["omniglot_small"], data_dir=DATA)
    rows = split_rows(data.examples, 0)
    drawers = {split: {data.examples.groups[row] for row in found} for split, found in rows.items()}
    assert None not in set.union(*drawers.values())
    assert sum(len(found) for found in drawers.values()) == len(set.union(*drawers.values())) == 20
    assert len(drawers["test"]) == 4
    assert all({data.examples.labels[row] for row in found} == set(data.classes) for found in rows.values())
