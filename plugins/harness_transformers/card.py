"""Training data declared in a model's card.

A card changes no result, so it is not part of a model's identity; a card that cannot be read counts as empty.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from harness import UnavailableError, parsing
from harness_transformers.references import Files

CARD = "README.md"
"""Name of the card's file."""
_FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
"""YAML at the beginning of a card, as huggingface_hub finds it."""
LARGEST = 1_000_000
"""Limit in bytes of a card: PyYAML takes a quarter of a minute for as many."""
LANGUAGES = "language_megabytes"
"""Key of megabytes by language; the hub's own key `language` lists languages without amounts."""
TASKS = "datasets"
"""Key of the list of data sets."""


def read_languages(files: Files) -> dict[str, float]:
    """Read megabytes of training text by BCP-47 tag from the card's front matter; empty if there are none."""
    # One invalid entry discards all: a language left out would count as never seen in training.
    found = _read_front_matter(files).get(LANGUAGES)
    if not isinstance(found, dict):
        return {}
    # YAML reads `no`, the tag of Norwegian, as false, and no other tag so.
    amounts = {"no" if tag is False else tag: size for tag, size in found.items()}
    if len(amounts) < len(found) or not all(_is_amount(tag, size) for tag, size in amounts.items()):
        return {}
    return {tag: float(size) for tag, size in amounts.items()}


def read_tasks(files: Files) -> tuple[str, ...]:
    """Read the task names under `datasets` in the card's front matter; empty if there is no such list."""
    names = _read_front_matter(files).get(TASKS)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _read_front_matter(files: Files) -> dict[Any, Any]:
    try:
        with parsing(f"model '{files.name}': {CARD} cannot be read"):
            path = files.find(CARD)
            content = _read(path) if path and path.stat().st_size <= LARGEST else None
    except UnavailableError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_amount(tag: Any, size: Any) -> bool:
    return (
        isinstance(tag, str)
        and re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*", tag) is not None
        and isinstance(size, int | float)
        and not isinstance(size, bool)
        and 0 <= size <= sys.float_info.max
    )


def _read(path: Path) -> Any:
    """Return what `huggingface_hub.metadata_load` returns, whose import takes as long as a plan."""
    import yaml

    match = _FRONT_MATTER.search(path.read_text("utf-8-sig"))
    return yaml.safe_load(match[2]) if match else None
