"""Pictures of a cell: where heat lands, what a matrix counts, which images stand on a sheet, and links to all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from matplotlib import colormaps
from PIL import Image
from scipy import sparse
from sklearn.metrics import confusion_matrix as scikit_confusions
from sklearn.metrics import f1_score

import harness
from harness.api.data import Site, Tokens
from harness.api.errors import UnavailableError
from harness.api.events import Score
from harness.api.protocols import ImageModel
from harness.dictionaries import decoding
from harness.dictionaries.dictionary import Dictionary
from harness.features.token_sets import TokenSet
from harness.figures import cell, lettering, sheet
from harness.figures.cell import CellFeatures, Drawn, draw_confusion, draw_sheets
from harness.figures.confusion import confusion_matrix, count_confusions
from harness.figures.lettering import Page, measure, readable
from harness.figures.sheet import Tile, contact_sheet
from harness.leaderboard import build, check_published, publish, write
from harness.leaderboard.files import render
from harness.probing.attribution import TopFeature, find_effects, find_top_features
from harness.registry.loading import load_plugins
from harness.runs.folder import RunFolder
from harness.runs.layout import place_confusion, place_sheet
from harness.runs.record import Record, hash_predictions

Array = np.ndarray[Any, Any]


def pixels(picture: Image.Image) -> Array:
    return np.asarray(picture.convert("RGB")).astype(int)


def noise(size: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8))


# ── heat on patches ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("size", "grid"), [(140, (7, 7)), (160, (16, 16)), (100, (7, 3)), (64, (27, 27))])
def test_one_hot_patch_colours_its_own_rectangle_and_nothing_else(size: int, grid: tuple[int, int]) -> None:
    view = noise(size)
    grey = pixels(view.convert("L"))
    for row, column in ((0, 0), (grid[0] - 1, grid[1] - 1), (grid[0] // 2, 1)):
        heat = np.zeros(grid)
        heat[row, column] = 3.0
        shown = pixels(sheet.overlay(view, heat, highest=3.0))
        changed = np.zeros((size, size), dtype=bool)
        # a pixel belongs to the patch that holds its centre
        top, bottom = (ceil(edge * size / grid[0] - 0.5) for edge in (row, row + 1))
        left, right = (ceil(edge * size / grid[1] - 0.5) for edge in (column, column + 1))
        changed[top:bottom, left:right] = True
        assert (shown[~changed] == grey[~changed]).all()
        yellow = np.array(colormaps["plasma"](1.0, bytes=True)[:3])
        wanted = grey[changed] * (1 - sheet.OPACITY) + yellow * sheet.OPACITY
        assert np.abs(shown[changed] - wanted).max() <= 1


def test_all_maps_of_a_sheet_have_one_scale() -> None:
    grey = Image.new("RGB", (64, 64), (90, 90, 90))
    heats = [np.full((2, 2), 4.0), np.full((2, 2), 1.0)]
    made = pixels(
        contact_sheet([Tile(view=grey, heat=heat, caption=("a",)) for heat in heats], title="one scale")
    )
    for number, heat in enumerate(heats):
        wanted = pixels(sheet.overlay(sheet.scale_view(grey), heat, highest=4.0))
        assert count_places(made, wanted) == 1, number
    alone = sheet.overlay(sheet.scale_view(grey), heats[1], highest=1.0)
    assert count_places(made, pixels(alone)) == 1  # only the first: the second is not as hot


def count_places(picture: Array, part: Array) -> int:
    """How often a part stands in a picture, pixel by pixel, where its corner's colour begins a run of its height."""
    height, width, _ = part.shape
    corner = (picture == part[0, 0]).all(axis=2)
    found = 0
    for y, x in zip(*corner.nonzero(), strict=True):
        found += bool(np.array_equal(picture[y : y + height, x : x + width], part))
    return found


@pytest.mark.parametrize(("size", "factor"), [(28, 5), (32, 5), (64, 2), (8, 20)])
def test_a_small_image_is_shown_pixel_by_pixel(size: int, factor: int) -> None:
    view = noise(size)
    shown = pixels(sheet.scale_view(view))
    assert np.array_equal(shown, pixels(view).repeat(factor, axis=0).repeat(factor, axis=1))


