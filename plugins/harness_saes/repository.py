"""Files of dictionaries in a local folder or a hub repository, whose local cache is read first.

Files are fetched one by one, because some repositories hold gigabytes of examples beside the weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import harness
from harness_saes.refusals import ambiguous, no_choice

_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<folder>.+?))?/?")


def is_hub_reference(ref: str) -> bool:
    """Check whether `ref` has the form `ORG/REPO[@REVISION][/FOLDER]`."""
    return not ref.startswith((".", "/", "~")) and _HUB.fullmatch(ref) is not None


class Repository(Protocol):
    """Access to files by name."""

    @property
    def folder(self) -> str:
        """Folder inside the repository; empty for the whole repository."""

    def has(self, name: str) -> bool:
        """Check whether a file of the folder is on this machine."""

    def files(self, pattern: str) -> list[str]:
        """Return the names of files that match a pattern such as `layer_*/params.npz`."""

    def local(self, name: str) -> Path | None:
        """Return a file's path; None if it is not on this machine."""

    def sha256(self, name: str) -> str:
        """Return a file's SHA-256."""

    def find(self, name: str) -> Path | None:
        """Return a small file's path, downloaded if need be and online; None if there is none."""

    def fetch(self, name: str) -> Path:
        """Return a file's path, downloaded if need be; raise UnavailableError if it is unavailable."""


@dataclass(frozen=True)
class LocalRepository:
    """Repository in a local folder."""

    root: Path
    folder: str = ""

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def files(self, pattern: str) -> list[str]:
        return [str(path.relative_to(self.root)) for path in self.root.glob(pattern)]

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
            raise harness.UnavailableError(f"there is no '{name}' in '{self.root}'")
        return path


@dataclass(frozen=True)
class HubRepository:
    """Repository on the hub, `ORG/REPO[@REVISION][/FOLDER]`; offline, its part of the local cache."""

    repo: str
    revision: str | None
    folder: str

    @classmethod
    def parse(cls, ref: str) -> HubRepository:
        match = _HUB.fullmatch(ref)
        if match is None or not is_hub_reference(ref):
            raise harness.UsageError(f"'{ref}' is not of the form ORG/REPO[@REVISION][/FOLDER]")
        return cls(match["repo"], _whole_commit(match["repo"], match["revision"]), match["folder"] or "")

    def has(self, name: str) -> bool:
        return self.local(f"{self.folder}/{name}".lstrip("/")) is not None

    def files(self, pattern: str) -> list[str]:
        from huggingface_hub import HfApi, snapshot_download

        if not _offline():
            try:
                names = HfApi().list_repo_files(self.repo, revision=self.revision)
            except Exception as error:  # the hub client raises errors of many libraries
                raise self._missing(error, pattern) from error
            return [name for name in names if PurePosixPath(name).match(pattern)]
        try:
            root = Path(snapshot_download(self.repo, revision=self.revision, local_files_only=True))
        except Exception as error:
            raise self._missing(error, pattern) from error
        return [str(path.relative_to(root)) for path in root.glob(pattern)]

    def local(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repo, name, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def find(self, name: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        if _offline():
            return self.local(name)
        try:
            return Path(hf_hub_download(self.repo, name, revision=self.revision))
        except EntryNotFoundError:
            return None
        except Exception as error:
            raise self._missing(error, name) from error

    def sha256(self, name: str) -> str:
        path = self.local(name)
        if path or _offline():
            return harness.hash_file(path or self.fetch(name))
        return self._remote_sha256(name)

    def _remote_sha256(self, name: str) -> str:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        try:
            etag: Any = get_hf_file_metadata(hf_hub_url(self.repo, name, revision=self.revision)).etag
        except Exception as error:
            raise self._missing(error, name) from error
        # The etag of a large file is its SHA-256; any other file must be read.
        return etag if re.fullmatch(r"[0-9a-f]{64}", etag or "") else harness.hash_file(self.fetch(name))

    def fetch(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.repo, name, revision=self.revision))
        except Exception as error:
            raise self._missing(error, name) from error

    def _missing(self, error: Exception, wanted: str) -> harness.UnavailableError:
        """Return the error for an unavailable file; offline, it names the command that fetches it."""
        repo = f"dictionary repository '{self.repo}'"
        if not _offline():
            return harness.UnavailableError(f"{repo} is unavailable on the hub: {type(error).__name__}")
        what = f"--include '{wanted}'" if "*" in wanted else wanted
        revision = f" --revision {self.revision}" if self.revision else ""
        return harness.UnavailableError(
            f"{repo} cannot be had from the local hub cache (offline), which lacks {wanted}: when online, run "
            f"`hf download {self.repo} {what}{revision}`"
        )


def check_single(repository: Repository, ref: str, file: str, *, others: str, chooses: bool) -> None:
    """Raise UsageError if `file` of a folder is not clearly the dictionary that `ref` means: there are `others` (a
    pattern) below it, or the reference `chooses` among several.
    """
    if not ref.endswith(file) and isinstance(repository, LocalRepository) and repository.files(others):
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
        revision = f"@{repository.revision}" if repository.revision else ""
        return f"{repository.repo}{revision}/{inside}".rstrip("/")
    assert isinstance(repository, LocalRepository)
    return "/".join((repository.root.resolve() / inside).parts[-depth:])


def _whole_commit(repo: str, revision: str | None) -> str | None:
    """Complete an abbreviated commit if exactly one commit in the local cache begins with it."""
    if revision is None or not re.fullmatch(r"[0-9a-f]{7,39}", revision):
        return revision
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    snapshots = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots"
    commits = [path.name for path in snapshots.glob(f"{revision}*")]
    return commits[0] if len(commits) == 1 else revision


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE") in {"1", "true"}
