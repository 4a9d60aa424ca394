"""Published L0s, layers and widths of Gemma Scope 1 and 2, and settings that other published configs leave out.

With these tables a short reference always leads to the same folder, whatever a cache holds, and a missing
dictionary is named before the hub is asked.

Gemma Scope 1: the folders of google/gemma-scope-{2b,9b,27b}-{pt,it}-res at the layers that have dictionaries
of every width. Gemma Scope 2: the technical report's overview (table 1), with the hub's names.
"""

from __future__ import annotations

import re
from typing import Any

GEMMA_2 = {2304: "2b", 3584: "9b", 4608: "27b"}
"""Model size by width of the residual stream, for Gemma 2."""

GEMMA_3 = {640: "270m", 1152: "1b", 2560: "4b", 3840: "12b", 5376: "27b"}
"""Model size by width of the residual stream, for Gemma 3."""

RESIDUAL_L0: dict[str, dict[int, dict[str, tuple[int, ...]]]] = {
    "2b-pt": {
        5: {
            "16k": (18, 34, 68, 143, 309),
            "65k": (17, 29, 53, 105, 211),
            "1m": (9, 13, 21, 36, 63, 114),
        },
        12: {
            "16k": (22, 41, 82, 176, 445),
            "32k": (12, 22, 40, 76, 155, 360),
            "65k": (21, 38, 72, 141, 297),
            "131k": (12, 20, 36, 67, 129, 264),
            "262k": (11, 21, 36, 67, 121, 243),
            "524k": (22, 29, 46, 65, 115, 227),
            "1m": (19, 26, 58, 73, 107, 207),
        },
        19: {
            "16k": (23, 40, 73, 137, 279),
            "65k": (21, 35, 63, 115, 216),
            "1m": (16, 18, 29, 50, 88, 157),
        },
    },
    "9b-pt": {
        9: {
            "16k": (9, 16, 28, 51, 100, 209),
            "131k": (8, 14, 25, 42, 75, 134),
            "1m": (9, 14, 24, 41, 70, 122),
        },
        20: {
            "16k": (11, 20, 36, 58, 68, 138, 310, 408),
            "32k": (11, 57, 344),
            "65k": (11, 55, 298),
            "131k": (11, 19, 34, 53, 62, 114, 221, 276),
            "262k": (11, 50, 259),
            "524k": (10, 48, 241),
            "1m": (11, 19, 34, 57, 101, 193),
        },
        31: {
            "16k": (11, 20, 35, 63, 114, 218),
            "131k": (10, 18, 31, 52, 92, 160),
            "1m": (11, 25, 27, 45, 77, 132),
        },
    },
    "9b-it": {
        9: {"16k": (14, 26, 47, 88, 186), "131k": (13, 22, 39, 67, 121)},
        20: {"16k": (14, 25, 47, 91, 189), "131k": (13, 24, 43, 81, 153)},
        31: {"16k": (14, 24, 43, 76, 142), "131k": (13, 22, 37, 63, 109)},
    },
    "27b-pt": {
        10: {"131k": (15, 24, 37, 64, 106, 200)},
        22: {"131k": (20, 31, 48, 82, 150, 290)},
        34: {"131k": (21, 38, 72, 155, 333, 785)},
    },
}
"""Published L0s on the residual stream by size and training, layer and width.

The nearest to 100 are those that SAELens calls canonical.
"""

MANY_WIDTHS = {
    "270m": (5, 9, 12, 15),
    "1b": (7, 13, 17, 22),
    "4b": (9, 17, 22, 29),
    "12b": (12, 24, 31, 41),
    "27b": (16, 31, 40, 53),
}
"""The four layers with all widths and L0s, by size of Gemma 3; other layers have those of EVERY_LAYER."""

_Grid = tuple[tuple[str, ...], tuple[str, ...]]

FOUR_LAYERS: _Grid = ("16k", "65k", "262k", "1m"), ("small", "medium", "big")
EVERY_LAYER: _Grid = ("16k", "262k"), ("small", "big")
"""Widths and L0s; 1m only on the residual stream."""


_CENTRED: dict[str, Any] = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}

LEFT_OUT: dict[str, dict[str, Any]] = {
    "JoshEngels/Mistral-7B-Residual-Stream-SAEs": {"normalize_activations": "constant_norm_rescale"},
    "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8": _CENTRED,
    "jbloom/GPT2-Small-SAEs-Reformatted": _CENTRED,
    "tommmcgrath/gpt2-small-mlp-out-saes": _CENTRED,
}
"""Settings that change features and that the configs of a repository leave out, as SAELens' table of releases has them:
so that a repository means the same as the names `saelens:RELEASE/ID`.
"""


def is_instruction_tuned(model: str) -> bool:
    """Check whether a model's name, or its folder in the hub's cache, ends in `-it`."""
    return re.search(r"-it(?=$|[@/])", model) is not None
