"""Files of a model, in a local folder or fetched one by one from the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness import UnavailableError, hash_file, local_path


class Files(Protocol):
    """Files of one model at one revision."""

    name: str

    def find(self, file: str) -> Path | None:
        """Return the path of `file`, fetched if need be; None if the model has no such file."""

    def get(self, file: str) -> Path:
        """Return the path of `file`, fetched if need be; raise UnavailableError if the model has no such file."""

    def hash(self, file: str) -> str:
        """Return the SHA-256 of `file` in hex, if possible without fetching or reading it."""

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        """Return the hash of each file; raise UnavailableError that names all missing files if they are known."""


def open_files(ref: str, beside: Files | None = None) -> Files:
    """Return the files of a local folder with a config.json, or else of `ORG/REPO[@REVISION]` on the hub.

    A relative path may also start at the folder of the model `beside`.
    """
    starts = [Path()] if not isinstance(beside, Folder) else [beside.folder, Path()]
    for folder in (start / local_path(ref) for start in starts):
        if (folder / "config.json").is_file():
            return Folder(ref, folder)
    repo, _, revision = ref.partition("@")
    return Hub(ref, repo, revision or "main")


class Folder:
    """Files of a model in a local folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def find(self, file: str) -> Path | None:
        path = self.folder / file
        return path if path.is_file() else None

    def get(self, file: str) -> Path:
        path = self.find(file)
        if path is None:
            raise UnavailableError(
                f"model '{self.name}' has no file {file}{_note(file)}: copy it there, or "
                f"write the model anew with save_pretrained"
            )
        return path

    def hash(self, file: str) -> str:
        return hash_file(self.get(file))

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        return {file: self.hash(file) for file in files}


class Hub:
    """Files of a hub repository, all at one commit; the local hub cache is read first."""

    def __init__(self, name: str, repo: str, revision: str) -> None:
        self.name = name
        self.repo = repo
        self.revision = _cached_commit(repo, revision)
        # The commit of snapshots/<commit>/config.json: a branch may move while files are fetched.
        self.revision = self.get("config.json").parent.name

    def find(self, file: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(self.repo, file, revision=self.revision))
        except EntryNotFoundError:
            return None
        except Exception as error:  # the network and the hub client raise many types
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
        if absent and constants.HF_HUB_OFFLINE:  # online they can be fetched
            raise self._missing(absent)
        return {file: published or _hash_blob(self.get(file)) for file, published in known.items()}

    def _has(self, file: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.repo, file, revision=self.revision), str)

    def _missing(self, files: Sequence[str]) -> UnavailableError:
        """Return an error with one command that fetches all missing files."""
        # All small files: the next of them would be missing next.
        wanted = "--include '*.json'" if files[0].endswith(".json") else " ".join(files)
        named = f"file {files[0]}" if len(files) == 1 else f"files {', '.join(files)}"
        return UnavailableError(
            f"model '{self.name}' has no {named} in the local hub cache, nor could the hub give "
            f"{'one' if len(files) == 1 else 'them'}{_note(files[0])}: when online, run "
            f"`hf download {self.repo} {wanted} --revision {self.revision}`"
        )

    def _published_hash(self, file: str) -> str | None:
        """Return the hub's SHA-256 of a file that is not cached; None if the hub gives none."""
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

    def _unreachable(self, file: str, error: Exception) -> UnavailableError:
        reason = str(error).strip().split("\n")[0]
        return UnavailableError(
            f"model '{self.name}': {file} cannot be fetched from the hub ({reason}): check the name and the "
            f"network, and run `hf auth login` if the model is gated"
        )


def _cached_commit(repo: str, revision: str) -> str:
    """Complete an abbreviated commit if exactly one commit in the cache begins with it."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if not re.fullmatch(r"[0-9a-f]{7,39}", revision):
        return revision
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots"
    commits = [path.name for path in folder.glob(f"{revision}*")]
    return commits[0] if len(commits) == 1 else revision


def _hash_blob(path: Path) -> str:
    """Return the SHA-256 of a file in the hub cache, where large blobs are named by their hash."""
    blob = path.resolve().name
    return blob if _is_sha256(blob) else hash_file(path)


def _note(file: str) -> str:
    return " (pickled weights are never read)" if file.endswith(".safetensors") else ""


def _is_sha256(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"[0-9a-f]{64}", text) is not None
