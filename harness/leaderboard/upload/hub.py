"""Upload to a Space or dataset of the Hugging Face hub, in one commit: all of a board is there, or nothing is."""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.api.errors import HarnessError, UnavailableError, UsageError, describe, name_some
from harness.leaderboard.upload.changes import LIST, Uploaded, find_removed
from harness.leaderboard.upload.content import Content
from harness.storage.hub import causes, find_token, is_offline
from harness.storage.parsing import read_mapping

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

SCHEME = "hf://"

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_TARGET = re.compile(rf"{SCHEME}(?P<kind>spaces|datasets)/(?P<repo>{_NAME}/{_NAME})/?")


@dataclass(frozen=True, kw_only=True)
class HubTarget:
    """Space or dataset of the hub."""

    kind: Literal["space", "dataset"]
    repo: str

    @classmethod
    def parse(cls, text: str) -> HubTarget:
        """Read `hf://spaces/OWNER/NAME` or `hf://datasets/OWNER/NAME`. Raise UsageError for anything else."""
        match = _TARGET.fullmatch(text)
        if not match or any(part in match["repo"] for part in ("..", "--")) or text.endswith(".git"):
            raise UsageError(
                f"'{text}' names no place on the hub: write hf://spaces/OWNER/NAME or hf://datasets/OWNER/NAME"
            )
        return cls(kind="space" if match["kind"] == "spaces" else "dataset", repo=match["repo"])

    def __str__(self) -> str:
        return f"{SCHEME}{self.kind}s/{self.repo}"

    @property
    def address(self) -> str:
        """Page of the repository."""
        return f"https://huggingface.co/{self.kind}s/{self.repo}"


def check_may_send(target: HubTarget) -> None:
    """Raise UnavailableError where the hub must not be asked, or there is no token to log in with."""
    if is_offline():
        raise UnavailableError(
            f"'{target}' is on the hub, to which nothing is sent (--offline, HF_HUB_OFFLINE): name a folder, or go"
            " online"
        )
    if not find_token():
        raise UnavailableError(
            f"'{target}' takes files with a token only: log in with `hf auth login`, or set HF_TOKEN"
        )


def upload_to_hub(
    content: Content, target: HubTarget, *, private: bool = False, replace: bool = False
) -> bool:
    """Make the repository if there is none, and commit what has changed of a board; return whether anything has.

    Raise UsageError for a repository with files of others or another board, unless `replace` is set, and for a public
    one with `private`; UnavailableError where the hub refuses, with nothing committed.
    """
    from huggingface_hub import HfApi

    check_may_send(target)
    new = Uploaded.of(content.board, content.files)
    files = {**content.files, LIST: new.to_bytes()}
    with _refusals(target), _bars_in_terminals(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the client wonders about parquet in a Space, in two lines for each file
        api = HfApi()
        state = _find(api, target, private=private)
        if state is None:
            api.create_repo(
                target.repo,
                repo_type=target.kind,
                private=private or None,
                space_sdk="static" if target.kind == "space" else None,
                exist_ok=True,
            )
            return _commit(api, target, files, removed=set(), parent=None)
        present, commit = state
        earlier = _read_list(api, target, commit) if LIST in present else None
        removed = find_removed(f"'{target}'", present, earlier, new, replace=replace)
        return _commit(api, target, files, removed=removed, parent=commit)


def _find(api: HfApi, target: HubTarget, *, private: bool) -> tuple[set[str], str | None] | None:
    """Return the files of the repository and its last commit; None where there is no repository that can be seen."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(target.repo, repo_type=target.kind)
    except RepositoryNotFoundError:
        return None
    if private and not info.private:
        raise UsageError(
            f"'{target}' is there already and is public: make it private on {target.address}/settings"
        )
    return {*api.list_repo_files(target.repo, repo_type=target.kind, revision=info.sha)}, info.sha


def _read_list(api: HfApi, target: HubTarget, commit: str | None) -> Uploaded | None:
    """Return the list of an earlier upload; None if the file of that name is none."""
    with tempfile.TemporaryDirectory(prefix="harness-upload-") as place:
        path = Path(
            api.hf_hub_download(target.repo, LIST, repo_type=target.kind, revision=commit, local_dir=place)
        )
        try:
            return Uploaded.read(read_mapping(path, f"'{LIST}' of '{target}' is damaged"))
        except UnavailableError:
            return None


def _commit(
    api: HfApi, target: HubTarget, files: Mapping[str, bytes], *, removed: Set[str], parent: str | None
) -> bool:
    """Commit files, and return whether any has changed: the client sends none that the hub has already.

    With `parent`, the hub refuses if somebody else has committed since.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    done = api.create_commit(
        target.repo,
        [
            *(CommitOperationAdd(name, data) for name, data in files.items()),
            *(CommitOperationDelete(name, is_folder=False) for name in sorted(removed)),
        ],
        commit_message="Upload a leaderboard",
        repo_type=target.kind,
        parent_commit=parent,
    )
    there = api.list_repo_files(target.repo, repo_type=target.kind, revision=done.oid)
    if lacking := sorted(files.keys() - {*there}):
        # The hub leaves out what a .gitignore of the repository names, and says nothing.
        raise UnavailableError(
            f"'{target}' was written without {name_some(lacking)}: remove its .gitignore, and upload again"
        )
    return done.oid != parent


@contextmanager
def _bars_in_terminals() -> Iterator[None]:
    """Let the client draw bars of progress in a terminal only: in a file each step of a bar is a line."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _refusals(target: HubTarget) -> Iterator[None]:
    """Raise each error of the block, which asks the hub, as one sentence with its way out."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # the network and the hub's client raise many types
        for each in causes(error):
            if isinstance(each, HfHubHTTPError):
                raise UnavailableError(
                    f"nothing was uploaded to '{target}': {_reason(each, target)}"
                ) from error
        raise UnavailableError(
            f"nothing was uploaded to '{target}': the hub cannot be asked ({describe(error)[:200]}): check the network,"
            " the proxy and HF_ENDPOINT"
        ) from error


def _reason(error: HfHubHTTPError, target: HubTarget) -> str:
    status = error.response.status_code if error.response is not None else None
    if status == 401:
        return "the hub does not take the token: make a new one, and log in with `hf auth login`"
    if status == 403:
        return f"the token may not write to {target.repo}: use one of its owner with the right to write"
    if status == 404:
        return f"there is no repository '{target.repo}' that this token may see: check the name and the token's rights"
    if status in {409, 412}:
        return "somebody else has changed it meanwhile: run the same command again"
    said = f" ({error.server_message.strip()[:200]})" if error.server_message else ""
    if status == 400:
        return f"the hub refuses what was sent{said}: check --licence"
    return f"the hub answers with status {status}{said}: try again later"
