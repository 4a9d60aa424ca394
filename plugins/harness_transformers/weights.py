"""Files and tensors of a safetensors checkpoint that the first blocks of a decoder, or other parts, need."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from harness import UnavailableError, parsing
from harness_transformers.copying import copy_tensors
from harness_transformers.references import REMEDY, Files
from harness_transformers.structure import Layout

if TYPE_CHECKING:
    import torch


def needed_shards(files: Files, layout: Layout, n_blocks: int) -> list[str]:
    """Return the sorted names of weight files that can influence the first `n_blocks` blocks."""
    index = _read_index(files)
    if index is None:
        return [files.weights]
    return sorted({index[tensor] for tensor in _needed_tensors(files, index, layout, n_blocks)})


def read_tensors(
    files: Files, layout: Layout, n_blocks: int, *, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Read the weights of embeddings and the first `n_blocks` blocks, by their names in the bare decoder.

    Here and below they are copies, in their own type or in `dtype`.
    """
    return _read(files, lambda stored: _needed_tensors(files, stored, layout, n_blocks), dtype)


def part_shards(files: Files, part: str) -> list[str]:
    """Return the sorted names of weight files that hold one part of a model, wherever it is nested."""
    index = _read_index(files)
    return (
        [files.weights] if index is None else sorted({index[tensor] for tensor in _part_tensors(index, part)})
    )


