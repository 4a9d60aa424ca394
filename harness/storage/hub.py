"""Files of repositories on the Hugging Face hub, whose local cache is read first.

That a file is not there and that the hub cannot be asked for it are two answers, with two ways out.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from harness.api.errors import UnavailableError, WriteError, describe
from harness.storage.hashing import hash_file

Answer = TypeVar("Answer")


def is_offline() -> bool:
    """Return whether the hub must not be asked (`--offline`, HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true"}


def find_token() -> str | None:
    """Return the token with which the hub's client would log in, from HF_TOKEN or `hf auth login`; None without one."""
    from huggingface_hub import get_token

    return get_token()


@dataclass(frozen=True)
class CachedRepository:
    """A repository of the hub as far as the local cache knows it. `owner` says in messages whose it is: `model 'x'`."""

    owner: str
    repo: str
    revision: str | None = None
    is_dataset: bool = False

    @property
    def address(self) -> str:
        """Page of the repository."""
        return f"https://huggingface.co/{'datasets/' if self.is_dataset else ''}{self.repo}"

    def local(self, name: str) -> Path | None:
        """Return the path of a cached file; None if it is not on this machine."""
        found = self._cached(name)
        return Path(found) if isinstance(found, str) else None

    def lacks(
        self, *names: str, fetch: Sequence[str] = (), note: str = "", then: str = ""
    ) -> UnavailableError:
        """Return the error for files that are not there; offline, with one command that fetches all of them.

        `fetch` are the files or patterns of that command, if others than `names`; `note` follows what is missing, and
        `then` the command.
        """
        which = f"file {names[0]}" if len(names) == 1 else f"files {', '.join(names)}"
        if is_offline():
            return UnavailableError(
                f"{self.owner} has no {which} in the local hub cache (offline){note}: when online, run "
                f"`{self.download_command(*(fetch or names))}`{then}"
            )
        revision = self.revision and not self._is_commit and self.revision != "main"
        at = f" at revision '{self.revision}'" if revision else ""
        return UnavailableError(
            f"{self.owner} has no {which} on the hub{at}{note}: see {self.address} for what it has"
        )

    def download_command(self, *wanted: str) -> str:
        """Return the command that fetches files or patterns of them into the cache."""
        include = "--include " if any("*" in name for name in wanted) else ""
        named = self.revision if self.revision != "main" else None
        revision = f" --revision {shlex.quote(named)}" if named else ""
        return f"hf download {self.repo} {' '.join(include + shlex.quote(name) for name in wanted)}{revision}"

    @property
    def _is_commit(self) -> bool:
        return re.fullmatch(r"[0-9a-f]{40}", self.revision or "") is not None

    @property
    def _commit(self) -> str:
        """Commit of the revision as the cache knows it; of no use where it does not."""
        reference = _cache(self.repo) / "refs" / (self.revision or "main")
        if self._is_commit or not reference.is_file():
            return self.revision or "main"
        return reference.read_text("utf-8").strip()

    def _cached(self, name: str) -> Any:
        from huggingface_hub import try_to_load_from_cache

        return try_to_load_from_cache(self.repo, name, revision=self.revision)

    def _settled_path(self, name: str) -> Path | None:
        """Return the path of a cached file where the hub need not be asked whether there is a newer one."""
        return self.local(name) if is_offline() or self._is_commit else None

    def _listed(self) -> set[str] | None:
        """Return the names in the cached list of the repository's files; None without one."""
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        try:
            return {file.path for file in get_cached_repo_tree(self.repo, revision=self.revision)}
        except CachedRepoTreeNotFoundError:
            return None

    def _is_listed(self, name: str) -> bool | None:
        """Return whether the repository has a file as far as the cache knows, None where it does not."""
        found = self._cached(name)
        if found is not None:
            return isinstance(found, str)  # the other value is the note that there is no such file
        listed = self._listed()
        return None if listed is None else name in listed


@dataclass(frozen=True)
class HubFiles(CachedRepository):
    """Files of one repository on the hub, of which the local cache is read first.

    A file that is cached for this commit is never asked for. Whether another one is there at all is known from the
    cache where an earlier download left a list of the repository's files, or the note that there is none.
    """

    @classmethod
    def at(cls, owner: str, repo: str, revision: str | None) -> HubFiles:
        """Return the files at a revision; an abbreviated commit is completed if one cached commit begins with it.

        Raise UnavailableError for a name that no repository can have.
        """
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            try_to_load_from_cache(repo, "config.json")  # refuses such a name, as all calls of the client do
        except HFValidationError as error:
            raise UnavailableError(
                f"{owner}: '{repo}' can be no name of a repository on the hub: write ORG/REPO"
            ) from error
        if revision and re.fullmatch(r"[0-9a-f]{7,39}", revision):
            commits = [path.name for path in (_cache(repo) / "snapshots").glob(f"{revision}*")]
            revision = commits[0] if len(commits) == 1 else revision
        return cls(owner, repo, revision)

    def find(self, name: str) -> Path | None:
        """Return the path of a file, fetched if need be; None if the repository has none, or offline nothing says so.

        Raise UnavailableError where it is there and cannot be had, or the hub cannot be asked.
        """
        if path := self._settled_path(name):
            return path
        if not self._may_ask(name):
            return None
        from huggingface_hub import hf_hub_download

        found = self._ask(name, lambda: hf_hub_download(self.repo, name, revision=self.revision))
        return Path(found) if found else None

    def fetch(self, name: str) -> Path:
        """Return the path of a file, fetched if need be. Raise UnavailableError where that fails."""
        path = self.find(name)
        if path is None:
            raise self.lacks(name)
        return path

    def is_there(self, name: str) -> bool | None:
        """Return whether the repository has a file, without fetching it; None where offline nothing says so.

        Raise UnavailableError where the hub cannot be asked.
        """
        if self._settled_path(name):
            return True
        known = self._is_listed(name)
        if is_offline() or (known is not None and self._is_commit):
            return known
        return self._look_up(name) is not None

    def pinned(self, name: str) -> HubFiles:
        """Return the same files at one commit, for a branch may move: that of the cached file, or else the hub's now.

        Offline and without the file, the revision stays as it is. UnavailableError where the hub cannot be asked.
        """
        path = self.local(name)
        if path is not None:
            return replace(self, revision=path.relative_to(_cache(self.repo) / "snapshots").parts[0])
        return self if is_offline() else replace(self, revision=self._look_up(name) or self.revision)

    def _look_up(self, name: str) -> str | None:
        """Return the commit at which the hub has a file; None if it has none."""
        from huggingface_hub import hf_hub_download

        # Unlike other calls this leaves a note in the cache of what is not there.
        found = self._ask(
            name, lambda: hf_hub_download(self.repo, name, revision=self.revision, dry_run=True)
        )
        return found.commit_hash if found else None

    def hashes(self, *names: str) -> dict[str, str]:
        """Return the SHA-256 of files: of cached ones as they are, of others as the hub tells it, if it does so without
        fetching them.

        Raise UnavailableError where one cannot be had; offline it names all of these.
        """
        absent = [name for name in names if self.local(name) is None]
        if absent and is_offline():
            raise self.lacks(*absent)
        told = {name: self._told_sha256(name) for name in absent}
        return {name: told.get(name) or hash_file(self.local(name) or self.fetch(name)) for name in names}

    def _told_sha256(self, name: str) -> str | None:
        """Return the hub's hash of a file if it is a SHA-256: that of a large file. UnavailableError if it has none."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self.repo, name, revision=self.revision)
        told = self._ask(name, lambda: get_hf_file_metadata(url))
        if told is None:
            raise self.lacks(name)
        return told.etag if re.fullmatch(r"[0-9a-f]{64}", told.etag or "") else None

    def names(self) -> tuple[list[str], bool]:
        """Return the names of the repository's files, and whether these are all: offline it may be the cached alone.

        Raise UnavailableError where online the hub cannot be asked.
        """
        if not is_offline():
            from huggingface_hub import HfApi

            try:
                return HfApi().list_repo_files(self.repo, revision=self.revision), True
            except Exception as error:  # the network and the hub client raise many types
                raise self.refusal(error) from error
        if (listed := self._listed()) is not None:
            return sorted(listed), True
        root = _cache(self.repo) / "snapshots" / self._commit
        return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()], False

    def _may_ask(self, name: str) -> bool:
        """Return whether the hub may have a file that is not cached. Raise UnavailableError if offline it has."""
        known = self._is_listed(name) if is_offline() or self._is_commit else None
        if known and is_offline():
            raise self.lacks(name)
        return known is not False and not is_offline()

    # ── what the hub answers ─────────────────────────────────────────────────────────────────────────

    def _ask(self, name: str, ask: Callable[[], Answer]) -> Answer | None:
        """Return what the hub answers about a file; None where the repository has no such file.

        Raise UnavailableError for any other answer, or none.
        """
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return ask()
        except Exception as error:  # the network and the hub client raise many types
            # An unreachable hub raises LocalEntryNotFoundError, which is an EntryNotFoundError too.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            if self._is_listed(name) is False:  # what cannot be asked now was answered before
                return None
            raise self.refusal(error, name) from error

    @staticmethod
    def is_answer(error: Exception) -> bool:
        """Return whether an error tells of the hub's answer, or of none, rather than of a file that was fetched."""
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        kinds = (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError)
        return any(isinstance(each, kinds) for each in causes(error))

    def refusal(self, error: Exception, name: str = "") -> UnavailableError:
        """Return the error for an answer other than a file, raised by the hub's client or what is around it: one
        sentence for each kind, with its way out.
        """
        from huggingface_hub import constants, errors

        found = next(
            (
                each
                for each in causes(error)
                if isinstance(each, errors.HfHubHTTPError | errors.FileMetadataError)
            ),
            error,
        )
        at = f"'{self.repo}' on the hub"
        status = getattr(getattr(found, "response", None), "status_code", None)
        if isinstance(found, errors.GatedRepoError) or (
            status in {401, 403} and not isinstance(found, errors.RepositoryNotFoundError)
        ):
            return UnavailableError(
                f"{self.owner} is gated: accept the terms at {self.address} and log in with `hf auth login`"
            )
        if isinstance(found, errors.RepositoryNotFoundError):
            return UnavailableError(
                f"{self.owner}: there is no repository {at}, or it is private: check the name, and log in with "
                f"`hf auth login` if it is private"
            )
        if isinstance(found, errors.RevisionNotFoundError):
            return UnavailableError(
                f"{self.owner}: there is no revision '{self.revision}' of {at}: name none, or one that "
                f"{self.address}/commits/main lists"
            )
        if isinstance(found, OSError) and found.errno is not None and found.filename is not None:
            return WriteError(
                f"{self.owner}: the hub's cache '{constants.HF_HUB_CACHE}' cannot be written "
                f"({found.strerror}): make room there, or name another folder as HF_HUB_CACHE"
            )
        wanted = f" for {name}" if name else ""
        reason = f"it answers with status {status}" if status else describe(found.__cause__ or found)[:200]
        return UnavailableError(
            f"{self.owner}: the hub cannot be asked{wanted} ({reason}): check the network, the proxy and "
            f"HF_ENDPOINT, or read the local cache alone with --offline"
        )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cache(repo: str) -> Path:
    """Return the folder of a repository in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
