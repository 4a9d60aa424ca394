"""Listing of a plugin's offers as texts that two processes can compare."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any


def list_offers(plugin: Any) -> list[str]:
    """Return a plugin's offers in its own order, with all that their specs say, as texts that another process would
    give too.
    """
    return [
        f"{kind}: {spec.name if isinstance(spec, Path) else _shown(spec)}"
        for kind, specs in sorted(plugin.offers.items())
        for spec in specs
    ]


def _shown(spec: Any) -> str:
    fields = {key: value for key, value in vars(spec).items() if not callable(value)}
    make = getattr(spec, "make", None)
    parameters = str(inspect.signature(make)) if make is not None else ""
    return f"{parameters} {fields!r}"
