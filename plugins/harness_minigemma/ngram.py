"""Byte n-gram model, the baseline of the embedded language models.

Interpolated Witten-Bell smoothing (Chen & Goodman 1999, section 2.6). At each order, the context h of order - 1 bytes
occurs c(h) times in training and is followed by t(h) different bytes:

    p(b | h) = (c(hb) + t(h) p(b | h without its oldest byte)) / (c(h) + t(h)),    p below order 1 = 1/256

Every document begins with a context of start symbols, which are never predicted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDER = 5
"""Default order."""
SYMBOL_BITS = 9
"""Bits of one symbol of a key."""
SYMBOL = (1 << SYMBOL_BITS) - 1
START = 256
"""Start symbol, beyond all bytes."""
BLOCK_BYTES = 16_000_000  # counted at once: sorting needs some 30 bytes of memory for each

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Level:
    """Counts of one order: keys and counts `[grams]`, and keys, totals c(h) and kinds t(h) `[contexts]`.

    A key holds the symbols of a gram, 9 bits each, the newest in the lowest bits. Keys are sorted and unique.
    """

    grams: Integers
    counts: Integers
    contexts: Integers
    totals: Integers
    kinds: Integers


@dataclass(frozen=True, kw_only=True)
class NGram:
    """Fitted n-gram model: its levels from order 1 up."""

    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """Length of the longest gram, including the predicted byte."""
        return len(self.levels)

    def bits(self, texts: Iterable[str]) -> float:
        """Return the bits of information in the UTF-8 bytes of all documents."""
        grams, counts = count_grams(texts, self.order)
        return float(-(counts * np.log2(self._probabilities(grams))).sum())

    def distribution(self, before: bytes) -> Floats:
        """Return probabilities `[256]` of the byte that follows the beginning of a document."""
        history = [START] * (self.order - 1) + list(before)
        key = 0
        for symbol in history[len(before) :]:
            key = key << SYMBOL_BITS | symbol
        return self._probabilities((key << SYMBOL_BITS) + np.arange(256, dtype=np.int64))

    def _probabilities(self, grams: Integers) -> Floats:
        """Return the probability of the last byte of each full-length gram `[n]`, given the others."""
        found = np.full(len(grams), 1 / 256)
        for order, level in enumerate(self.levels, start=1):
            keys = grams & newest(order)
            context = keys >> SYMBOL_BITS
            total = look_up(level.contexts, level.totals, context)
            kinds = look_up(level.contexts, level.kinds, context)
            mixed = look_up(level.grams, level.counts, keys) + kinds * found
            found = np.where(total > 0, mixed / np.maximum(total + kinds, 1), found)
        return found


def fit(texts: Iterable[str], order: int = ORDER) -> NGram:
    """Fit a model to documents; raise SystemExit unless the order is from 1 to 7, which fit into a key."""
    if not 1 <= order <= 7:
        raise SystemExit(f"an n-gram model has an order from 1 to 7, not {order}")
    grams, counts = count_grams(texts, order)
    levels = [make_level(grams, counts)]
    for shorter in range(order - 1, 0, -1):
        grams, counts = merge(grams & newest(shorter), counts)
        levels.append(make_level(grams, counts))
    return NGram(levels=tuple(reversed(levels)))


def count_grams(texts: Iterable[str], order: int) -> tuple[Integers, Integers]:
    """Return the distinct grams of the documents and their counts; one gram ends at every byte."""
    empty = np.zeros(0, dtype=np.int64)
    blocks = (np.unique(make_keys(block, order), return_counts=True) for block in split_blocks(texts))
    parts: list[tuple[Integers, Integers]] = [(empty, empty), *blocks]
    grams, counts = zip(*parts, strict=True)
    return merge(np.concatenate(grams), np.concatenate(counts))


def split_blocks(texts: Iterable[str]) -> Iterator[list[bytes]]:
    """Yield the documents as bytes, in groups that are counted at once."""
    block: list[bytes] = []
    size = 0
    for text in texts:
        block.append(text.encode())
        size += len(block[-1])
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    yield block


def make_keys(documents: Iterable[bytes], order: int) -> Integers:
    """Return the key of the gram that ends at each byte, document by document."""
    start = np.full(order - 1, START, dtype=np.int64)
    pieces = [start]
    for document in documents:
        pieces += [np.frombuffer(document, dtype=np.uint8).astype(np.int64), start]
    symbols = np.concatenate(pieces)
    keys = np.zeros(len(symbols) - len(start), dtype=np.int64)
    for offset in range(order):
        keys <<= SYMBOL_BITS
        keys |= symbols[offset : offset + len(keys)]
    real: Integers = keys[keys & SYMBOL != START]
    return real


def merge(keys: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Return sorted unique keys, each with the sum of its counts."""
    order = np.argsort(keys)
    keys, counts = keys[order], counts[order]
    starts = first_places(keys)
    return keys[starts], np.add.reduceat(counts, starts) if len(keys) else counts


def make_level(grams: Integers, counts: Integers) -> Level:
    """Return the level of sorted grams, in which grams of one context are adjacent."""
    contexts = grams >> SYMBOL_BITS
    starts = first_places(contexts)
    return Level(
        grams=grams,
        counts=counts,
        contexts=contexts[starts],
        totals=np.add.reduceat(counts, starts) if len(counts) else counts,
        kinds=np.diff(starts, append=len(contexts)),
    )


def first_places(keys: Integers) -> Integers:
    """Return the index at which each run of equal keys begins."""
    places: Integers = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    return places


def newest(order: int) -> int:
    """Return the mask of the last `order` symbols of a key."""
    return (1 << SYMBOL_BITS * order) - 1


def look_up(keys: Integers, values: Integers, wanted: Integers) -> Integers:
    """Return the values of the wanted keys, 0 for a missing key."""
    if not len(keys):
        return np.zeros_like(wanted)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Integers = np.where(keys[places] == wanted, values[places], 0)
    return found
