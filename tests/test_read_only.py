"""Folders that cannot be written: what holds everything that is needed is enough to plan and to run."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.runs.folder import RunFolder

WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.utime", "os.chmod", "os.link"}
FROZEN: list[str] = []


def refuse(event: str, arguments: Any) -> None:
    """Refuse as a read-only file system does. Permissions would not stop the superuser."""
    if not FROZEN or not (event in WRITES or event == "open"):
        return
    # The flags of `open` say whether it writes; the first argument of all is a path, or a descriptor.
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    for path in arguments[:1]:
        if isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(tuple(FROZEN)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


sys.addaudithook(refuse)  # for good, and without effect where nothing is frozen


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`with frozen(folder):` makes a folder one of a read-only file system."""
    access = os.access

    def ask(path: Any, mode: int, **more: Any) -> bool:
        return access(path, mode, **more) and not (
            mode & os.W_OK and str(Path(path).absolute()).startswith(tuple(FROZEN or ["\0"]))
        )

    monkeypatch.setattr(os, "access", ask)

    @contextmanager
    def freeze(*folders: Path) -> Iterator[None]:
        FROZEN.extend(str(Path(folder).absolute()) for folder in folders)
        try:
            yield
        finally:
            FROZEN.clear()

    yield freeze
    FROZEN.clear()


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_read_only_cache_that_holds_everything_is_enough_for_a_plan_and_a_run(
    harness_command: Any, toy_suite: Path, toy_task: Path, own_cache: Path, tmp_path: Path, frozen: Any
) -> None:
    arguments = (toy_suite, "--include", toy_task)
    assert harness_command("run", *arguments, "-o", "first").code == 0
    before = state(own_cache)
    with frozen(own_cache, toy_task, tmp_path / "toy.jsonl"):
        with pytest.raises(OSError, match="Read-only"):
            (own_cache / "probe").touch()
        planned = harness_command("plan", *arguments)
        ran = harness_command("run", *arguments, "-o", "second")
    assert (planned.code, ran.code) == (0, 0), planned.err + ran.err
    assert state(own_cache) == before
    first, second = (RunFolder(tmp_path / name).records() for name in ("first", "second"))
    for one, other in zip(first, second, strict=True):
        assert one.model_dump(exclude={"cost"}) == other.model_dump(exclude={"cost"})


@pytest.mark.parametrize("missing", ["everything", "a shard", "a sound shard"])
def test_what_a_read_only_cache_lacks_is_missed_before_the_model_is_loaded(
    missing: str,
    harness_command: Any,
    toy_suite: Path,
    toy_task: Path,
    own_cache: Path,
    tmp_path: Path,
    frozen: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (toy_suite, "--include", toy_task)
    if missing != "everything":
        assert harness_command("run", *arguments, "-o", "first").code == 0
        shard = next(own_cache.glob("features/*/*.safetensors"))
        shard.unlink() if missing == "a shard" else shard.write_bytes(shard.read_bytes()[:-1])
    monkeypatch.setattr("harness.runs.featurizer.Featurizer._open", lambda *arguments: pytest.fail("loaded"))
    with frozen(own_cache):
        planned = harness_command("plan", *arguments)
        told = harness_command("run", *arguments, "-o", "second")
    assert planned.code == 0, planned.err
    assert told.code == 3
    assert str(own_cache) in told.said[-1] and "--cache-dir" in told.said[-1]
    assert RunFolder(tmp_path / "second").about()["status"] == "failed"


def test_arms_that_need_no_cache_need_none_that_can_be_written(
    harness_command: Any, toy_suite: Path, toy_task: Path, own_cache: Path, frozen: Any
) -> None:
    with frozen(own_cache):
        told = harness_command(
            "run", toy_suite, "--include", toy_task, "--set", "representations=[majority]", "-o", "alone"
        )
    assert told.code == 0, told.err


def test_fuzzy_leaks_are_counted_where_the_count_cannot_be_kept(
    harness_command: Any, toy_suite: Path, toy_task: Path, own_cache: Path, frozen: Any
) -> None:
    with frozen(own_cache):
        told = harness_command(
            "plan", toy_suite, "--include", toy_task, "--set", "fuzzy_leaks=true", "--json"
        )
    assert told.code == 0, told.err
