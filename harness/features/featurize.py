"""The one forward pass: batches → ragged activations → dictionaries → poolings.

A batch runs through the model once, however many sites, dictionaries and poolings there are. Only pooled rows leave the
device. The features of an example do not depend on its batch, beyond rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from harness.api.data import Site, Tokens
from harness.api.errors import UsageError
from harness.api.protocols import Encoder, LoadedModel, Pooling, RankedPooling
from harness.dictionaries.dictionary import RunningTop, slices_of
from harness.features.prefetch import ImagePrefetcher, run_forward

if TYPE_CHECKING:
    from harness.api.data import Matrix

SLICE_VALUES = 1 << 25
"""Most values, features × tokens, of one slice on the device (128 MiB in float32)."""

AUTO_TOKENS = {"cpu": 2048, "cuda": 32768}
"""Padded tokens in a batch whose size is not given, by kind of device."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One representation at one site, with its poolings by feature key."""

    site: Site
    encoder: Encoder
    sparse: bool
    poolings: Mapping[str, Pooling]


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


def plan_batches(lengths: Sequence[int], *, batch_size: int | None, device: str) -> list[list[int]]:
    """Return row numbers grouped into batches of `batch_size` examples, or of as many as fit the device's token budget.

    The longest come first, so that little is padded and memory runs out early if at all.
    """
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
) -> Iterator[Pooled]:
    """Yield pooled features batch by batch; batches that do not fit into memory are halved (`run_batches`)."""
    with ImagePrefetcher(model, tokens, batches) as images:

        def work(rows: Sequence[int]) -> Pooled:
            return _featurize_batch(model, [tokens[row] for row in rows], readings, rows, images)

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
        done = None
        try:
            with typed_memory_errors():
                done = work(rows)
        except (MemoryError, torch.OutOfMemoryError):
            if len(rows) == 1:
                raise
        if done is not None:
            yield done
            continue
        # Outside the except block, because the error's frames hold the tensors of the batch.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        on_halved(rows)
        waiting += reversed(halve(rows))


@contextmanager
def typed_memory_errors() -> Iterator[None]:
    """Raise MemoryError for an allocation that PyTorch reports without a type of its own; other errors pass.

    All else tells a lack of memory by MemoryError and `torch.OutOfMemoryError`; this is the one place that reads text.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # PyTorch's CPU allocator raises a plain RuntimeError, and the driver an AcceleratorError, each of which stands
        # for other faults too: only their text says that memory ran out.
        if "DefaultCPUAllocator" in str(error) or "CUDA error: out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


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
) -> Pooled:
    started, waited = time.perf_counter(), images.waited
    counts = [int(tokens.content.sum()) for tokens in batch]
    activations = run_forward(model, batch, images.take(rows))
    features: dict[str, Matrix] = {}
    for reading in readings:
        check_finite(activations[reading.site], reading.site)
        features |= pool_reading(reading, activations[reading.site], counts)
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


def check_finite(activations: Tensor, site: Site) -> None:
    """Raise UsageError where a value is not finite: a threshold would turn NaN into an ordinary zero."""
    if activations.numel() and not bool(torch.isfinite(torch.stack(activations.aminmax())).all()):
        raise UsageError(
            f"activations at '{site}' are not finite in {str(activations.dtype).removeprefix('torch.')}: use "
            f"another dtype for this model"
        )


def pool_reading(reading: Reading, activations: Tensor, counts: Sequence[int]) -> dict[str, Matrix]:
    """Return every pooling of one reading, by feature key, from `activations [tokens, d]` of examples with `counts`
    tokens each. An example without content tokens becomes a row of zeros.

    Features are encoded slice by slice, and each slice is pooled in every way before the next is encoded. Poolings that
    rank features come after the last slice, when the largest features of each token are known.
    """
    filled = [row for row, count in enumerate(counts) if count]
    offsets = torch.tensor(
        np.concatenate([[0], np.cumsum([counts[row] for row in filled])]), device=activations.device
    )
    size = max(1, SLICE_VALUES // max(1, len(activations)))
    parts: dict[str, list[Matrix]] = {key: [] for key in reading.poolings}
    ranked = {key: pool for key, pool in reading.poolings.items() if isinstance(pool, RankedPooling)}
    tops = {pool.top: RunningTop(pool.top) for pool in ranked.values()}
    width = reading.encoder.width
    if filled:
        for start, values in slices_of(reading.encoder, activations, size):
            for top in tops.values():
                top.add(start, values)
            for key in reading.poolings.keys() - ranked.keys():
                pooled = reading.poolings[key](values, offsets)
                parts[key].append(_to_host(pooled, as_sparse=reading.sparse))
        for key, pool in ranked.items():
            for _, values in tops[pool.top].slices(width, size):
                parts[key].append(_to_host(pool(values, offsets), as_sparse=reading.sparse))
    return {key: _join(slices, filled, len(counts), width, reading.sparse) for key, slices in parts.items()}


def _to_host(pooled: Tensor, *, as_sparse: bool) -> Matrix:
    """Return a pooled slice on the CPU; a sparse one is compressed first, so that zeros are not transferred."""
    if not as_sparse:
        return pooled.float().cpu().numpy()
    if pooled.device.type == "cpu":
        return sparse.csr_array(pooled.float().numpy())
    where = pooled.nonzero(as_tuple=True)
    rows, columns = (index.cpu().numpy() for index in where)
    return sparse.coo_array(
        (pooled[where].float().cpu().numpy(), (rows, columns)), shape=pooled.shape
    ).tocsr()


def _join(
    slices: Sequence[Matrix], filled: Sequence[int], n_rows: int, width: int, as_sparse: bool
) -> Matrix:
    """Return slices side by side, with rows of zeros where an example had no token."""
    if as_sparse and slices:
        joined = sparse.csr_array(sparse.hstack(slices)).astype(np.float32)
        lengths = np.zeros(n_rows, dtype=np.int64)
        lengths[filled] = np.diff(joined.indptr)
        parts = (joined.data, joined.indices, np.concatenate([[0], np.cumsum(lengths)]))
        return sparse.csr_array(parts, shape=(n_rows, width))
    dense = np.zeros((n_rows, width), dtype=np.float32)
    if slices:
        dense[filled] = np.concatenate(slices, axis=1)
    return sparse.csr_array(dense) if as_sparse else dense


def stack(parts: Sequence[Matrix]) -> Matrix:
    """Return matrices below one another, as CSR if they are sparse."""
    if sparse.issparse(parts[0]):
        return sparse.csr_array(sparse.vstack(parts))
    return np.concatenate(parts)
