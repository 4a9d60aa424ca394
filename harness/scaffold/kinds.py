"""Kinds of plugins that a package can be made for: a folder of templates each, and a file on what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

TEMPLATES = Path(__file__).parent / "templates"

ABOUT = "kind.yaml"
"""File in the folder of a kind that is no template."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Kind of plugin.

    `summary` says in one line what the template's plugin does; `run` are the arguments of `harness run`, or of another
    `command` that uses it, with `{name}` in place of its name; `offered` is the kind as `harness ls` spells it, None
    for an observer.
    """

    summary: str
    run: str
    offered: str | None
    command: str = "run"


KINDS: Mapping[str, Kind] = {
    path.parent.name: Kind(**yaml.safe_load(path.read_text("utf-8")))
    for path in sorted(TEMPLATES.glob(f"*/{ABOUT}"))
}
"""Kind, as `harness new` takes it → what goes with it."""


def with_article(kind: str) -> str:
    """Return a kind with its indefinite article."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
