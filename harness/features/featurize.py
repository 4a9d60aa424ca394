"""The one forward pass: batches → ragged activations → dictionaries → poolings.

A batch runs through the model once, however many sites, dictionaries and poolings there are. Only pooled rows leave the
device. The features of an example do not depend on its batch, beyond rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from harness.api.data import Site, Tokens
from harness.api.errors import PluginResultError, UsageError
from harness.api.memory import find_memory_error
from harness.api.protocols import DerivedPooling, Encoder, LoadedModel, Pooling, RankedPooling
from harness.dictionaries.decoding import slice_size
from harness.dictionaries.dictionary import Dictionary, RunningTop, slices_of
from harness.dictionaries.sparse_rows import SparseSlice, compress, join
from harness.features.prefetch import ImagePrefetcher, run_forward
from harness.stats.finite import NameRow, check_rows, name_row, not_finite

if TYPE_CHECKING:
    from harness.api.data import Matrix

AUTO_TOKENS = {"cpu": 2048, "cuda": 32768}
"""Padded tokens in a batch whose size is not given, by kind of device."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One representation at one site, with its poolings by feature key.

    `owner` describes the representation in messages, `owners` the poolings by feature key.
    """

    site: Site
    encoder: Encoder
    sparse: bool
    poolings: Mapping[str, Pooling]
    owner: str = "the representation"
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Pooled features of one batch, `[rows, features]` for each feature key, and its cost.

    `tokens` were pooled; the model ran on `positions`, without padding, or `padded_tokens`, with it. It waited for
    images for `waited` of the `seconds`. Both numbers of images are 0 for texts.
    """

    rows: Sequence[int]
    features: Mapping[str, Matrix]
    tokens: int
    positions: int
    padded_tokens: int
    seconds: float
    images: int
    waited: float


_Done = TypeVar("_Done")


class Buffer:
    """Memory for encoding one slice of features, kept from slice to slice and batch to batch.

    Fresh tensors of this size are given back to the system and their pages faulted in anew, which costs more than to
    fill them.
    """

    def __init__(self) -> None:
        self._kept = torch.empty(0)

    def take(self, values: int, device: torch.device) -> Tensor:
        """Return at least `values` float32 values, in any state."""
        if len(self._kept) < values or self._kept.device != device:
            self._kept = torch.empty(values, device=device)
        return self._kept


