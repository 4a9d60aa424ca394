"""The files of a model in, the datasets that its card says it was trained on out. A card changes no result: it is no
part of a model's identity, and one that cannot be read says nothing.
"""

from __future__ import annotations

import yaml

from harness import MissingError
from harness_open_clip.references import Files

CARD = "README.md"


def read_datasets(files: Files) -> tuple[str, ...]:
    """Names under `datasets` in the front matter of the card, in their order."""
    from huggingface_hub import metadata_load

    try:
        path = files.find(CARD)
        content = metadata_load(path) if path else None
    # Absent, unreachable, no text, no YAML, YAML of impossible dates or of more brackets than can be followed.
    except (MissingError, OSError, ValueError, yaml.YAMLError, RecursionError):
        return ()
    named = content.get("datasets") if isinstance(content, dict) else None
    named = [named] if isinstance(named, str) else named
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()
