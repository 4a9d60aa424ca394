"""Checks of plugins that were made on this machine, kept in the cache for as long as no file of the plugin changes.

<cache>/checked/<key>/<digest>.json    what a check of the plugin found, by the hash of its files at that time
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from harness.api.errors import UnavailableError
from harness.registry.loading import Plugin
from harness.registry.source import find_source
from harness.storage.atomic import write_json
from harness.storage.cache_place import check_writable, default_cache_dir, naming_way_out
from harness.storage.hashing import hash_json
from harness.storage.parsing import read_mapping

FOLDER = "checked"
"""Folder of the cache that holds the checks."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Check of one plugin by `harness check`: with what, when, and what came of it."""

    harness: str
    """Version of the harness that checked it."""
    interface: int
    """Version of the interface that it was checked for."""
    day: str
    """Day of the check, as 2026-01-31."""
    passed: int
    """Checks that it passed."""
    failed: int
    """Checks that it failed."""
    skipped: int
    """Checks that could not be made."""
    files: str = ""
    """Hash of the plugin's files that were checked."""

    def __str__(self) -> str:
        counts = {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}
        told = [f"{count} {name}" for name, count in counts.items() if count or name == "passed"]
        return f"checked {self.day} by harness {self.harness}: {', '.join(told)}"


def read_checked(plugin: Plugin, cache_dir: Path | None = None) -> Checked | None:
    """Return the last check of the files that a plugin has now; None where there was none.

    `cache_dir` is the cache folder, None the default one.
    """
    folder = _folder(plugin, cache_dir)
    if not folder.is_dir():  # hashing the files of all plugins takes time
        return None
    try:
        return _read(folder / f"{_digest(plugin)}.json")
    except UnavailableError:  # edited since it was imported
        return None


def write_checked(plugin: Plugin, checked: Checked, cache_dir: Path | None = None) -> None:
    """Keep a check of the files that a plugin has now, with their hash.

    Raise UnavailableError where its code was edited since it was imported, WriteError where the cache cannot be
    written.
    """
    check_writable(cache_dir or default_cache_dir())
    with naming_way_out():
        write_json(
            _folder(plugin, cache_dir) / f"{_digest(plugin)}.json",
            asdict(replace(checked, files=_digest(plugin))),
        )


def describe_checked(plugin: Plugin, cache_dir: Path | None = None) -> str:
    """Return in words whether a plugin was checked."""
    if (checked := read_checked(plugin, cache_dir)) is not None:
        return str(checked)
    folder = _folder(plugin, cache_dir)
    earlier = folder.is_dir() and any(_read(path) is not None for path in folder.glob("*.json"))
    return "checked before its files changed" if earlier else "not checked"


def _folder(plugin: Plugin, cache_dir: Path | None) -> Path:
    """Return the folder of all checks of a plugin, whatever its version."""
    owner = plugin.distribution.rsplit(" ", 1)[0].partition("@")[0]
    return (cache_dir or default_cache_dir()) / FOLDER / hash_json({"plugin": plugin.name, "owner": owner})


def _digest(plugin: Plugin) -> str:
    """Return the hash of a plugin's files, also of one of the harness, which has none in identities."""
    source = plugin.source or find_source(plugin.module)
    if not source.files:
        raise UnavailableError(
            f"plugin '{plugin.name}' ({plugin.distribution}) has no files that can be hashed"
        )
    return source.digest


def _read(path: Path) -> Checked | None:
    """Return what a file tells of a check; None where there is none, or where it is damaged."""
    try:
        found = read_mapping(path, "")
    except UnavailableError:
        return None
    kinds = {one.name: int if one.type == "int" else str for one in fields(Checked)}
    if found.keys() != kinds.keys() or any(type(found[name]) is not kind for name, kind in kinds.items()):
        return None
    return Checked(**found)
