"""Data sets declared in a model's card.

A card changes no result, so it is not part of a model's identity; a card that cannot be read counts as empty.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness import UnavailableError, parsing
from harness_open_clip.references import Files

CARD = "README.md"
"""Name of the card's file."""
_FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
"""YAML at the beginning of a card, as huggingface_hub finds it."""
LARGEST = 1_000_000
"""Limit in bytes of a card: PyYAML takes a quarter of a minute for as many."""


def read_datasets(files: Files) -> tuple[str, ...]:
    """Read the names under `datasets` in the card's front matter, in their order; empty if there are none."""
    try:
        with parsing(f"{CARD} cannot be read"):
            path = files.find(CARD)
            content = _read(path) if path and path.stat().st_size <= LARGEST else None
    except UnavailableError:
        return ()
    named = content.get("datasets") if isinstance(content, dict) else None
    named = [named] if isinstance(named, str) else named
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def _read(path: Path) -> Any:
    """Return what `huggingface_hub.metadata_load` returns, whose import takes as long as a plan."""
    import yaml

    match = _FRONT_MATTER.search(path.read_text("utf-8-sig"))
    return yaml.safe_load(match[2]) if match else None
