"""Modules of plugins that are not installed: those in the working folder, and files named by their path."""

from __future__ import annotations

import importlib
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from harness.api.errors import UnavailableError, UsageError


def importable(name: str) -> str:
    """Return the module that `name` means, and let Python find it: the path of a file or a package, such as
    `./my_pooling.py` and `./my_package`, or a module, which may lie in the working folder.

    Raise UsageError for a file whose name no module can have, and UnavailableError where another module hides it.
    """
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return _of_file(path)
    if "/" in name.replace(os.sep, "/") and (path / "__init__.py").is_file():
        return _of_file(path / "__init__.py")
    first = name.partition(".")[0]
    if first.isidentifier() and (Path(f"{first}.py").is_file() or Path(first, "__init__.py").is_file()):
        _find_in(Path.cwd())
    return name


def _of_file(path: Path) -> str:
    folder = path.resolve().parent
    parts = [] if path.stem == "__init__" else [path.stem]
    while (folder / "__init__.py").is_file():  # a module of a package imports others of it by relative names
        parts, folder = [folder.name, *parts], folder.parent
    module = ".".join(parts)
    if not all(re.fullmatch(r"[^\W\d]\w*", part) for part in parts):
        raise UsageError(
            f"'{path}' has a name that no module can have: rename it, letters, digits and _ only"
        )
    _find_in(folder)
    spec = find_spec(parts[0])
    first = path.resolve() if len(parts) == 1 else folder / parts[0] / "__init__.py"
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != first:
        raise UnavailableError(
            f"another module is called '{parts[0]}', and Python finds it first: rename '{path}'"
        )
    return module


def _find_in(folder: Path) -> None:
    """Add a folder to the end of the path: nothing in it may hide what is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
