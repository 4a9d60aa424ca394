"""Folder of results that commands of plugins left: which are there, their pages, and whether these are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.api.claims import ResultPage
from harness.api.errors import HarnessError, UnavailableError, UsageError, WriteError, describe
from harness.api.specs import ResultSpec
from harness.config.board_file import read_about
from harness.leaderboard.claims import page
from harness.registry.catalog import Registry
from harness.registry.commands import import_loaded
from harness.storage.atomic import whole_file
from harness.storage.reading import read_description, read_file
from harness.validation.page import OWN

LARGEST = 20_000_000
"""Most bytes of a page that is read."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Results of one kind in a folder, by name, with the plugin that describes them."""

    spec: ResultSpec
    distribution: str
    paths: tuple[Path, ...]


def is_kept(folder: Path) -> bool:
    """Return True if the table of claims was written into a folder."""
    return (folder / page.CLAIMS).is_file()


def find(registry: Registry, folder: Path) -> tuple[Kept, ...]:
    """Return the results in a folder, by kind; nothing where no file is one.

    Raise UsageError where a file belongs to two kinds, and UnavailableError where one beside results belongs to none:
    its claims would be left out without a word.
    """
    files = folder.glob("*-*.json")
    names = sorted(path.name for path in files if not path.name.startswith(".") and not _is_of_a_run(path))
    owners: dict[str, str] = {}
    found = []
    for spec, distribution in _find_kinds(registry):
        kind = spec.name
        own = [name for name in names if fnmatchcase(name, spec.pattern)]
        for name in own:
            if name in owners:
                raise UsageError(
                    f"'{folder / name}' is a result of two kinds, {owners[name]} and {kind}: leave one of the "
                    "plugins out with -p no:NAME"
                )
            owners[name] = kind
        if own:
            paths = tuple(folder / name for name in own)
            found.append(Kept(spec=spec, distribution=distribution, paths=paths))
    lost = [name for name in names if name not in owners]
    if lost and (found or is_kept(folder)):
        raise UnavailableError(
            f"'{folder / lost[0]}' belongs to no kind of results that a loaded plugin describes: load its plugin, or "
            "remove the file"
        )
    return tuple(found)


def _find_kinds(registry: Registry) -> list[tuple[ResultSpec, str]]:
    """Return the kinds of results by name, each with the distribution that it is of: plugins' and the harness's own."""
    entries = (registry.get("results", kind) for kind in registry.names("results"))
    offered = [(entry.spec, entry.distribution) for entry in entries]
    return sorted([*offered, (OWN, "sae-harness")], key=lambda one: one[0].name)


def render(kept: Sequence[Kept], folder: Path) -> dict[str, str]:
    """Return the pages of a folder's results by name: one for each kind, and the claims of all."""
    pages = {one.spec.name: _describe(one) for one in kept}
    claims = [(name, claim) for name, one in pages.items() for claim in one.claims]
    texts = {f"{name}.md": one.markdown for name, one in pages.items()}
    return texts | page.render(claims, pages, about=read_about(folder).text)


def name_files(kept: Sequence[Kept]) -> tuple[str, ...]:
    """Return the names of the files of a folder of results: the results, and the pages made of them."""
    results = [path.name for one in kept for path in one.paths]
    return (*results, *(f"{one.spec.name}.md" for one in kept), *page.FILES)


def write(kept: Sequence[Kept], folder: Path) -> Path:
    """Write the pages of a folder's results; return the path of the page to read."""
    for name, text in render(kept, folder).items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    return folder / page.PAGE


def check(registry: Registry, folder: Path) -> tuple[str, ...]:
    """Return the faults of a folder's results and pages, a sentence each."""
    try:
        kept = find(registry, folder)
        if not kept:
            return (f"'{folder}' has a table of claims, and no result that a loaded plugin describes",)
        texts = render(kept, folder)
    except HarnessError as error:
        return (str(error),)
    stale = tuple(
        f"'{folder / name}' is not the page of the results there: make it anew with "
        f"`harness leaderboard build {folder}`"
        for name, text in texts.items()
        if not _is_page(folder / name, text)
    )
    left = (f"{spec.name}.md" for spec, _ in _find_kinds(registry))
    return stale + tuple(
        f"'{folder / name}' is the page of results of which there are none: remove it"
        for name in left
        if name not in texts and (folder / name).is_file()
    )


def replace(kept: Sequence[Kept], folder: Path) -> Path:
    """Put results in the place of all those of their kinds in `folder`, and write its pages; return the page to read.

    Raise WriteError when the disk refuses.
    """
    texts = [(path.name, read_description(path)) for one in kept for path in one.paths]
    for one in kept:
        _describe(one)  # before anything is changed
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in kept:
            for path in folder.glob(one.spec.pattern):
                path.unlink()
    except OSError as error:
        raise WriteError.from_os(f"'{folder}'", error) from error
    for name, text in texts:
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(text)
    moved = [
        Kept(spec=one.spec, distribution=one.distribution, paths=tuple(folder / p.name for p in one.paths))
        for one in kept
    ]
    return write(moved, folder)


def _describe(kept: Kept) -> ResultPage:
    """Return the page of one kind. Raise UnavailableError where a file holds no result, or the plugin fails."""
    owner = f"results '{kept.spec.name}' ({kept.distribution})"
    try:
        found = import_loaded(kept.spec)(kept.paths)
    except (HarnessError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        raise UnavailableError(f"{owner} cannot be described: {describe(error)}") from error
    if not isinstance(found, ResultPage):
        raise UnavailableError(f"{owner} are described by {type(found).__name__}, and not by a ResultPage")
    return found


def _is_of_a_run(path: Path) -> bool:
    """Return True for a file that a published run or a board leaves, which may lie in the same folder."""
    return path.name.endswith(".env.json") or path.name.startswith("leaderboard-")


def _is_page(path: Path, text: str) -> bool:
    try:
        return read_file(path, at_most=LARGEST) == text.encode()
    except OSError:
        return False
