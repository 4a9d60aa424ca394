"""Images through a whole run: a toy tower that reads patches, images beside texts, and files that are broken."""

from __future__ import annotations

import io
import json
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import harness
from harness.api.data import Site, Tokens
from harness.api.errors import UnavailableError, UsageError
from harness.cli import execute
from harness.config.task_file import read_task
from harness.data.task import load_task
from harness.features.prefetch import ImagePrefetcher
from harness.runs.folder import RunFolder

PLUGIN = '''
import numpy as np
import torch
import harness

GRID = 4
MEANS = harness.Site(tower="vision", kind="embed", layer=1)


class Loaded:
    def __init__(self, sites):
        self.sites = sites

    def prepare(self, image):
        small = harness.decode_image(image).resize((GRID, GRID))
        return torch.from_numpy(np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255)

    def forward(self, batch, pixels=None):
        pixels = pixels if pixels is not None else [self.prepare(one.image) for one in batch]
        read = {site: [] for site in self.sites}
        for one, x in zip(batch, pixels, strict=True):
            patches = x.reshape(3, -1).T
            everything = torch.cat([patches.mean(0, keepdim=True), patches])
            for site in self.sites:
                mean = everything.mean(0).expand_as(everything)
                values = mean if site.kind == "embed" else everything * (site.layer + 1)
                read[site].append(values[torch.from_numpy(one.content)])
        return {site: torch.cat(parts) for site, parts in read.items()}


class Tower:
    name, architecture, n_layers, n_parameters = "toy_tower", "toy", 2, 3
    towers, grid, seen_tasks = {"vision": 2}, (GRID, GRID), SEEN

    def __init__(self, *, tint=1):
        self.tint = tint

    def width(self, site):
        if site.tower != "vision" or site.kind not in ("resid_post", "embed"):
            raise harness.UsageError(f"the toy has no site '{site}'")
        return 3

    def identity(self, site):
        return {"kind": "toy", "site": str(site), "tint": self.tint}

    def tokenize(self, inputs):
        n = GRID * GRID + 1
        return [
            harness.Tokens(ids=np.arange(n), content=np.arange(n) > 0, summary=np.arange(n) == 0, image=one)
            for one in inputs
        ]

    def view(self, image):
        return harness.decode_image(image)

    def load(self, sites, device):
        return Loaded(sites)


class Means:
    def at(self, model, site):
        return harness.PlacedRepresentation(
            identity={"kind": "means"}, d_in=3, width=3, sparse=False, site=MEANS,
            load=lambda device: harness.Dictionary(name="means", width=3, activation="identity"),
        )


class Named:
    """Scores by the names of the classes alone: each is a colour."""
    COLOURS = {"red": 0, "green": 1, "blue": 2}

    def at(self, model, site):
        return harness.PlacedRepresentation(identity={}, d_in=3, width=0, sparse=False, site=MEANS, for_task=self.of)

    def of(self, spec, classes):
        names = [spec.class_names.get(one, one) for one in classes]
        W = torch.zeros(3, len(classes))
        for column, name in enumerate(names):
            W[self.COLOURS[name], column] = 10.0
        return harness.PlacedRepresentation(
            identity={"kind": "named", "names": names}, d_in=3, width=len(classes), sparse=False, site=MEANS,
            load=lambda device: harness.Dictionary(
                name="named", width=len(classes), activation="identity", W_enc=W, b_enc=torch.zeros(len(classes))
            ),
        )


class Largest:
    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return X


@harness.hookimpl
def harness_models():
    return [harness.ModelSpec(name="toy_tower", summary="reads colours", make=Tower)]


@harness.hookimpl
def harness_representations():
    return [
        harness.RepresentationSpec(name="toy_means", summary="one mean", make=Means, needs="tokens",
                                   only={"poolings": "mean"}),
        harness.RepresentationSpec(name="toy_named", summary="names alone", make=Named, needs="tokens",
                                   only={"poolings": "mean", "transforms": "none", "classifiers": "toy_largest"}),
    ]


@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="toy_largest", summary="the largest score", make=Largest)]
'''

SUITE = """
name: colours
tasks: [colours]
models:
  - {ref: toy_tower, sites: ["vision.resid_post.[0,1]"], representations: [toy_means, toy_named]}
representations: [hidden, "random_sae[width=12,k=3]", majority]
poolings: [mean, max]
transforms: [none]
classifiers: [{name: logreg, C: 10.0}]
"""

