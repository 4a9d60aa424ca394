"""Names of a new package: that of its project, of its import package, and of what it offers."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass

import yaml

from harness.api.errors import UsageError
from harness.registry.catalog import Registry
from harness.scaffold.kinds import KINDS, with_article

PREFIX = "harness"

_LONGEST = 40
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True)
class Names:
    """Names of a package, all from the `offer`, under which suites will know the plugin."""

    offer: str

    @property
    def project(self) -> str:
        """The name on an index, normalised as PEP 503 has it."""
        return f"{PREFIX}-{self.offer.replace('_', '-')}"

    @property
    def module(self) -> str:
        """The import name."""
        return f"{PREFIX}_{self.offer.replace('-', '_')}"


def read_name(text: str) -> Names:
    """Return the names that follow from NAME, which may carry the prefix already. Raise UsageError for a text that is
    no name.
    """
    offer = re.sub(rf"^{PREFIX}[-_]", "", text)
    if not _NAME.fullmatch(offer) or len(offer) > _LONGEST:
        raise UsageError(
            f"'{text}' cannot be the name of a package: take at most {_LONGEST} lower-case letters and digits, a "
            "letter first, in words joined by - or _"
        )
    if not isinstance(yaml.safe_load(offer), str):
        raise UsageError(f"'{text}' cannot be the name of a package: in suites YAML reads {offer} as no text")
    return Names(offer)


def check_free(names: Names, kind: str, registry: Registry) -> None:
    """Raise UsageError where a plugin, an offer of this kind or a module has one of the names already."""
    offered = KINDS[kind].offered
    taken = registry.catalogs[offered].get(names.offer, ()) if offered else ()
    for entry in taken:
        raise UsageError(
            f"there is {with_article(kind)} '{names.offer}' already, of plugin '{entry.plugin}' "
            f"({entry.distribution}): choose another name"
        )
    for plugin in registry.plugins.loaded:
        if plugin.name == names.offer:
            raise UsageError(
                f"there is a plugin '{plugin.name}' ({plugin.distribution}) already: choose another name"
            )
    if importlib.util.find_spec(names.module) is not None:
        raise UsageError(f"there is a module '{names.module}' already: choose another name")
