"""What is wrong with images and where: rows and paths of the source, of whichever task, wherever it lies."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import harness
from harness.api.errors import UnavailableError, UsageError
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.cli import execute
from harness.data.image_limits import Broken
from harness.data.images import count_threads, read_images
from harness.data.task import MOST_FAULTS, TaskData, load_task
from harness.features.prefetch import ImagePrefetcher
from harness.leaderboard import check_published, publish
from harness.runs.folder import RunFolder


def png(row: int, kind: str = "PNG") -> bytes:
    """A noisy image; the same for the same row."""
    file = io.BytesIO()
    noise = np.random.default_rng(row).integers(256, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def task(source: Path | HubSource | None, name: str = "toy", **more: Any) -> TaskSpec:
    more.setdefault("columns", Columns(input="image"))
    return TaskSpec(
        name=name,
        version=1,
        summary="",
        modality="image",
        source=FileSource(file=source) if isinstance(source, Path) else source,
        languages=("zxx",),
        licence="CC0",
        citation="none",
        **more,
    )


def table(path: Path, images: Sequence[Any], **columns: Sequence[Any]) -> Path:
    """A table of two classes in turn, of which every fifth row is a test row."""
    n = len(images)
    frame = pd.DataFrame(
        {
            "image": images,
            "label": ["ab"[row % 2] for row in range(n)],
            "split": ["test" if row % 5 == 0 else "train" for row in range(n)],
            **columns,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tree() -> dict[str, bytes]:
    """A folder of images, as SPLIT/CLASS/FILE."""
    return {f"{'test' if row % 5 == 0 else 'train'}/{'ab'[row % 2]}/{row}.png": png(row) for row in range(20)}


def named(data: TaskData) -> list[str]:
    """What a broken image is named by."""
    return [fault.split(": ")[0] for fault in data.hygiene.faults]


# ── which row ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fault_names_the_row_of_the_source_where_only_some_rows_are_asked_for(tmp_path: Path) -> None:
    images = [png(row) for row in range(60)]
    images[31] = images[45] = b""
    file = table(tmp_path / "data.parquet", images, kind=[row % 3 for row in range(60)])
    assert named(load_task(task(file, where={"kind": "1"}))) == ["row 31"]
    assert named(load_task(task(file, where={"kind": "0"}))) == ["row 45"]
    with pytest.raises(UsageError, match="task 'toy' row 45: empty: "):
        load_task(task(file, where={"kind": "0"}), strict=True)


@pytest.mark.parametrize(
    ("column", "said"), [("label", "row 31 has no label"), ("lang", "row 31 has no language")]
)
def test_a_row_without_a_label_or_a_language_is_named_as_it_stands_in_the_source(
    tmp_path: Path, column: str, said: str
) -> None:
    """After rows were left out by `where`, and after broken images were."""
    images = [png(row) for row in range(60)]
    images[4] = images[7] = b""
    columns: dict[str, list[Any]] = {
        "kind": [row % 3 for row in range(60)],
        "lang": ["zxx"] * 60,
        "label": ["ab"[row % 2] for row in range(60)],
    }
    columns[column][31] = None
    file = table(tmp_path / "data.parquet", images, **columns)
    with pytest.raises(UnavailableError, match=said):
        load_task(task(file, where={"kind": "1"}, columns=Columns(input="image", language="lang")))


def test_a_text_of_another_type_is_named_as_it_stands_in_the_source(tmp_path: Path) -> None:
    rows = [{"text": 7 if row == 9 else [], "label": "a", "kind": row % 3} for row in range(12)]
    frame = pd.DataFrame([{**row, "text": 7} for row in rows])
    frame.to_parquet(tmp_path / "data.parquet")
    spec = replace(task(tmp_path / "data.parquet"), modality="text", columns=Columns(), where={"kind": "2"})
    with pytest.raises(UnavailableError, match="task 'toy' row 2: the input is int, not text"):
        load_task(spec)


def test_a_fault_in_a_folder_names_the_path_from_there(tmp_path: Path) -> None:
    folder = put(tmp_path / "pictures", {**tree(), "train/b/7.png": b"no image", "test/a/10.png": b""})
    data = load_task(task(folder))
    assert sorted(name.split(" ", 2)[2] for name in named(data)) == ["('test/a/10.png')", "('train/b/7.png')"]
    assert str(tmp_path) not in "".join(data.hygiene.faults)


def test_a_folder_reached_by_a_link_or_from_where_one_stands_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "pictures", {**tree(), "train/b/7.png": b"", "train/b/x.heic": b""})
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    folders = (tmp_path / "pictures", tmp_path / "link", Path("pictures"), Path("link/../link"))
    assert len({load_task(task(folder)).hygiene for folder in folders}) == 1


# ── where paths lead ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("stands_in", [".", "data", "data/pictures"])
def test_paths_in_a_table_go_from_its_folder_wherever_one_stands(
    tmp_path: Path, suffix: str, stands_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "data", {f"pictures/{row}.png": png(row) for row in range(20) if row != 6})
    put(tmp_path, {"elsewhere.png": png(3)})
    paths = [f"pictures/{row}.png" for row in range(20)]
    paths[3] = str(tmp_path / "elsewhere.png")  # a whole path stays what it is
    file = table(tmp_path / "data" / f"rows{suffix}", paths)
    monkeypatch.chdir(tmp_path / stands_in)
    data = load_task(task(Path(os.path.relpath(file))))
    assert data.hygiene.broken == 1
    assert data.hygiene.faults == ("row 6 ('pictures/6.png'): no_file: there is no such file",)
    images = [harness.read_image(png(row)) for row in range(20) if row != 6]
    assert [one.id for one in data.examples.inputs if isinstance(one, harness.Image)] == [
        one.id for one in images
    ]
    monkeypatch.chdir("/")  # they can be decoded from wherever one stands later
    assert all(harness.decode_image(one) for one in data.examples.inputs if isinstance(one, harness.Image))


def test_a_struct_of_a_path_is_a_path_and_bytes_come_before_it(tmp_path: Path) -> None:
    put(tmp_path, {"2.png": png(2)})
    images: list[dict[str, Any]] = [{"bytes": png(row), "path": f"gone/{row}.png"} for row in range(20)]
    images[2] = {"bytes": None, "path": "2.png"}
    images[4] = {"bytes": None, "path": "gone/4.png"}
    images[9] = {"bytes": b"", "path": "gone/9.png"}
    data = load_task(task(table(tmp_path / "data.parquet", images)))
    assert named(data) == ["row 4 ('gone/4.png')", "row 9 ('gone/9.png')"]


def test_no_path_is_no_image_and_data_in_its_place_is_not_quoted(tmp_path: Path) -> None:
    put(tmp_path, {f"{row}.png": png(row) for row in range(20)})
    paths = [f"{row}.png" for row in range(20)]
    paths[2], paths[4] = " ", "iVBORw0KGgo" * 100
    faults = load_task(task(table(tmp_path / "data.csv", paths))).hygiene.faults
    assert faults[0] == "row 2: missing: there is none"
    assert faults[1].startswith("row 4: unreadable: ")
    assert "iVBOR" not in faults[1]


def test_where_no_image_to_learn_from_can_be_read_the_first_fault_is_told(tmp_path: Path) -> None:
    put(tmp_path, {f"{row}.png": png(row) for row in range(0, 20, 5)})
    with pytest.raises(UnavailableError) as caught:
        load_task(task(table(tmp_path / "data.csv", [f"{row}.png" for row in range(20)])))
    assert str(caught.value) == (
        "task 'toy' has no train rows left; removed were 16 broken; the first broken one is row 1 ('1.png'): "
        "no_file: there is no such file"
    )


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_in_a_folder_that_is_not_read_is_counted_and_named(tmp_path: Path) -> None:
    more = {"train/a/x.heic": png(99), "train/b/notes.txt": b"words", "test/b/Y.AVIF": b"", "train/b/no": b""}
    whole = load_task(task(put(tmp_path / "whole", tree())))
    data = load_task(task(put(tmp_path / "pictures", {**tree(), **more})))
    assert data.fingerprint == whole.fingerprint
    assert data.hygiene.broken == 4
    assert sorted(named(data)) == sorted(f"'{name}'" for name in more)
    assert {fault.split(": ")[1] for fault in data.hygiene.faults} == {"format"}
    with pytest.raises(UsageError, match=r"^task 'toy' '.*': format: "):
        load_task(task(tmp_path / "pictures"), strict=True)


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "train/a/.hidden", ".git/config", "README.md", "train/README", "LICENSE", "train/a/licence.txt",
     "COPYING", "LICENSE-CC-BY.txt", "readme_de.rst", "Thumbs.db"],
)  # fmt: skip
def test_what_is_meant_to_be_no_image_is_passed_over(tmp_path: Path, name: str) -> None:
    data = load_task(task(put(tmp_path / "pictures", {**tree(), name: b"words"})), strict=True)
    assert data.hygiene.broken == 0


def test_a_licence_plate_is_an_image(tmp_path: Path) -> None:
    data = load_task(task(put(tmp_path / "pictures", {**tree(), "train/a/license_plate.heic": b""})))
    assert named(data) == ["'train/a/license_plate.heic'"]


def test_a_file_that_metadata_do_not_name_is_counted_and_named(tmp_path: Path) -> None:
    files = {f"{split}/{row}.png": png(row) for row in range(10) for split in ("train", "test")}
    files = {name: png(index) for index, name in enumerate(files)} | {"train/listed.heic": b"....ftypheic"}
    for split in ("train", "test"):
        names = [name.split("/")[1] for name in files if name.startswith(split)]
        lines = [f"{name},{'ab'[row % 2]}\n" for row, name in enumerate(names)]
        files[f"{split}/metadata.csv"] = "".join(["file_name,label\n", *lines]).encode()
    data = load_task(
        task(put(tmp_path / "pictures", {**files, "train/other.heic": b"", "test/list.txt": b""}))
    )
    assert len(data.examples) == 20
    assert data.hygiene.faults == (
        "row 10 ('train/listed.heic'): format: it is HEIF, AVIF or a film, which is not read",
        "'test/list.txt': unlisted: no row of the metadata names it",
        "'train/other.heic': unlisted: no row of the metadata names it",
    )
    assert data.hygiene.broken == 3


def test_a_folder_of_what_is_not_read_says_so(tmp_path: Path) -> None:
    nothing = put(tmp_path / "nothing", {"a/1.heic": b"", "b/2.heic": b""})
    with pytest.raises(UnavailableError, match=r"has no image that can be read in .*'a/1\.heic': format"):
        load_task(task(nothing))
    half = put(tmp_path / "half", {**{f"a/{row}.png": png(row) for row in range(9)}, "b/2.heic": b""})
    with pytest.raises(
        UnavailableError, match=r"one class only: 'a'; the first broken one is 'b/2\.heic': format"
    ):
        load_task(task(half))
    with pytest.raises(UnavailableError, match="cannot be read as a folder of images"):
        load_task(task(put(tmp_path / "words", {"README.md": b""})))


# ── mirrors ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubSource:
    """A dataset as it stands on the hub, in a local folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    images = [{"bytes": png(row), "path": f"{row}.png"} for row in range(30)]
    images[3] = {"bytes": b"<html>", "path": "3.png"}
    table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet", images)
    return HubSource(hub=str(tmp_path / "hub"), revision="0" * 40, columns=Columns(input="image", split=None))


