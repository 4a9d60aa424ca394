"""Seconds to learn an alignment of two dictionaries and map as many rows. `make bench`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness_alignments import harness_alignments
from scipy import sparse

ROWS = 2000
SPECS = {spec.name: spec for spec in harness_alignments()}


def firing(seed: int, width: int) -> Any:
    """A pooled dictionary: 3 % of the values are above zero."""
    random = np.random.default_rng(seed)
    kept = random.random((ROWS, width)) < 0.03
    return sparse.csr_array(np.where(kept, random.gamma(2.0, size=kept.shape), 0).astype(np.float32))


@pytest.mark.parametrize(("a", "b"), [(512, 1024), (1024, 1792)])
@pytest.mark.parametrize("name", SPECS)
def test_features_of_two_dictionaries(benchmark: Any, name: str, a: int, b: int) -> None:
    source, target = firing(0, a), firing(1, b)
    factory = SPECS[name].make
    assert factory
    mapped = benchmark.pedantic(
        lambda: factory().fit(source, target).transform(target), rounds=3, warmup_rounds=1
    )
    assert mapped.shape == (ROWS, a)
    benchmark.extra_info.update(rows=ROWS, source=a, target=b, density=0.03)
