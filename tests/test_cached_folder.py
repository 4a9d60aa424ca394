"""Folders that plugins keep in the cache: made once and whole, checked when used again, known to `harness cache`."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.storage import cache as housekeeping
from harness.storage.cache_place import using_cache
from harness.storage.cached_folder import cached_folder

OF = {"kind": "toy", "number": 1}


def writing(text: str, made: list[str]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        made.append(text)
        (folder / "a.txt").write_text(text)

    return make


def test_a_folder_is_made_once_and_found_again(own_cache: Path):
    made: list[str] = []
    first = harness.cached_folder(OF, writing("x", made), what="a toy")
    assert first == harness.cached_folder(OF, writing("y", made), what="a toy")
    assert made == ["x"] and (first / "a.txt").read_text() == "x"
    assert first.is_relative_to(own_cache)


def test_what_differs_in_anything_has_a_folder_of_its_own(own_cache: Path):
    made: list[str] = []
    folders = {cached_folder({**OF, "number": n}, writing(str(n), made), what="a toy") for n in range(3)}
    assert len(folders) == 3


@pytest.mark.parametrize("damage", ["change", "take away", "take away its mark"])
def test_a_damaged_folder_is_made_again(own_cache: Path, damage: str):
    made: list[str] = []
    folder = cached_folder(OF, writing("x", made), what="a toy")
    if damage == "change":
        (folder / "a.txt").write_text("other")
    else:
        (folder / ("a.txt" if damage == "take away" else "complete.json")).unlink()
    assert cached_folder(OF, writing("x", made), what="a toy") == folder
    assert made == ["x", "x"] and (folder / "a.txt").read_text() == "x"


def test_what_fails_leaves_nothing_behind(own_cache: Path):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise harness.UnavailableError("no")

    with pytest.raises(harness.UnavailableError, match="no"):
        cached_folder(OF, fail, what="a toy")
    assert [each.name for each in (own_cache / "folders").iterdir()] == ["lock"]


def _make_slowly(root: str, marks: str, queue: Any) -> None:
    def make(folder: Path) -> None:
        (Path(marks) / str(os.getpid())).touch()
        time.sleep(0.3)
        (folder / "a.txt").write_text("x")

    with using_cache(Path(root)):
        queue.put(str(cached_folder(OF, make, what="a toy")))


def test_of_two_processes_one_makes_it_and_the_other_waits(tmp_path: Path):
    (marks := tmp_path / "marks").mkdir()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (str(tmp_path / "cache"), str(marks), queue)
    both = [context.Process(target=_make_slowly, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    found = {queue.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    assert len(found) == 1 and len(list(marks.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_said_with_the_way_out(tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with (
        using_cache(tmp_path / "cache"),
        pytest.raises(harness.WriteError, match="--cache-dir or HARNESS_CACHE_DIR"),
    ):
        cached_folder(OF, writing("x", []), what="a toy")


def test_a_full_disk_is_said_with_the_way_out(own_cache: Path):
    def fill_disk(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(harness.WriteError, match=r"No space left.*--cache-dir or HARNESS_CACHE_DIR"):
        cached_folder(OF, fill_disk, what="a toy")


def test_cache_info_names_it_verify_checks_it_and_prune_takes_it(own_cache: Path, harness_command: Any):
    folder = cached_folder(OF, writing("x", []), what="a toy of glass")
    said = json.loads(harness_command("cache", "info", "--json").out)
    assert said["complete"] == 1 and said["of"][0]["what"] == "a toy of glass"
    assert harness_command("cache", "verify").code == 0
    (folder / "a.txt").write_text("y")
    found = harness_command("cache", "verify", "--remove")
    assert found.code == 4 and "is not what was written" in found.out
    assert not (folder / "a.txt").exists() and not (folder / "complete.json").exists()
    cached_folder(OF, writing("x", []), what="a toy of glass")
    assert harness_command("cache", "prune", "--all").code == 0
    assert not folder.exists()
    assert housekeeping.list_entries(own_cache) == []