COLOURS = ("red", "green", "blue")


def png(row: int, *, size: int = 16, kind: str = "PNG") -> bytes:
    """A noisy image in which one channel is lighter; the same for the same row."""
    noise = np.random.default_rng(row).integers(0, 90, (size, size, 3))
    noise[..., row % 3] += 60
    file = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(file, kind)
    return file.getvalue()


Place = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, install: Any, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`place(images)` writes a mirror, a task and a suite, with the toy plugin installed, and gives their folder."""

    def put(images: Sequence[Any] | None = None, *, seen: Sequence[str] = (), suite: str = SUITE) -> Path:
        install(PLUGIN.replace("SEEN", repr(tuple(seen))), name="toy-tower")
        images = [png(row) for row in range(90)] if images is None else images
        frame = pd.DataFrame(
            {
                "image": images,
                "label": [COLOURS[row % 3] for row in range(len(images))],
                "split": ["test" if row % 5 == 0 else "train" for row in range(len(images))],
            }
        )
        (tmp_path / "mirror" / "colours").mkdir(parents=True, exist_ok=True)
        frame.to_parquet(tmp_path / "mirror" / "colours" / "data.parquet")
        (tmp_path / "colours.yaml").write_text(
            "name: colours\nmodality: image\nsource: {file: mirror/colours/data.parquet}\nlicence: CC0\n"
            "citation: none\n"
        )
        (tmp_path / "suite.yaml").write_text(suite)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return put


def run(folder: Path, *more: str) -> int:
    """The exit code of `harness run` on the toy suite."""
    return execute(["run", "suite.yaml", "--include", "colours.yaml", "-o", "out", *more])


def records(folder: Path) -> list[Any]:
    return RunFolder(folder / "out").records()


def test_images_run_as_texts_do(place: Place) -> None:
    folder = place()
    assert run(folder) == 0
    found = records(folder)
    assert {record.modality for record in found} == {"image"}
    assert {record.status for record in found} == {"ok"}
    # hidden and random_sae: 2 sites × 2 poolings; the two with a place of their own are there once; majority.
    assert len(found) == 2 * 2 * 2 + 2 + 1
    by_name = {record.representation: record for record in found}
    assert by_name["toy_named"].metrics["macro_f1"].value == 1.0
    assert by_name["hidden"].metrics["macro_f1"].value > 0.9
    assert by_name["majority"].metrics["macro_f1"].value < 0.3
    assert by_name["hidden"].cost.images_per_s > 0
    assert 0 <= by_name["hidden"].cost.waiting_share <= 1
    board = (folder / "out" / "leaderboard.md").read_text("utf-8")
    assert "images/s (waiting)" in board
    assert re.search(r"\| [0-9,]+ \([0-9]+%\) \|", board)
    assert "image of" not in (folder / "out" / "leaderboard-features.md").read_text("utf-8")


def test_the_cells_a_board_goes_by_have_pictures(place: Place) -> None:
    folder = place()
    assert run(folder) == 0
    out = folder / "out"
    matrices = sorted(out.glob("pictures/*/confusion.png"))
    assert len(matrices) == 5  # hidden, random_sae, toy_means, toy_named, majority: a row each
    sheets = sorted(out.glob("pictures/*/feature-*.png"))
    assert sheets
    assert len({sheet.parent for sheet in sheets}) == 1  # of the one dictionary
    page = (out / "leaderboard-features.md").read_text("utf-8")
    links = re.findall(r"\]\((pictures/[^)]+)\)", page)
    assert links and all((out / link).is_file() for link in links)
    assert "with pictures" in (out / "leaderboard.md").read_text("utf-8")
    before = {path: path.stat().st_mtime_ns for path in (*matrices, *sheets)}
    assert run(folder) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_representation_with_a_place_of_its_own_reads_there(place: Place) -> None:
    folder = place()
    run(folder)
    named = [record for record in records(folder) if record.representation == "toy_named"]
    assert [(record.site, record.pooling, record.classifier) for record in named] == [
        ("vision.embed.1", "mean", "toy_largest")
    ]


def test_what_is_pooled_is_what_pillow_and_numpy_say(place: Place) -> None:
    place()
    session = harness.open(device="cpu")
    images = [harness.read_image(png(row)) for row in range(7)]
    for pooling, reduce in (("mean", np.mean), ("max", np.max)):
        found = session.features(images, model="toy_tower", site="vision.resid_post.1", pooling=pooling)
        wanted = []
        for row in range(7):
            small = np.asarray(Image.open(io.BytesIO(png(row))).resize((4, 4)), dtype=np.float32) / 255
            wanted.append(2 * reduce(small.reshape(-1, 3), axis=0))
        assert np.allclose(found, wanted, atol=1e-6)
    summary = session.features(images, model="toy_tower", site="vision.resid_post.0", tokens="cls")
    means = session.features(images, model="toy_tower", site="vision.resid_post.0", pooling="mean")
    assert np.allclose(summary, means, atol=1e-6)


def test_batch_size_and_order_change_nothing(place: Place) -> None:
    place()
    session = harness.open(device="cpu")
    images = [harness.read_image(png(row)) for row in range(20)]

    def features(batch_size: int | None, rows: Sequence[int]) -> Any:
        return session.features(
            [images[row] for row in rows],
            model="toy_tower",
            site="vision.resid_post.0",
            representation="random_sae[width=12,k=3]",
            batch_size=batch_size,
        ).toarray()

    whole = features(None, range(20))
    assert np.allclose(features(1, range(20)), whole, atol=1e-6)
    assert np.allclose(features(7, range(19, -1, -1)), whole[::-1], atol=1e-6)


def test_broken_images_are_named_and_the_rest_is_scored(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    images: list[Any] = [png(row) for row in range(90)]
    images[4], images[17], images[31] = b"", png(17)[:60], b"<html>"
    folder = place(images)
    assert run(folder) == 0
    found = records(folder)
    assert {record.hygiene.broken for record in found} == {3}
    faults = found[0].hygiene.faults
    assert [fault.partition(":")[0] for fault in faults] == ["row 4", "row 17", "row 31"]
    assert "| colours | 0" in (folder / "out" / "leaderboard.md").read_text("utf-8")
    assert "broken images" in (folder / "out" / "leaderboard.md").read_text("utf-8")
    read = [record for record in found if record.model]
    assert {record.cost.tokens for record in read} == {(90 - 3) * 16}
    assert {record.n_test for record in found} == {18}


def encode(kind: str, *frames: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(file, kind, **more, **options)
    return file.getvalue()


def enlarged(file: bytes, width: int, height: int) -> bytes:
    """A PNG whose header claims another size, with the checksum that belongs to it."""
    head = b"IHDR" + struct.pack(">II", width, height) + file[24:29]
    return file[:12] + head + struct.pack(">I", zlib.crc32(head)) + file[33:]


def broken_files() -> dict[str, Any]:
    """Fifteen ways in which a file is no image, or none that can be read as one."""
    plain = Image.open(io.BytesIO(png(1)))
    other = Image.open(io.BytesIO(png(2)))
    whole, jpeg = png(1, size=64), encode("JPEG", plain.resize((64, 64)))
    floats = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    return {
        "nothing": None,
        "empty": b"",
        "a page": b"<!DOCTYPE html><html>not found</html>",
        "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "cut PNG": whole[: len(whole) // 2],
        "cut JPEG": jpeg[: len(jpeg) // 2],
        "header only": whole[:20],
        "wrong checksum": whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],
        "animated GIF": encode("GIF", plain, other),
        "animated PNG": encode("PNG", plain, other),
        "animated WebP": encode("WEBP", plain, other),
        "pages": encode("TIFF", plain, other),
        "a bomb": enlarged(whole, 60_000, 60_000),
        "no width": enlarged(whole, 0, 16),
        "floating point": encode("TIFF", floats),
    }


def test_every_kind_of_broken_file_is_named_in_the_record_and_the_rest_is_scored(place: Place) -> None:
    images: list[Any] = [png(row) for row in range(120)]
    broken = broken_files()
    assert len(broken) >= 15
    rows = dict(zip(range(1, 120, 7), broken, strict=False))
    for row, name in rows.items():
        images[row] = broken[name]
    folder = place(images)
    assert run(folder) == 0
    for record in records(folder):
        assert record.status == "ok"
        assert record.hygiene.broken == len(broken)
        assert [fault.split(":")[0] for fault in record.hygiene.faults] == [f"row {row}" for row in rows]
        assert all(len(fault.split(": ", 2)[2]) > 10 for fault in record.hygiene.faults)
        if record.model:
            assert record.cost.tokens == (120 - len(broken)) * 16


def test_with_strict_data_a_broken_image_stops_the_run(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    images: list[Any] = [png(row) for row in range(90)]
    images[4] = b"GIF89a"
    folder = place(images)
    assert run(folder, "--strict-data") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "task 'colours' row 4" in said[0]
    assert not (folder / "out").exists()


def test_the_same_pixels_are_one_image(place: Place) -> None:
    images: list[Any] = [png(row) for row in range(90)]
    images[6], images[5] = (
        png(3, kind="BMP"),
        png(2, kind="WEBP"),
    )  # the first a duplicate; the second lossy, another
    folder = place(images)
    data = load_task(read_task(folder / "colours.yaml"))
    assert data.hygiene.duplicates == 1
    assert len(data.examples) == 89


def test_what_a_model_saw_in_training_is_flagged(place: Place) -> None:
    folder = place(seen=["colours", "other"])
    run(folder)
    flagged = {record.representation: record.flags for record in records(folder)}
    assert "model-trained-on:colours" in flagged["hidden"]
    assert "model-trained-on:colours" in flagged["toy_named"]
    assert flagged["majority"] == ()


def test_a_suite_may_hold_texts_and_images(place: Place, toy_task: Path) -> None:
    folder = place(
        suite=SUITE.replace("tasks: [colours]", "tasks: [colours, toy_task]")
        .replace("representations: [hidden,", "representations: [hidden, text_length,")
        .replace("models:", "models:\n  - {ref: minigemma-s, sites: [resid_post.0]}")
    )
    assert run(folder, "--include", "toy_task.yaml", "--set", "poolings=[mean]") == 0
    pairs = {(record.task, record.model, record.representation) for record in records(folder)}
    assert ("toy_task", "minigemma-s", "hidden") in pairs
    assert ("colours", "toy_tower", "hidden") in pairs
    assert ("toy_task", None, "text_length") in pairs
    assert ("toy_task", None, "majority") in pairs
    assert ("colours", None, "majority") in pairs
    assert not {(task, model) for task, model, _ in pairs} & {
        ("toy_task", "toy_tower"),
        ("colours", "minigemma-s"),
    }
    assert ("colours", None, "text_length") not in pairs
    board = pd.read_csv(folder / "out" / "leaderboard.csv")
    ranks = board.groupby("reads", sort=False)["rank"].agg(["min", "count"])
    assert list(ranks.index) == ["text", "image", "text and image"]
    assert ranks.loc["text", "min"] == ranks.loc["image", "min"] == 1
    assert ranks.loc["text and image", "count"] == 0
    assert not board["flags"].fillna("").str.contains("incomplete").any()


def test_what_suits_no_task_is_left_away_and_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place(
        suite=SUITE.replace("models:", "models:\n  - {ref: minigemma-s, sites: [resid_post.0]}").replace(
            "majority]", "majority, text_length]"
        )
    )
    assert execute(["plan", "suite.yaml", "--include", "colours.yaml"]) == 0
    capsys.readouterr()
    assert run(Path()) == 0
    said = capsys.readouterr().err
    assert "note: model 'minigemma-s' reads texts, and no task holds any" in said
    assert "note: representation 'text_length' reads text, and no task holds any" in said
    assert {record.model for record in records(Path())} == {"toy_tower", None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("toy_tower, sites: [\"vision.resid_post.[0,1]\"], representations: [toy_means, toy_named]",
          "minigemma-s, sites: [resid_post.0]"), "'colours' holds images, but no model of the suite reads images"),
        ((SUITE[SUITE.index("models:"):SUITE.index("poolings")], "representations: [text_length]\n"),
         "task 'colours' holds images, but no representation of the suite reads images"),
        (("vision.resid_post.[0,1]", "vision.resid_post.2"), "its layers are 0 to 1"),
        (("vision.resid_post.[0,1]", "resid_post.0"), "has no site 'resid_post.0'"),
        (("poolings: [mean, max]", "poolings: [mean]\ntokens: clss"), "there is no token set 'clss'"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_sentence(
    place: Place, change: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place(suite=SUITE.replace(*change))
    assert run(folder) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_a_task_that_no_model_reads_is_left_away_and_said(
    place: Place, toy_task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place(suite=SUITE.replace("tasks: [colours]", "tasks: [colours, toy_task]"))
    assert run(folder, "--include", "toy_task.yaml") == 0
    said = capsys.readouterr().err
    assert "note: task 'toy_task' holds texts, but no model of the suite reads texts" in said
    assert {record.task for record in records(folder)} == {"colours"}
    assert execute(["validate", "out"]) == 0


def test_a_text_model_has_no_cls(toy_task: Path, capsys: pytest.CaptureFixture[str], toy_suite: Path) -> None:
    code = execute(["run", str(toy_suite), "--include", str(toy_task), "-o", str(toy_suite.parent / "o"), "--set",
                    "tokens=cls"])  # fmt: skip
    assert code == 2
    assert "no" in (said := capsys.readouterr().err) and "CLS" in said


def test_a_folder_of_images_is_a_task(place: Place) -> None:
    folder = place()
    for row in range(60):
        path = folder / "pictures" / ("test" if row % 5 == 0 else "train") / COLOURS[row % 3] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(row) if row != 7 else b"no image")
    (folder / "colours.yaml").write_text(
        "name: colours\nmodality: image\nsource: {file: pictures}\nlicence: CC0\ncitation: none\n"
    )
    assert run(folder) == 0
    found = records(folder)[0]
    assert found.n_test == 12
    assert found.hygiene.broken == 1
    assert (found.train_language, found.test_language) == ("zxx", "zxx")


# ── ahead of the batch ───────────────────────────────────────────────────────────────────────────────────


class Slow:
    """Takes its time to prepare an image, and notes in which thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.threads: set[int] = set()
        self.prepared = 0

    def prepare(self, image: harness.Image) -> torch.Tensor:
        self.threads.add(threading.get_ident())
        self.prepared += 1
        time.sleep(self.seconds)
        return torch.full((1, 1, 1), float(image.id))

    def forward(self, batch: Sequence[Tokens], pixels: Any = None) -> Mapping[Site, torch.Tensor]:
        return {}


