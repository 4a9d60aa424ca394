"""Data sets declared in a model's card.

A card changes no result, so it is not part of a model's identity; a card that cannot be read counts as empty.
"""

from __future__ import annotations

from harness import UnavailableError, parsing
from harness_open_clip.references import Files

CARD = "README.md"
"""Name of the card's file."""
LARGEST = 1_000_000
"""Limit in bytes of a card: PyYAML takes a quarter of a minute for as many."""


def read_datasets(files: Files) -> tuple[str, ...]:
    """Read the names under `datasets` in the card's front matter, in their order; empty if there are none."""
    from huggingface_hub import metadata_load

    try:
        with parsing(f"{CARD} cannot be read"):
            path = files.find(CARD)
            content = metadata_load(path) if path and path.stat().st_size <= LARGEST else None
    except UnavailableError:
        return ()
    named = content.get("datasets") if isinstance(content, dict) else None
    named = [named] if isinstance(named, str) else named
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()
