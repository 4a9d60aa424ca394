"""Links from published dictionaries to their feature pages on Neuronpedia.

Of Gemma Scope 1 it links the dictionaries called canonical, one for each layer and width; of Gemma Scope 2
the medium ones of the four layers with all widths. Ids are those of SAELens 6.54 (pretrained_saes.yaml).
Other L0s of Gemma Scope 1 have longer ids there; they are left out because some of them name the wrong
dictionary.
"""

from __future__ import annotations

import re

from harness_saes.published import MANY_WIDTHS

_NAME_1 = re.compile(
    r"(?:google/)?gemma-scope-(\w+-(?:pt|it)-(res|mlp|att))(?:@[^/]+)?/layer_(\d+)/width_(\w+)/average_l0_(\d+)"
)
_NAME_2 = re.compile(
    r"(?:google/)?gemma-scope-2-((\w+)-(?:pt|it))(?:@[^/]+)?/resid_post/layer_(\d+)_width_(\w+)_l0_medium"
)


def link(reference: str) -> str | None:
    """Return the URL of a dictionary's features, with `{feature}` in place of the number.

    `reference` is like `google/gemma-scope-2b-pt-res/layer_12/…`, with or without a revision, or the same in
    a local copy whose path begins with the repository's name. Return None if the dictionary is not on
    Neuronpedia.
    """
    if match := _NAME_1.fullmatch(reference):
        repository, kind, layer, width, l0 = match.groups()
        if CANONICAL_L0.get(repository, {}).get(width, {}).get(int(layer)) == int(l0):
            return _url("gemma-2", repository.removesuffix(f"-{kind}"), f"{layer}-gemmascope-{kind}-{width}")
    elif match := _NAME_2.fullmatch(reference):
        trained, size, layer, width = match.groups()
        if width in WIDTHS_2.get(trained, ()) and int(layer) in MANY_WIDTHS[size]:
            return _url("gemma-3", trained, f"{layer}-gemmascope-2-res-{width}")
    return None


def _url(family: str, trained: str, source: str) -> str:
    return f"https://www.neuronpedia.org/{family}-{trained.removesuffix('-pt')}/{source}/{{feature}}"


def _by_layer(l0s: str) -> dict[int, int]:
    """Parse L0s separated by spaces; the first is that of layer 0."""
    return dict(enumerate(map(int, l0s.split())))


CANONICAL_L0: dict[str, dict[str, dict[int, int]]] = {
    "2b-pt-res": {
        "16k": _by_layer("""
            105 102 141 59 124 68 70 69 71 73 77 80 82 84 84 78 78 77 74 73 71 70 72 75
            73 116
        """),
        "32k": {12: 76},
        "65k": _by_layer("""
            73 121 77 89 89 105 107 107 111 118 128 70 72 75 73 127 128 125 116 115 114
            111 116 123 124 93
        """),
        "262k": {12: 121},
        "524k": {12: 115},
        "1m": {5: 114, 12: 107, 19: 88},
    },
    "2b-pt-mlp": {
        "16k": _by_layer("""
            119 105 95 95 85 114 133 60 136 88 110 98 108 112 97 80 72 68 106 109 109 113
            121 128 73 126
        """),
        "65k": _by_layer("""
            72 127 134 68 66 86 101 115 110 77 95 88 96 98 89 72 66 136 88 88 88 86 92
            102 128 107
        """),
    },
    "2b-pt-att": {
        "16k": _by_layer("""
            104 79 93 117 116 135 61 99 129 127 70 80 85 92 71 98 71 79 72 122 62 65 106
            73 96 77
        """),
        "65k": _by_layer("""
            75 98 125 83 87 99 112 96 112 107 67 75 79 87 66 90 129 70 123 106 102 118
            112 140 77 63
        """),
    },
    "9b-pt-res": {
        "16k": _by_layer("""
            129 69 67 90 91 77 93 92 99 100 113 118 130 132 67 131 75 73 71 132 68 129
            123 120 114 114 116 118 119 119 120 114 111 114 114 120 120 124 128 131 125 113
        """),
        "32k": {20: 57},
        "65k": {20: 55},
        "131k": _by_layer("""
            41 56 70 103 101 94 120 119 72 75 84 88 96 99 105 103 121 117 113 110 114 109
            105 101 97 96 97 96 98 97 95 92 88 91 89 94 93 96 101 99 94 84
        """),
        "524k": {20: 48},
        "1m": {9: 122, 20: 101, 31: 77},
    },
    "9b-pt-mlp": {
        "16k": _by_layer("""
            50 128 81 126 66 93 96 101 124 83 114 76 96 94 97 107 91 104 89 98 108 88 85
            73 73 72 142 126 115 111 116 94 98 107 107 108 109 119 98 90 74 126
        """),
        "131k": _by_layer("""
            30 106 61 109 84 131 72 75 89 129 83 120 77 75 80 89 81 91 82 85 93 79 77 67
            67 65 110 99 91 87 89 77 76 83 82 80 81 90 79 75 125 99
        """),
    },
    "9b-pt-att": {
        "16k": _by_layer("""
            61 77 69 102 126 125 108 70 65 71 132 67 68 77 81 79 81 110 80 86 76 86 70
            80 79 73 75 136 71 76 73 73 74 78 91 77 69 82 81 77 91 129
        """),
        "131k": _by_layer("""
            55 116 135 119 75 78 73 106 98 111 97 104 110 126 131 130 71 90 69 71 125 71
            115 66 130 115 120 102 115 128 109 117 117 128 63 124 105 124 135 120 64 92
        """),
    },
    "9b-it-res": {
        "16k": {9: 88, 20: 91, 31: 76},
        "131k": {9: 121, 20: 81, 31: 109},
    },
    "27b-pt-res": {
        "131k": {10: 106, 22: 82, 34: 72},
    },
}
"""L0 of the dictionary with a short id, by repository, width and layer."""

_NARROW = ("16k", "65k", "262k")
_ALL = (*_NARROW, "1m")

WIDTHS_2 = {
    **dict.fromkeys(("270m-pt", "1b-pt", "4b-pt", "12b-pt", "27b-it"), _ALL),
    **dict.fromkeys(("270m-it", "1b-it", "4b-it"), _NARROW),
}
"""Widths linked on the residual stream by size and training of Gemma 3; none for 12b-it and 27b-pt."""
