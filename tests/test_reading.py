"""Files that others wrote: no pipe is waited for, nothing large is read or unpacked whole, no name leads out."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.api.errors import UnavailableError, WriteError
from harness.config.yaml import LARGEST
from harness.storage import reading
from harness.storage.atomic import append_line, lock
from harness.storage.paths import path_inside


def write_suite(folder: Path) -> None:
    """A suite, its task and rows that words tell apart."""
    (folder / "suite.yaml").write_text(
        "name: toy\nversion: 1\ntasks: [toy_task]\nmodels: []\nrepresentations: [majority]\nclassifiers: [logreg]\n"
    )
    (folder / "task.yaml").write_text(
        "name: toy_task\nversion: 1\nsource: {file: data.jsonl}\ncolumns: {input: text, label: label, split: split}\n"
        "languages: [en]\nlicence: CC0\ncitation: nobody\n"
    )
    lines = [
        {
            "text": f"{'good' if row % 2 else 'bad'} {row}",
            "label": str(row % 2),
            "split": "test" if row < 9 else "train",
        }
        for row in range(40)
    ]
    (folder / "texts.jsonl").write_text('{"text": "one"}\n')
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


FEATURES = "features -m minigemma-s --site resid_post.1 --input texts.jsonl -o out.npy"

PIPES = {
    "a suite": ("plan suite.yaml", "suite.yaml"),
    "a task": ("plan suite.yaml --include task.yaml", "task.yaml"),
    "data": ("plan suite.yaml --include task.yaml", "data.jsonl"),
    "texts": (FEATURES, "texts.jsonl"),
    "items": ("label -m minigemma-s items.jsonl -o out.parquet", "items.jsonl"),
    "the state of a run": ("status run", "run/run.json"),
    "the records of a run": ("compare run/results.jsonl run/results.jsonl", "run/results.jsonl"),
    "the metadata of images": ("plan suite.yaml --include task.yaml", "pictures/metadata.csv"),
    "the configuration of a model": (f"{FEATURES.replace('minigemma-s', './model')}", "model/config.json"),
    "a dictionary": (f"{FEATURES} --representation ./sae", "sae/params.npz"),
}


@pytest.mark.parametrize("what", PIPES)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_and_never_waited_for(
    harness_command, tmp_path: Path, what: str, kind: str
) -> None:
    command, name = PIPES[what]
    write_suite(tmp_path)
    if name.startswith("pictures"):
        task = (tmp_path / "task.yaml").read_text()
        (tmp_path / "task.yaml").write_text(task.replace("data.jsonl", "pictures") + "modality: image\n")
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "a.png").write_bytes(b"")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    found = harness_command(*command.split())
    assert found.code in (2, 3), found
    assert len(found.said) == 1, found
    assert "Traceback" not in found.err


@pytest.mark.filterwarnings("ignore:events of the run are lost")
@pytest.mark.parametrize("name", ["results.jsonl", "events.jsonl"])
def test_a_pipe_in_a_run_folder_is_refused_and_never_waited_for(
    harness_command, tmp_path: Path, name: str
) -> None:
    write_suite(tmp_path)
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / name)
    path = tmp_path / "run" / name
    with pytest.raises(WriteError, match="it is a pipe"):
        append_line(path, "{}")
    with pytest.raises(WriteError, match="it is a pipe"), lock(path):
        pass
    found = harness_command("run", "suite.yaml", "--include", "task.yaml", "-o", "run")
    assert found.code in (0, 3), found
    assert "Traceback" not in found.err


@pytest.mark.filterwarnings("ignore:events of the run are lost")
@pytest.mark.parametrize("name", ["results.jsonl", "events.jsonl", "lock"])
def test_a_link_in_a_run_folder_leads_no_results_into_another_file(
    harness_command, tmp_path: Path, name: str
) -> None:
    write_suite(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("a line without an end")
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    found = harness_command("run", "suite.yaml", "--include", "task.yaml", "-o", "run")
    assert found.code == (0 if name == "events.jsonl" else 3)
    assert name == "events.jsonl" or "it is a link" in found.err
    assert (tmp_path / "mine").read_text() == "a line without an end"


def test_a_suite_too_large_is_refused_before_it_is_read(harness_command, tmp_path: Path) -> None:
    write_suite(tmp_path)
    with (tmp_path / "suite.yaml").open("ab") as file:
        file.truncate(LARGEST + 1)
    found = harness_command("plan", "suite.yaml")
    assert found.code == 3
    assert f"it has {LARGEST + 1:,} bytes, and at most {LARGEST:,} are read" in found.err


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "bomb.jsonl.gz": lambda path: path.write_bytes(gzip.compress(b"0" * 200_000)),
    "bomb.parquet": lambda path: pq.write_table(
        pa.table({"a": pa.array([1]).take(pa.array([0] * 20_000))}), path
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_would_unpack_to_far_more_than_its_size_is_refused_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(reading, "HARMLESS", 100_000)
    path = tmp_path / name
    ARCHIVES[name](path)
    with pytest.raises(reading.UnfitFileError, match="unpack"):
        if name.endswith(".gz"):
            reading.unzip(path, at_most=100_000)
        else:
            with reading.open_parquet(path):
                pass


def test_a_parquet_file_gives_the_same_whether_it_is_read_whole_or_by_its_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = pa.table({"a": list(range(5000)), "b": [f"text {number}" for number in range(5000)]})
    pq.write_table(table, tmp_path / "a.parquet", write_page_checksum=True, row_group_size=700)
    for small in (reading.SMALL, 0):
        monkeypatch.setattr(reading, "SMALL", small)
        with reading.open_parquet(tmp_path / "a.parquet") as file:
            assert file.read().equals(table)


LEADING_OUT = {
    "an absolute path": "/etc/hostname",
    "a step up": "../other.bin",
    "a step down and two up": "a/../../other.bin",
    "a link out": "link.bin",
    "a file through a linked folder": "folder/other.bin",
    "a link in a circle": "circle.bin",
    "nothing": "",
    "a zero byte": "a\0b",
}


@pytest.mark.parametrize("how", LEADING_OUT)
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "other.bin").write_bytes(b"x")
    (folder / "link.bin").symlink_to(tmp_path / "other.bin")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "circle.bin").symlink_to("circle.bin")
    with pytest.raises(UnavailableError, match="leads out of its folder"):
        path_inside(folder, LEADING_OUT[how], by="'index.json'")


def test_names_inside_a_folder_and_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    blob = tmp_path / "models--a--b" / "blobs" / "1234"
    for path in (folder / "sub" / "own.bin", blob):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    (folder / "linked.bin").symlink_to(blob)
    for name in ("linked.bin", "sub/own.bin", "not-there-yet.bin"):
        assert path_inside(folder, name, by="'index.json'") == folder / name


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png"])
def test_metadata_of_images_names_no_file_outside_the_folder(
    harness_command, tmp_path: Path, name: str
) -> None:
    write_suite(tmp_path)
    task = (tmp_path / "task.yaml").read_text()
    (tmp_path / "task.yaml").write_text(task.replace("data.jsonl", "pictures") + "modality: image\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    (tmp_path / "pictures" / "metadata.csv").write_text(f"file_name,label\na.png,x\n{name},y\n")
    found = harness_command("plan", "suite.yaml", "--include", "task.yaml")
    assert found.code == 3
    assert "'metadata.csv' names the file" in found.err
    assert "leads out of its folder" in found.err
