"""Generator of `data/digits.parquet` from scikit-learn's digits, with the same pixels every time.

Run it as `python -m harness_vision.digits`. Values from 0 to 16 become grey values from 0 to 255; an image is a PNG
of 8 × 8 pixels. There is no official split, because nobody knows who wrote a digit: rows are split by their content.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "data" / "digits.parquet"

LARGEST = 16
"""Largest value of a digit's pixel, which counts the dark pixels in a square of 4 × 4."""


def write(file: Path) -> None:
    """Write every digit with its label, in scikit-learn's order."""
    import pyarrow as pa
    from pyarrow import parquet
    from sklearn.datasets import load_digits

    digits = load_digits()
    table = pa.table(
        {
            "image": [encode(values) for values in digits.images],
            "label": [str(label) for label in digits.target],
        }
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file, compression="zstd")


def encode(values: np.ndarray[Any, Any]) -> bytes:
    """Return values from 0 to 16 `[rows, columns]` as a grey PNG."""
    from PIL import Image

    grey = np.round(values * (255 / LARGEST)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    write(FILE)
