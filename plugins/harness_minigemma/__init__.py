"""The embedded model family: toy Gemma-2 models, their dictionaries, and the recipe that made both.

Models and dictionaries are offered as aliases of folders, so they load through the same code as any others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness

WEIGHTS = Path(__file__).parent / "weights"

SIZES = {"s": 64, "m": 128}
"""Size → width of the residual stream, of the sizes that ship."""


class _Scope:
    """The family's own dictionaries, in the Gemma Scope layout, found by the model's width."""

    def __init__(self, *, width: str | int | None, l0: str | int | None) -> None:
        self.given = {key: value for key, value in {"width": width, "l0": l0}.items() if value is not None}

    def at(self, model: harness.Model, site: harness.Site) -> dict[str, Any]:
        by_width = {width: size for size, width in SIZES.items()}
        size = by_width.get(model.width(harness.Site(kind="resid_post", layer=0)))
        if size is None or site.kind != "resid_post":
            raise harness.UsageError(
                f"minigemma-scope has dictionaries for resid_post of the minigemma models only, not for '{site}' "
                f"of model '{model.name}'"
            )
        return {"name": str(WEIGHTS / f"minigemma-{size}-scope"), **self.given}


def _scope(*, width: str | int | None = None, l0: str | int | None = None) -> harness.TokenRepresentation:
    return _Scope(width=width, l0=l0)


@harness.hookimpl
def harness_models() -> list[harness.ModelSpec]:
    return [
        harness.ModelSpec(
            name=f"minigemma-{size}",
            summary=f"embedded toy Gemma 2, {width} wide; provisional weights",
            alias_of=str(WEIGHTS / f"minigemma-{size}"),
        )
        for size, width in SIZES.items()
    ]


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        harness.RepresentationSpec(
            name="minigemma-scope",
            summary="the dictionaries of the embedded family, in the Gemma Scope layout",
            make=_scope,
            needs="tokens",
        )
    ]
