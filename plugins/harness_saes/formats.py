"""Formats of checkpoints with a module each, and the one door to them: `find_format` for what lies on this machine."""

from __future__ import annotations

from collections.abc import Sequence

import harness
from harness_saes import (
    dictionary_learning,
    goodfire,
    openai,
    openmoss,
    plain,
    qwen_scope,
    sae_lens,
    sparsify,
)
from harness_saes.reading import Reading
from harness_saes.stored import Folder, Format, find_checkpoints

FORMATS: Sequence[Format] = (
    dictionary_learning.FORMAT,
    goodfire.DEEPSEEK,
    goodfire.FORMAT,
    openai.FORMAT,
    openmoss.FORMAT,
    plain.FORMAT,
    qwen_scope.FORMAT,
    sae_lens.FORMAT,
    sparsify.FORMAT,
)
"""Every format that is read through a declaration."""


def name_format(ref: str) -> str:
    """Return the names of the formats of what lies at a path of this machine; empty if it is of none."""
    path = harness.local_path(ref)
    if not path.is_file() and not path.is_dir():
        return ""
    try:
        found = find_checkpoints(ref, FORMATS)
    except harness.UnavailableError:
        return ""
    return " and ".join(dict.fromkeys(kind.name for kind, _ in found))


def open_folder(
    ref: str,
    *,
    any_site: bool = False,
    subtract_b_dec: bool | None = None,
    k: int | None = None,
    input_scale: float | None = None,
) -> harness.TokenRepresentation:
    """Open a file, a folder or a repository on the hub; which format it is, its content tells."""
    reading = Reading(any_site=any_site, subtract_b_dec=subtract_b_dec)
    return Folder(ref, FORMATS, reading=reading, options={"k": k, "input_scale": input_scale})
