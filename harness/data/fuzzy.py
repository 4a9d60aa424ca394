"""Fuzzy leaks: texts that share most of their sequences of characters with a text of an earlier split.

MinHash (Broder 1997) proposes pairs, and the exact Jaccard index of each decides. What was counted is kept in the cache
under a key of the contents.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from harness.api.data import Examples, Image, Split
from harness.api.errors import UnavailableError, WriteError
from harness.data.near import SPLITS, input_key
from harness.data.task import TaskData
from harness.storage.feature_store import FeatureStore
from harness.storage.hashing import hash_json, hash_lines

SHINGLE, THRESHOLD, SHORTEST = 5, 0.8, 40
"""Characters in a sequence, least Jaccard index of a fuzzy pair, and least characters of a text that is compared."""

BANDS, BAND_ROWS = 25, 5
"""Bands of the index and hashes in each: a pair of index .8 is proposed with probability .9999, one of .3 with .06."""

SEED = 1


@dataclass(frozen=True)
class _Text:
    """A distinct text of one split, as it is compared, with the labels of its rows and their number."""

    text: str
    split: Split
    label: str
    rows: int


def count_fuzzy_leaks(data: TaskData, store: FeatureStore | None = None) -> TaskData:
    """Return the task with its fuzzy leaks counted among the rows that are used, and those with another label.

    Texts are compared by their near keys. Texts that are the same or near to one of an earlier split are counted
    elsewhere; images are not compared. Raise UnavailableError where the package datasketch is missing.
    """
    examples = data.examples
    if any(isinstance(one, Image) for one in examples.inputs[:1]):
        return data
    texts = _distinct_texts(examples)
    version = _datasketch().__version__
    rules = {
        "shingle": SHINGLE,
        "threshold": THRESHOLD,
        "shortest": SHORTEST,
        "seed": SEED,
        "datasketch": version,
    }
    contents = hash_lines(json.dumps([one.text, one.split, one.label, one.rows]) for one in texts)
    key = hash_json({**rules, "bands": [BANDS, BAND_ROWS], "contents": contents})
    kept = store.read_tensors("leaks", key, "cpu", _read_counts) if store else None
    counts = kept or _count(texts)
    if store and not kept:
        with suppress(
            WriteError
        ):  # what is counted is at hand, and a plan needs no cache that can be written
            store.write_tensors("leaks", key, {}, {"fuzzy": json.dumps(counts)})
    return replace(data, hygiene=replace(data.hygiene, fuzzy_leaks=counts[0], fuzzy_opposite=counts[1]))


def _read_counts(_: Any, about: Mapping[str, str]) -> tuple[int, int]:
    rows, opposite = json.loads(about["fuzzy"])
    return int(rows), int(opposite)


def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        hint = "pip install 'sae-harness[fuzzy]'"
        raise UnavailableError(f"'fuzzy_leaks' needs the package datasketch: {hint}") from error
    return datasketch


def _distinct_texts(examples: Examples) -> list[_Text]:
    """Return the texts of each split and label, sorted, without those that are near to one of an earlier split."""
    counts: dict[tuple[int, str, str], int] = {}
    first: dict[str, int] = {}
    for one, split, label in zip(examples.inputs, examples.splits, examples.labels, strict=True):
        text, place = "\n".join(input_key(one)), SPLITS.index(split)
        counts[place, text, label] = counts.get((place, text, label), 0) + 1
        first[text] = min(first.get(text, place), place)
    return [
        _Text(text, SPLITS[place], label, rows)
        for (place, text, label), rows in sorted(counts.items())
        if len(text) >= SHORTEST and first[text] == place
    ]


def _count(texts: list[_Text]) -> tuple[int, int]:
    """Return the number of rows with a fuzzy twin in an earlier split, and of those with one of another label."""
    later = {number: one for number, one in enumerate(texts) if one.split != SPLITS[0]}
    same: set[int] = set()
    opposite: set[int] = set()
    for number, other in _propose(texts):
        found, one = later[number], texts[other]
        into = same if one.label == found.label else opposite
        if number not in into and _jaccard(found.text, one.text) >= THRESHOLD:
            into.add(number)
    return sum(later[number].rows for number in same | opposite), sum(
        later[number].rows for number in opposite
    )


def _propose(texts: list[_Text]) -> Iterator[tuple[int, int]]:
    """Yield pairs of texts that are likely alike, the first of a later split than the second."""
    datasketch = _datasketch()
    blank = datasketch.MinHash(num_perm=BANDS * BAND_ROWS, seed=SEED, hashfunc=zlib.crc32)
    indices = {
        split: datasketch.MinHashLSH(num_perm=BANDS * BAND_ROWS, params=(BANDS, BAND_ROWS))
        for split in SPLITS[1:]
    }
    # From the last split back, so that each text meets those of all later ones, which are fewer.
    for number, one in sorted(enumerate(texts), key=lambda each: -SPLITS.index(each[1].split)):
        sketch = blank.copy()
        sketch.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in _shingles(one.text)])
        for split in SPLITS[SPLITS.index(one.split) + 1 :]:
            yield from ((later, number) for later in sorted(indices[split].query(sketch)))
        if one.split in indices:
            indices[one.split].insert(number, sketch, check_duplication=False)


@lru_cache(maxsize=4096)
def _shingles(text: str) -> frozenset[str]:
    return frozenset(text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1))


def _jaccard(one: str, other: str) -> float:
    first, second = _shingles(one), _shingles(other)
    if min(len(first), len(second)) < THRESHOLD * max(len(first), len(second)):
        return 0.0  # the index is at most the ratio of the sizes
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)
