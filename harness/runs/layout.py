"""Places of a cell's pictures in its run folder."""

from __future__ import annotations

from pathlib import Path


def place_pictures(folder: Path, cell_id: str) -> Path:
    """Return the folder of all pictures of a cell."""
    return folder / "pictures" / cell_id


def place_sheet(folder: Path, cell_id: str, feature: int) -> Path:
    """Return the path of the contact sheet of one feature."""
    return place_pictures(folder, cell_id) / f"feature-{feature}.png"


def place_confusion(folder: Path, cell_id: str) -> Path:
    """Return the path of the confusion matrix."""
    return place_pictures(folder, cell_id) / "confusion.png"
