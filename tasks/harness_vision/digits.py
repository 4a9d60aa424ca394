"""scikit-learn's digits in, `data/digits.parquet` out, always the same pixels: `python -m harness_vision.digits`.

Values of 0 to 16 become grey values of 0 to 255; an image is a PNG of 8 × 8 pixels. There is no split: whose hand wrote
a digit is not known, so rows are split by their content.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "data" / "digits.parquet"

LARGEST = 16
"""Of a digit's values: each counts the dark pixels of a square of 4 × 4."""


def write(file: Path) -> None:
    """Every digit with its label, in scikit-learn's order."""
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
    """Values from 0 to 16 `[rows, columns]` as a grey PNG."""
    from PIL import Image

    grey = np.round(values * (255 / LARGEST)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    write(FILE)
