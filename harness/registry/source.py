"""Sources of plugins: the files of code and data that decide what a plugin computes, and a hash of them.

The plugins that come with the harness say by the `revision` of a spec when results change, and its tests hold them to
that. Of any other plugin, every edit of a file makes new results: nobody promises that its revision is kept.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, all_suffixes
from importlib.metadata import Distribution, PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from harness.api.errors import UnavailableError
from harness.storage.hashing import hash_file, hash_lines

OWN = "sae-harness"
"""Distribution whose plugins declare revisions: that of the harness itself."""

DIGITS = 12
"""Length of a digest, which is read by people in records and messages."""

_CACHE = "__pycache__"


def installed_version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class _State(NamedTuple):
    """File as it was: another size, time or inode means that it may hold something else."""

    path: Path
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _State:
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class Source:
    """Files of a plugin by name, as they were when they were found, before it was imported."""

    files: Mapping[str, _State]

    @cached_property
    def digest(self) -> str:
        """The hash of the names and contents of all files; that of its content alone where there is only one.

        Raise UnavailableError where code was edited after it was found: what runs is what was imported.
        """
        try:
            now = {name: _State.of(state.path) for name, state in self.files.items()}
            hashes = {name: hash_file(state.path) for name, state in sorted(self.files.items())}
        except OSError as error:
            raise UnavailableError(
                f"'{error.filename}', a file of a plugin, cannot be read: {error.strerror}"
            ) from error
        self.check(now)
        if len(hashes) == 1:
            return next(iter(hashes.values()))[:DIGITS]
        return hash_lines(part for pair in hashes.items() for part in pair)[:DIGITS]

    def check(self, now: Mapping[str, _State]) -> None:
        """Raise UnavailableError where a file of code is another one `now`: Python imports nothing twice."""
        for name, state in now.items():
            if state != self.files.get(name, state) and state.path.suffix in _CODE:
                raise UnavailableError(f"'{state.path}' was edited after it was imported: start Python anew")


_CODE = {f".{suffix.rpartition('.')[2]}" for suffix in all_suffixes()}

_imported: dict[int, tuple[Any, Source]] = {}
"""Id of an imported plugin → the plugin itself, and its files at that time."""


def check_unchanged(plugin: Any, source: Source) -> None:
    """Raise UnavailableError for a plugin that this process imported earlier, and whose code was edited since."""
    _, first = _imported.setdefault(id(plugin), (plugin, source))
    first.check(source.files)


def find_source(module: str, distribution: Distribution | None = None) -> Source:
    """Find the files of the plugin in `module`, which is not imported: of the package that holds it, of the modules and
    packages in the same folder that these import, and of `distribution` where it is installed.
    """
    found = dict(_listed(distribution))
    top = _find_top(module)
    if top and str(top[1].name) not in {name.split("/")[0] for name in found}:
        found |= _with_neighbours(*top)
    return Source({name: _State.of(path) for name, path in sorted(found.items())})


def _listed(distribution: Distribution | None) -> Iterator[tuple[str, Path]]:
    """Yield the files that an installed distribution lists, apart from what its installer wrote."""
    for file in (distribution.files or ()) if distribution else ():
        written = file.parts[0] == ".." or file.parts[0].endswith((".dist-info", ".egg-info"))
        path = Path(str(file.locate()))
        if not written and _CACHE not in file.parts and file.suffix != ".pth" and path.is_file():
            yield file.as_posix(), path


def _find_top(module: str) -> tuple[Path, Path] | None:
    """Return the folder on the path, and in it the file or folder of the outermost package of a module.

    A namespace has no file of its own, and what it holds may be anyone's: it is no package. None where there is none.
    """
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        spec = _find_spec(".".join(parts[:length]))
        if spec is None or (spec.origin and not spec.has_location):
            return None
        if spec.origin:
            origin = Path(spec.origin)
            while not origin.is_file() and origin != origin.parent:  # a module in an archive
                origin = origin.parent
            top = origin.parent if spec.submodule_search_locations and origin.stem == "__init__" else origin
            return (top.parent, top) if origin.is_file() else None
    return None


def _find_spec(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)
    except (ImportError, ValueError):  # ValueError: a module without spec, such as __main__
        return None


def _with_neighbours(root: Path, top: Path) -> dict[str, Path]:
    """Return the files of `top` and of whatever these import from `root`, by their names there.

    Where distributions are installed, what lies side by side belongs to others.
    """
    found = dict(_walk(top, root))
    if root.resolve() in {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}:
        return found
    seen = {"harness", top.stem, *sys.stdlib_module_names}
    waiting = [*found.values()]
    while waiting:
        for name in sorted(_imports(waiting.pop()) - seen):
            seen.add(name)
            files = _neighbour(name, root)
            waiting += files.values()
            found |= files
    return found


def _neighbour(name: str, root: Path) -> dict[str, Path]:
    """Return the files of the module or package of this name, where it lies in `root`."""
    spec = _find_spec(name)
    if spec is None or (spec.origin and not Path(spec.origin).is_relative_to(root)):
        return {}
    if spec.origin:
        return dict(_walk(root / name if spec.submodule_search_locations else Path(spec.origin), root))
    # A namespace, of which only code is counted: it may be a folder of anything.
    folders = [Path(path) for path in spec.submodule_search_locations or ()]
    walked = [pair for folder in folders if folder.parent == root for pair in _walk(folder, root)]
    return {name: path for name, path in walked if path.suffix in _CODE}


def _walk(top: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the file `top`, or all files in the folder `top`, with their names under `root`."""
    if top.is_file():
        yield top.name, top
        return
    known: set[Path] = set()
    for folder, inside, files in os.walk(top, followlinks=True):
        here = Path(folder)
        if here.resolve() in known:  # a link to a folder that holds it
            inside.clear()
            continue
        known.add(here.resolve())
        inside[:] = [name for name in inside if name != _CACHE]
        for name in files:
            if (here / name).is_file():
                yield (here / name).relative_to(root).as_posix(), here / name


def _imports(path: Path) -> set[str]:
    """Return the first names of the modules that a file of Python imports, in its functions too."""
    if path.suffix != ".py":
        return set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: nested too deeply
        return set()  # importing it says so
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
