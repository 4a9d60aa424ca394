"""Modules of plugins that are not installed: those in the working folder, and files named by their path."""

from __future__ import annotations

import importlib
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from harness.api.errors import UnavailableError, UsageError


def importable(name: str) -> str:
    """Return the module that `name` means, and let Python find it: the path of a file, such as `./my_pooling.py`, or
    a module, which may lie in the working folder.

    Raise UsageError for a file whose name no module can have, and UnavailableError where another module hides it.
    """
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return _of_file(path)
    first = name.partition(".")[0]
    if first.isidentifier() and (Path(f"{first}.py").is_file() or Path(first, "__init__.py").is_file()):
        _find_in(Path.cwd())
    return name


def _of_file(path: Path) -> str:
    module = path.stem
    if not re.fullmatch(r"[^\W\d]\w*", module):
        raise UsageError(
            f"'{path}' has a name that no module can have: rename it, letters, digits and _ only"
        )
    _find_in(path.resolve().parent)
    spec = find_spec(module)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path.resolve():
        raise UnavailableError(
            f"another module is called '{module}', and Python finds it first: rename '{path}'"
        )
    return module


def _find_in(folder: Path) -> None:
    """Add a folder to the end of the path: nothing in it may hide what is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
