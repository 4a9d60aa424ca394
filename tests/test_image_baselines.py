"""What image features are compared with, pixels and scores of classes, against Pillow, SciPy and scikit-learn."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

import harness
from harness.probing.probe import Rows, probe
from harness.registry.catalog import Registry
from harness.runs.folder import RunFolder
from harness.session import open_registry
from harness.stats.bootstrap import bootstrap_weights

Array = np.ndarray[Any, Any]
DATA = Path(os.environ.get("HARNESS_DATA_DIR") or "/nonexistent")
KINDS: dict[str, Callable[[Array], Any]] = {"dense": np.asarray, "csr": sparse.csr_array}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return open_registry()


def encode(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def read(*images: Image.Image) -> list[harness.Image]:
    return [harness.read_image(encode(image)) for image in images]


# ── pixels ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pixel_is_the_mean_of_the_area_that_it_covers(registry: Registry) -> None:
    image = noise(12, 8)
    pixels = registry.choose("representations", "pixels[size=4]").make().fit([])
    (row,) = pixels.transform(read(image))
    areas = np.asarray(image, np.float64).reshape(4, 2, 4, 3, 3).mean(axis=(1, 3)) / 255
    assert row.dtype == np.float32
    assert row.shape == (4 * 4 * 3,)
    # Pillow rounds after each of the two directions.
    np.testing.assert_allclose(row.reshape(4, 4, 3), areas, atol=1.01 / 255)


def test_an_image_smaller_than_that_is_enlarged_and_one_colour_stays_itself(registry: Registry) -> None:
    pixels = registry.choose("representations", "pixels").make().fit([])
    red, tiny = pixels.transform(read(Image.new("RGB", (50, 40), (255, 51, 0)), noise(2, 2)))
    assert len(red) == len(tiny) == 16 * 16 * 3
    np.testing.assert_allclose(red.reshape(-1, 3), [[1, 0.2, 0]] * 256, atol=1e-6)
    np.testing.assert_allclose(tiny.reshape(16, 16, 3)[::8, ::8], np.asarray(noise(2, 2)) / 255, atol=1e-6)


def test_rows_are_in_the_order_of_the_images_and_depend_on_no_other(
    registry: Registry, tmp_path: Path
) -> None:
    images = [noise(64 if seed % 3 else 300, 64, seed) for seed in range(40)]
    inputs = read(*images)
    (tmp_path / "one.png").write_bytes(encode(images[7]))
    inputs[7] = harness.read_image(tmp_path / "one.png")
    pixels = registry.choose("representations", "pixels[size=8]").make()
    rows = pixels.fit(inputs).transform(inputs)
    one_by_one = np.concatenate([pixels.transform([one]) for one in inputs])
    np.testing.assert_array_equal(rows, one_by_one)
    np.testing.assert_array_equal(pixels.fit(inputs[:1]).transform(inputs), rows)
    assert pixels.transform([]).shape == (0, 8 * 8 * 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_an_image_of_any_mode_has_three_channels(registry: Registry, mode: str) -> None:
    image = noise(20, 30).convert(mode)
    given = harness.read_image(encode(image, "TIFF"))
    (row,) = registry.choose("representations", "pixels").make().fit([]).transform([given])
    plain = image.convert("RGB").resize((16, 16), Image.Resampling.BOX)
    np.testing.assert_allclose(row.reshape(16, 16, 3), np.asarray(plain) / 255, atol=1e-6)


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "large", "true"])
def test_a_size_that_cannot_be_is_one_sentence(registry: Registry, size: str) -> None:
    with pytest.raises(
        harness.UsageError, match=r"a whole number, at least 1|takes a number as size"
    ) as refusal:
        registry.choose("representations", f"pixels[size={size}]").make()
    assert "pixels" in str(refusal.value)
    assert "\n" not in str(refusal.value)


FLOORS = {"eurosat": 0.40, "tf_flowers": 0.42, "mnist10k": 0.92, "omniglot_small": 0.44}
"""Accuracy of a logistic regression on 16 × 16 pixels, as the mirror states it."""


def shrink(encoded: bytes) -> Array:
    """An image's pixels without the harness."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB").resize((16, 16), Image.Resampling.BOX)
    return (np.asarray(image, np.float32) / np.float32(255)).ravel()