@pytest.mark.parametrize("size", [(224, 224), (96, 96), (448, 224), (1, 3000)])
def test_an_image_of_any_size_is_shown_in_its_shape(size: tuple[int, int]) -> None:
    shown = sheet.scale_view(Image.new("RGB", size))
    assert max(shown.size) == sheet.BOX
    assert shown.size == tuple(max(1, round(side * sheet.BOX / max(size))) for side in size)


def test_each_image_stands_on_the_sheet_beside_its_map() -> None:
    tiles = [
        Tile(view=noise(28, seed), heat=np.eye(7) * seed, caption=(f"label {seed}", "max 3"))
        for seed in range(12)
    ]
    made = pixels(contact_sheet(tiles, title="digits", notes=["One.", "Two."]))
    for tile in tiles:
        view = sheet.scale_view(tile.view)
        assert tile.heat is not None
        pair = np.concatenate(
            [
                pixels(view),
                np.full((view.height, 4, 3), 255),
                pixels(sheet.overlay(view, tile.heat, highest=11.0)),
            ],
            axis=1,
        )
        assert count_places(made, pair) == 1


def test_a_sheet_without_maps_has_the_images_alone() -> None:
    tiles = [Tile(view=noise(32, seed), heat=None, caption=("a",)) for seed in range(3)]
    made = pixels(contact_sheet(tiles, title="t"))
    assert all(count_places(made, pixels(sheet.scale_view(tile.view))) == 1 for tile in tiles)
    with_maps = contact_sheet([replace(tile, heat=np.zeros((2, 2))) for tile in tiles], title="t")
    assert with_maps.width > made.shape[1]


def test_a_map_without_any_activation_is_the_image_in_grey() -> None:
    view = noise(32)
    made = contact_sheet([Tile(view=view, heat=np.zeros((4, 4)), caption=("a",))], title="t")
    assert count_places(pixels(made), pixels(sheet.scale_view(view).convert("L"))) == 1


def test_the_same_sheet_is_the_same_to_the_last_bit() -> None:
    def made() -> bytes:
        tiles = [Tile(view=noise(28, seed), heat=np.ones((4, 4)), caption=("a", "b")) for seed in range(5)]
        return contact_sheet(tiles, title="again").tobytes()

    assert made() == made()


# ── labels and predictions ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n_classes", [2, 3, 151])
def test_counts_are_those_of_scikit_learn(n_classes: int) -> None:
    generator = np.random.default_rng(n_classes)
    classes = [f"class {number}" for number in generator.permutation(n_classes)]
    labels, predictions = (
        [classes[number] for number in generator.integers(0, n_classes, 300)] for _ in range(2)
    )
    assert np.array_equal(
        count_confusions(labels, predictions, classes),
        scikit_confusions(labels, predictions, labels=classes),
    )


def test_what_is_no_class_is_not_counted_as_one() -> None:
    with pytest.raises(KeyError, match="c"):
        count_confusions(["a", "c"], ["a", "b"], ["a", "b"])


def find_cells(picture: Image.Image, n_classes: int) -> Array:
    """The colours of all cells, `[classes, classes, 3]`, of a picture in which all predictions of the first and of the
    last class are right: the darkest blue then reaches from corner to corner, but for lines above and at the left.
    """
    made = pixels(picture)
    y, x = (made == blue(1.0)).all(axis=2).nonzero()
    bottom, right = y.max() + 1, x.max() + 1
    side = ceil((bottom - y.min()) / n_classes)
    assert side == ceil((right - x.min()) / n_classes)
    place = np.arange(-n_classes, 0) * side + side // 8  # beside letters and lines
    return made[np.ix_(bottom + place, right + place)]


def blue(share: Any) -> Array:
    return np.asarray(colormaps["Blues"](np.rint(255 * np.asarray(share)).astype(int), bytes=True))[
        ..., :3
    ].astype(int)


