"""Embedded model family: toy Gemma 2 models, two vision models, their dictionaries, and the recipes of all.

Models and dictionaries are offered as aliases of folders, so they load through the same code as any others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness

HARNESS_API = 1

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of all embedded models and dictionaries."""

SIZES = {"s": 64, "m": 128, "l": 224}
"""Width of the residual stream by size."""


class _Scope:
    """Dictionaries of the family, found by the model's width; they are `expansion` times as wide."""

    def __init__(self, *, expansion: int, l0: str | int | None, layer_offset: int) -> None:
        if isinstance(expansion, bool) or not isinstance(expansion, int) or expansion < 1:
            raise ValueError(f"expansion={expansion!r} is not a positive whole number")
        self.expansion = expansion
        # Defaults must not be part of the reference: without them its identity is that of the folder's own defaults.
        self.more = {
            **({} if l0 is None else {"l0": l0}),
            **({"layer_offset": layer_offset} if layer_offset else {}),
        }

    def at(self, model: harness.Model, site: harness.Site) -> dict[str, Any]:
        width = model.width(harness.Site(kind="resid_post", layer=0))
        size = {width: size for size, width in SIZES.items()}.get(width)
        if size is None or site.kind != "resid_post":
            raise harness.UsageError(
                f"minigemma-scope has dictionaries for resid_post of the minigemma models only, not for '{site}' "
                f"of model '{model.name}'"
            )
        folder = str(WEIGHTS / f"minigemma-{size}-scope")
        return {"name": folder, "width": spell(self.expansion * width), **self.more}


def spell(width: int) -> str:
    """Return a width as folder names have it: `1k` or `2k` for powers of two from 1024, digits otherwise."""
    return f"{width // 1024}k" if width >= 1024 and width & (width - 1) == 0 else str(width)


def _scope(
    *, expansion: int = 8, l0: str | int | None = None, layer_offset: int = 0
) -> harness.TokenRepresentation:
    return _Scope(expansion=expansion, l0=l0, layer_offset=layer_offset)


@harness.hookimpl
def harness_models() -> list[harness.ModelSpec]:
    return [
        harness.ModelSpec(
            name=f"minigemma-{size}",
            summary=f"embedded toy Gemma 2, {width} wide; provisional weights",
            alias_of=str(WEIGHTS / f"minigemma-{size}"),
            toy=True,
        )
        for size, width in SIZES.items()
    ] + [
        harness.ModelSpec(
            name="miniclip",
            summary="embedded toy OpenCLIP model, 64 pixels, 128 wide; provisional weights",
            alias_of=str(WEIGHTS / "miniclip"),
            toy=True,
        ),
        harness.ModelSpec(
            name="minipaligemma",
            summary="embedded toy PaliGemma: a vision tower before minigemma-m; provisional weights",
            alias_of={
                "name": str(WEIGHTS / "minipaligemma"),
                "modality": "image",
                "language_model": str(WEIGHTS / "minigemma-m"),
            },
            toy=True,
        ),
    ]


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        *(
            harness.RepresentationSpec(
                name=f"{model}-scope",
                summary=f"a dictionary of {model}, 8 times as wide, trained on the model's training images",
                alias_of=str(WEIGHTS / f"{model}-scope"),
                needs="tokens",
            )
            for model in ("miniclip", "minipaligemma")
        ),
        harness.RepresentationSpec(
            name="minigemma-scope",
            summary="dictionaries of the embedded family: 8 times as wide at three depths, 32 times at half depth",
            make=_scope,
            needs="tokens",
        ),
    ]
