"""A run folder and a cell in, where its pictures lie out."""

from __future__ import annotations

from pathlib import Path


def place_pictures(folder: Path, cell_id: str) -> Path:
    """The folder of all pictures of a cell."""
    return folder / "pictures" / cell_id


def place_sheet(folder: Path, cell_id: str, feature: int) -> Path:
    """The contact sheet of one feature."""
    return place_pictures(folder, cell_id) / f"feature-{feature}.png"


def place_confusion(folder: Path, cell_id: str) -> Path:
    """The confusion matrix."""
    return place_pictures(folder, cell_id) / "confusion.png"