@pytest.mark.parametrize("n_classes", [2, 12, 13, 40, 41, 151, 200])
def test_a_cell_has_the_colour_of_its_share_of_its_row(n_classes: int) -> None:
    classes = [f"c{number}" for number in range(n_classes)]
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_classes), 8)
    predictions = np.where(generator.random(len(labels)) < 0.7, labels, generator.permutation(labels))
    edges = (labels == 0) | (labels == n_classes - 1)
    predictions[edges] = labels[edges]
    named = [[classes[number] for number in numbers] for numbers in (labels, predictions)]
    picture = confusion_matrix(*named, classes, title="shares")
    shares = scikit_confusions(*named, labels=classes, normalize="true")
    assert np.array_equal(find_cells(picture, n_classes), blue(shares))


def test_a_class_without_test_rows_is_grey() -> None:
    picture = confusion_matrix(["a", "c"], ["a", "c"], ["a", "b", "c"], title="t")
    found = find_cells(picture, 3)
    assert (found[1] == 225).all() and not (found[0] == 225).any()


@pytest.mark.parametrize("n_classes", [201, 1000, 2500])
def test_more_classes_than_can_be_named_still_make_a_picture(n_classes: int) -> None:
    classes = [f"c{number}" for number in range(n_classes)]
    picture = confusion_matrix(classes, classes, classes, title="many")
    assert (pixels(picture) == blue(1.0)).all(axis=2).sum() >= n_classes
    assert max(picture.size) < 2700


def test_no_rows_make_a_picture_without_numbers() -> None:
    assert confusion_matrix([], [], ["a", "b"], title="empty").width > 0


HOSTILE = {
    "markup": r"$\frac{1}{2}$ <b>&amp;</b> \n {0} %s",
    "lines": "one\ntwo\r\nthree\u2028four\x00\x1b[31m",
    "long": "a very long name " * 600,
    "unbroken": "x" * 5000,
    "right to left": "قط أسود כלב",
    "override": "\u202egnp.exe\u202c",
    "stacked": "Z" + "\u0310\u0322" * 200,
    "empty": "",
    "blank": " \t\n ",
    "emoji": "👩‍👩‍👧 猫 ก็",
    "lone surrogate": "a\ud800b",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_name_of_a_class_leaves_its_place(name: str) -> None:
    labels = [name, "b", "b"]
    picture = confusion_matrix(labels, labels, [name, "b"], title="names")
    plain = confusion_matrix(["a", "b", "b"], ["a", "b", "b"], ["a", "b"], title="names")
    assert np.array_equal(find_cells(picture, 2), find_cells(plain, 2))
    assert picture.width == plain.width and picture.height < plain.height + 200
    rim = pixels(picture)
    assert (rim[-10:] == 255).all() and (rim[:, -10:] == 255).all() and (rim[:, :10] == 255).all()


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_caption_and_no_title_leaves_its_place(name: str) -> None:
    view = Image.new("RGB", (64, 64))
    made = contact_sheet(
        [Tile(view=view, heat=None, caption=(name, "b"))], title=name[:300], notes=[name[:300]]
    )
    plain = contact_sheet([Tile(view=view, heat=None, caption=("a", "b"))], title="t")
    assert made.width == plain.width and made.height < plain.height + 250
    assert (pixels(made)[:, -10:] == 255).all() and (pixels(made)[:, :10] == 255).all()


def test_signs_of_markup_are_letters_like_others() -> None:
    def ink(text: str) -> int:
        page = Page(300, 20)
        page.write(text, (0, 0, 300, 20))
        return int((pixels(page.image()) < 128).any(axis=2).sum())

    assert ink("$x^2$") > ink("x^2") > ink("x2") > 0
    assert measure("a\\nb", 12) > measure("anb", 12)


ALPHABETS = (
    *("Größe é ñ ž ő", "Отзывы їґў", "Ελλάδα", "新闻分类 新聞", "ニュース かな", "뉴스 한국어"),
    *("قطة سوداء", "כלב", "հայ", "ქართ"),
)


@pytest.mark.parametrize("name", ALPHABETS)
def test_names_in_other_alphabets_are_letters_and_no_boxes(name: str) -> None:
    assert readable(name) == name
    page, boxes = Page(300, 30), Page(300, 30)
    page.write(name, (0, 0, 300, 30))
    boxes.write("".join(letter if letter == " " else "□" for letter in name), (0, 0, 300, 30))
    assert (pixels(page.image()) < 128).any() and not np.array_equal(
        pixels(page.image()), pixels(boxes.image())
    )


def test_what_no_font_has_is_a_box_and_one_warning_for_each_script(monkeypatch: pytest.MonkeyPatch) -> None:
    lettering._warn_of.cache_clear()
    monkeypatch.setattr(lettering, "_letters", lambda: frozenset(map(ord, "cat □")))
    with pytest.warns(UserWarning) as told:
        assert readable("cat кот и कुत्ता") == "cat □□□ □ □□□□□□"
        assert readable("пёс") == "□□□"
    assert [str(one.message).split(",")[0] for one in told] == [
        "no font has Cyrillic letters",
        "no font has Devanagari letters",
    ]


def test_pictures_drawn_in_threads_are_those_drawn_alone() -> None:
    def draw(number: int) -> bytes:
        classes = [f"класс {number}", "类"]
        return confusion_matrix(classes, classes, classes, title=f"№ {number}").tobytes()

    alone = [draw(number) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(8))) == alone


