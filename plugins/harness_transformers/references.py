"""Files of a model: in a local folder, made of a GGUF file, or fetched one by one from the Hugging Face hub.

What is hashed of a model and what is loaded of it must be the same, though hours may lie between: an object of files
hashes each of them once, and `reading` refuses one that is another by then.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import (
    ChangedError,
    HubFiles,
    UnavailableError,
    UsageError,
    hash_file,
    local_path,
    name_some,
    path_inside,
    read_mapping,
    unchanged,
)
from harness_transformers import HUB_GGUF
from harness_transformers.refusals import ADAPTER, describe_files

SINGLE = "model.safetensors"
"""Name of the file of weights of a checkpoint in one file."""
INDEX = "model.safetensors.index.json"
"""Name of the index of a checkpoint in several files."""

GGUF = ".gguf"
"""Suffix of a file in the format of llama.cpp."""

SMALL_FILES = ("*.json", "*.jinja", "README.md")
"""Patterns of all files beside the weights: configuration, tokenizer, chat template and model card."""
REMEDY = "delete it and fetch it again"
"""Advice for a file that is broken."""


class Files(ABC):
    """Files of one model at one revision."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
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
    def here(self, file: str) -> Path | None:
        """Return the path of `file` if it is on this machine, without fetching it."""

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

    def check_named(self, file: str, by: str) -> None:
        """Raise UnavailableError if a file that the file `by` names lies outside the folder of both."""
        path_inside(self.folder, file, by=f"model '{self.name}': its {by}")

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
        with self.reading(file) as [path]:
            return read_mapping(path, f"model '{self.name}': {file} is broken", hint=REMEDY)


def open_files(ref: str, *, name: str = "", beside: Files | None = None) -> Files:
    """Return the files of a local folder with a config.json, or else of `ORG/REPO[@REVISION]` on the hub.

    A relative path may also start at the folder of the model `beside`. A GGUF file, which may lie alone in its folder,
    is converted if it was not yet. Messages call the model `name`, else `ref`.
    """
    name = name or ref
    starts = [Path()] if not isinstance(beside, Folder) else [beside.folder, Path()]
    for folder in (start / local_path(ref) for start in starts):
        if (folder / "config.json").is_file():
            return Folder(name, folder)
        if gguf := find_gguf(name, folder):
            return _converted(name, gguf)
    if named := HUB_GGUF.fullmatch(ref):
        _check_whole(name, Path(named["file"]))  # before gigabytes are fetched
        files = HubFiles.at(f"model '{name}'", named["repo"], named["revision"] or "main")
        return _converted(name, files.fetch(named["file"]))
    repo, _, revision = ref.partition("@")
    return Hub(name, repo, revision or "main")


def find_gguf(name: str, path: Path) -> Path | None:
    """Return the GGUF file at a path or in the folder there; None if it holds none.

    Raise UsageError for one of which it is not clear what to read.
    """
    if not path.is_dir():
        files = [path] if path.suffix.lower() == GGUF and path.is_file() else []
    else:
        # A vision tower lies beside the language model that it goes with.
        found = (each for each in path.iterdir() if each.suffix.lower() == GGUF and each.is_file())
        files = sorted(each for each in found if not each.name.startswith("mmproj"))
    if len(files) > 1:
        raise UsageError(
            f"model '{name}' is a folder of several GGUF files: name one, {name_some(map(str, files))}"
        )
    if files:
        _check_whole(name, files[0])
    return files[0] if files else None


def _check_whole(name: str, path: Path) -> None:
    """Raise UsageError for a GGUF file that is one part of several, as its name tells."""
    if re.search(r"-[0-9]{5}-of-[0-9]{5}$", path.stem):
        raise UsageError(
            f"model '{name}' is one part of a GGUF file that was split: join them with `llama-gguf-split --merge`, and "
            f"name the whole"
        )


def _converted(name: str, path: Path) -> Folder:
    from harness_transformers.conversion import convert_once

    return Folder(name, convert_once(name, path))


class Folder(Files):
    """Files of a model in a local folder."""

    def find(self, file: str) -> Path | None:
        path = self.folder / file
        return path if path.is_file() else None

    def has(self, file: str) -> bool:
        return self.find(file) is not None

    def here(self, file: str) -> Path | None:
        return self.find(file)

    def get(self, file: str) -> Path:
        path = self.find(file)
        if path is None and file in self._hashes:
            raise ChangedError.of(self.folder / file)
        if path is None:
            names = [each.name for each in self.folder.iterdir()]
            said = describe_files(names, self.folder) if file == SINGLE else ""
            raise UnavailableError(
                f"model '{self.name}' has no file {file}, and its folder is that of {said}"
                if said
                else f"model '{self.name}' has no file {file}{_note(file)}: copy it there, or "
                f"write the model anew with save_pretrained"
            )
        return path

    def _hash(self, files: Sequence[str]) -> dict[str, str]:
        return {file: hash_file(self.get(file)) for file in files}


class Hub(Files):
    """Files of a hub repository, all at one commit; the local hub cache is read first."""

    def __init__(self, name: str, repo: str, revision: str) -> None:
        super().__init__(name, Path())
        self._hub = HubFiles.at(f"model '{name}'", repo, revision)
        self.folder = self.get("config.json").parent
        self._hub = self._hub.pinned("config.json")

    @property
    def revision(self) -> str:
        """Commit of all files."""
        return str(self._hub.revision)

    def find(self, file: str) -> Path | None:
        return self._hub.find(file)

    def get(self, file: str) -> Path:
        path = self.find(file)
        if path is None and file.endswith((".json", ".jinja")):
            # All small files: the next of them would be missing next.
            then = ", and then the same again, which names the weights that it needs"
            raise self._hub.lacks(file, fetch=SMALL_FILES, note=self._is(file), then=then)
        if path is None:
            raise self._hub.lacks(file, note=self._is(file) or _note(file))
        return path

    def here(self, file: str) -> Path | None:
        return self._hub.local(file)

    def has(self, file: str) -> bool:
        return bool(self._hub.is_there(file))

    def _is(self, file: str) -> str:
        """Return what the repository is instead of a model that has a file, as far as a list of its files tells."""
        names, whole = self._hub.names()
        said = describe_files(names) if whole and file in {"config.json", SINGLE} else ""
        return f" (it is {said})" if said else ""

    def _hash(self, files: Sequence[str]) -> dict[str, str]:
        if SINGLE in files and not self.has(SINGLE):
            self.get(SINGLE)  # raises the error that says what the repository is
        return self._hub.hashes(*files)


def _note(file: str) -> str:
    return " (pickled weights are never read)" if file.endswith(".safetensors") else ""
