"""Names of models and dictionaries, as people read them: no path of a machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PureWindowsPath


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """Return how each label of a model or a dictionary is shown: a path by its last part, with as many of the parts
    before it as tell it from the other labels; any other label as it is.

    Paths are those that are absolute or begin with `.` or `~`, and folders that are there.
    """
    parts = {label: _split(label) for label in labels}
    depths = dict.fromkeys(parts, 1)
    while True:
        shown = {
            label: "/".join(folders[-depths[label] :]) + more for label, (folders, more) in parts.items()
        }
        counts = Counter(shown.values())
        alike = [
            label for label in parts if counts[shown[label]] > 1 and depths[label] < len(parts[label][0])
        ]
        if not alike:
            return shown
        for label in alike:
            depths[label] += 1


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def _split(label: str) -> tuple[list[str], str]:
    """Return the parts of a path, and its parameters `[…]`; a label that is no path is one part."""
    found = re.fullmatch(r"(.*?)(\[[^\[\]]*\])?", label, re.DOTALL)
    path, more = (found[1], found[2] or "") if found else (label, "")
    if _WINDOWS.match(path):
        folders = list(PureWindowsPath(path).parts[1:])
    elif path.startswith(("/", ".", "~")) or _is_folder(path):
        parts = Path(path).parts
        if not parts or parts[-1] == "..":  # . and .. are names of no folder
            parts = Path(path).resolve().parts
        folders = [part for part in parts if part not in ("/", "..", "~")]
    else:
        return [label], ""
    return folders or [path], more


def _is_folder(path: str) -> bool:
    with suppress(OSError, ValueError):  # of names that no folder can have
        return bool(path) and Path(path).is_dir()
    return False
