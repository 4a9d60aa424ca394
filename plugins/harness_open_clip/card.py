"""The files of a model in, the datasets that its card says it was trained on out. A card changes no result: it is no
part of a model's identity, and one that cannot be read says nothing.
"""

from __future__ import annotations

import re

import yaml

from harness import MissingError
from harness_open_clip.references import Files

CARD = "README.md"


def read_datasets(files: Files) -> tuple[str, ...]:
    """Names under `datasets` in the front matter of the card, in their order."""
    try:
        path = files.find(CARD)
        text = path.read_text("utf-8-sig") if path else ""
        match = re.match(r"---[ \t]*\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
        content = yaml.safe_load(match[1]) if match else None
    # Absent, unreachable, no text, no YAML, YAML of impossible dates or of more brackets than can be followed.
    except (MissingError, OSError, ValueError, yaml.YAMLError, RecursionError):
        return ()
    named = content.get("datasets") if isinstance(content, dict) else None
    named = [named] if isinstance(named, str) else named
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()
