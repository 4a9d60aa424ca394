"""Tensors at a place, by kind and key: one file, named by its checksum, with a text of what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from harness.api.errors import PluginResultError, UnavailableError, WriteError
from harness.storage.parsing import ParseError, parsing
from harness.storage.places import LocalFolder, Place, check_name, write_named
from harness.storage.shard import read_header

if TYPE_CHECKING:
    import torch

_Made = TypeVar("_Made")

_FIRST = "first"
"""File at a URL that names the one of several files that counts: the workers of a cluster must all use the same."""


def read_tensors(
    place: Place,
    folder: str,
    key: str,
    device: str,
    make: Callable[[dict[str, torch.Tensor], dict[str, str]], _Made],
) -> _Made | None:
    """Return what `make` makes of the tensors in a folder and of their text; None when there are none.

    Remove a damaged file, of which it can make nothing, and one that was written under another key.
    """
    from safetensors.torch import load

    for name in _in_order(place, folder):
        try:
            with parsing("is damaged"):
                data = check_name(place.read(name), name)
                about = _read_about(data, key)
                made = make({name: tensor.to(device) for name, tensor in load(data).items()}, about)
        except WriteError:  # the place does not answer, which is no damage
            raise
        except UnavailableError:
            place.remove(name)
            continue
        place.touch(name)
        return made
    return None


def write_tensors(
    place: Place, folder: str, key: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]
) -> None:
    """Write tensors, in the dtypes they have, and a text by name. Raise PluginResultError for one not finite."""
    from safetensors.torch import save

    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise PluginResultError(f"{name} that are not finite are not kept in the cache")
    on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    written = write_named(place, folder, save(on_host, metadata=_describe(about, key)))
    if not isinstance(place, LocalFolder):
        _count_first(place, folder, written)


def _in_order(place: Place, folder: str) -> list[str]:
    """Return the files of tensors in a folder, first the one that counts."""
    if isinstance(place, LocalFolder):
        return place.names(folder, ".safetensors")
    names, first = place.names(folder), ""
    if f"{folder}/{_FIRST}" in names:
        with suppress(OSError):  # removed meanwhile
            first = place.read(f"{folder}/{_FIRST}").decode(errors="replace")
    return sorted((name for name in names if name.endswith(".safetensors")), key=lambda name: name != first)


def _count_first(place: Place, folder: str, written: str) -> None:
    """Let a file be the one that counts, unless there is an earlier one."""
    mark = f"{folder}/{_FIRST}"
    if place.create(mark, written.encode()):
        return
    with suppress(OSError):  # removed meanwhile
        if place.read(mark).decode(errors="replace") in place.names(folder):
            return
    place.write(mark, written.encode())  # the earlier one was damaged, and is gone


def _describe(about: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the metadata of a file of tensors: one entry, because the library writes several in any order."""
    return {"about": json.dumps({**about, "key": key}, sort_keys=True)}


def _read_about(data: bytes, key: str) -> dict[str, str]:
    """Return the text that was written with tensors. Raise ParseError when they were written under another key."""
    metadata: dict[str, str] = read_header(data).get("__metadata__", {})
    about = dict(json.loads(metadata["about"])) if "about" in metadata else metadata
    if about.pop("key", key) != key:  # files of earlier versions do not name their key
        raise ParseError("belongs to another key")
    return about
