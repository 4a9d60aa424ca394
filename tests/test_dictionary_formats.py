"""Readers of dictionaries against golden vectors, which the original libraries wrote (`make interop`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from interop.case import LARGEST_DIFFERENCE, MOST_BYTES, compare, read_golden

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_checkpoint_gives_the_features_of_its_own_library(path: Path) -> None:
    assert compare(read_golden(path)).largest <= LARGEST_DIFFERENCE


def test_golden_vectors_stay_small() -> None:
    for folder in GOLDEN.glob("*"):
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MOST_BYTES