def tokens_of(n: int) -> list[Tokens]:
    ones = np.ones(1, dtype=np.bool_)
    return [
        Tokens(
            ids=np.zeros(1, np.int64),
            content=ones,
            image=harness.Image(encoded=b"", id=str(row), size=(1, 1)),
        )
        for row in range(n)
    ]


def test_images_come_in_the_order_asked_for_also_after_a_batch_was_halved() -> None:
    model = Slow(0.0)
    with ImagePrefetcher(model, tokens_of(9), [[8, 7, 6], [5, 4, 3], [2, 1, 0]], threads=3) as ahead:
        for rows in ([8, 7, 6], [8, 7], [6], [5, 4, 3], [2, 1, 0]):
            taken = ahead.take(rows)
            assert taken is not None
            assert [int(one) for one in taken] == rows


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for background threads; a machine without a free core may take long."""
    deadline = time.monotonic() + 500
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_next_batch_is_decoded_while_the_model_works() -> None:
    model, n = Slow(0.0), 10
    with ImagePrefetcher(model, tokens_of(n), [[row] for row in range(n)], threads=1) as ahead:
        for row in range(n):
            ahead.take([row])
            wait_until(lambda done=row + 1: model.prepared > min(done, n - 1))  # before anybody asks for it
    assert threading.get_ident() not in model.threads


def test_no_more_is_made_ready_than_two_batches() -> None:
    model = Slow(0.0)
    with ImagePrefetcher(
        model, tokens_of(100), [list(range(at, at + 5)) for at in range(0, 100, 5)], threads=2
    ):
        wait_until(lambda: model.prepared >= 10)
        time.sleep(0.1)
        assert model.prepared == 10


def test_texts_are_not_made_ready() -> None:
    class Plain:
        def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
            return {}

    with ImagePrefetcher(Plain(), tokens_of(2), [[0, 1]]) as ahead:
        assert ahead.take([0, 1]) is None


def test_an_image_that_vanished_since_is_an_error_and_not_a_wait() -> None:
    class Failing(Slow):
        def prepare(self, image: harness.Image) -> torch.Tensor:
            raise UnavailableError("gone")

    with (
        ImagePrefetcher(Failing(0.0), tokens_of(3), [[0, 1, 2]]) as ahead,
        pytest.raises(UnavailableError, match="gone"),
    ):
        ahead.take([0, 1, 2])


def test_a_split_of_which_no_image_can_be_decoded_is_not_made_anew_of_others(place: Place) -> None:
    folder = place([b"" if row % 5 == 0 else png(row) for row in range(60)])
    with pytest.raises(
        UnavailableError, match="no test rows left; removed were 12 broken; the first broken one is row 0"
    ):
        load_task(read_task(folder / "colours.yaml"))


def test_strict_data_is_an_error_of_the_task(place: Place) -> None:
    folder = place([b""] + [png(row) for row in range(1, 60)])
    with pytest.raises(UsageError, match="row 0"):
        load_task(read_task(folder / "colours.yaml"), strict=True)


def test_a_record_says_which_images_were_left_out(place: Place) -> None:
    folder = place([b""] + [png(row) for row in range(1, 60)])
    run(folder)
    line = json.loads((folder / "out" / "results.jsonl").read_text("utf-8").splitlines()[0])
    assert line["hygiene"]["broken"] == 1
    assert line["hygiene"]["faults"][0].startswith("row 0: ")


def test_an_arm_that_differs_from_task_to_task_has_one_row(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place()
    two = pd.read_parquet(folder / "mirror" / "colours" / "data.parquet")
    two[two.label != "blue"].to_parquet(folder / "two.parquet")
    (folder / "two.yaml").write_text(
        "name: two\nmodality: image\nsource: {file: two.parquet}\nlicence: CC0\ncitation: none\n"
    )
    assert run(folder, "-t", "colours", "-t", "two", "--include", "two.yaml") == 0
    named = [record for record in records(folder) if record.representation == "toy_named"]
    assert [record.width for record in named] == [None, None]
    assert [record.n_features for record in named] == [3, 2]
    assert len({record.representation_hash for record in named}) == 1
    board = pd.read_csv(folder / "out" / "leaderboard.csv")
    assert (board["representation"] == "toy_named").sum() == 1
    assert execute(["validate", "out"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_a_run_that_lacks_a_cell_of_an_arm_with_one_pooling_only_is_found(place: Place) -> None:
    folder = place(
        suite=SUITE.replace("representations: [toy_means, toy_named]", "representations: [toy_means]")
    )
    assert run(folder) == 0
    assert execute(["validate", "out"]) == 0
    lines = (folder / "out" / "results.jsonl").read_text("utf-8").splitlines()
    gone = next(line for line in lines if json.loads(line)["representation"] == "hidden")
    about = json.loads((folder / "out" / "run.json").read_text("utf-8"))
    about["cells"].remove(json.loads(gone)["cell_id"])
    (folder / "out" / "run.json").write_text(json.dumps(about))
    (folder / "out" / "results.jsonl").write_text("\n".join(line for line in lines if line != gone) + "\n")
    assert execute(["validate", "out"]) != 0


def test_a_record_that_claims_to_have_had_no_choice_of_poolings_is_found(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place()
    assert run(folder) == 0
    lines = [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text("utf-8").splitlines()]
    claimed = [
        line | {"only": ["poolings"]} if line["representation"] == "hidden" else line for line in lines
    ]
    (folder / "out" / "results.jsonl").write_text("\n".join(map(json.dumps, claimed)) + "\n")
    capsys.readouterr()
    assert execute(["validate", "out"]) != 0
    assert "'hidden' is recorded as going with one only of: poolings" in capsys.readouterr().out


def test_what_was_left_away_is_no_part_of_the_run(place: Place) -> None:
    folder = place(suite=SUITE.replace("majority]", "majority, text_length]"))
    assert run(folder) == 0
    suite = json.loads((folder / "out" / "run.json").read_text("utf-8"))["suite"]
    assert "text_length" not in suite["representations"]
    assert execute(["validate", "out"]) == 0


@pytest.mark.long
def test_kept_activations_of_images_give_the_same(place: Place) -> None:
    folder = place()
    assert run(folder) == 0
    plain = {record.cell_id: record.metrics for record in records(folder)}
    for name in ("kept", "again"):
        more = ["run", "suite.yaml", "--include", "colours.yaml", "--cache-dir", f"cache-{name}"]
        assert execute([*more, "-o", name, "--keep-activations"]) == 0
        assert {one.cell_id: one.metrics for one in RunFolder(folder / name).records()} == plain


def test_transfers_leave_arms_with_a_place_of_their_own_alone(place: Place) -> None:
    other = '  - {ref: "toy_tower[tint=2]", sites: ["vision.resid_post.[0,1]"]}\n'
    folder = place(
        suite=SUITE.replace("representations: [hidden", f"{other}representations: [hidden").replace(
            "poolings: [mean, max]",
            'poolings: [mean]\nalignments: [least_squares]\ntransfers: [{from: "toy_tower[tint=2]", to: toy_tower}]',
        )
    )
    assert run(folder) == 0
    carried = [record for record in records(folder) if record.learnt_on]
    assert {record.representation for record in carried} == {"hidden", "random_sae[width=12,k=3]"}
