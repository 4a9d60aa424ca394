"""Files of dictionaries in a local folder or a hub repository, whose local cache is read first.

Files are fetched one by one, because some repositories hold gigabytes of examples beside the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

import harness
from harness_saes.refusals import ambiguous, no_choice

_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<folder>.+?))?/?")


def is_hub_reference(ref: str) -> bool:
    """Check whether `ref` has the form `ORG/REPO[@REVISION][/FOLDER]`."""
    return not ref.startswith((".", "/", "~")) and _HUB.fullmatch(ref) is not None


@dataclass(frozen=True)
class Files:
    """Names of files of a repository; unless `whole`, offline, there may be others that are not cached."""

    names: tuple[str, ...]
    whole: bool = True


class Repository(Protocol):
    """Access to files by name."""

    @property
    def folder(self) -> str:
        """Folder inside the repository; empty for the whole repository."""

    def has(self, name: str) -> bool:
        """Check whether a file of the folder is on this machine."""

    def files(self, pattern: str) -> Files:
        """Return the files that match a pattern such as `layer_*/params.npz`."""

    def may_have(self, name: str) -> bool:
        """Return whether there is a file, as far as that is known without fetching it."""

    def local(self, name: str) -> Path | None:
        """Return a file's path; None if it is not on this machine."""

    def sha256(self, name: str) -> str:
        """Return a file's SHA-256."""

    def find(self, name: str) -> Path | None:
        """Return a small file's path, downloaded if need be and online; None if there is none."""

    def fetch(self, name: str) -> Path:
        """Return a file's path, downloaded if need be; raise UnavailableError if it is unavailable."""

    def require(self, name: str, *also: str) -> None:
        """Raise UnavailableError where offline a file is not on this machine; its command fetches the files `also`,
        of those that there are.
        """

    def lacks(self, *patterns: str) -> harness.UnavailableError:
        """Return the error for a repository without a file that matches one of the patterns."""


@dataclass(frozen=True)
class LocalRepository:
    """Repository in a local folder."""

    root: Path
    folder: str = ""

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def files(self, pattern: str) -> Files:
        return Files(tuple(str(path.relative_to(self.root)) for path in self.root.glob(pattern)))

    def may_have(self, name: str) -> bool:
        return self.has(name)

    def local(self, name: str) -> Path | None:
        return self.fetch(name)

    def find(self, name: str) -> Path | None:
        path = self.root / name
        return path if path.is_file() else None

    def sha256(self, name: str) -> str:
        return harness.hash_file(self.fetch(name))

    def fetch(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise self.lacks(name)
        return path

    def require(self, name: str, *also: str) -> None:
        """Require nothing: what a folder lacks is said where it is read."""

    def lacks(self, *patterns: str) -> harness.UnavailableError:
        return harness.UnavailableError(f"there is no {' or '.join(map(repr, patterns))} in '{self.root}'")


@dataclass(frozen=True)
class HubRepository:
    """Repository on the hub, `ORG/REPO[@REVISION][/FOLDER]`; offline, its part of the local cache."""

    hub: harness.HubFiles
    folder: str

    @classmethod
    def parse(cls, ref: str) -> HubRepository:
        match = _HUB.fullmatch(ref)
        if match is None or not is_hub_reference(ref):
            raise harness.UsageError(f"'{ref}' is not of the form ORG/REPO[@REVISION][/FOLDER]")
        owner = f"dictionary repository '{match['repo']}'"
        return cls(harness.HubFiles.at(owner, match["repo"], match["revision"]), match["folder"] or "")

    def has(self, name: str) -> bool:
        return self.local(f"{self.folder}/{name}".lstrip("/")) is not None

    @cached_property
    def listing(self) -> tuple[list[str], bool]:
        """Names of all files, and whether they are all, as `harness.HubFiles.names` gives them; asked for once."""
        return self.hub.names()

    def files(self, pattern: str) -> Files:
        names, whole = self.listing
        return Files(tuple(name for name in names if PurePosixPath(name).match(pattern)), whole)

    def may_have(self, name: str) -> bool:
        names, whole = self.listing
        return not whole or name in names

    def local(self, name: str) -> Path | None:
        return self.hub.local(name)

    def find(self, name: str) -> Path | None:
        return None if name.startswith("../") else self.hub.find(name)

    def sha256(self, name: str) -> str:
        return self.hub.hashes(name)[name]

    def fetch(self, name: str) -> Path:
        return self.hub.fetch(name)

    def require(self, name: str, *also: str) -> None:
        if harness.is_offline() and self.hub.local(name) is None:
            raise self.hub.lacks(name, fetch=(name, *also))

    def lacks(self, *patterns: str) -> harness.UnavailableError:
        return self.hub.lacks(*patterns)


def check_single(repository: Repository, ref: str, file: str, *, others: str, chooses: bool) -> None:
    """Raise UsageError if `file` of a folder is not clearly the dictionary that `ref` means: there are `others` (a
    pattern) below it, or the reference `chooses` among several.
    """
    if not ref.endswith(file) and isinstance(repository, LocalRepository) and repository.files(others).names:
        raise ambiguous(ref, file)
    if chooses:
        raise no_choice(ref, file)


@contextmanager
def as_hashed(repository: Repository, name: str, sha256: str) -> Iterator[Path]:
    """Yield the path of a file, fetched if need be, to be read in the block as the file with this SHA-256.

    Raise ChangedError if it is another one, or changes during the block.
    """
    path = repository.fetch(name)
    with harness.unchanged({path: sha256}):
        yield path


@contextmanager
def local_as_hashed(repository: Repository, name: str, sha256: str) -> Iterator[Path | None]:
    """Yield what `as_hashed` does if the file is on this machine, else None."""
    if repository.local(name) is None:
        yield None
        return
    with as_hashed(repository, name, sha256) as path:
        yield path


def folder_of(ref: str, file: str) -> Path:
    """Return the folder of a path that may name `file` inside it."""
    path = harness.local_path(ref)
    return path.parent if path.name == file and path.is_file() else path


def full_reference(repository: Repository, name: str, *, depth: int) -> str:
    """Return the exact reference of a dictionary: repository, revision if one was given, and folder.

    For a local folder it is the last `depth` parts of the path: where a folder lies is private.
    """
    inside = name.rpartition("/")[0]
    if isinstance(repository, HubRepository):
        revision = f"@{repository.hub.revision}" if repository.hub.revision else ""
        return f"{repository.hub.repo}{revision}/{inside}".rstrip("/")
    assert isinstance(repository, LocalRepository)
    return "/".join((repository.root.resolve() / inside).parts[-depth:])