def read_set(name: str) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """The rows of a mirrored set, and their pixels by Pillow alone."""
    table = pd.read_parquet(DATA / name / "data.parquet")
    return table, np.stack([shrink(encoded) for encoded in table.image])


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored data")
@pytest.mark.parametrize("name", FLOORS)
def test_pixels_of_real_images_are_plain_pillows(registry: Registry, name: str) -> None:
    table, plain = read_set(name)
    inputs = [harness.read_image(encoded) for encoded in table.image]
    found = registry.choose("representations", "pixels").make().fit(inputs).transform(inputs)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="HARNESS_DATA_DIR names no folder of mirrored data")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["omniglot_small", "tf_flowers"])
@pytest.mark.long
def test_pixels_of_real_images_are_as_good_as_they_are_known_to_be(name: str, tmp_path: Path) -> None:
    table, plain = read_set(name)
    train, test = (np.flatnonzero(table.split == split) for split in ("train", "test"))
    model = LogisticRegression(max_iter=1000).fit(plain[train], table.label[train])
    assert model.score(plain[test], table.label[test]) == pytest.approx(FLOORS[name], abs=0.02)

    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"name: pixels\ntasks: [{name}]\nrepresentations: [pixels]\nclassifiers: [logreg(C=100.0)]\n"
    )
    session = harness.open(data_dir=DATA, cache_dir=tmp_path / "cache", device="cpu")
    (record,) = RunFolder(session.run(suite, output=tmp_path / "run").folder).records()
    assert record.n_test == len(test)
    assert record.n_features == 16 * 16 * 3
    # Fewer rows to learn from than above where there are no validation rows, and another C.
    assert record.metrics["accuracy"].value == pytest.approx(FLOORS[name], abs=0.05)


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_scores_are_the_softmax_of_what_is_given_whatever_was_learnt_from(
    registry: Registry, kind: str, n_classes: int
) -> None:
    random = np.random.default_rng(n_classes)
    X = (100 * random.normal(size=(60, n_classes))).astype(np.float32)
    X[random.random(X.shape) < 0.3] = 0
    X[0] = 1e30
    y = np.arange(60) % n_classes
    fitted = registry.choose("classifiers", "scores").make().fit(KINDS[kind](X), y)
    found = fitted.predict_proba(KINDS[kind](X))
    np.testing.assert_allclose(found, softmax(X.astype(float), axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(found.argmax(axis=1), X.argmax(axis=1))
    other = registry.choose("classifiers", "scores").make().fit(KINDS[kind](-X), y[::-1])
    np.testing.assert_array_equal(other.predict_proba(KINDS[kind](X)), found)


@pytest.mark.parametrize("columns", [1, 2, 4, 512])
def test_features_that_are_no_scores_of_the_classes_are_refused(registry: Registry, columns: int) -> None:
    classifier = registry.choose("classifiers", "scores").make()
    with pytest.raises(ValueError, match=f"one feature for each of 3 classes .* not {columns} features"):
        classifier.fit(np.zeros((6, columns), np.float32), np.array([0, 1, 2, 0, 1, 2]))


def test_scores_have_no_parameters_and_are_probed_like_any_other(registry: Registry) -> None:
    with pytest.raises(harness.UsageError, match="has no parameter 'C'; it takes none"):
        registry.choose("classifiers", "scores(C=1)")
    random = np.random.default_rng(0)
    y = random.integers(4, size=400)
    X = (random.normal(size=(400, 4)) + 1.5 * np.eye(4)[y]).astype(np.float32)
    rows = Rows(
        y=y,
        classes=("a", "b", "c", "d"),
        train=np.arange(200),
        validation=np.arange(200, 250),
        test=np.arange(250, 400),
        groups=np.arange(400),
        weights=bootstrap_weights(y[250:], resamples=50, seed=0),
    )
    outcome = probe(
        X,
        rows,
        transform=registry.choose("transforms", "none"),
        classifier=registry.choose("classifiers", "scores"),
        seed=0,
    )
    assert outcome.metrics["accuracy"].value == (X[250:].argmax(axis=1) == y[250:]).mean()
    assert (outcome.parameters, outcome.flags, outcome.used) == ({}, (), ())
    np.testing.assert_allclose(outcome.scores, softmax(X[250:].astype(float), axis=1))