@pytest.mark.parametrize(
    "files",
    [("README.md",), (), (".cache/1.png",), ("notes.txt", "a/list.json")],
    ids=lambda names: str(names),
)
def test_a_mirror_without_images_does_not_hide_the_hub(
    tmp_path: Path, hub: HubSource, files: Sequence[str]
) -> None:
    put(tmp_path / "mirror" / "toy", dict.fromkeys(files, b"words"))
    (tmp_path / "mirror" / "toy").mkdir(parents=True, exist_ok=True)
    data = load_task(task(hub), data_dir=tmp_path / "mirror")
    assert len(data.examples) == 29
    assert named(data) == ["row 3 ('3.png')"]
    with pytest.raises(UnavailableError, match=r"comes from a local mirror: there is no '.*data\.parquet'"):
        load_task(task(None), data_dir=tmp_path / "mirror")


def test_a_mirror_of_images_comes_before_the_hub(tmp_path: Path, hub: HubSource) -> None:
    put(tmp_path / "mirror" / "toy", tree())
    assert len(load_task(task(hub), data_dir=tmp_path / "mirror").examples) == 20


# ── what another task teaches ────────────────────────────────────────────────────────────────────────────


def taught(tmp_path: Path, broken: Sequence[int], own: Sequence[int] = (), **more: Any) -> TaskData:
    """A task of 20 images that learns from another's 100, some of either broken."""
    theirs = [b"" if row in broken else png(row) for row in range(100)]
    mine = [b"" if row in own else png(1000 + row) for row in range(20)]
    source = task(table(tmp_path / "source.parquet", theirs), "source")
    target = task(table(tmp_path / "target.parquet", mine), "target", trained_on="source")
    return load_task(target, trained_on=source, **more)


