"""The files of a model in, what its card says it was trained on out. A card changes no result: it is no part of a
model's identity, and one that cannot be read says nothing.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from harness import MissingError
from harness_transformers.references import Files

CARD = "README.md"
LANGUAGES = "language_megabytes"
"""Beside the hub's `language`, a list, which says nothing of amounts."""
TASKS = "datasets"


def read_languages(files: Files) -> dict[str, float]:
    """Megabytes of training text by BCP-47 tag, from the card's front matter; empty where there are none, or where any
    of them is no tag with an amount: a language left away would count as never seen.
    """
    amounts = _read_front_matter(files).get(LANGUAGES)
    if not isinstance(amounts, dict) or not all(_is_amount(tag, size) for tag, size in amounts.items()):
        return {}
    return {tag: float(size) for tag, size in amounts.items()}


def read_tasks(files: Files) -> tuple[str, ...]:
    """Names of tasks under `datasets` in the card's front matter; none where there is no such list."""
    names = _read_front_matter(files).get(TASKS)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _read_front_matter(files: Files) -> dict[Any, Any]:
    from huggingface_hub import metadata_load

    try:
        path = files.find(CARD)
        content = metadata_load(path) if path else None
    # Absent, unreachable, no text, no YAML, YAML of impossible dates or of more brackets than can be followed.
    except (MissingError, OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_amount(tag: Any, size: Any) -> bool:
    return (
        isinstance(tag, str)
        and re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*", tag) is not None
        and isinstance(size, int | float)
        and not isinstance(size, bool)
        and math.isfinite(size)
        and size >= 0
    )