# ── which images, and how high on each patch ─────────────────────────────────────────────────────────────

GRID = 4
SITE = Site(tower="vision", kind="resid_post", layer=1)


class Loaded:
    """Activations of a patch are its colours, with the number of its place; of the summary their means."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self.read: list[str] = []

    def prepare(self, image: harness.Image) -> torch.Tensor:
        return torch.from_numpy(self.tower.images[image.id].astype(np.float32))

    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        parts = []
        for one in batch:
            assert one.image
            self.read.append(one.image.id)
            patches = self.prepare(one.image).reshape(-1, 3)
            everything = torch.cat([patches.mean(0, keepdim=True), patches])
            parts.append(everything[torch.from_numpy(one.content)])
        return {SITE: torch.cat(parts)}


class Tower:
    """Reads images of 4 × 4 pixels that it knows by their ids; each pixel is a patch."""

    name, architecture, n_layers, n_parameters = "tower", "toy", 2, 0
    towers: Mapping[str, int] = {"vision": 2}
    grid = (GRID, GRID)
    seen_tasks: tuple[str, ...] = ()

    def __init__(self, n_images: int, *, low: int = 0) -> None:
        generator = np.random.default_rng(0)
        self.images = {str(row): generator.integers(low, 256, (GRID, GRID, 3)) for row in range(n_images)}

    def width(self, site: Site) -> int:
        return 3

    def identity(self, site: Site) -> Mapping[str, Any]:
        return {}

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        place = np.arange(GRID * GRID + 1)
        return [Tokens(ids=place, content=place > 0, summary=place == 0, image=image) for image in inputs]

    def view(self, image: harness.Image) -> Any:
        return Image.fromarray(self.images[image.id].clip(0).astype(np.uint8))

    def load(self, sites: Sequence[Site], device: str) -> Loaded:
        return Loaded(self)


N = 60
LABELS = tuple(("even", "odd")[row % 2] for row in range(N))
TRAIN = tuple(row for row in range(N) if row % 3)
ENCODER = Dictionary(
    name="toy",
    width=6,
    activation="relu",
    W_enc=torch.cat([torch.eye(3), -torch.eye(3)], 1),
    b_enc=torch.tensor([-100.0, -100.0, -100.0, 50.0, 50.0, -300.0]),
)
"""Of each colour, how far it is above 100; of the first two, how far below 50; and one that never fires."""


def use(*features: int) -> list[TopFeature]:
    return [TopFeature(feature=feature, label="odd", weight=-0.5, effect=1.0) for feature in features]


class Scene:
    """All that `draw_sheets` is given, of the toy tower."""

    def __init__(
        self, folder: Path, *, tokens: str = "content", encoder: Dictionary = ENCODER, low: int = 0
    ) -> None:
        self.folder, self.encoder = folder, encoder
        self.tower = Tower(N, low=low)
        self.loaded = self.tower.load([SITE], "cpu")
        inputs = [harness.Image(encoded=b"", id=str(row), size=(GRID, GRID)) for row in range(N)]
        self.tokens = [TokenSet.parse(tokens).select(one) for one in self.tower.tokenize(inputs)]
        encoded = [self.encoder.encode(self.loaded.forward([one])[SITE]).numpy() for one in self.tokens]
        self.matrix: Any = np.stack([values.max(axis=0) for values in encoded])
        self.encoded = encoded
        self.loaded.read.clear()

    def draw(self, used: Sequence[Any], **other: Any) -> Drawn:
        given: dict[str, Any] = {
            "title": "toy × tower",
            "model": self.tower,
            "loaded": lambda: self.loaded,
            "encoder": lambda: self.encoder,
            "site": SITE,
            "tokens": self.tokens,
            "matrix": self.matrix,
            "train": TRAIN,
            "labels": LABELS,
            "pooling": "max",
            "used": used,
        }
        return draw_sheets(self.folder, "cell", CellFeatures(**{**given, **other}))


Sheets = list[tuple[Sequence[Tile], Sequence[str]]]


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> Sheets:
    """What is put on each sheet, as it is drawn."""
    seen: Sheets = []

    def record(tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> Image.Image:
        seen.append((tiles, notes))
        return contact_sheet(tiles, title=title, notes=notes)

    monkeypatch.setattr(cell, "contact_sheet", record)
    return seen


def test_the_toy_is_a_model_that_reads_images() -> None:
    assert isinstance(Tower(1), ImageModel)


def test_a_sheet_shows_the_training_rows_where_a_feature_is_highest_and_where_in_them(
    tmp_path: Path, sheets: Sheets
) -> None:
    scene = Scene(tmp_path)
    drawn = scene.draw(use(4, 1))
    assert drawn == Drawn(paths=("pictures/cell/feature-4.png", "pictures/cell/feature-1.png"))
    for (tiles, notes), feature in zip(sheets, (4, 1), strict=True):
        rows = sheet_rows(scene, feature)
        assert [tile.caption for tile in tiles] == [
            (LABELS[row], f"{scene.matrix[row, feature]:.3g} · row {row}") for row in rows
        ]
        for tile, row in zip(tiles, rows, strict=True):
            assert np.array_equal(pixels(tile.view), scene.tower.images[str(row)])
            assert tile.heat is not None
            assert np.array_equal(tile.heat, scene.encoded[row][:, feature].reshape(GRID, GRID))
            colour = scene.tower.images[str(row)][
                ..., feature % 3
            ]  # what the toy's encoder says of it, by hand
            assert np.array_equal(tile.heat, np.maximum(50 - colour if feature > 2 else colour - 100, 0))
        assert f"Feature {feature}, whose weight for “odd” is −0.5. The 12 of 40 training rows" in notes[0]
        with Image.open(place_sheet(tmp_path, "cell", feature)) as picture:
            assert picture.format == "PNG" and picture.mode == "RGB"


def test_the_model_reads_every_image_of_all_sheets_once(tmp_path: Path, sheets: Sheets) -> None:
    scene = Scene(tmp_path)
    scene.draw(use(0, 1, 2), batch_size=4)
    shown = {tile.caption[1].split()[-1] for tiles, _ in sheets for tile in tiles}
    assert sorted(scene.loaded.read) == sorted(shown) and len(shown) > 12


def test_the_first_images_are_the_rows_that_the_record_goes_by(tmp_path: Path, sheets: Sheets) -> None:
    scene = Scene(tmp_path)
    pooled = scene.matrix[list(TRAIN)]
    effects = find_effects(
        np.stack([-np.ones(6), np.ones(6)]), pooled=pooled, transformed=pooled, n_classes=2
    )
    assert effects
    y = np.array([row % 2 for row in TRAIN])
    used = find_top_features(
        effects, pooled=pooled, y=y, classes=("even", "odd"), texts=[f"row {row}" for row in TRAIN]
    )
    scene.draw(used)
    for (tiles, _), one in zip(sheets, used, strict=True):
        rows = list(one.snippets)
        assert [tile.caption[1].split(" · ")[1] for tile in tiles[: len(rows)]] == rows


def test_five_features_have_sheets_and_one_that_never_fires_has_none(tmp_path: Path) -> None:
    drawn = Scene(tmp_path).draw(use(5, 0, 1, 2, 3, 4))
    assert drawn.paths == tuple(f"pictures/cell/feature-{feature}.png" for feature in (0, 1, 2, 3))
    assert drawn.notes == ()


def test_a_feature_that_fires_in_few_rows_shows_these_alone(tmp_path: Path, sheets: Sheets) -> None:
    scene = Scene(tmp_path)
    scene.matrix = np.where(
        np.isin(np.arange(N), (1, 2, 3))[:, None], scene.matrix, 0
    )  # row 3 is no training row
    scene.draw(use(0))
    ((tiles, notes),) = sheets
    assert sorted(tile.caption[1].split()[-1] for tile in tiles) == ["1", "2"]
    assert "The 2 of 40 training rows in which its max is above zero:" in notes[0]


def test_sparse_rows_and_slices_of_features_give_the_same_sheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(name: str, make: Callable[[Any], Any]) -> list[bytes]:
        scene = Scene(tmp_path / name)
        scene.matrix = make(scene.matrix)
        return [(scene.folder / path).read_bytes() for path in scene.draw(use(3, 0)).paths]

    dense = draw("dense", np.asarray)
    assert len(dense) == 2 and draw("sparse", sparse.csr_array) == dense
    monkeypatch.setattr(decoding, "SLICE_VALUES", {"cpu": 1})
    assert draw("sliced", np.asarray) == dense


def test_of_all_positions_the_patches_are_shown(tmp_path: Path, sheets: Sheets) -> None:
    scene = Scene(tmp_path, tokens="all")
    scene.draw(use(0))
    ((tiles, _),) = sheets
    for tile in tiles:
        row = tile.caption[1].split()[-1]
        assert tile.heat is not None
        assert np.array_equal(tile.heat, np.maximum(scene.tower.images[row][..., 0] - 100, 0))


@pytest.mark.parametrize("tokens", ["cls", "last(k=3)"])
def test_where_patches_are_not_pooled_images_stand_alone_and_the_sheet_says_so(
    tmp_path: Path, sheets: Sheets, tokens: str
) -> None:
    def refuse() -> Any:
        raise AssertionError("nothing need be loaded")

    drawn = Scene(tmp_path, tokens=tokens).draw(use(0), loaded=refuse, encoder=refuse)
    ((tiles, notes),) = sheets
    assert len(drawn.paths) == 1 and not drawn.notes
    assert all(tile.heat is None for tile in tiles)
    assert notes[-1] == "What is pooled is not every patch, so there is no map of patches."


def test_a_feature_that_is_alike_on_all_patches_has_no_map(tmp_path: Path, sheets: Sheets) -> None:
    scene = Scene(tmp_path)
    for row, image in scene.tower.images.items():
        scene.tower.images[row] = np.broadcast_to(image[:1, :1], image.shape)
    scene.draw(use(0))
    ((tiles, notes),) = sheets
    assert all(tile.heat is None for tile in tiles) and "the same on every patch" in notes[-1]


def test_what_is_below_zero_is_not_shown_and_the_sheet_says_so(tmp_path: Path, sheets: Sheets) -> None:
    scene = Scene(tmp_path, encoder=Dictionary(name="hidden", width=3, activation="identity"), low=-200)
    scene.draw(use(1))
    ((tiles, notes),) = sheets
    assert all(tile.heat is not None and tile.heat.min() == 0 for tile in tiles)
    assert "Where it is below zero, nothing is shown." in notes[-1]


def sheet_rows(scene: Scene, feature: int) -> list[int]:
    return sorted(TRAIN, key=lambda row: (-scene.matrix[row, feature], TRAIN.index(row)))[:12]


# ── in the run folder ────────────────────────────────────────────────────────────────────────────────────


def test_sheets_of_an_earlier_run_of_the_cell_are_replaced(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    draw_confusion(tmp_path, "cell", title="t", labels=["a"], predictions=["a"], classes=["a", "b"])
    scene.draw(use(0, 1))
    (tmp_path / "pictures/cell/.tmp-left").touch()
    first = place_sheet(tmp_path, "cell", 1).read_bytes()
    scene.draw(use(1, 2))
    assert sorted(path.name for path in (tmp_path / "pictures/cell").iterdir()) == [
        "confusion.png",
        "feature-1.png",
        "feature-2.png",
    ]
    assert place_sheet(tmp_path, "cell", 1).read_bytes() == first


def test_what_cannot_be_drawn_is_told_and_takes_the_earlier_picture_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    scene.draw(use(0, 3))
    view = scene.tower.view
    shown = {feature: sheet_rows(scene, feature) for feature in (0, 3)}
    broken = next(row for row in shown[0] if row not in shown[3])

    def fail(image: harness.Image) -> Any:
        if image.id == str(broken):
            raise OSError("cannot identify image file")
        return view(image)

    monkeypatch.setattr(scene.tower, "view", fail)
    drawn = scene.draw(use(0, 3))
    assert drawn.paths == ("pictures/cell/feature-3.png",)
    (note,) = drawn.notes
    assert "the contact sheet of feature 0 cannot be drawn" in note and "cannot identify image file" in note
    assert not place_sheet(tmp_path, "cell", 0).exists() and place_sheet(tmp_path, "cell", 3).is_file()


def test_a_model_that_fails_leaves_no_sheets_and_a_reason(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.draw(use(0))

    def fail() -> Any:
        raise RuntimeError("no weights")

    drawn = scene.draw(use(0), loaded=fail)
    assert drawn.paths == () and "no weights" in drawn.notes[0]
    assert not place_sheet(tmp_path, "cell", 0).exists()


def test_predictions_that_are_no_classes_leave_no_matrix_and_a_reason(tmp_path: Path) -> None:
    classes = ["a", "b"]
    draw_confusion(tmp_path, "cell", title="t", labels=["a"], predictions=["b"], classes=classes)
    drawn = draw_confusion(tmp_path, "cell", title="t", labels=["a"], predictions=["c"], classes=classes)
    assert drawn.paths == () and "the confusion matrix cannot be drawn" in drawn.notes[0]
    assert not place_confusion(tmp_path, "cell").exists()


def test_a_disk_that_refuses_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    (tmp_path / "pictures").touch()
    with pytest.raises(UnavailableError, match="cannot be written"):
        Scene(tmp_path).draw(use(0))
    with pytest.raises(UnavailableError, match="cannot be written"):
        draw_confusion(tmp_path, "cell", title="t", labels=["a"], predictions=["b"], classes=["a", "b"])


# ── on the board ─────────────────────────────────────────────────────────────────────────────────────────


def make_run(path: Path, *, used: Sequence[int] = (7, 8), tasks: Sequence[str] = ("birds",)) -> RunFolder:
    """A finished run of hidden states and a dictionary, each one cell a task; only the dictionary says what it used."""
    run = RunFolder(path)
    (path / "predictions").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for task in tasks:
        labels = generator.choice(["a", "b"], 40)
        for representation in ("hidden", "sae"):
            predicted = np.where(generator.random(40) < 0.8, labels, "a")
            ids = [f"{task}-{row:02}" for row in range(40)]
            record = Record(
                cell_id=f"{task.split()[0]}-{representation}",
                status="ok",
                suite="tests",
                task=task,
                task_version=1,
                modality="image",
                train_language="und",
                test_language="und",
                model="tower",
                model_hash=None,
                site="vision.resid_post.1",
                representation=representation,
                representation_hash=None,
                width=9,
                pooling="max",
                transform="none",
                classifier="logreg",
                seed=0,
                n_test=40,
                metrics={
                    "macro_f1": Score(value=float(f1_score(labels, predicted, average="macro"))),
                    "accuracy": Score(value=float(np.mean(labels == predicted))),
                },
                validation_metrics={"macro_f1": 0.5},
                predictions_hash=hash_predictions(ids, labels, predicted),
                used=tuple(
                    TopFeature(feature=feature, label="a", weight=1.0, effect=1.0, link="https://a.example/7")
                    for feature in (used if representation == "sae" else ())
                ),
            )
            run.add(record)
            run.write_predictions(
                record.cell_id,
                example_ids=ids,
                labels=list(labels),
                predictions=list(predicted),
                scores=np.stack([predicted == "a", predicted == "b"], axis=1).astype(float),
                classes=("a", "b"),
            )
    cells = [record.cell_id for record in run.records()]
    run.start(suite={"name": "tests"}, cells=cells, argv=[], plugins=load_plugins([]), device="cpu")
    run.finish("finished")
    return run


def put_pictures(run: RunFolder, *, features: Sequence[int] = (7,)) -> None:
    for record in run.records():
        for feature in features if record.used else ():
            path = place_sheet(run.path, record.cell_id, feature)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)
        draw_confusion(
            run.path, record.cell_id, title="t", labels=["a", "b"], predictions=["a", "a"], classes=["a", "b"]
        )


def links_of(page: Path) -> dict[str, Path]:
    """Where the links of a page to files lead, by their text."""
    made = MarkdownIt("commonmark").enable("table").render(page.read_text("utf-8"))
    found = re.findall(r'<a href="(?!https?:)([^"]+)">(.*?)</a>', made)
    return {text: (page.parent / unquote(address)).resolve() for address, text in found}


@pytest.mark.parametrize("where", ["run", "elsewhere/board (1)"])
def test_the_page_links_to_every_picture_of_the_cells_it_shows(tmp_path: Path, where: str) -> None:
    run = make_run(tmp_path / "run")
    put_pictures(run)
    write(build([run]), tmp_path / where)
    page = tmp_path / where / "leaderboard-features.md"
    text = page.read_text("utf-8")
    found = links_of(page)
    assert all(path.is_file() for path in found.values())
    assert found["images"] == place_sheet(run.path, "birds-sae", 7).resolve()
    assert found["birds"] in {
        place_confusion(run.path, f"birds-{name}").resolve() for name in ("hidden", "sae")
    }
    assert text.count("confusion.png") == 2 and text.count("[images]") == 1
    assert "| birds | [7](https://a.example/7) [images](" in text
    assert "| birds | [8](https://a.example/7) | a |" in text
    assert "## tower hidden 9\n\nLabels and predictions: [birds](" in text  # known by its pictures alone
    board = (tmp_path / where / "leaderboard.md").read_text("utf-8")
    assert "[what classifiers go by](leaderboard-features.md), with pictures" in board


def test_without_pictures_the_pages_are_what_they_were(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    board = build([run])
    assert render(board, run.path) == render(board)
    text = render(board)["leaderboard-features.md"]
    assert "images" not in text and "Labels and predictions" not in text and "tower hidden" not in text
    put_pictures(run)
    assert render(board)["leaderboard-features.md"] == text  # a page of nowhere has no way to them


def test_a_picture_that_is_gone_is_not_linked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    put_pictures(run, features=(7, 8))
    place_sheet(run.path, "birds-sae", 8).unlink()
    place_confusion(run.path, "birds-hidden").unlink()
    write(build([run]), run.path)
    page = run.path / "leaderboard-features.md"
    assert all(path.is_file() for path in links_of(page).values())
    assert page.read_text("utf-8").count("[images]") == 1 and "tower hidden" not in page.read_text("utf-8")


def test_the_name_of_a_task_stays_text_in_its_link(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tasks=("birds ](http://evil.example) <b>|",))
    put_pictures(run)
    write(build([run]), run.path)
    page = (run.path / "leaderboard-features.md").read_text("utf-8")
    made = MarkdownIt("commonmark").enable("table").render(page)
    assert 'href="http://evil' not in made and "<b>" not in made
    assert set(re.findall(r'href="([^"]+)"', made)) >= {"pictures/birds-sae/confusion.png"}


def test_pictures_of_images_are_not_published(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    put_pictures(run)
    write(build([run]), run.path)
    publish(run, tmp_path / "board", name="x")
    files = [path for path in (tmp_path / "board").rglob("*") if path.is_file()]
    assert files and not any(path.suffix == ".png" for path in files)
    assert not any(b"pictures/" in path.read_bytes() for path in files)
    assert check_published(tmp_path / "board") == ()
