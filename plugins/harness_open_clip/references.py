"""Configuration and files of an OpenCLIP checkpoint, in a local folder or on the hub."""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import (
    HubFiles,
    UnavailableError,
    UsageError,
    check_numbers,
    did_you_mean,
    hash_file,
    local_path,
    parsing,
    read_mapping,
    unchanged,
)

CONFIG = "open_clip_config.json"
"""Name of the configuration file."""
WEIGHTS = "open_clip_model.safetensors"
"""Name of the file of weights."""
KNOWN_WEIGHTS = (
    *(WEIGHTS, "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
    *("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth"),
)
"""File names that open_clip looks for in a folder, in its order."""
NAMED = {
    "vision_cfg.timm_model_name": r"[\w-]+(\.[\w-]+)?",
    "text_cfg.hf_model_name": r"\w[\w.-]*(/\w[\w.-]*)?",
    "text_cfg.hf_tokenizer_name": r"\w[\w.-]*(/\w[\w.-]*)?",
}
"""Fields of a configuration that name a model of timm or of the hub, with the form of such names."""
TOKENIZER_OPTIONS = ("additional_special_tokens", "clean", "language", "reduction_mask", "strip_sep_token")
"""Options that a configuration may give its tokenizer: none of them names a file or runs code."""
PICKLE_NOTE = "(pickled weights are never read)"
"""Note of error messages about absent weights."""


class Files(ABC):
    """Files of one model at one revision."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._hash: str | None = None

    @abstractmethod
    def find(self, file: str) -> Path | None:
        """Return the path of `file`, fetched if need be; None if the model has no such file."""

    @abstractmethod
    def weights(self) -> Path:
        """Return the path of the weights, fetched if need be; raise UnavailableError if there are none."""

    @abstractmethod
    def _hash_weights(self) -> str:
        """Return the SHA-256 of the weights in hex, if possible without fetching or reading them."""

    def weights_hash(self) -> str:
        """Return the SHA-256 of the weights in hex at the time of the first call.

        Raise UnavailableError if there are no weights and none can be fetched.
        """
        if self._hash is None:
            self._hash = self._hash_weights()
        return self._hash

    @contextmanager
    def reading_weights(self) -> Iterator[Path]:
        """Yield the path of the weights, to be read in the block.

        Raise ChangedError if they are not those that were hashed, or change during the block.
        """
        path = self.weights()
        with unchanged({path: self._hash}):
            yield path


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Configuration and files of a checkpoint.

    `model` and `preprocessing` are open_clip's `model_cfg` and `preprocess_cfg`. `tokenizer` is the folder of
    a transformers tokenizer if the configuration does not name one.
    """

    name: str
    model: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    files: Files
    tokenizer: Path | None = None


def open_checkpoint(ref: str, name: str) -> Checkpoint:
    """Open the checkpoint of a folder, `MODEL:TAG` or `hf-hub:ORG/REPO[@REVISION]`.

    Messages call it `name`. Raise UsageError for a model or tag unknown to open_clip, UnavailableError for an absent
    or broken configuration.
    """
    folder = local_path(ref)
    if (folder / CONFIG).is_file():
        return _open_configured(Folder(name, folder), tokenizer=folder)
    scheme, _, rest = ref.partition(":")
    if scheme == "hf-hub":
        repo, _, revision = rest.partition("@")
        return _open_configured(Hub(name, repo, WEIGHTS, revision or None))
    return _open_tagged(name, model=scheme, tag=rest)


def _open_configured(files: Folder | Hub, tokenizer: Path | None = None) -> Checkpoint:
    path = files.find_config()
    said = f"model '{files.name}': its {CONFIG} is not that of an OpenCLIP model"
    content = read_mapping(path, said, hint="fetch it again")
    check_numbers(content, f"model '{files.name}': its {CONFIG}")
    with parsing(said, hint="fetch it again"):
        model, preprocessing = content["model_cfg"], content.get("preprocess_cfg") or {}
        _check_model(model)
        _check_named(files.name, model)
        dict(preprocessing)
    return Checkpoint(
        name=files.name, model=model, preprocessing=preprocessing, files=files, tokenizer=tokenizer
    )


def _check_model(model: Any) -> None:
    for key, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(model.get(key), kind):
            raise KeyError(f"model_cfg.{key}")


def _check_named(name: str, model: Mapping[str, Any]) -> None:
    """Raise UnavailableError where a configuration names files or options by which others than its own are read."""
    refusal = f"model '{name}': its {CONFIG} names"
    for key, pattern in NAMED.items():
        part, _, field = key.partition(".")
        named = model[part].get(field)
        if named and not (
            isinstance(named, str) and re.fullmatch(pattern, named) and not Path(named).exists()
        ):
            raise UnavailableError(
                f"{refusal} {named!r} as {key}, which is no model of timm or the hub but a place on this machine: "
                f"use a checkpoint that names none"
            )
    for option in model["text_cfg"].get("tokenizer_kwargs") or {}:
        if option not in TOKENIZER_OPTIONS:
            raise UnavailableError(
                f"{refusal} the option {option!r} for its tokenizer; only {', '.join(TOKENIZER_OPTIONS)} are read"
            )


def _open_tagged(name: str, *, model: str, tag: str) -> Checkpoint:
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise UsageError(
            f"open_clip {open_clip.__version__} has no model '{model}'{did_you_mean(model, open_clip.list_models())}"
        )
    pretrained = open_clip.get_pretrained_cfg(model, tag)
    if not pretrained:
        known = open_clip.list_pretrained_tags_by_model(model)
        raise UsageError(
            f"open_clip {open_clip.__version__} has no weights '{tag}' of model '{model}'{did_you_mean(tag, known)}"
        )
    # open_clip only warns, and computes another activation function than the one trained with.
    if pretrained.get("quick_gelu") and not config.get("quick_gelu"):
        raise UsageError(f"weights '{tag}' were trained with QuickGELU: use '{model}-quickgelu:{tag}'")
    repo, _, file = pretrained["hf_hub"].rpartition("/")
    if not repo:
        raise UsageError(
            f"model '{name}' is on no hub, and its weights are pickled: no such weights are read"
        )
    # open_clip lists the names of pickled weights; it looks for safetensors files beside them too.
    safe = re.sub(r"\.(bin|pth|pt)$", ".safetensors", file) or WEIGHTS
    return Checkpoint(name=name, model=config, preprocessing=pretrained, files=Hub(name, repo, safe))


class Folder(Files):
    """Files of a model in a local folder."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.folder = folder
        self._chosen: Path | None = None

    def find(self, file: str) -> Path | None:
        path = self.folder / file
        return path if path.is_file() else None

    def find_config(self) -> Path:
        return self.folder / CONFIG

    def weights(self) -> Path:
        if self._chosen is None:
            self._chosen = self._choose()
        return self._chosen

    def _choose(self) -> Path:
        first = next((path for path in map(self.find, KNOWN_WEIGHTS) if path), None)
        safe = sorted(self.folder.glob("*.safetensors"))
        if first in safe or (first is None and len(safe) == 1):
            return first or safe[0]
        if first and safe:
            raise UnavailableError(
                f"model '{self.name}' has {first.name}, which open_clip would read, beside {safe[0].name} "
                f"{PICKLE_NOTE}: remove the one that is out of date, or call the other {WEIGHTS}"
            )
        lacks = f"more than one file of weights ({', '.join(path.name for path in safe)})" if safe else None
        lacks = lacks or f"no file {WEIGHTS} {PICKLE_NOTE}"
        raise UnavailableError(
            f"model '{self.name}' has {lacks}: when online, run `hf download ORG/REPO {WEIGHTS} --local-dir "
            f"{shlex.quote(str(self.folder))}` with the repository it is from"
        )

    def _hash_weights(self) -> str:
        return hash_file(self.weights())


class Hub(Files):
    """Files of a hub repository; the local hub cache is read first."""

    def __init__(self, name: str, repo: str, weights: str, revision: str | None = None) -> None:
        super().__init__(name)
        self._hub = HubFiles.at(f"model '{name}'", repo, revision)
        self._weights = weights

    def find(self, file: str) -> Path | None:
        return self._hub.find(file)

    def find_config(self) -> Path:
        if self.find(CONFIG) is None:
            raise self._hub.lacks(CONFIG, self._weights, note=f" {PICKLE_NOTE}")
        self._hub = self._hub.pinned(CONFIG)
        return self._hub.fetch(CONFIG)

    def weights(self) -> Path:
        path = self.find(self._weights)
        if path is None:
            raise self._hub.lacks(self._weights, note=f" {PICKLE_NOTE}")
        return path

    def _hash_weights(self) -> str:
        self._hub = self._hub.pinned(self._weights)
        if self._hub.local(self._weights) is None and not self._hub.is_there(self._weights):
            self.weights()  # raises the error
        return self._hub.hashes(self._weights)[self._weights]