def plan_batches(lengths: Sequence[int], *, batch_size: int | None, device: str) -> list[list[int]]:
    """Return row numbers grouped into batches of `batch_size` examples, or of as many as fit the device's token budget.

    The longest come first, so that little is padded and memory runs out early if at all. Raise UsageError for a size
    below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(
            f"batch_size is {batch_size}: a batch has at least 1 example, and None is as many as fit"
        )
    budget = AUTO_TOKENS.get(device.split(":")[0], AUTO_TOKENS["cpu"])
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        room = batch_size or max(1, budget // max(1, lengths[batches[-1][0]] if batches else 1))
        if not batches or len(batches[-1]) >= room:
            batches.append([])
        batches[-1].append(row)
    return batches


def featurize(
    *,
    model: LoadedModel,
    tokens: Sequence[Tokens],
    readings: Sequence[Reading],
    batches: Sequence[Sequence[int]],
    on_halved: Callable[[Sequence[int]], None] = lambda rows: None,
    name: NameRow = name_row,
    broken: dict[str, Exception] | None = None,
) -> Iterator[Pooled]:
    """Yield pooled features batch by batch; batches that do not fit into memory are halved (`run_batches`).

    An error of a representation or pooling, and values of theirs that are not finite, are put into `broken` under the
    keys of its features, which are then missing from this batch on; without `broken` it is raised. `name` describes a
    row in messages.
    """
    buffer = Buffer()
    with ImagePrefetcher(model, tokens, batches) as images:

        def work(rows: Sequence[int]) -> Pooled:
            return _featurize_batch(
                model, [tokens[row] for row in rows], readings, rows, images, name, broken, buffer
            )

        yield from run_batches(batches, work, on_halved=on_halved)


def run_batches(
    batches: Sequence[Sequence[int]],
    work: Callable[[Sequence[int]], _Done],
    *,
    on_halved: Callable[[Sequence[int]], None] = lambda rows: None,
) -> Iterator[_Done]:
    """Yield what `work` returns for the rows of each batch.

    A batch that does not fit into memory is halved and tried again, after `on_halved` was called with its rows. Raise
    the memory error where a single example does not fit.
    """
    waiting = [list(batch) for batch in reversed(batches)]
    while waiting:
        rows = waiting.pop()
        done: list[_Done] = []  # empty where memory ran out: what `work` returns may be None
        try:
            done.append(work(rows))
        except Exception as error:  # memory runs out by errors of many types
            if len(rows) == 1 or find_memory_error(error) is None:
                raise
        if done:
            yield done.pop()
            continue
        # Outside the except block, because the error's frames hold the tensors of the batch.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        on_halved(rows)
        waiting += reversed(halve(rows))


def halve(rows: Sequence[int]) -> list[list[int]]:
    """Return a batch as two."""
    middle = (len(rows) + 1) // 2
    return [list(rows[:middle]), list(rows[middle:])]


@torch.inference_mode()
def _featurize_batch(
    model: LoadedModel,
    batch: Sequence[Tokens],
    readings: Sequence[Reading],
    rows: Sequence[int],
    images: ImagePrefetcher,
    name: NameRow,
    broken: dict[str, Exception] | None,
    buffer: Buffer,
) -> Pooled:
    started, waited = time.perf_counter(), images.waited
    counts = [int(tokens.content.sum()) for tokens in batch]
    activations = run_forward(model, batch, images.take(rows))
    features: dict[str, Matrix] = {}
    for each in readings:
        reading = replace(
            each, poolings={k: one for k, one in each.poolings.items() if k not in (broken or {})}
        )
        if not reading.poolings:
            continue
        values = activations[reading.site]
        with _collecting(broken, reading.poolings):
            check_finite(values, reading.site, row=lambda token: name(rows[_find_row(token, counts)]))
            features |= pool_reading(
                reading,
                values,
                counts,
                name=lambda place: name(rows[place]),
                broken=broken,
                buffer=buffer,
            )
    lengths = [len(tokens.ids) for tokens in batch]
    return Pooled(
        rows=rows,
        features=features,
        tokens=sum(counts),
        positions=sum(lengths),
        padded_tokens=len(batch) * max(lengths),
        seconds=time.perf_counter() - started,
        images=sum(tokens.image is not None for tokens in batch),
        waited=images.waited - waited,
    )


@contextmanager
def _collecting(broken: dict[str, Exception] | None, keys: Iterable[str]) -> Iterator[None]:
    """Put an error of the block into `broken` under `keys`; raise it without `broken`, and always a lack of memory."""
    try:
        yield
    except Exception as error:  # a representation or pooling of any plugin may fail in any way
        if broken is None or find_memory_error(error):
            raise
        broken.update(dict.fromkeys(keys, error))


def is_finite(values: Tensor) -> bool:
    """Return whether all values are finite numbers."""
    return not values.numel() or bool(torch.isfinite(torch.stack(values.aminmax())).all())


def check_finite(activations: Tensor, site: Site, row: NameRow | None = None) -> None:
    """Raise UsageError where a value is not finite: a threshold would turn NaN into an ordinary zero.

    `row` describes, in the message, the row that a token belongs to.
    """
    if not is_finite(activations):
        first = f" (first: {row(_first_token(activations))})" if row else ""
        raise UsageError(
            f"activations at '{site}' are not finite in {str(activations.dtype).removeprefix('torch.')}: use "
            f"another dtype for this model{first}"
        )


def _first_token(values: Tensor) -> int:
    """Return the first row of `values [tokens, features]` that holds a value which is not finite; 0 where none does."""
    return int((~torch.isfinite(values)).any(1).int().argmax())


def _find_row(token: int, counts: Sequence[int]) -> int:
    """Return the example of a token, by its place in the batch."""
    return int(np.searchsorted(np.cumsum(counts), token, side="right"))


def pool_reading(
    reading: Reading,
    activations: Tensor,
    counts: Sequence[int],
    *,
    name: NameRow = name_row,
    broken: dict[str, Exception] | None = None,
    buffer: Buffer | None = None,
) -> dict[str, Matrix]:
    """Return every pooling of one reading, by feature key, from `activations [tokens, d]` of examples with `counts`
    tokens each. An example without content tokens becomes a row of zeros. `name` and `broken` are as in `featurize`,
    but errors of the representation, on which all poolings depend, are raised.

    Features are encoded slice by slice into `buffer`, and each slice is pooled in every way before the next is encoded.
    Poolings that rank features come after the last slice, when the largest features of each token are known.
    """
    filled = [row for row, count in enumerate(counts) if count]
    offsets = torch.tensor(
        np.concatenate([[0], np.cumsum([counts[row] for row in filled])]), device=activations.device
    )
    size = slice_size(activations)
    kept = (buffer or Buffer()).take(
        2 * len(activations) * min(size, reading.encoder.width), activations.device
    )
    parts: dict[str, list[Any]] = {key: [] for key in reading.poolings}
    ranked = {key: pool for key, pool in reading.poolings.items() if isinstance(pool, RankedPooling)}
    tops = {pool.top: RunningTop(pool.top) for pool in ranked.values()}
    width = reading.encoder.width
    faults: dict[str, Exception] = {} if broken is None else broken

    def pool(keys: Iterable[str], values: Tensor) -> None:
        bases: dict[int, tuple[Pooling, Tensor]] = {}
        for key in [key for key in keys if key not in faults]:
            owner = reading.owners.get(key, "the pooling")
            with _collecting(broken, [key]):
                pooled = _apply(reading.poolings[key], values, offsets, bases)
                _check_shape(pooled, (len(filled), values.shape[1]), owner)
                parts[key].append(_to_host(pooled, values, as_sparse=reading.sparse))

    if filled:
        sums: list[Tensor] = []
        for start, values in slices_of(reading.encoder, activations, size, kept):
            if not isinstance(reading.encoder, Dictionary):
                _check_shape(values, (len(activations), width), reading.owner)
            sums.append(values.sum())
            if tops:  # ranking fails by itself where a value is NaN
                _check_encoded(reading, activations, sums, size, counts, name)
            for top in tops.values():
                top.add(start, values)
            pool([key for key in reading.poolings if key not in ranked], values)
        _check_encoded(reading, activations, sums, size, counts, name)
        for top_n, top in tops.items():
            keys = [key for key, ranking in ranked.items() if ranking.top == top_n]
            for _, values in top.slices(width, size):
                pool(keys, values)
    joined: dict[str, Matrix] = {}
    for key in [key for key in parts if key not in faults]:
        with _collecting(broken, [key]):
            matrix = _join(parts[key], filled, len(counts), width, reading.sparse)
            check_rows(
                matrix, len(counts), owner=reading.owners.get(key, "the pooling"), name=name, columns=width
            )
            joined[key] = matrix
    return joined


def _apply(
    pooling: Pooling, values: Tensor, offsets: Tensor, bases: dict[int, tuple[Pooling, Tensor]]
) -> Tensor:
    """Return what a pooling makes of a slice. Poolings derived from one base share what it makes, in `bases` by id."""
    base = pooling.base if isinstance(pooling, DerivedPooling) else pooling
    if id(base) not in bases:
        bases[id(base)] = (
            base,
            base(values, offsets),
        )  # kept, since an id is used again once its object is gone
    found = bases[id(base)][1]
    return pooling.derive(found, offsets) if isinstance(pooling, DerivedPooling) else found


def _check_shape(values: Tensor, wanted: tuple[int, int], owner: str) -> None:
    """Raise PluginResultError for another shape, which might be broadcast to the wanted one."""
    if tuple(values.shape) != wanted:
        raise PluginResultError(
            f"{owner} returned values of shape {tuple(values.shape)}, not {wanted}: mend the plugin"
        )


def _check_encoded(
    reading: Reading,
    activations: Tensor,
    sums: Sequence[Tensor],
    size: int,
    counts: Sequence[int],
    name: NameRow,
) -> None:
    """Raise PluginResultError where an encoded value is not finite: a pooling may turn NaN into an ordinary zero.

    `sums` are those of all values of each slice: one number for each waits on the device, and one transfer is enough.
    """
    if bool(torch.isfinite(torch.stack(list(sums))).all()):
        return
    for _, values in slices_of(reading.encoder, activations, size):  # once more, to name the row
        if not bool(torch.isfinite(values).all()):
            raise not_finite(reading.owner, name(_find_row(_first_token(values), counts)))


def _to_host(pooled: Tensor, values: Tensor, *, as_sparse: bool) -> Any:
    """Return a pooled slice on the CPU, compressed if it is sparse, in memory of its own: `values` are overwritten."""
    if as_sparse and pooled.device.type == "cpu":
        return compress(pooled.float().contiguous().numpy())
    if not as_sparse:
        shares = pooled.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
        return (pooled.clone() if shares else pooled).float().cpu().numpy()
    rows, columns = pooled.nonzero(as_tuple=True)  # compressed first, so that zeros are not transferred
    return SparseSlice(
        width=pooled.shape[1],
        counts=torch.bincount(rows, minlength=len(pooled)).cpu().numpy(),
        columns=columns.cpu().numpy(),
        values=pooled[rows, columns].float().cpu().numpy(),
    )


def _join(slices: Sequence[Any], filled: Sequence[int], n_rows: int, width: int, as_sparse: bool) -> Matrix:
    """Return slices side by side, with rows of zeros where an example had no token."""
    if as_sparse:
        return (
            join(slices, filled, n_rows, width)
            if slices
            else sparse.csr_array((n_rows, width), dtype=np.float32)
        )
    dense = np.zeros((n_rows, width), dtype=np.float32)
    if slices:
        dense[filled] = np.concatenate(slices, axis=1)
    return dense


def stack(parts: Sequence[Matrix]) -> Matrix:
    """Return matrices below one another, as CSR if they are sparse."""
    if sparse.issparse(parts[0]):
        return sparse.csr_array(sparse.vstack(parts))
    return np.concatenate(parts)
