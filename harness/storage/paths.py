"""Local paths as users write them in references."""

from __future__ import annotations

from pathlib import Path


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
