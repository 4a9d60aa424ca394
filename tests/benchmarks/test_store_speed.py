"""Bytes of a stored non-zero, and seconds of reading and writing a shard beside SHA-256 of its bytes. `make bench`."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from harness.storage.feature_store import FeatureStore, read_shard

ROWS = 2048  # of a shard, as a run writes them
SHAPES = {
    "16k, 60 non-zeros a row": (1 << 14, 60),
    "16k, 600 non-zeros a row": (1 << 14, 600),
    "65k, 60 non-zeros a row": (1 << 16, 60),
    "1M, 60 non-zeros a row": (1 << 20, 60),
}


def make_rows(width: int, stored: int) -> sparse.csr_array:
    """Return rows with so many values each, at random columns."""
    random = np.random.default_rng(0)
    columns = np.concatenate([np.sort(random.choice(width, stored, replace=False)) for _ in range(ROWS)])
    values = random.gamma(1, 1, len(columns)).astype(np.float32)
    indptr = np.arange(0, len(columns) + 1, stored)
    return sparse.csr_array((values, columns.astype(np.int32), indptr), shape=(ROWS, width))


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shard_beside_the_checksum_of_its_bytes(benchmark: Any, shape: str, tmp_path: Path) -> None:
    width, stored = SHAPES[shape]
    matrix, store = make_rows(width, stored), FeatureStore(tmp_path)
    writing = [seconds_of(lambda n=n: store.write(f"{n}", range(ROWS), matrix)) for n in range(5)]
    [path] = (tmp_path / "features" / "0").glob("*.safetensors")
    data = path.read_bytes()
    reading, hashing = [], []
    for _ in range(40):  # alternating, for a machine with other work is not as fast at each moment
        hashing.append(seconds_of(lambda: hashlib.sha256(data).digest()))
        reading.append(seconds_of(lambda: read_shard(path)))
    benchmark.pedantic(lambda: read_shard(path), rounds=3)
    alone = statistics.median(hashing)
    benchmark.extra_info.update(
        bytes_a_non_zero=len(data) / matrix.nnz,
        read_over_checksum=statistics.median(reading) / alone,
        write_over_checksum=statistics.median(writing) / alone,
    )
