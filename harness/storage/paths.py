"""Local paths: as users write them in references, and as files name other files."""

from __future__ import annotations

import os
from pathlib import Path

from harness.api.errors import UnavailableError

BLOBS = "blobs"
"""Folder of a hub cache to which the links in its snapshots lead."""


def local_path(reference: str) -> Path:
    """Return the path that a reference would name: `~` is the home folder unless a file or folder is called so.

    No other character has a meaning: `*`, `[1]` and `::` are parts of names.
    """
    path = Path(reference)
    if not reference.startswith("~") or path.exists():
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user
        return path


def check_inside(name: str, *, by: str) -> None:
    """Raise UnavailableError where the name that a file gives to another one leads out of the folder.

    `by` is the file, in quotes, for the message.
    """
    if not name or "\0" in name or Path(name).anchor or ".." in Path(name).parts:
        raise _leads_out(name, by)


def path_inside(folder: Path, name: str, *, by: str) -> Path:
    """Return the path of a file that another file names, which lies in `folder` or, through a link, in a hub cache.

    Raise UnavailableError for a path or a link that leads out of the folder: files of strangers name no others.
    """
    check_inside(name, by=by)
    path = folder / name
    real = Path(os.path.realpath(path))  # which ends where links lead in a circle
    if real.is_symlink() or not (real.is_relative_to(folder.resolve()) or real.parent.name == BLOBS):
        raise _leads_out(name, by)
    return path


def _leads_out(name: str, by: str) -> UnavailableError:
    shown = name if len(name) <= 200 else f"{name[:200]}…"
    return UnavailableError(
        f"{by} names the file {shown!r}, which leads out of its folder and is not read: put a copy beside {by}, and "
        f"name that"
    )
