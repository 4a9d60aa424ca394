"""Limits on the numbers in configurations that others wrote, which are held before anything of their size is made."""

from __future__ import annotations

import re
from typing import Any

from harness.api.errors import UnavailableError

_LIMITS = (
    # Llama 3.1 405B has 126 blocks, and a block takes a millisecond and half a megabyte even without weights.
    (re.compile(r"(num|n)_(\w+_)?layers?|layers|depths?"), 1_000),
    (re.compile(r"(num|n)_(\w+_)?(labels|experts|heads?|groups)"), 100_000),
    # Pixels of one side of an image, to which each image is resized; and the width of towers.
    (re.compile(r"height|width|size|image_size|crop_size|(shortest|longest)_edge"), 20_000),
    (re.compile(r"(num_)?image_(seq_length|seq_len|tokens)|mm_tokens_per_image|context_length"), 1_000_000),
)
"""Names of numbers → the largest that is read, far above that of any model there is."""


def check_numbers(content: Any, where: str) -> None:
    """Raise UnavailableError for a number of blocks, heads, pixels, … in JSON that no model has.

    `where` names the file in the message, for example "model 'x': its config.json".
    """
    left = [("", content)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(key, one) for one in value]
        elif isinstance(value, int | float):
            for pattern, most in _LIMITS:
                if value > most and pattern.fullmatch(key):
                    told = min(value, 1e300)  # an integer may be larger than any float
                    raise UnavailableError(
                        f"{where} says {key} = {told:.6g}, and at most {most:,} are read: fetch it again from a "
                        f"source that you trust"
                    )


def check_memory(needed: int, what: str) -> None:
    """Raise UnavailableError where `what` needs more bytes of memory than this machine has."""
    import psutil

    has = psutil.virtual_memory().total
    if needed > has:
        raise UnavailableError(
            f"{what} take {needed / 2**30:,.1f} GiB of memory, and this machine has {has / 2**30:,.1f}: use a smaller "
            f"model or a larger machine"
        )
