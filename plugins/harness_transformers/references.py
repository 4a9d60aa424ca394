"""Files of a model, in a local folder or fetched one by one from the Hugging Face hub.

What is hashed of a model and what is loaded of it must be the same, though hours may lie between: an object of files
hashes each of them once, and `reading` refuses one that is another by then.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import ChangedError, UnavailableError, hash_file, local_path, unchanged

SINGLE = "model.safetensors"
"""Name of the file of weights of a checkpoint in one file."""
INDEX = "model.safetensors.index.json"
"""Name of the index of a checkpoint in several files."""
ADAPTER = "adapter_config.json"
"""Name of the configuration of an adapter, which transformers lays over the weights where peft is installed."""


class Files(ABC):
    """Files of one model at one revision."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._hashes: dict[str, str] = {}
        self._contents: dict[str, Mapping[str, Any] | None] = {}
        self._read: set[str] = set()

    @abstractmethod
    def find(self, file: str) -> Path | None:
        """Return the path of `file`, fetched if need be; None if the model has no such file."""

    @abstractmethod
    def has(self, file: str) -> bool:
        """Return whether the model has `file`, without fetching it."""

    @abstractmethod
    def get(self, file: str) -> Path:
        """Return the path of `file`, fetched if need be; raise UnavailableError if the model has no such file."""

    @abstractmethod
    def _hash(self, files: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of each file in hex, as far as possible without fetching or reading it.

        Raise UnavailableError that names all missing files if they are known.
        """

    def hashes(self, files: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of each file at the time of the first call; raise UnavailableError for a missing one."""
        self._hashes |= self._hash([file for file in files if file not in self._hashes])
        return {file: self._hashes[file] for file in files}

    @contextmanager
    def reading(self, *files: str) -> Iterator[list[Path]]:
        """Yield the paths of files to be read in the block.

        Raise ChangedError if one that has been hashed is another by now, or if any changes during the block.
        """
        paths = [self.get(file) for file in files]
        self._read |= set(files)
        with unchanged({path: self._hashes.get(file) for file, path in zip(files, paths, strict=True)}):
            yield paths

    def check_read(self) -> None:
        """Raise ChangedError if a file that was hashed and read is another by now.

        Tensors of weights share the memory of their file until they are copied.
        """
        with self.reading(*self._read & self._hashes.keys()):
            pass

    def read_json(self, file: str) -> Mapping[str, Any] | None:
        """Return the mapping in a JSON file as it was at the first call; None if the model has no such file.

        Raise UnavailableError if it is broken.
        """
        if file not in self._contents:
            self._contents[file] = self._parse(file) if self.find(file) else None
        return self._contents[file]

    @cached_property
    def weights(self) -> str:
        """Name of the file of weights, or of their index, that transformers reads in its order of preference.

        A single file comes before an index of several, which may be left from an earlier checkpoint.
        """
        if self.has(ADAPTER):
            raise UnavailableError(
                f"model '{self.name}' has an adapter ({ADAPTER}) beside its weights, which is not read: merge the two "
                f"(merge_and_unload, save_pretrained), or take {ADAPTER} away"
            )
        named = (self.read_json("config.json") or {}).get("transformers_weights")
        if named is None:
            return INDEX if not self.has(SINGLE) and self.find(INDEX) else SINGLE
        if not re.fullmatch(r"[\w.-]+\.safetensors(\.index\.json)?", str(named)):
            raise UnavailableError(
                f"model '{self.name}': its config.json names the weights {named!r}, which are no file of safetensors"
            )
        return str(named)

    def _parse(self, file: str) -> Mapping[str, Any]:
        self.hashes([file])
        try:
            with self.reading(file) as [path]:
                return dict(json.loads(path.read_bytes()))
        except (ValueError, TypeError, RecursionError) as error:
            raise UnavailableError(
                f"model '{self.name}': {file} is broken ({error!r}): delete it and fetch it again"
            ) from error


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


class Folder(Files):
    """Files of a model in a local folder."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.folder = folder

    def find(self, file: str) -> Path | None:
        path = self.folder / file
        return path if path.is_file() else None

    def has(self, file: str) -> bool:
        return self.find(file) is not None

    def get(self, file: str) -> Path:
        path = self.find(file)
        if path is None and file in self._hashes:
            raise ChangedError.of(self.folder / file)
        if path is None:
            raise UnavailableError(
                f"model '{self.name}' has no file {file}{_note(file)}: copy it there, or "
                f"write the model anew with save_pretrained"
            )
        return path

    def _hash(self, files: Sequence[str]) -> dict[str, str]:
        return {file: hash_file(self.get(file)) for file in files}


class Hub(Files):
    """Files of a hub repository, all at one commit; the local hub cache is read first."""

    def __init__(self, name: str, repo: str, revision: str) -> None:
        super().__init__(name)
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

    def has(self, file: str) -> bool:
        if self._is_cached(file):
            return True
        try:
            return self._published_etag(file) is not None
        except UnavailableError:  # without a network the cache alone counts, as for transformers
            return False

    def _hash(self, files: Sequence[str]) -> dict[str, str]:
        from huggingface_hub import constants

        known = {file: self._published_hash(file) for file in files}
        absent = [
            file for file, published in known.items() if published is None and not self._is_cached(file)
        ]
        if absent and constants.HF_HUB_OFFLINE:  # online they can be fetched
            raise self._missing(absent)
        return {file: published or hash_file(self.get(file)) for file, published in known.items()}

    def _is_cached(self, file: str) -> bool:
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
        etag = None if self._is_cached(file) else self._published_etag(file)
        return etag if etag and re.fullmatch(r"[0-9a-f]{64}", etag) else None

    def _published_etag(self, file: str) -> str | None:
        """Return the hub's tag of the content of a file; None offline, or if the repository has no such file."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

        try:
            return get_hf_file_metadata(hf_hub_url(self.repo, file, revision=self.revision)).etag
        except (EntryNotFoundError, OfflineModeIsEnabled):
            return None
        except Exception as error:  # as in find
            raise self._unreachable(file, error) from error

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


def _note(file: str) -> str:
    return " (pickled weights are never read)" if file.endswith(".safetensors") else ""