def test_broken_images_of_the_task_learnt_from_are_counted_and_named(tmp_path: Path) -> None:
    data = taught(tmp_path, [6, 8], [3])
    assert data.hygiene.broken == 3
    assert named(data) == ["row 3", "source row 6", "source row 8"]
    assert taught(tmp_path, ()).hygiene.broken == 0


def test_broken_images_of_the_task_learnt_from_stop_where_data_must_be_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="task 'target' source row 6: empty: "):
        taught(tmp_path, [6], strict=True)


@pytest.mark.parametrize(
    ("theirs", "own", "said"),
    [(100, 0, "no train rows left; removed were 100 broken; the first broken one is source row 0: empty"),
     (0, 20, "no test rows left; removed were 20 broken; the first broken one is row 0: empty")],
)  # fmt: skip
def test_where_nothing_is_left_of_either_task_the_first_fault_is_told(
    tmp_path: Path, theirs: int, own: int, said: str
) -> None:
    with pytest.raises(UnavailableError, match=said):
        taught(tmp_path, range(theirs), range(own))


def test_all_are_counted_and_as_many_named_as_of_one_task(tmp_path: Path) -> None:
    hygiene = taught(tmp_path, [row for row in range(100) if row % 4 < 2], range(10)).hygiene
    assert hygiene.broken == 60
    assert len(hygiene.faults) == MOST_FAULTS


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to cores")
def test_threads_are_as_many_as_the_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def pool(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda workers, **more: (asked.append(workers), real(workers, **more))[1]

    for place in ("harness.data.images", "harness.features.prefetch", "harness_baselines.on_images"):
        module = __import__(place, fromlist=["ThreadPoolExecutor"])
        monkeypatch.setattr(module, "ThreadPoolExecutor", pool(module.ThreadPoolExecutor))
    from harness_baselines.on_images import Pixels

    for cores, threads in ((3, 3), (40, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert count_threads() == threads
        images = [one for one in read_images([png(row) for row in range(40)]) if not isinstance(one, Broken)]
        Pixels(size=2).transform(images)
        with ImagePrefetcher(object(), [], []):  # type: ignore[arg-type]
            pass
        assert set(asked[-2:]) == {threads}
    assert asked[0] == 3


# ── what is published ────────────────────────────────────────────────────────────────────────────────────


def strange_files() -> list[bytes]:
    """Files that hold a secret where a reader would look for something else."""
    chunk = png(1)[:8] + (6).to_bytes(4, "big") + b"S3CRETS3CRET"
    return [
        b"S3CRET of the data",
        b"<!DOCTYPE html><p>S3CRET</p>",
        b"P2 3 3 S3CRET\n1 2 3",
        b"P3 2 1 255\n1 2 3 S3CRET 5 6",
        b"P5 S3CRETS3CRETS3CRET 3 255\n",
        b"BM" + b"S3CRET" * 10,
        b"II*\0\x08\0\0\0" + b"S3CRET" * 10,
        b"GIF89a" + b"S3CRET" * 10,
        b"RIFF\x10\0\0\0WEBPVP8 S3CRETS3CRETS3CRETS3CRETS3CRET",
        b"\xff\xd8\xff\xdb\0\x08S3CRET\xff\xda\0\x08S3CRET\xff\xd9",
        png(1, "PPM")[:11] + b"S3CRET",
        chunk,
    ]


def test_no_reason_quotes_the_file() -> None:
    for data, answer in zip(strange_files(), read_images(strange_files(), workers=1), strict=True):
        assert isinstance(answer, Broken), data
        for piece in ("S3C", "3CR", "CRE", "S3", "RET"):
            assert piece not in answer.reason


def test_published_records_count_broken_images_and_name_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {f"pictures/{row}.png": png(row) for row in range(40) if row != 6})
    table(tmp_path / "rows.csv", [f"pictures/{row}.png" for row in range(40)])
    Path("toy.yaml").write_text(
        "name: toy\nmodality: image\nsource: {file: rows.csv}\nlicence: CC0\ncitation: none\n"
    )
    Path("suite.yaml").write_text(
        "name: toys\ntasks: [toy]\nrepresentations: ['pixels[size=2]', majority]\nclassifiers: [logreg]\n"
    )
    assert execute(["run", "suite.yaml", "--include", "toy.yaml", "-o", "run"]) == 0
    run = RunFolder(tmp_path / "run")
    published = publish(run, tmp_path / "board", name="x")
    for record, kept in zip(run.records(), published.records(), strict=True):
        assert record.hygiene.faults == ("row 6 ('pictures/6.png'): no_file: there is no such file",)
        assert kept.hygiene == replace(record.hygiene, faults=())
        assert kept.hygiene.broken == 1
    assert check_published(tmp_path / "board") == ()


def test_a_table_that_datasets_wrote_is_read_with_its_broken_images_named(tmp_path: Path) -> None:
    """Such a table says that its column holds images, which the library would decode, and fail on the first."""
    images = [{"bytes": png(row) if row != 7 else b"no image", "path": None} for row in range(40)]
    columns = {
        "image": images,
        "label": [row % 2 for row in range(40)],
        "split": ["test" if row % 5 == 0 else "train" for row in range(40)],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "split": datasets.Value("string"),
        }
    )
    made = datasets.Dataset.from_dict(columns, features=features).cast_column("image", datasets.Image())
    made.to_parquet(tmp_path / "data.parquet")
    data = load_task(task(tmp_path / "data.parquet"))
    assert (len(data.examples), data.hygiene.broken) == (39, 1)
    assert data.classes == ("a", "b")
    assert data.hygiene.faults[0].startswith("row 7")
