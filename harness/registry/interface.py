"""Versions of the interface: the one that a plugin declares, read before it is imported, and those accepted here."""

from __future__ import annotations

import ast
import re
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

from harness.api import protocols
from harness.registry.source import OWN, installed_version

DECLARATION = "HARNESS_API"
"""Name that a plugin's module gives, in a line of its own, to the version of the interface that it was written for."""

UNDECLARED = 1
"""Version of a plugin that declares none: the declaration is as old as version 1."""


class InterfaceError(Exception):
    """Reason why a plugin's interface is not accepted; the message completes the sentence `plugin 'x' …`."""


def read_declared(module: str) -> int | None:
    """Return the version that a module declares in its source, without importing it; None where it declares none
    there. Raise InterfaceError for a declaration that is no whole number.
    """
    if (source := _read_source(module)) is None or DECLARATION not in source:
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: nested too deeply
        return None  # importing it says so
    declared = None
    for statement in tree.body:
        if (value := _assigned(statement)) is not None:
            try:
                declared = _check_number(ast.literal_eval(value))
            except (InterfaceError, ValueError, TypeError, RecursionError, MemoryError) as error:
                raise _no_number(ast.unparse(value)) from error
    return declared


def find_declared(module: str) -> int | None:
    """Return the version that an imported module declares by any other statement, as one that imports it from beside.

    Raise InterfaceError for what is no whole number.
    """
    found = vars(sys.modules[module]).get(DECLARATION) if module in sys.modules else None
    try:
        return None if found is None else _check_number(found)
    except InterfaceError as error:
        raise _no_number(f"a {type(found).__name__}") from error


def check_accepted(declared: int | None) -> str:
    """Return a warning about the version that a plugin declares, empty where there is none.

    Raise InterfaceError where this harness does not accept it. Both complete the sentence `plugin 'x' …`.
    """
    own = protocols.API_VERSION
    interface = declared or UNDECLARED
    if interface == own:
        return ""
    said = f"is for interface {_write(interface)} of the harness"
    if declared is None:
        said += f" (not declared: a plugin for interface {own} has the line {DECLARATION} = {own})"
    version = installed_version(OWN) or "unknown version"
    if interface > own:
        raise InterfaceError(
            f"{said}, and this one ({version}) has interface {own}: "
            "install a newer harness, or an older version of the plugin"
        )
    if interface == own - 1 and _minor(version) <= _minor(protocols.API_SINCE):
        return (
            f"{said}, which {protocols.API_SINCE} is the last version to accept: "
            "install a newer version of the plugin"
        )
    raise InterfaceError(
        f"{said}, and this one ({version}) has interface {own}: "
        "install a newer version of the plugin, or an older harness"
    )


def _read_source(module: str) -> str | None:
    """Return the source of a module without importing it or the packages that hold it; None where it has none."""
    names = module.split(".")
    try:
        spec = find_spec(names[0])
        for length in range(2, len(names) + 1):
            inside = spec and spec.submodule_search_locations
            spec = PathFinder.find_spec(".".join(names[:length]), inside) if inside else None
        loader: Any = spec and spec.loader
        source: str | None = loader.get_source(module) if hasattr(loader, "get_source") else None
        return source
    except Exception:  # a finder or loader of strangers; importing the module says what is wrong
        return None


def _assigned(statement: ast.stmt) -> ast.expr | None:
    """Return the value that a statement gives to the declaration, if it does."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    named = any(isinstance(target, ast.Name) and target.id == DECLARATION for target in targets)
    return statement.value if named else None


def _check_number(value: Any) -> int:
    if type(value) is not int or value < 1:  # True is an int, too
        raise InterfaceError
    return value


def _no_number(given: str) -> InterfaceError:
    text = " ".join(given.split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return InterfaceError(
        f"declares {DECLARATION} as {text}, and not as a whole number from 1 on, which can be read before it is "
        f"imported: write {DECLARATION} = {protocols.API_VERSION}"
    )


LONGEST = 40
"""Letters of a declaration that are shown."""


def _write(number: int) -> str:
    text = str(number)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _minor(version: str) -> tuple[int, int]:
    """Return the major and minor part of a version; those before all others where it has none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