def read_part(files: Files, part: str, *, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Read the weights of one part of a model, by their names from that part on."""
    return _read(files, lambda stored: _part_tensors(stored, part), dtype)


def tower_shards(files: Files, tower: str, *, n_layers: int, n_blocks: int) -> list[str]:
    """Return the sorted names of weight files that can influence the first `n_blocks` of an encoder's `n_layers`."""
    index = _read_index(files)
    if index is None:
        return [files.weights]
    return sorted({index[key] for key in _tower_tensors(files, index, tower, n_layers, n_blocks)})


def read_tower(
    files: Files, tower: str, *, n_layers: int, n_blocks: int, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Read the weights of an encoder, of its blocks only the first `n_blocks`, by the names they are stored under.

    `tower` is the part of the checkpoint that is the encoder, empty for all of it. Stored names may be those of an
    earlier version of transformers, which translates them.
    """
    return _read(files, lambda stored: _tower_tensors(files, stored, tower, n_layers, n_blocks), dtype)


def read_head(
    files: Files, layout: Layout, names: Iterable[str], *, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Read the tensors beside the decoder that may be its head.

    These are the tensors called `names`, and any single linear map, because older checkpoints use other names
    (`embed_out`) that transformers translates.
    """
    names = frozenset(names)
    return _read(files, lambda stored: _head_tensors(files, stored, layout, names), dtype)


def _read(
    files: Files, choose: Callable[[Iterable[str]], dict[str, str]], dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """Read the tensors chosen by `choose`, a function from stored names to {stored name: new name}."""
    tensors: dict[str, torch.Tensor] = {}
    index = _read_index(files)
    names = None if index is None else choose(index)
    for shard in [files.weights] if index is None or names is None else sorted({index[key] for key in names}):
        with (
            parsing(f"model '{files.name}': {shard} is broken", hint=REMEDY),
            files.reading(shard) as [path],
        ):
            wanted: dict[str, str] = names or {}

            def choose_here(stored: Collection[str]) -> Collection[str]:
                nonlocal wanted
                wanted = choose(stored) if names is None else names
                return wanted

            tensors |= {wanted[key]: tensor for key, tensor in copy_tensors(path, choose_here, dtype)}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and name.endswith((".weight", ".bias")):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UnavailableError(
                f"model '{files.name}': {name} is {kind}, not floating point: use other weights"
            )
    return tensors


def check_blocks(files: Files, n_blocks: int) -> None:
    """Raise UnavailableError if config.json says more blocks than the weights at hand have tensors."""
    from safetensors import SafetensorError, safe_open

    stored = _read_index(files)
    path = files.here(files.weights) if stored is None else None
    n_tensors = None if stored is None else len(stored)
    if path is not None:
        with contextlib.suppress(SafetensorError, OSError), safe_open(path, framework="numpy") as file:
            n_tensors = len(file.keys())
    if (
        n_tensors is not None and n_blocks > n_tensors
    ):  # a file that cannot be read is refused when it is loaded
        raise UnavailableError(
            f"model '{files.name}': its config.json says {n_blocks:,} blocks, and its weights have {n_tensors:,} "
            f"tensors in all: fetch a checkpoint that fits"
        )


def all_shards(files: Files) -> list[str]:
    """Return the sorted names of all weight files."""
    index = _read_index(files)
    return [files.weights] if index is None else sorted(set(index.values()))


def _read_index(files: Files) -> Mapping[str, str] | None:
    """Return the file of each tensor; None for a checkpoint in one file."""
    if not files.weights.endswith(".json"):
        return None
    with parsing(f"model '{files.name}': {files.weights} is broken", hint=REMEDY):
        index = (files.read_json(files.weights) or {})["weight_map"]
        if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
            raise ValueError("its weight_map does not name a file for each tensor")
        for shard in sorted(set(index.values())):
            files.check_named(shard, by=files.weights)
        return index


def _needed_tensors(files: Files, stored: Iterable[str], layout: Layout, n_blocks: int) -> dict[str, str]:
    """Return {stored name: name in the bare decoder} for all that the first `n_blocks` blocks need."""
    stored = list(stored)
    prefix = _decoder_prefix(files, stored, layout)
    names = {key: key[len(prefix) :] for key in stored if key.startswith(prefix)}
    return {key: name for key, name in names.items() if _is_needed(name, layout, n_blocks)}


def _part_tensors(stored: Iterable[str], part: str) -> dict[str, str]:
    """Return {stored name: name from the part on}."""
    found = ((key, re.search(rf"(?:^|\.)({re.escape(part)}\..+)", key)) for key in stored)
    return {key: match[1] for key, match in found if match}


def _tower_tensors(
    files: Files, stored: Iterable[str], tower: str, n_layers: int, n_blocks: int
) -> dict[str, str]:
    """Return {stored name: name from the tower on}, without blocks from `n_blocks` on.

    Blocks are found by their numbers, because stored names need not be those in memory (`encoder.layer.3` for
    `layers.3`). Raise UnavailableError unless there is a list of all `n_layers`.
    """
    inside = re.compile(rf"(?:^|.*?\.){re.escape(tower)}\.(.+)" if tower else "(.+)")
    names = {key: match[1] for key in stored if (match := inside.fullmatch(key))}
    places = {name: _numbered(name) for name in names.values()}
    numbers: dict[str, list[int]] = defaultdict(list)
    for path, number in filter(None, places.values()):
        numbers[path].append(number)
    lists = {len(found): path for path, found in numbers.items() if {*found} >= {*range(n_layers)}}
    if not lists:
        raise UnavailableError(
            f"model '{files.name}': its weights hold no {n_layers} blocks of its encoder: fetch a checkpoint that "
            f"fits its config.json"
        )
    blocks = lists[max(lists)]

    def is_needed(place: tuple[str, int] | None) -> bool:
        return place is None or place[0] != blocks or place[1] < n_blocks

    return {key: name for key, name in names.items() if is_needed(places[name])}


def _numbered(name: str) -> tuple[str, int] | None:
    """Return a name's part before its first number, which may be a list of blocks, and that number."""
    words = name.split(".")
    at = next((at for at, word in enumerate(words) if word.isdecimal() and len(word) < 10), None)
    return None if at is None else (".".join(words[:at]), int(words[at]))


def _head_tensors(
    files: Files, stored: Iterable[str], layout: Layout, names: frozenset[str]
) -> dict[str, str]:
    """Return {stored name: name in the language model} for tensors beside the decoder or a module around it."""
    stored = list(stored)
    prefix = _decoder_prefix(files, stored, layout)
    outside = [key for key in stored if not (prefix and key.startswith(prefix))]
    words = prefix.split(".")[:-1]
    found: dict[str, str] = {}
    for around in ("".join(f"{word}." for word in words[:n]) for n in range(len(words) + 1)):
        beside = {key[len(around) :]: key for key in outside if key.startswith(around)}
        found |= {name: key for name, key in beside.items() if name in names or _may_be_head(name, layout)}
    return {key: name for name, key in found.items()}


def _may_be_head(name: str, layout: Layout) -> bool:
    return re.fullmatch(r"\w+\.(weight|bias)", name) is not None and name.split(".")[0] not in layout.parts


def _decoder_prefix(files: Files, stored: list[str], layout: Layout) -> str:
    """Return the prefix of the decoder's names; raise UnavailableError if its weights are not there."""
    prefix = _prefix(stored, layout)
    if prefix is None:
        raise UnavailableError(
            f"model '{files.name}': its weights hold no {layout.embedding} beside {layout.blocks}.0: {layout.remedy}"
        )
    return prefix


def _prefix(stored: list[str], layout: Layout) -> str | None:
    """Return the prefix before the decoder's own names (empty, `model.`, `language_model.model.`, …)."""
    for key in stored:
        if key == layout.embedding or key.endswith(f".{layout.embedding}"):
            prefix = key.removesuffix(layout.embedding)
            if any(other.startswith(f"{prefix}{layout.blocks}.0.") for other in stored):
                return prefix
    return None


def _is_needed(name: str, layout: Layout, n_blocks: int) -> bool:
    if name.startswith(f"{layout.blocks}."):
        number = name.removeprefix(f"{layout.blocks}.").split(".")[0]
        return number.isdecimal() and int(number) < n_blocks
    return name.split(".")[0] in layout.parts
