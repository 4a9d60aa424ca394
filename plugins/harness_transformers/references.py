"""A model reference in, its files out: from a local folder, or one by one from the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness import MissingError, hash_file


class Files(Protocol):
    """The files of one model, at one revision."""

    name: str

    def find(self, file: str) -> Path | None:
        """Where `file` lies, fetched if need be; None when the model has no such file."""

    def get(self, file: str) -> Path:
        """Where `file` lies, fetched if need be; MissingError when the model has no such file."""

    def hash(self, file: str) -> str:
        """Hex SHA-256 of `file`, if possible without fetching or reading it."""

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        """`hash` of each; MissingError that names all that are absent, where that is known at once."""


def open_files(ref: str, beside: Files | None = None) -> Files:
    """The files behind a folder that holds a config.json, or behind `ORG/REPO[@REVISION]`. A relative path may also
    begin at the folder of the model that it stands `beside`.
    """
    starts = [Path()] if not isinstance(beside, Folder) else [beside.folder, Path()]
    for folder in (start / Path(ref).expanduser() for start in starts):
        if (folder / "config.json").is_file():
            return Folder(ref, folder)
    repo, _, revision = ref.partition("@")
    return Hub(ref, repo, revision or "main")


class Folder:
    """The files of a model in a local folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def find(self, file: str) -> Path | None:
        path = self.folder / file
        return path if path.is_file() else None

    def get(self, file: str) -> Path:
        path = self.find(file)
        if path is None:
            raise MissingError(
                f"model '{self.name}' has no file {file}{_note(file)}: copy it there, or "
                f"write the model anew with save_pretrained"
            )
        return path

    def hash(self, file: str) -> str:
        return hash_file(self.get(file))

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        return {file: self.hash(file) for file in files}


class Hub:
    """The files of a hub repository, all at one commit; from the local hub cache where they are there."""

    def __init__(self, name: str, repo: str, revision: str) -> None:
        self.name = name
        self.repo = repo
        self.revision = _cached_commit(repo, revision)
        # snapshots/<commit>/config.json: from here on the branch may move
        self.revision = self.get("config.json").parent.name

    def find(self, file: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(self.repo, file, revision=self.revision))
        except EntryNotFoundError:
            return None
        except Exception as error:  # the network and the hub fail in more ways than can be listed
            raise self._unreachable(file, error) from error

    def get(self, file: str) -> Path:
        path = self.find(file)
        if path is None:
            raise self._missing([file])
        return path

    def hash(self, file: str) -> str:
        published = self._published_hash(file)
        return published if published is not None else _hash_blob(self.get(file))

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        from huggingface_hub import constants

        known = {file: self._published_hash(file) for file in files}
        absent = [file for file, published in known.items() if published is None and not self._has(file)]
        if absent and constants.HF_HUB_OFFLINE:  # else they can be fetched
            raise self._missing(absent)
        return {file: published or _hash_blob(self.get(file)) for file, published in known.items()}

    def _has(self, file: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.repo, file, revision=self.revision), str)

    def _missing(self, files: Sequence[str]) -> MissingError:
        """One command that fetches all: of small files every one, since the next would be asked for next."""
        wanted = "--include '*.json'" if files[0].endswith(".json") else " ".join(files)
        named = f"file {files[0]}" if len(files) == 1 else f"files {', '.join(files)}"
        return MissingError(
            f"model '{self.name}' has no {named} in the local hub cache, nor could the hub give "
            f"{'one' if len(files) == 1 else 'them'}{_note(files[0])}: when online, run "
            f"`hf download {self.repo} {wanted} --revision {self.revision}`"
        )

    def _published_hash(self, file: str) -> str | None:
        """What the hub says about a file that is not in the cache; None if that is not a SHA-256."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

        if self._has(file):
            return None
        try:
            etag = get_hf_file_metadata(hf_hub_url(self.repo, file, revision=self.revision)).etag
        except (EntryNotFoundError, OfflineModeIsEnabled):
            return None
        except Exception as error:  # as in find
            raise self._unreachable(file, error) from error
        return etag if _is_sha256(etag) else None

    def _unreachable(self, file: str, error: Exception) -> MissingError:
        reason = str(error).strip().split("\n")[0]
        return MissingError(
            f"model '{self.name}': {file} cannot be fetched from the hub ({reason}): check the name and the "
            f"network, and run `hf auth login` if the model is gated"
        )


def _cached_commit(repo: str, revision: str) -> str:
    """A commit given by its first digits, completed if the cache holds exactly one that begins so."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if not re.fullmatch(r"[0-9a-f]{7,39}", revision):
        return revision
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots"
    commits = [path.name for path in folder.glob(f"{revision}*")]
    return commits[0] if len(commits) == 1 else revision


def _hash_blob(path: Path) -> str:
    """SHA-256 of a file of the hub cache, whose large blobs are named by it."""
    blob = path.resolve().name
    return blob if _is_sha256(blob) else hash_file(path)


def _note(file: str) -> str:
    return " (pickled weights are never read)" if file.endswith(".safetensors") else ""


def _is_sha256(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"[0-9a-f]{64}", text) is not None
