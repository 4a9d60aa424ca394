"""Place of the cache: which folder it is, what its folders are called, and whether it can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from harness.api.errors import UsageError, WriteError

IN_USE = "in-use"
"""Folder of the locks of runs that use the cache."""

FOLDERS = "folders"
"""Folder of what `cached_folder` keeps."""

KINDS: Mapping[str, bool] = {
    "features": True,
    FOLDERS: True,
    **dict.fromkeys(("fitted", "fidelity", "activations", "leaks"), False),
}
"""Folders of `<key>/<file>`; True where a set is complete only with its complete.json.

The name of a file is its SHA-256, except in FOLDERS.
"""

ANOTHER_CACHE = "name another cache with --cache-dir or HARNESS_CACHE_DIR"
"""Way out where a cache cannot be written."""

_chosen: ContextVar[Path | None] = ContextVar("cache folder", default=None)


@contextmanager
def using_cache(root: Path | None) -> Iterator[None]:
    """Let `default_cache_dir` return this folder in the block, if there is one."""
    token = _chosen.set(root or _chosen.get())
    try:
        yield
    finally:
        _chosen.reset(token)


def default_cache_dir() -> Path:
    """Return the folder of `using_cache`, else `HARNESS_CACHE_DIR`, else the user's cache folder."""
    import platformdirs

    if (root := _chosen.get()) is not None:
        return root
    given = os.environ.get("HARNESS_CACHE_DIR")
    if given and "://" in given:
        raise UsageError(
            f"HARNESS_CACHE_DIR is '{given}', and the cache is a local folder: a URL goes into HARNESS_STORE"
        )
    return Path(given) if given else Path(platformdirs.user_cache_dir("sae-harness"))


def check_writable(root: Path) -> None:
    """Raise WriteError when the cache folder cannot be made or written."""
    with naming_way_out():
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError.from_os(f"the cache '{root}'", error) from error
        if not os.access(root, os.W_OK):
            raise WriteError(f"the cache '{root}' cannot be written")


@contextmanager
def naming_way_out() -> Iterator[None]:
    """Add to a WriteError of the block, which writes into the cache, what can be done about it."""
    try:
        yield
    except WriteError as error:
        raise WriteError(f"{error}: make room there, or {ANOTHER_CACHE}") from error
